"""Who calls: what the database says today of the people and the consultation a verified token names.

The token only names; the database decides. Nothing a model writes, no header and no unsigned `_meta` is read here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from clinic_mcp.core.clinic import agents, consultations, people, sign_offs
from clinic_mcp.core.errors import Unauthenticated
from clinic_mcp.core.policy import Entity, Uid, ref
from clinic_mcp.core.tokens import Claims

NORMAL = "N"
"""HL7 v3 Confidentiality of an ordinary record."""

PATIENT_SUBJECT = "patient:"
"""How the `sub` of a patient's own token begins; the rest is the patient's id."""


@dataclass(frozen=True)
class Bound:
    """The consultation an agent's call is bound to, as the database has it."""

    consultation: Entity
    patient: Uid


@dataclass(frozen=True)
class Caller:
    """An identified caller: the Cedar principal, the human behind it, and the consultation it is bound to."""

    principal: Entity
    roles: tuple[str, ...]
    claims: Claims
    bound: Bound | None = None

    @property
    def clinic(self) -> str:
        return self.claims.clinic

    @property
    def entities(self) -> list[Entity]:
        """The part of the entity slice that the caller brings. Roles and clinics have no attributes: naming them
        as parents and values is enough."""
        return [self.principal, self.bound.consultation] if self.bound else [self.principal]


_AGENT_IN_CONSULTATION = (
    select(
        agents.c.role,
        agents.c.active,
        agents.c.clinic_id.label("agent_clinic"),
        consultations.c.clinic_id,
        consultations.c.patient_id,
        consultations.c.open,
        consultations.c.agent_ids,
        consultations.c.assignee_id,
        sign_offs.c.id.label("sign_off_id"),
    )
    .select_from(
        consultations.outerjoin(sign_offs, sign_offs.c.consultation_id == consultations.c.id).outerjoin(
            agents, agents.c.id == bindparam("agent")
        )
    )
    .where(consultations.c.id == bindparam("consultation"))
)
_PERSON = select(people.c.kind, people.c.role, people.c.active, people.c.clinic_id).where(
    people.c.id == bindparam("person")
)


def resolve(connection: Connection, claims: Claims) -> Caller:
    """What the database says of the caller a token names, now.

    Args:
        connection: An open read transaction.
        claims: A verified token's.

    Raises:
        Unauthenticated: The database knows no such person, agent or consultation, or not of that patient.
    """
    if claims.agent is None or claims.consultation is None or claims.patient is None:
        return _resolve_person(connection, claims)
    return _resolve_agent(connection, claims, claims.agent, claims.consultation)


def _resolve_person(connection: Connection, claims: Claims) -> Caller:
    if claims.subject.startswith(PATIENT_SUBJECT):
        return _resolve_patient(claims)
    row = connection.execute(_PERSON, {"person": claims.subject}).first()
    if row is None or row.clinic_id != claims.clinic:
        raise Unauthenticated("unknown-person")
    if claims.issuer is not None and row.role not in claims.roles:  # the provider and the clinic must agree
        raise Unauthenticated("role-not-vouched-for")
    principal = Entity(
        (row.kind, claims.subject),
        {"clinic": ref(("Clinic", row.clinic_id)), "active": bool(row.active)},
        (("Role", row.role),),
    )
    return Caller(principal, (row.role,), claims)


def _resolve_patient(claims: Claims) -> Caller:
    """A patient in their own name. What their record says stays with the server that keeps it: it is loaded only
    where it is what the call is about, and then replaces this entity."""
    patient = ("Patient", claims.subject.removeprefix(PATIENT_SUBJECT))
    return Caller(patient_entity(patient[1], clinic=claims.clinic), ("patient",), claims)


def _resolve_agent(connection: Connection, claims: Claims, agent: str, session_id: str) -> Caller:
    row = connection.execute(_AGENT_IN_CONSULTATION, {"agent": agent, "consultation": session_id}).first()
    if row is None or row.patient_id != claims.patient or row.clinic_id != claims.clinic:
        raise Unauthenticated("grant-does-not-match")
    if row.role is None or not row.active or row.agent_clinic != claims.clinic:
        raise Unauthenticated("unknown-agent")
    principal = Entity(("Agent", agent), {"clinic": ref(("Clinic", row.agent_clinic))}, (("Role", row.role),))
    patient = ("Patient", row.patient_id)
    consultation = consultation_entity(
        session_id,
        clinic=row.clinic_id,
        patient=patient,
        agent_ids=row.agent_ids.split(),
        assignee=row.assignee_id,
        is_open=bool(row.open),
        signed_off=row.sign_off_id is not None,
    )
    return Caller(principal, (row.role,), claims, Bound(consultation, patient))


def consultation_entity(
    consultation_id: str,
    *,
    clinic: str,
    patient: Uid,
    agent_ids: list[str],
    assignee: str | None,
    is_open: bool,
    signed_off: bool,
) -> Entity:
    """A consultation as Cedar sees it."""
    attrs: dict[str, Any] = {
        "clinic": ref(("Clinic", clinic)),
        "patient": ref(patient),
        "agents": [ref(("Agent", agent)) for agent in agent_ids],
        "open": is_open,
        "signedOff": signed_off,
    }
    if assignee is not None:
        attrs["assignee"] = ref(("Clinician", assignee))
    return Entity(("Consultation", consultation_id), attrs)


def patient_entity(
    patient_id: str,
    *,
    clinic: str,
    care_team: Iterable[str] = (),
    attending: Iterable[str] = (),
    sensitivity: str = NORMAL,
) -> Entity:
    """A patient as Cedar sees them.

    Args:
        patient_id: The patient's id.
        clinic: The clinic that keeps the record.
        care_team: Ids of the clinicians who treat the patient.
        attending: Ids of the clinicians assigned to an open consultation about the patient.
        sensitivity: HL7 v3 Confidentiality: `N` normal, `R` restricted, `V` very restricted.
    """
    attrs = {
        "clinic": ref(("Clinic", clinic)),
        "careTeam": [ref(("Clinician", one)) for one in care_team],
        "attending": [ref(("Clinician", one)) for one in attending],
        "sensitivity": sensitivity,
    }
    return Entity(("Patient", patient_id), attrs)
