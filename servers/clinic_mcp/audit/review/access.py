"""Who may look: a token is verified, its person looked up, and Cedar asked, at every request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from clinic_mcp.audit.event import Draft, Phase, uuid7
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.core import record
from clinic_mcp.core.clinic import now
from clinic_mcp.core.db import Database
from clinic_mcp.core.errors import Refused, Unauthenticated
from clinic_mcp.core.identity import Caller, resolve
from clinic_mcp.core.issuers import Issuers
from clinic_mcp.core.policy import POLICY_ERROR, Decision, Entity, PolicySet, Request, ref
from clinic_mcp.core.question import ask
from clinic_mcp.core.reload import PoliciesInForce
from clinic_mcp.core.settings import REVIEW
from clinic_mcp.core.tool import Target

ACTION = "read_audit_log"
TRANSPORT = "http"


@dataclass(frozen=True)
class Visitor:
    """Somebody who may read the log, at this request.

    Args:
        caller: Who.
        decision: What the policies said, as events keep it.
        peer: Where the request came from.
        started: When, ISO 8601 in UTC.
    """

    caller: Caller
    decision: Mapping[str, Any]
    peer: str
    started: str

    @property
    def id(self) -> str:
        return self.caller.principal.uid[1]

    @property
    def principal(self) -> dict[str, Any]:
        """How events name them."""
        kind, name = self.caller.principal.uid
        return {"type": kind, "id": name, "roles": list(self.caller.roles), "clinic": self.caller.clinic}

    @property
    def about(self) -> dict[str, Any]:
        """What else events say of their request."""
        claims = self.caller.claims
        session = {"jti": claims.jti, "issuer": claims.issuer}
        return {
            "session": {name: value for name, value in session.items() if value is not None},
            "network": {"transport": TRANSPORT, "peer": self.peer},
            "started": self.started,
        }


class Access:
    """Decides who may look, and puts on the record who did and who was refused.

    Args:
        clinic: The clinic whose log it is.
        database: The clinic's database.
        log: This process's part of the log.
        policies: The policies in force.
        issuers: Checks tokens.
    """

    def __init__(
        self, clinic: str, database: Database, log: AuditLog, policies: PoliciesInForce, issuers: Issuers
    ) -> None:
        self._clinic = clinic
        self._database = database
        self._log = log
        self._policies = policies
        self._issuers = issuers
        self._lines = structlog.get_logger().bind(part=REVIEW)

    def admit(self, token: str, peer: str) -> Visitor:
        """Let somebody in who may read this clinic's log.

        Args:
            token: Their access token.
            peer: Where the request came from.

        Raises:
            Unauthenticated: The token is no valid one of a person's; that is on the record.
            Refused: The policies do not permit it; that is on the record.
            AuditUnavailable: It could not be put there.
        """
        started, policies = now(), self._policies.current
        try:
            claims = self._issuers.verify(token)
            if claims.agent is not None:
                raise Unauthenticated("not-a-person")
            with self._database.read() as connection:
                caller = resolve(connection, claims)
        except Unauthenticated as refusal:
            self.record_stranger(peer, refusal.reason)
            raise
        log = Entity(("AuditLog", self._clinic), {"clinic": ref(("Clinic", self._clinic))})
        request = ask(caller, ACTION, {}, Target(log), transport=TRANSPORT, started=started)
        decision = policies.decide(request)
        if POLICY_ERROR in decision.policies:
            self._lines.error("policy.error", action=ACTION)
        visitor = Visitor(caller, record.decided(decision, policies), peer, started)
        if not decision.allowed:
            self._record_refusal(visitor, request)
            raise Refused("The clinic's policies do not permit you to read the audit log.", _advice(policies, decision))
        return visitor

    def record(self, visitor: Visitor, code: str, asked: Mapping[str, Any], patients: Sequence[str] = ()) -> None:
        """Say on the record that somebody looks, and at what; only then may it be shown.

        Args:
            visitor: Who.
            code: At what, e.g. `review.calls`.
            asked: Ids, names and times; no free text.
            patients: Patients it is about.

        Raises:
            AuditUnavailable: It cannot be recorded; nothing may be shown.
        """
        kept = {name: value for name, value in asked.items() if value is not None}
        body = {
            "principal": visitor.principal,
            **visitor.about,
            "decision": visitor.decision,
            **({"asked": kept} if kept else {}),
        }
        self._log.append(Draft(Phase.AUDIT_READ, code, uuid7(), body, tuple(patients)))

    def record_own_case(self, visitor: Visitor, item: str) -> None:
        """Say on the record that somebody tried to judge what they did themselves."""
        body = {
            "principal": visitor.principal,
            **visitor.about,
            "decision": {"effect": "deny", "policies": ["own-case"], "errors": 0},
            "asked": {"item": item},
        }
        self._log.append(Draft(Phase.DECISION, "review.refused", uuid7(), body))

    def record_stranger(self, peer: str, reason: str) -> None:
        """Say on the record that somebody came without being anybody.

        Args:
            peer: Where from.
            reason: Why they are nobody: one of our own words.
        """
        body = {"reason": reason, "network": {"transport": TRANSPORT, "peer": peer}}
        self._log.append(Draft(Phase.UNAUTHENTICATED, "http.unauthenticated", uuid7(), body))

    def _record_refusal(self, visitor: Visitor, request: Request) -> None:
        kind, name = request.resource
        body = {
            "principal": visitor.principal,
            **visitor.about,
            "call": {"server": REVIEW, "tool": ACTION},
            "decision": visitor.decision,
            "cedar": {
                "action": ACTION,
                "resource": {"type": kind, "id": name, "known": True},
                "context": {"input": {}},
                "slice": request.slice_digest,
            },
        }
        slices = {request.slice_digest: request.slice_text}
        self._log.append(Draft(Phase.DECISION, "call.refused", uuid7(), body, (), slices))


def _advice(policies: PolicySet, decision: Decision) -> str:
    named = [policies.policies[name] for name in decision.policies if name in policies.policies]
    said = [policy.annotations["advice"] for policy in named if "advice" in policy.annotations]
    return " ".join(dict.fromkeys(said)) or "Auditors of this clinic may; ask whoever administers it."
