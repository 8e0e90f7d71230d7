"""Cedar, and the only file that imports it: policies are loaded, checked, and asked.

Cedar skips a policy that errors, a forbid too, and then says Allow; entities built without the schema lose the
action hierarchy; an entity that is missing turns conditions into errors. So a decision here is Allow only when
the engine says so, without any error, because of a policy it can name, about entities that are in the slice.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import cedarpy

from clinic_mcp.core.errors import Misconfigured

NAMESPACE = "Clinic"

Uid = tuple[str, str]
"""An entity's type (without namespace) and id."""

DEFAULT_DENY = "default-deny"
"""Named as the reason where no policy permits and none forbids: Cedar itself names nothing then."""

POLICY_ERROR = "policy-error"
"""Named as the reason where the engine could not decide cleanly; an operator must look at it."""


def uid(entity: Uid) -> dict[str, str]:
    return {"type": f"{NAMESPACE}::{entity[0]}", "id": entity[1]}


def ref(entity: Uid) -> dict[str, Any]:
    """An entity as the value of another entity's attribute."""
    return {"__entity": uid(entity)}


@dataclass(frozen=True)
class Entity:
    """An entity of the slice: what the database says of a principal or resource."""

    uid: Uid
    attrs: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[Uid, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"uid": uid(self.uid), "attrs": dict(self.attrs), "parents": [uid(parent) for parent in self.parents]}


@dataclass(frozen=True)
class Request:
    """One question to the policies.

    Args:
        principal: Who calls.
        action: The tool's name.
        resource: What it is about.
        context: `auth`, `now`, `input`, and where they apply `bound` and `facts`; no floats, no nulls.
        entities: The slice: principal, resource, and what they refer to.
    """

    principal: Uid
    action: str
    resource: Uid
    context: Mapping[str, Any]
    entities: Collection[Entity]


@dataclass(frozen=True)
class Decision:
    """What the policies said, and which of them."""

    allowed: bool
    policies: tuple[str, ...]
    errors: int
    input_digest: str


@dataclass(frozen=True)
class Policy:
    """One policy: its stable name, its effect, its annotations."""

    id: str
    effect: str
    annotations: Mapping[str, str]


