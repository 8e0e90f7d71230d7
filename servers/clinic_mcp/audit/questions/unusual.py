"""Accesses worth a second look. Each rule says what it saw; none says that anything was wrong.

A period of any length is looked through in the memory of an hour: what a rule counts is forgotten with its window.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from clinic_mcp.audit.questions.calls import Call
from clinic_mcp.audit.questions.relations import Relations

BULK = 20
"""Distinct patients one caller reads within `BULK_WITHIN` before it counts as bulk."""
BULK_WITHIN = timedelta(hours=1)
PROBES = 5
"""Refusals of one caller within `PROBES_WITHIN` before it counts as probing."""
PROBES_WITHIN = timedelta(minutes=10)
AGAIN_AFTER = timedelta(hours=12)
"""What goes on and on is said once in this long."""
SWEEP = 1_000
"""Calls after which what has run out is forgotten."""


@dataclass(frozen=True)
class Finding:
    """What a rule saw.

    Args:
        rule: `bulk`, `probing`, `out of hours`, `break-glass`, `no relation`, `own record` or `same surname`.
        who: The agent or person.
        time: When, ISO 8601 in UTC.
        call_id: The call at which it showed.
        count: How many patients, refusals or calls it is about.
        patient: The patient, where it is about one.
        says: It in a sentence.
        number: The call's place in the log.
    """

    rule: str
    who: str
    time: str
    call_id: str
    count: int
    patient: str | None
    says: str
    number: int


@dataclass(frozen=True)
class Hours:
    """The clinic's opening hours: from the first hour to before the last, in its time zone."""

    opens: int
    closes: int
    zone: ZoneInfo

    def closed_at(self, moment: datetime) -> bool:
        return not self.opens <= moment.astimezone(self.zone).hour < self.closes


@dataclass(frozen=True)
class _Seen:
    """What a rule saw at a call, before it is known whether it was said already."""

    rule: str
    count: int
    again_after: timedelta
    says: str
    patient: str | None = None


def unusual(calls: Iterable[Call], hours: Hours, relations: Relations | None = None) -> Iterator[Finding]:
    """What stands out in a period's calls.

    Args:
        calls: The calls, the oldest first.
        hours: When people are expected to be here.
        relations: Who has to do with whom; without it the rules about that are left out.
    """
    counted = _Counted()
    told: dict[tuple[str, str, str | None], datetime] = {}
    for number, call in enumerate(calls, 1):
        who, moment = call.agent or call.who or f"somebody at {call.peer}", datetime.fromisoformat(call.time)
        seen = [*counted.look(who, call, moment), *_about_the_call(who, call, moment, hours)]
        if relations is not None:
            seen += _about_the_relation(who, call, relations)
        for one in seen:
            last = told.get((one.rule, who, one.patient))
            if last is None or moment - last >= one.again_after:
                told[one.rule, who, one.patient] = moment
                yield Finding(one.rule, who, call.time, call.call_id, one.count, one.patient, one.says, call.number)
        if number % SWEEP == 0:
            counted.forget(moment)
            told = {key: last for key, last in told.items() if moment - last < AGAIN_AFTER}


class _Counted:
    """What callers did lately, for the rules that count."""

    def __init__(self) -> None:
        self._read: dict[str, _Reads] = defaultdict(_Reads)
        self._refused: dict[str, deque[datetime]] = defaultdict(deque)

    def look(self, who: str, call: Call, moment: datetime) -> Iterator[_Seen]:
        read = self._read[who].add(call, moment)
        if read >= BULK:
            yield _Seen("bulk", read, BULK_WITHIN, f"{who} was answered about {read} patients within an hour.")
        refused = _refusals(self._refused[who], call, moment)
        if refused >= PROBES:
            says = f"{who} was refused {refused} times within ten minutes."
            yield _Seen("probing", refused, PROBES_WITHIN, says)

    def forget(self, moment: datetime) -> None:
        """Let go of callers who did nothing lately: there is no end of addresses somebody can call from."""
        for who in [who for who, reads in self._read.items() if reads.over(moment)]:
            del self._read[who]
        for who in [who for who, seen in self._refused.items() if not seen or moment - seen[-1] > PROBES_WITHIN]:
            del self._refused[who]


@dataclass
class _Reads:
    """The patients one caller was answered about within the last hour, each with how often."""

    seen: deque[tuple[datetime, str]] = field(default_factory=deque)
    times: Counter[str] = field(default_factory=Counter)

    def add(self, call: Call, moment: datetime) -> int:
        """Take a call; how many patients there now are."""
        if call.ended == "ok":
            self.seen.extend((moment, patient) for patient in call.patients)
            self.times.update(call.patients)
        while self.seen and moment - self.seen[0][0] > BULK_WITHIN:
            _, patient = self.seen.popleft()
            self.times[patient] -= 1
            if not self.times[patient]:
                del self.times[patient]
        return len(self.times)

    def over(self, moment: datetime) -> bool:
        return not self.seen or moment - self.seen[-1][0] > BULK_WITHIN


def _refusals(seen: deque[datetime], call: Call, moment: datetime) -> int:
    if call.ended in ("refused", "unauthenticated"):
        seen.append(moment)
    while seen and moment - seen[0] > PROBES_WITHIN:
        seen.popleft()
    return len(seen)


def _about_the_call(who: str, call: Call, moment: datetime, hours: Hours) -> Iterator[_Seen]:
    by_person = call.agent is None and call.who is not None
    if by_person and call.ended == "ok" and call.patients and hours.closed_at(moment):
        local = moment.astimezone(hours.zone)
        says = f"{who} was here at {local:%H:%M} ({hours.zone.key}), when nobody is expected."
        yield _Seen("out of hours", 1, AGAIN_AFTER, says)
    if call.purpose == "BTG":
        says = f"{who} used an emergency access to {', '.join(call.patients) or 'a record'}."
        yield _Seen("break-glass", 1, timedelta(0), says)


def _about_the_relation(who: str, call: Call, relations: Relations) -> Iterator[_Seen]:
    person = call.behalf or (call.who or "").removeprefix("Clinician:")
    if call.ended != "ok" or not relations.is_clinician(person):
        return
    for patient in call.patients:
        rule = relations.same_name(person, patient)
        if rule == "own record":
            says = f"{person} was answered about {patient}, who has the same name: it may be their own record."
            yield _Seen(rule, 1, AGAIN_AFTER, says, patient)
        elif rule is not None:
            says = f"{person} was answered about {patient}, who has the same family name."
            yield _Seen(rule, 1, AGAIN_AFTER, says, patient)
        direct = call.agent is None and call.purpose != "BTG"  # an emergency access is said by its own rule
        if direct and not relations.treats(person, patient, call.time):
            by = ", ".join(call.policies) or "no policy"
            says = (
                f"{who} was answered about {patient} without being on the care team or having an open consultation:"
                f" allowed by {by}."
            )
            yield _Seen("no relation", 1, AGAIN_AFTER, says, patient)
