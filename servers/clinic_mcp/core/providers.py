"""The OpenID providers a clinic trusts, and what their tokens must say: the file that CLINIC_PROVIDERS names."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.roles import Role
from clinic_mcp.core.urls import secure

Url = Annotated[str, AfterValidator(secure)]
Claim = Annotated[str, Field(min_length=1, max_length=256)]
Scope = Annotated[str, Field(pattern=r"^[\x21\x23-\x5B\x5D-\x7E]+$")]  # RFC 6749, section 3.3

GENERIC_TYPES = frozenset({"", "jwt"})
"""`typ` values an ID token has too."""


class SignIn(BaseModel):
    """`[provider.review]`: how an auditor's browser gets an access token for the review page from the provider.

    Args:
        client_id: The review page as the provider knows it (RFC 6749, section 2.2).
        client_secret_file: A file with its secret, where the provider gave it one; without, it is a public client.
        authorization_endpoint: Where browsers are sent (RFC 6749, section 3.1).
        token_endpoint: Where the page redeems the code they come back with (RFC 6749, section 3.2).
        scopes: What it asks for; `openid` is among them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    client_id: Claim
    client_secret_file: Path | None = None
    authorization_endpoint: Url
    token_endpoint: Url
    scopes: tuple[Scope, ...] = ("openid",)

    @model_validator(mode="after")
    def _consistent(self) -> SignIn:
        if "openid" not in self.scopes:
            raise ValueError("scopes need openid: the ID token holds what this sign-in is told apart from another by")
        return self


class Provider(BaseModel):
    """One `[[provider]]`: whom to believe, what their tokens look like, and who their people are here.

    Args:
        issuer: `iss`, character by character (OpenID Connect Core 1.0, section 3.1.3.7; a slash more is another one).
        jwks_uri: Where its public keys are (RFC 7517). Tokens never say where.
        algorithm: The one algorithm its access tokens are signed with (RFC 8725, section 3.1).
        types: `typ` headers accepted, in any case (RFC 9068, section 2.1); the empty one allows an absent `typ`.
        require: Claims that must have exactly this value; keeps ID tokens out where `typ` does not.
        person: The claim that holds the person's id at this clinic.
        roles_claim: The claim that holds their roles: its name, or a path of names with dots between.
        roles: The provider's value for each role.
        patient: The claim that holds the patient's id, for who has no role but `patient`.
        clinic_claim: The claim that names the clinic; none means the clinic this process serves.
        nbf: Whether `nbf` must be there. Where it is there, it is checked either way.
        scopes: Scopes a token must have (RFC 6749, section 3.3); one that is valid but for them gets 403.
        max_lifetime: Minutes between `iat` and `exp` at most.
        review: How auditors sign in to the review page with it; none means that they cannot.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: Url
    jwks_uri: Url
    algorithm: Literal["RS256", "PS256", "ES256", "EdDSA"]
    types: frozenset[str] = Field(default=frozenset({"at+jwt", "application/at+jwt"}), min_length=1)
    require: dict[str, str | bool | int] = {}
    person: Claim = "sub"
    roles_claim: Claim
    roles: dict[str, Role] = Field(min_length=1)
    patient: Claim | None = None
    clinic_claim: Claim | None = None
    nbf: Literal["required", "optional"] = "required"
    scopes: tuple[Scope, ...] = ()
    max_lifetime: int = Field(default=60, ge=1, le=720)
    review: SignIn | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Provider:
        if self.types_accepted & GENERIC_TYPES and not self.require:
            # An ID token says who signed in, not what may be called (OpenID Connect Core 1.0, section 2): RFC 8725,
            # section 3.12, wants rules that keep the kinds of tokens of one issuer apart.
            raise ValueError('types that an ID token has too ("JWT" or none) need a claim under require')
        if Role.PATIENT in self.roles.values() and self.patient is None:
            raise ValueError("the role patient needs patient, the claim with the patient's id")
        return self

    @property
    def types_accepted(self) -> frozenset[str]:
        """`types` as headers are compared with them."""
        return frozenset(kind.lower() for kind in self.types)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    provider: list[Provider] = Field(min_length=1)


def load_providers(path: Path | None, *, own_issuer: str) -> tuple[Provider, ...]:
    """The providers a file names.

    Args:
        path: A TOML file with a `[[provider]]` each, or none: then the clinic knows only its own tokens.
        own_issuer: `iss` of the clinic's own tokens, which no provider may claim.

    Raises:
        Misconfigured: The file cannot be read, a field of it cannot be used, or two providers have one issuer.
    """
    if path is None:
        return ()
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as exc:
        raise Misconfigured(
            f"CLINIC_PROVIDERS names {path}, which cannot be read ({exc.strerror}).", "Give the path of a TOML file."
        ) from exc
    except ValueError as exc:
        raise Misconfigured(f"{path} is not TOML ({exc}).", "See deploy/providers for examples.") from exc
    try:
        providers = tuple(_File.model_validate(document).provider)
    except ValidationError as exc:
        faults = "; ".join(f"{_place(error['loc'])}: {error['msg']}" for error in exc.errors())
        raise Misconfigured(f"{path} cannot be used: {faults}.", "See deploy/providers for examples.") from exc
    _check_issuers([provider.issuer for provider in providers], own_issuer, path)
    return providers


def _place(location: Collection[int | str]) -> str:
    """Where in the file a fault is, e.g. `provider 2, jwks_uri`."""
    parts = list(location)
    if len(parts) > 1 and isinstance(parts[1], int):
        parts[:2] = [f"{parts[0]} {parts[1] + 1}"]
    return ", ".join(str(part) for part in parts)


def _check_issuers(issuers: list[str], own_issuer: str, path: Path) -> None:
    if own_issuer in issuers:
        raise Misconfigured(f"{path} cannot be used: a provider has the clinic's own issuer, CLINIC_ISSUER.")
    if len(set(issuers)) != len(issuers):
        raise Misconfigured(f"{path} cannot be used: two providers have the same issuer.")
