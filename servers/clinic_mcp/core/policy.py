"""Cedar, and the only file that imports it: policies are loaded, checked, and asked.

Cedar skips a policy that errors, a forbid too, and then says Allow; entities built without the schema lose the
action hierarchy; an entity that is missing turns conditions into errors. So a decision here is Allow only when
the engine says so, without any error, because of a policy it can name, about entities that are in the slice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import cedarpy

from clinic_mcp.core import policy_parts as parts
from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.policy_parts import Est

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


QUESTIONS = frozenset({"read_audit_log", "read_access_report"})
"""Actions that are not tools: the audit commands ask them."""


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

    @cached_property
    def slice_text(self) -> str:
        """The slice as text: equal slices have equal texts."""
        return json.dumps([entity.as_json() for entity in self.entities], sort_keys=True)

    @cached_property
    def slice_digest(self) -> str:
        """SHA-256 of the slice's text: the name it is kept under on the audit log."""
        return text_digest(self.slice_text)

    @cached_property
    def question(self) -> dict[str, Any]:
        """The request without its entities, as the engine takes it."""
        return {
            "principal": uid(self.principal),
            "action": {"type": f"{NAMESPACE}::Action", "id": self.action},
            "resource": uid(self.resource),
            "context": dict(self.context),
        }


@dataclass(frozen=True)
class Decision:
    """What the policies said, and which of them."""

    allowed: bool
    policies: tuple[str, ...]
    errors: int
    input_digest: str


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
        ordered = parts.in_order(described["staticPolicies"])
        self.policies = parts.named(ordered)
        self.est: Mapping[str, Est] = dict(zip(self.policies, ordered, strict=True))
        for name, policy in self.est.items():
            if policy["effect"] == "forbid" and parts.calculates(policy["conditions"]):
                raise Misconfigured(f"The forbid {name!r} calculates: an overflow would skip it.")
        self._permits = {policy.id for policy in self.policies.values() if policy.effect == "permit"}
        self._positional = {key: value["annotations"]["id"] for key, value in described["staticPolicies"].items()}
        permits = {key: one for key, one in described["staticPolicies"].items() if one["effect"] == "permit"}
        self._permits_alone = cedarpy.PolicySet.from_json_str(json.dumps({**described, "staticPolicies": permits}))
        self.actions = parts.actions(schema)
        self._probes = lru_cache(maxsize=64)(cedarpy.PolicySet.from_json_str)
        # The calls of a consultation repeat its slice; equal text is an equal, immutable slice.
        self._entities = lru_cache(maxsize=256)(partial(cedarpy.Entities.from_json_str, schema=self._schema))
        self._check_canaries()

    @classmethod
    def load(cls, folder: Path | None = None) -> PolicySet:
        """Read the policies of a folder, or the shipped ones.

        Raises:
            Misconfigured: The folder has no schema or no policies, or they fail a check.
        """
        root = folder_of(folder)
        schemas = sorted(root.glob("*.cedarschema"))
        texts = sorted(root.glob("*.cedar"))
        if len(schemas) != 1 or not texts:
            raise Misconfigured(f"{root} needs one .cedarschema file and at least one .cedar file.")
        try:
            return cls(schemas[0].read_text("utf-8"), "\n".join(path.read_text("utf-8") for path in texts))
        except (OSError, UnicodeDecodeError) as exc:
            raise Misconfigured(f"A file of {root} cannot be read ({type(exc).__name__}).") from exc

    def decide(self, request: Request) -> Decision:
        """Ask whether the request is permitted. Anything but a clean Allow is a denial."""
        asked = json.dumps(request.question, sort_keys=True, ensure_ascii=True, default=str)
        digest = text_digest(asked + request.slice_text)
        answer = self._ask(request, self._policies)
        if answer is None:
            return Decision(False, (POLICY_ERROR,), 1, digest)
        named = answer.diagnostics.id_annotations_by_reason
        reasons = tuple(sorted(named.get(reason, reason) for reason in answer.diagnostics.reasons))
        errors = len(answer.diagnostics.errors)
        if errors or answer.decision == cedarpy.Decision.NoDecision:
            return Decision(False, (POLICY_ERROR, *reasons), max(errors, 1), digest)
        if answer.decision == cedarpy.Decision.Allow and reasons:
            return Decision(True, reasons, 0, digest)
        return Decision(False, reasons or (DEFAULT_DENY,), 0, digest)

    def advice(self, request: Request, decision: Decision) -> str | None:
        """What the refused caller may be told: the deciding policies' advice, nothing about what exists.

        Args:
            request: What was asked.
            decision: The refusal.
        """
        refusing = [self.policies[name] for name in decision.policies if name in self.policies]
        found = [policy.annotations["advice"] for policy in refusing if "advice" in policy.annotations]
        theirs = [policy.annotations["advice_own"] for policy in refusing if "advice_own" in policy.annotations]
        if theirs and self._entitled(request):
            found += theirs
        return " ".join(dict.fromkeys(found)) or None

    def _entitled(self, request: Request) -> bool:
        """Whether some permit covers the request, whatever the forbids say: then its caller knows of the record."""
        answer = self._ask(request, self._permits_alone)
        return answer is not None and not answer.diagnostics.errors and answer.decision == cedarpy.Decision.Allow

    def satisfied(self, request: Request, probes: Mapping[str, Est]) -> frozenset[str] | None:
        """Which of some policies, each by itself, apply to a request. One that errors does not apply.

        Args:
            request: What is asked.
            probes: Policies in Cedar's JSON form by any name; permits and forbids alike.

        Returns:
            Their names, or none where the engine cannot judge the request at all.
        """
        permits = {name: {**probe, "effect": "permit", "annotations": {}} for name, probe in probes.items()}
        text = json.dumps({"staticPolicies": permits, "templates": {}, "templateLinks": []}, sort_keys=True)
        answer = self._ask(request, self._probes(text))
        if answer is None or answer.decision == cedarpy.Decision.NoDecision:
            return None
        return frozenset(answer.diagnostics.reasons)

    def _ask(self, request: Request, policies: Any) -> Any:
        """The engine's answer, or nothing where it cannot give one about entities that are all there."""
        present = {entity.uid for entity in request.entities}
        if request.principal not in present or request.resource not in present:
            return None
        try:
            return cedarpy.is_authorized(request.question, policies, self._entities(request.slice_text), self._schema)
        except Exception:  # noqa: BLE001 - the engine's own failures are refusals too, whatever their type
            return None

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
            if parts.fields(expected) != parts.fields(self.actions[tool]):
                raise Misconfigured(
                    f"The policies' action {tool} takes {self.actions[tool]}, the tool {expected}.",
                    "Bring the schema's input in step with the tool.",
                )

    def check_actions(self, tools: Collection[str]) -> None:
        """Refuse actions that no tool of the suite has: a policy about them would protect nothing.

        Args:
            tools: Every tool of every server.

        Raises:
            Misconfigured: There are such actions.
        """
        unknown = sorted(self.actions.keys() - set(tools) - QUESTIONS)
        if unknown:
            raise Misconfigured(f"No server has a tool for the policies' action: {', '.join(unknown)}.")

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
        """Calls that must be refused and one that must be allowed, on the real engine."""
        home, elsewhere = ("Clinic", "canary"), ("Clinic", "elsewhere")
        context = {"auth": {"transport": "canary"}, "now": moment("2026-01-01T00:00:00.000Z"), "input": {}}
        auditor = Entity(("Auditor", "canary"), {"clinic": ref(home), "active": True}, (("Role", "auditor"),))
        for clinic, expected in ((home, True), (elsewhere, False)):
            log = Entity(("AuditLog", "log"), {"clinic": ref(clinic)})
            request = Request(auditor.uid, "read_audit_log", log.uid, context, [auditor, log])
            if self.decide(request).allowed is not expected:
                raise Misconfigured(
                    "The policies fail their canary: an active auditor must be able to read this clinic's audit log"
                    " and no other clinic's."
                )
        agent = Entity(("Agent", "canary"), {"clinic": ref(home)}, (("Role", "intake_agent"),))
        attrs = {"clinic": ref(home), "careTeam": [], "attending": [], "sensitivity": "N"}
        patient = Entity(("Patient", "canary"), attrs)
        about = {**context, "facts": {}, "input": {"patient_id": "canary"}}
        for principal in (agent, auditor):
            request = Request(principal.uid, "get_patient_record", patient.uid, about, [principal, patient])
            if self.decide(request).allowed:
                raise Misconfigured(
                    "The policies fail their canary: no agent without a consultation, and no auditor, may read a"
                    " patient's record."
                )


def folder_of(chosen: Path | None) -> Path:
    """Where policies are: the folder somebody chose, or the shipped one."""
    return _shipped() if chosen is None else chosen


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
