"""How a client proves who it is: a short assertion signed with its own key (RFC 7523), or a secret (RFC 6749)."""

import time
import uuid
from pathlib import Path
from typing import Any, Self

import jwt
from pydantic import BaseModel, SecretStr, ValidationError, model_validator

from clinic_agent.errors import SettingsProblem

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_LIFE = 60


class Credential(BaseModel):
    """What `clinic-mcp init` or `clinic-mcp client add` wrote for one client: with a key, or with a secret.

    Args:
        client_id: the client's id.
        agents: the agents it may act as.
        token_endpoint: where it asks for grants.
        audience: `aud` of its assertions.
        private_key: its own key (JWK).
        secret_file: a file with its secret, read at every request, so that a new one counts at once.
        client_secret: the secret itself, where no file can be had.
    """

    client_id: str
    agents: list[str] = []
    token_endpoint: str
    audience: str
    private_key: dict[str, Any] | None = None
    secret_file: Path | None = None
    client_secret: SecretStr | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(way is not None for way in (self.private_key, self.secret_file, self.client_secret)) != 1:
            raise ValueError("a credential has a private_key, a secret_file or a client_secret")
        return self

    def client_assertion(self) -> str:
        """Sign a one-use statement of who is asking, good for 60 seconds."""
        assert self.private_key is not None
        now = int(time.time())
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.audience,
            "iat": now,
            "exp": now + _ASSERTION_LIFE,
            "jti": uuid.uuid4().hex,
        }
        key = jwt.PyJWK(self.private_key, algorithm="EdDSA").key
        return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": self.private_key.get("kid")})

    def authenticated(self, form: dict[str, str]) -> dict[str, str]:
        """Return the form fields of a token request with the client's authentication added.

        Raises:
            SettingsProblem: the file with the secret is missing, unreadable or empty.
        """
        if self.private_key is not None:
            return {**form, "client_assertion_type": ASSERTION_TYPE, "client_assertion": self.client_assertion()}
        return {**form, "client_id": self.client_id, "client_secret": self._secret()}

    def _secret(self) -> str:
        if self.secret_file is None:
            return self.client_secret.get_secret_value() if self.client_secret is not None else ""
        try:
            secret = self.secret_file.read_text("utf-8").strip()
        except (OSError, ValueError):
            secret = ""
        if not secret:
            raise SettingsProblem(f"There is no secret in {self.secret_file}: put the client's there, mode 0600.")
        return secret


def load_credential(path: Path) -> Credential:
    """Read a credential file. A relative `secret_file` is beside it.

    Raises:
        SettingsProblem: the file, or the secret it names, is missing or unreadable, or it is not a credential.
    """
    try:
        credential = Credential.model_validate_json(path.read_bytes())
        if credential.private_key is not None:
            jwt.PyJWK(credential.private_key, algorithm="EdDSA")
    except FileNotFoundError:
        raise SettingsProblem(
            f"There is no credential at {path}: run `clinic-mcp init`, or point CLINIC_AGENT_CREDENTIAL"
            " (for a clinician CLINIC_CLINICIAN_CREDENTIAL) at the file it wrote."
        ) from None
    except OSError as error:
        raise SettingsProblem(f"The credential at {path} cannot be read: {error.strerror}.") from None
    except (ValidationError, jwt.PyJWTError, ValueError):
        raise SettingsProblem(f"{path} is not a credential file; run `clinic-mcp init` to write one.") from None
    if credential.secret_file is not None:
        credential = credential.model_copy(update={"secret_file": path.parent / credential.secret_file})
    credential.authenticated({})
    return credential
