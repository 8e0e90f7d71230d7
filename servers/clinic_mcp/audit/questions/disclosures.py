"""The accounting of disclosures: what of a patient's record went to whom outside the clinic, and what for.

45 CFR 164.528(b)(2) asks for the date, the recipient's name and, if known, address, a brief description of what was
disclosed, and the purpose. What and purpose are codes; name and address are short lines, looked over for the patient's
own name and birth date: docs/decisions/011.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, and_, column, or_, select, table

from clinic_mcp.audit.event import Draft, Phase, uuid7
from clinic_mcp.audit.models import events
from clinic_mcp.audit.questions.calls import Call, about, page
from clinic_mcp.audit.questions.disclosure_codes import PURPOSES, WHATS, Purpose, What
from clinic_mcp.audit.questions.places import literal
from clinic_mcp.core.errors import InvalidArguments

YEARS = 6
"""How far an accounting reaches back: 45 CFR 164.528(a)(1)."""
CODE = "disclosure.recorded"
ORDINARY = ("TREAT", "HPAYMT", "HOPERAT")
"""Treatment, payment and operations, which no accounting lists: 45 CFR 164.528(a)(1)(i)."""

# The columns by name, because the table is another part's and this one reads it only.
patients = table("patients", *(column(name) for name in ("id", "clinic_id", "name", "birth_date")))


_LINE = re.compile(r"[^\W_][\w .,:;'’&()/#+-]{0,118}[\w.)]")
"""One short line of letters, digits and ordinary punctuation."""


@dataclass(frozen=True)
class Disclosure:
    """One line of an accounting.

    Args:
        date: The day, ISO 8601, or the moment a caller was answered.
        recipient: Who received it.
        address: Their address, where it is known.
        what: What was disclosed, as codes; the tool's name where a caller was answered.
        description: The same in words.
        purpose: HL7 v3 PurposeOfUse.
        basis: The same in words.
        call_id: The id of the record.
    """

    date: str
    recipient: str
    address: str | None
    what: list[str]
    description: str
    purpose: str | None
    basis: str
    call_id: str


@dataclass(frozen=True)
class Accounting:
    """Disclosures, the newest first, and where the next page begins, if there is one."""

    lines: list[Disclosure]
    more: int | None


def draft(
    connection: Connection,
    clinic: str,
    patient: str,
    who: dict[str, Any],
    *,
    to: str,
    address: str | None,
    what: Sequence[What],
    purpose: Purpose,
    on: date,
) -> Draft:
    """The event that puts a disclosure on the record.

    Args:
        connection: An open read transaction.
        clinic: The clinic.
        patient: Whose data it was.
        who: The principal that says so.
        to: The recipient's name.
        address: Their address, if it is known.
        what: Which parts of the record.
        purpose: What for.
        on: The day.

    Raises:
        InvalidArguments: There is no such patient, or the recipient is not named in one short line of its own.
    """
    row = connection.execute(
        select(patients.c.name, patients.c.birth_date).where(patients.c.id == patient, patients.c.clinic_id == clinic)
    ).first()
    if row is None:
        raise InvalidArguments("There is no such patient at this clinic.")
    for line in (to,) if address is None else (to, address):
        if _LINE.fullmatch(line) is None:
            raise InvalidArguments(
                "Recipient and address are each one line of 2 to 120 letters, digits and ordinary punctuation."
            )
        if _names(line, row.name, row.birth_date):
            raise InvalidArguments("Recipient and address must not name the patient: the log keeps no name of theirs.")
    body = {
        "principal": who,
        "purpose": purpose.value,
        "disclosure": {
            "date": on.isoformat(),
            "recipient": {"name": to, **({} if address is None else {"address": address})},
            "what": sorted({one.value for one in what}),
        },
    }
    return Draft(Phase.DISCLOSURE, CODE, uuid7(), body, (patient,))


def accounting(
    connection: Connection,
    patient: str,
    *,
    limit: int,
    before: int | None = None,
    since: str | None = None,
    until: str | None = None,
    ordinary: bool = False,
) -> Accounting:
    """A patient's accounting of disclosures.

    Args:
        connection: An open read transaction.
        patient: Whose.
        limit: Lines at most.
        before: Only lines before this place in the log: the last page's `more`.
        since: ISO 8601, from when on.
        until: ISO 8601, until before when.
        ordinary: What callers were answered too, for treatment and otherwise.
    """
    outside = events.c.phase == literal("disclosure")
    answered = and_(events.c.phase == literal("outcome"), events.c.outcome == "ok")
    phases = (Phase.DISCLOSURE, *((Phase.INTENT, Phase.OUTCOME) if ordinary else ()))
    conditions = [about(patient), or_(outside, answered) if ordinary else outside]
    found = page(connection, conditions, limit=limit, before=before, since=since, until=until, phases=phases)
    recorded = _recorded(connection, [call.call_id for call in found.calls])
    lines = [recorded.get(call.call_id) or _answered(call) for call in found.calls]
    return Accounting(lines, found.more)


def _recorded(connection: Connection, call_ids: Sequence[str]) -> dict[str, Disclosure]:
    query = select(events.c.call_id, events.c.leaf).where(
        events.c.call_id.in_(call_ids), events.c.phase == Phase.DISCLOSURE
    )
    return {row.call_id: _line(row.call_id, json.loads(row.leaf)) for row in connection.execute(query)}


def _line(call_id: str, record: dict[str, Any]) -> Disclosure:
    made = record["disclosure"]
    return Disclosure(
        date=made["date"],
        recipient=made["recipient"]["name"],
        address=made["recipient"].get("address"),
        what=made["what"],
        description=", ".join(WHATS[What(one)] for one in made["what"]),
        purpose=record["purpose"],
        basis=PURPOSES[Purpose(record["purpose"])],
        call_id=call_id,
    )


def _answered(call: Call) -> Disclosure:
    recipient = f"{call.agent} for {call.behalf}" if call.agent and call.behalf else call.agent or call.who or "unknown"
    return Disclosure(
        date=call.time,
        recipient=recipient,
        address=None,
        what=[call.tool or "unknown"],
        description=f"what {call.tool} answered",
        purpose=call.purpose,
        basis={"TREAT": "treatment", "BTG": "treatment in an emergency"}.get(call.purpose or "", call.purpose or ""),
        call_id=call.call_id,
    )


def _names(line: str, name: str, birth_date: str | None) -> bool:
    """Whether a line has all of a patient's name in it, or their birth date."""
    words = set(re.findall(r"\w+", line.casefold()))
    return set(re.findall(r"\w+", name.casefold())) <= words or bool(birth_date and birth_date in line)