class PolicySet:
    """A set of policies that passed every check, ready to be asked.

    Args:
        schema: Text of the `.cedarschema`.
        policies: Text of every `.cedar` file, in a fixed order.

    Raises:
        Misconfigured: The set does not parse, does not validate against its schema, has a policy without a
            unique `@id`, or fails its canaries.
    """

    def __init__(self, schema: str, policies: str) -> None:
        self.schema_text = schema
        self.text = policies
        self.schema_digest = text_digest(schema)
        self.digest = text_digest(policies)
        try:
            self._schema = cedarpy.Schema.from_str(schema)
            self._policies = cedarpy.PolicySet.from_str(policies)
            described = json.loads(cedarpy.policies_to_json_str(policies))
        except Exception as exc:
            raise Misconfigured(f"The policies do not parse: {exc}") from exc
        result = cedarpy.validate_policies(policies, schema)
        if not result.validation_passed:
            raise Misconfigured("The policies do not fit their schema: " + "; ".join(str(e) for e in result.errors))
        if described.get("templates"):
            raise Misconfigured("A policy template is never linked here; write a policy instead.")
        self.policies = _named(described["staticPolicies"].values())
        self._permits = {policy.id for policy in self.policies.values() if policy.effect == "permit"}
        self._positional = {key: value["annotations"]["id"] for key, value in described["staticPolicies"].items()}
        self.actions = _actions(schema)
        # The calls of a consultation repeat its slice; equal text is an equal, immutable slice.
        self._entities = lru_cache(maxsize=256)(partial(cedarpy.Entities.from_json_str, schema=self._schema))
        self._check_canaries()

    @classmethod
    def load(cls, folder: Path | None = None) -> PolicySet:
        """Read the policies of a folder, or the shipped ones.

        Raises:
            Misconfigured: The folder has no schema or no policies, or they fail a check.
        """
        root = _shipped() if folder is None else folder
        schemas = sorted(root.glob("*.cedarschema"))
        texts = sorted(root.glob("*.cedar"))
        if len(schemas) != 1 or not texts:
            raise Misconfigured(f"{root} needs one .cedarschema file and at least one .cedar file.")
        return cls(schemas[0].read_text("utf-8"), "\n".join(path.read_text("utf-8") for path in texts))

    def decide(self, request: Request) -> Decision:
        """Ask whether the request is permitted. Anything but a clean Allow is a denial."""
        present = {entity.uid for entity in request.entities}
        slice_text = json.dumps([entity.as_json() for entity in request.entities], sort_keys=True)
        question = {
            "principal": uid(request.principal),
            "action": {"type": f"{NAMESPACE}::Action", "id": request.action},
            "resource": uid(request.resource),
            "context": dict(request.context),
        }
        asked = json.dumps(question, sort_keys=True, ensure_ascii=True, default=str)
        digest = text_digest(asked + slice_text)
        if request.principal not in present or request.resource not in present:
            return Decision(False, (POLICY_ERROR,), 1, digest)
        try:
            answer = cedarpy.is_authorized(question, self._policies, self._entities(slice_text), self._schema)
        except Exception:  # noqa: BLE001 - the engine's own failures are refusals too, whatever their type
            return Decision(False, (POLICY_ERROR,), 1, digest)
        named = answer.diagnostics.id_annotations_by_reason
        reasons = tuple(sorted(named.get(reason, reason) for reason in answer.diagnostics.reasons))
        errors = len(answer.diagnostics.errors)
        if errors or answer.decision == cedarpy.Decision.NoDecision:
            return Decision(False, (POLICY_ERROR, *reasons), max(errors, 1), digest)
        if answer.decision == cedarpy.Decision.Allow and reasons:
            return Decision(True, reasons, 0, digest)
        return Decision(False, reasons or (DEFAULT_DENY,), 0, digest)

    def advice(self, decision: Decision, *, own: bool) -> str | None:
        """What the refused caller may be told: the deciding policies' advice, nothing about what exists.

        Args:
            decision: A refusal.
            own: Whether the resource is the caller's own consultation or its patient.
        """
        keys = ("advice", "advice_own") if own else ("advice",)
        found = [
            self.policies[name].annotations[key]
            for name in decision.policies
            if name in self.policies
            for key in keys
            if key in self.policies[name].annotations
        ]
        return " ".join(dict.fromkeys(found)) or None

    def check_tools(self, inputs: Mapping[str, str]) -> None:
        """Refuse tools the policies know nothing of, or know with other arguments.

        Args:
            inputs: Each tool's arguments as a Cedar record (`cedar_types.input_type`).

        Raises:
            Misconfigured: A tool has no Cedar action, or its action's `input` differs from its arguments.
        """
        missing = sorted(inputs.keys() - self.actions.keys())
        if missing:
            raise Misconfigured(f"The policies have no action for: {', '.join(missing)}.")
        for tool, expected in sorted(inputs.items()):
            if _fields(expected) != _fields(self.actions[tool]):
                raise Misconfigured(
                    f"The policies' action {tool} takes {self.actions[tool]}, the tool {expected}.",
                    "Bring the schema's input in step with the tool.",
                )

    def visible(self, principal: Entity, tools: Iterable[str]) -> set[str]:
        """The tools that some circumstances would allow a principal: never a decision, only what is worth showing.

        Args:
            principal: Who asks, with its roles.
            tools: The tools there are.
        """
        return {tool for tool in tools if self.possible_permits(principal, tool)}

    def possible_permits(self, principal: Entity, action: str) -> list[str]:
        """The permits that could allow a principal an action in some circumstances. A forbid hides nothing here:
        some circumstances may lift it.

        Args:
            principal: Who asks, with its roles.
            action: A tool's name, or `read_audit_log`.
        """
        entities = self._entities(json.dumps([principal.as_json()], sort_keys=True))
        name = f'{NAMESPACE}::{principal.uid[0]}::"{principal.uid[1]}"'
        question = {"principal": name, "action": f'{NAMESPACE}::Action::"{action}"'}
        answer = cedarpy.is_authorized_partial(question, self._policies, entities, self._schema).diagnostics
        possible = {self._positional.get(one, one) for one in (*answer.may_be_determining, *answer.reasons)}
        return sorted(possible & self._permits)

    def _check_canaries(self) -> None:
        """One call that must be refused and one that must be allowed, on the real engine."""
        home, elsewhere = ("Clinic", "canary"), ("Clinic", "elsewhere")
        auditor = Entity(("Auditor", "canary"), {"clinic": ref(home), "active": True}, (("Role", "auditor"),))
        role = Entity(("Role", "auditor"))
        for clinic, expected in ((home, True), (elsewhere, False)):
            log = Entity(("AuditLog", "log"), {"clinic": ref(clinic)})
            context = {"auth": {"transport": "canary"}, "now": moment("2026-01-01T00:00:00.000Z"), "input": {}}
            request = Request(auditor.uid, "read_audit_log", log.uid, context, [auditor, role, log])
            if self.decide(request).allowed is not expected:
                raise Misconfigured(
                    "The policies fail their canary: an active auditor must be able to read this clinic's audit log"
                    " and no other clinic's."
                )


def _shipped() -> Path:
    """The repository's `policies/` when run from a checkout, else the copy in the wheel."""
    checkout = Path(__file__).parents[3] / "policies"
    return (
        checkout
        if (checkout / "clinic.cedarschema").exists()
        else Path(str(files("clinic_mcp_policies").joinpath("clinic.cedarschema"))).parent
    )


def moment(timestamp: str) -> dict[str, Any]:
    """A timestamp as a Cedar `datetime`."""
    return {"__extn": {"fn": "datetime", "arg": timestamp}}


def text_digest(text: str) -> str:
    """SHA-256 of a text, in hex: the name a policy set has on the audit log."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _named(policies: Iterable[Mapping[str, Any]]) -> dict[str, Policy]:
    named: dict[str, Policy] = {}
    for policy in policies:
        annotations = {key: value or "" for key, value in policy.get("annotations", {}).items()}
        name = annotations.get("id", "")
        if not name:
            raise Misconfigured("Every policy needs an @id: the audit log names policies by it.")
        if name in named:
            raise Misconfigured(f"Two policies have the @id {name!r}.")
        named[name] = Policy(name, policy["effect"], annotations)
    return named


_ACTION = re.compile(
    r'action\s+"?([A-Za-z_]\w*)"?\s*(?:in\s*\[[^\]]*\]\s*)?appliesTo\s*\{[^;]*?input:\s*(\{[^{}]*\})', re.DOTALL
)


def _actions(schema: str) -> dict[str, str]:
    """The actions that apply to something, each with its `input` record; groups have no `appliesTo`."""
    return {name: " ".join(record.split()) for name, record in _ACTION.findall(schema)}


def _fields(record: str) -> set[str]:
    return {"".join(field.split()) for field in record.strip("{} ").split(",") if field.strip()}
