"""Mints the short-lived signed tokens: an agent's grant for one consultation, a person's own token."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

import jwt
from sqlalchemy import Connection, select

from clinic_mcp.consultations.rows import patients
from clinic_mcp.core.clinic import agents, consultations, people, sign_offs
from clinic_mcp.core.errors import Conflict, Refused
from clinic_mcp.core.identity import PATIENT_SUBJECT
from clinic_mcp.core.own_keys import ALGORITHM
from clinic_mcp.core.settings import CONSULTATIONS, REVIEW, SERVERS, SUITE
from clinic_mcp.core.tokens import GRANT_LIFETIME, PATIENT_LIFETIME, PERSON_LIFETIME, TOKEN_TYPE

FOR_AGENTS = (*SERVERS, SUITE)
FOR_PEOPLE = (*FOR_AGENTS, CONSULTATIONS, REVIEW)


@dataclass(frozen=True)
class Minted:
    """A token and what the audit log says of it."""

    token: str
    jti: str
    subject: str
    expires_in: int


class Mint:
    """Signs tokens with the clinic's key.

    Args:
        key: The private signing key (JWK).
        issuer: `iss` of every token.
        clinic_id: `clinic` of every token.
    """

    def __init__(self, key: dict[str, str], issuer: str, clinic_id: str) -> None:
        self._key = jwt.PyJWK(key, algorithm=ALGORITHM)
        self._issuer = issuer
        self._clinic_id = clinic_id

    def grant(
        self,
        connection: Connection,
        session_id: str,
        agent: str,
        audience: str,
        *,
        client: str | None = None,
        early: bool = False,
    ) -> Minted:
        """A grant for an agent in an open consultation. It speaks for the clinician who signed off, else for the
        patient who came.

        Args:
            connection: An open transaction.
            session_id: The consultation.
            agent: The agent's id.
            audience: The server the grant is for.
            client: The client that asked.
            early: Give the prescription agent its grant before the sign-off, too: the policies refuse its call.

        Raises:
            Refused: Unknown consultation or agent, or an agent that takes no part.
            Conflict: The consultation is closed, or not yet signed off for the prescription agent.
        """
        _check_audience(audience, FOR_AGENTS)
        row = connection.execute(
            select(consultations, sign_offs.c.clinician_id)
            .outerjoin(sign_offs, sign_offs.c.consultation_id == consultations.c.id)
            .where(consultations.c.id == session_id, consultations.c.clinic_id == self._clinic_id)
        ).first()
        known = connection.execute(
            select(agents.c.role).where(agents.c.id == agent, agents.c.clinic_id == self._clinic_id, agents.c.active)
        ).first()
        if row is None:
            raise Refused("There is no such consultation.")
        if known is None or agent not in row.agent_ids.split():
            raise Refused("No such agent takes part in this consultation.")
        if not row.open:
            raise Conflict("The consultation is closed.", "Open a new one to go on.")
        if known.role == "prescription_agent" and row.clinician_id is None and not early:
            raise Conflict("The consultation is not signed off.", "A clinician must sign it off first.")
        subject = row.clinician_id or row.assignee_id or f"{PATIENT_SUBJECT}{row.patient_id}"
        claims = {"act": {"sub": agent}, "sid": session_id, "patient": row.patient_id}
        return self._mint(subject, audience, GRANT_LIFETIME, client or agent, claims)

    def person(self, connection: Connection, person_id: str, audience: str, lifetime: int = GRANT_LIFETIME) -> Minted:
        """A person's own token.

        Args:
            connection: An open transaction.
            person_id: The person's id.
            audience: The server the token is for.
            lifetime: Seconds it lives, at most a working day.

        Raises:
            Refused: No such person works here.
        """
        _check_audience(audience, FOR_PEOPLE)
        row = connection.execute(
            select(people.c.id).where(people.c.id == person_id, people.c.clinic_id == self._clinic_id, people.c.active)
        ).first()
        if row is None:
            raise Refused("No such person works at this clinic.")
        return self._mint(person_id, audience, min(lifetime, PERSON_LIFETIME), person_id, {})

    def patient(self, connection: Connection, patient_id: str, audience: str, lifetime: int) -> Minted:
        """A patient's own token.

        Args:
            connection: An open transaction.
            patient_id: The patient's id.
            audience: The server the token is for.
            lifetime: Seconds it lives, at most an hour.

        Raises:
            Refused: There is no such patient at this clinic.
        """
        _check_audience(audience, FOR_AGENTS)
        row = connection.execute(
            select(patients.c.id).where(patients.c.id == patient_id, patients.c.clinic_id == self._clinic_id)
        ).first()
        if row is None:
            raise Refused("There is no such patient at this clinic.")
        subject = f"{PATIENT_SUBJECT}{patient_id}"
        return self._mint(subject, audience, min(lifetime, PATIENT_LIFETIME), subject, {})

    def client(self, client_id: str) -> Minted:
        """A token for a client's own calls to the consultations service."""
        return self._mint(f"client:{client_id}", CONSULTATIONS, GRANT_LIFETIME, client_id, {})

    def _mint(self, subject: str, audience: str, lifetime: int, client: str, extra: dict[str, object]) -> Minted:
        issued = int(time.time())
        jti = secrets.token_urlsafe(16)
        claims = {
            "iss": self._issuer,
            "aud": audience,
            "iat": issued,
            "nbf": issued,
            "exp": issued + lifetime,
            "jti": jti,
            "sub": subject,
            "clinic": self._clinic_id,
            "client_id": client,
            **extra,
        }
        headers = {"kid": str(self._key.key_id), "typ": TOKEN_TYPE}
        token = jwt.encode(claims, self._key, algorithm=ALGORITHM, headers=headers)
        return Minted(token, jti, subject, lifetime)


def _check_audience(audience: str, known: tuple[str, ...]) -> None:
    if audience not in known:
        raise Refused(f"There is no such server; the servers are {', '.join(known)}.", code="invalid_target")
