"""Accesses worth a second look. Each rule says what it saw; none says that anything was wrong."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from clinic_mcp.audit.questions.calls import Call

BULK = 20
"""Distinct patients one caller reads within `BULK_WITHIN` before it counts as bulk."""
BULK_WITHIN = timedelta(hours=1)
PROBES = 5
"""Refusals of one caller within `PROBES_WITHIN` before it counts as probing."""
PROBES_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True)
class Finding:
    """What a rule saw.

    Args:
        rule: `bulk`, `probing`, `out of hours` or `break-glass`.
        who: The agent or person.
        time: When, ISO 8601 in UTC.
        call_id: The call at which it showed.
        count: How many patients, refusals or calls it is about.
    """

    rule: str
    who: str
    time: str
    call_id: str
    count: int


@dataclass(frozen=True)
class Hours:
    """The clinic's opening hours: from the first hour to before the last, in its time zone."""

    opens: int
    closes: int
    zone: ZoneInfo

    def closed_at(self, moment: datetime) -> bool:
        return not self.opens <= moment.astimezone(self.zone).hour < self.closes


def unusual(calls: Iterable[Call], hours: Hours) -> Iterator[Finding]:
    """What stands out in a period's calls.

    Args:
        calls: The calls, the oldest first.
        hours: When people are expected to be here.
    """
    read: dict[str, _Reads] = defaultdict(_Reads)
    refused: dict[str, deque[datetime]] = defaultdict(deque)
    told: dict[tuple[str, str], datetime] = {}
    for call in calls:
        who, moment = call.agent or call.who or f"somebody at {call.peer}", datetime.fromisoformat(call.time)
        for rule, count, within in (
            ("bulk", _bulk(read[who], call, moment), BULK_WITHIN),
            ("probing", _probing(refused[who], call, moment), PROBES_WITHIN),
            ("out of hours", _out_of_hours(call, moment, hours), timedelta(hours=12)),
            ("break-glass", int(call.purpose == "BTG"), timedelta(0)),
        ):
            last = told.get((rule, who))
            if count and (last is None or moment - last >= within):  # once for what goes on and on
                told[rule, who] = moment
                yield Finding(rule, who, call.time, call.call_id, count)


@dataclass
class _Reads:
    """The patients one caller read within the last hour, each with how often."""

    seen: deque[tuple[datetime, str]] = field(default_factory=deque)
    times: Counter[str] = field(default_factory=Counter)


def _bulk(reads: _Reads, call: Call, moment: datetime) -> int:
    if call.ended == "ok":
        reads.seen.extend((moment, patient) for patient in call.patients)
        reads.times.update(call.patients)
    while reads.seen and moment - reads.seen[0][0] > BULK_WITHIN:
        _, patient = reads.seen.popleft()
        reads.times[patient] -= 1
        if not reads.times[patient]:
            del reads.times[patient]
    return len(reads.times) if len(reads.times) >= BULK else 0


def _probing(seen: deque[datetime], call: Call, moment: datetime) -> int:
    if call.ended in ("refused", "unauthenticated"):
        seen.append(moment)
    while seen and moment - seen[0] > PROBES_WITHIN:
        seen.popleft()
    return len(seen) if len(seen) >= PROBES else 0


def _out_of_hours(call: Call, moment: datetime, hours: Hours) -> int:
    by_person = call.agent is None and call.who is not None
    return int(by_person and call.ended == "ok" and bool(call.patients) and hours.closed_at(moment))
