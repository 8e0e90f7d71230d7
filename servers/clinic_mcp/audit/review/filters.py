"""The filter bar: what was asked for, checked, as conditions on events, and as a query string again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, TypedDict
from urllib.parse import urlencode

import typer
from sqlalchemy import ColumnElement, literal, select

from clinic_mcp.audit.event import Phase
from clinic_mcp.audit.models import events
from clinic_mcp.audit.questions.calls import DEEDS, PHASES, about, made_by
from clinic_mcp.core.errors import InvalidArguments
from clinic_mcp.core.period import start_of

PAGE = 50
"""Calls on a page."""
LONGEST = 64
"""Characters of a value, at most."""
KINDS = ("Clinician", "Auditor", "Administrator", "Patient", "Agent", "Client", "Operator")
_PATIENT = re.compile(r"P[0-9]{3,12}")
_CONSULTATION = re.compile(r"C-[0-9a-f]{16}")
_ID = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_POLICY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


class Period(TypedDict):
    """A period as the log writes times."""

    since: str | None
    until: str | None


@dataclass(frozen=True)
class Filter:
    """What calls somebody wants to see. Every value is checked: it may go on the record and into links.

    Args:
        patient: About this patient.
        who: By this person or agent.
        tool: To this tool.
        decision: `allow` or `deny`.
        policy: Which this policy decided.
        consultation: In this consultation.
        since: From when on, as it was typed.
        until: Until when, as it was typed; a date includes its day.
        all: What was done beside tools, too.
        before: Only what began before this place in the log.
    """

    patient: str | None = None
    who: str | None = None
    tool: str | None = None
    decision: str | None = None
    policy: str | None = None
    consultation: str | None = None
    since: str | None = None
    until: str | None = None
    all: bool = False
    before: int | None = None

    @property
    def period(self) -> Period:
        """`since` and `until` as the log writes times."""
        return {"since": moment(self.since), "until": moment(self.until, end=True)}

    @property
    def asked(self) -> dict[str, Any]:
        """What goes on the record of the look."""
        named = {name: value for name, value in asdict(self).items() if name not in ("since", "until", "patient")}
        return {**{name: value for name, value in named.items() if value}, **self.period}

    @property
    def patients(self) -> list[str]:
        return [self.patient] if self.patient else []

    @property
    def phases(self) -> tuple[Phase, ...]:
        return DEEDS if self.all else PHASES

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """Conditions that one event of a call meets together."""
        found: list[ColumnElement[bool]] = []
        if self.patient:
            # A call can name its patients only with its answer, and its policies only before: any event will do.
            found.append(events.c.call_id.in_(select(events.c.call_id).where(about(self.patient)).correlate(None)))
        if self.who:
            found.append(made_by(self.who))
        if self.tool:
            found.append(events.c.tool == self.tool)
        if self.decision:
            found.append(events.c.decision == literal(self.decision))
        if self.policy:
            found.append((" " + events.c.policies + " ").contains(f" {self.policy} ", autoescape=True))
        if self.consultation:
            found.append(events.c.consultation == self.consultation)
        return found

    def link(self, path: str, **changes: object) -> str:
        """A page with this filter, changed."""
        values = {**asdict(self), "before": None, **changes}
        kept = {name: "1" if value is True else value for name, value in values.items() if value}
        return f"{path}?{urlencode(kept)}" if kept else path


def read(query: Mapping[str, str], tools: tuple[str, ...]) -> Filter:
    """A filter from a query string.

    Args:
        query: The query's parameters; those that are no part of a filter are passed over.
        tools: The tools there are.

    Raises:
        InvalidArguments: A value cannot be one; the message says what it must be, and never repeats it.
    """
    given = {name: query.get(name, "").strip() for name in Filter.__dataclass_fields__}
    if any(len(value) > LONGEST for value in given.values()):
        raise InvalidArguments(f"A value has {LONGEST} characters at most.")
    given["who"] = given["who"].rpartition(":")[2]  # `Clinician:dr-osei` as the log shows it
    _fits("patient", given["patient"], _PATIENT, "A patient's id is P and digits, e.g. P001.")
    _fits("who", given["who"], _ID, "A person or agent is named by its id, e.g. dr-osei.")
    _fits("policy", given["policy"], _POLICY, "A policy is named by its id, e.g. no-other-patient.")
    _fits("consultation", given["consultation"], _CONSULTATION, "A consultation is C- and 16 digits of 0-9 and a-f.")
    _fits("before", given["before"], _NUMBER, "A page begins at a number.")
    if given["tool"] and given["tool"] not in tools:
        raise InvalidArguments("The suite has no such tool.")
    if given["decision"] not in ("", "allow", "deny"):
        raise InvalidArguments("A decision is allow or deny.")
    texts = {name: given[name] or None for name in given if name not in ("all", "before")}
    found = Filter(**texts, all=given["all"] == "1", before=int(given["before"]) if given["before"] else None)
    period = found.period
    if period["since"] and period["until"] and period["since"] >= period["until"]:
        raise InvalidArguments("The period ends before it begins.")
    return found


def patient(name: str) -> str:
    """A patient's id from an address.

    Raises:
        InvalidArguments: It cannot be one.
    """
    _fits("patient", name, _PATIENT, "A patient's id is P and digits, e.g. P001.")
    return name


def caller(name: str) -> str:
    """A person's or an agent's id from an address.

    Raises:
        InvalidArguments: It cannot be one.
    """
    _fits("who", name, _ID, "A person or agent is named by its id, e.g. dr-osei.")
    return name


def moment(text: str | None, *, end: bool = False) -> str | None:
    """A time as the log writes it.

    Args:
        text: ISO 8601, or `7d`, `24h`, `30m` ago.
        end: Whether a period ends then: a date stands for the end of its day.

    Raises:
        InvalidArguments: It is neither.
    """
    try:
        if text and end and re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            text = (date.fromisoformat(text) + timedelta(days=1)).isoformat()
        return start_of(text)
    except (typer.BadParameter, ValueError, OverflowError) as exc:
        raise InvalidArguments("A time is a date such as 2026-11-26, or 7d, 24h or 30m ago.") from exc


def _fits(name: str, value: str, pattern: re.Pattern[str], sentence: str) -> None:
    if value and not pattern.fullmatch(value):
        raise InvalidArguments(f"{sentence} ({name})")
