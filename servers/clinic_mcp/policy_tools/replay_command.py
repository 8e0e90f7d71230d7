"""`clinic-mcp policy replay`: recorded decisions, decided again by a candidate."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clinic_mcp.core.console import EXIT_CANNOT, AsJson, friendly, show_json, show_record, show_table
from clinic_mcp.core.period import start_of
from clinic_mcp.policy_tools.sections import Section, show_sections

if TYPE_CHECKING:
    from clinic_mcp.audit.on_record import Asking
    from clinic_mcp.core.policy import PolicySet
    from clinic_mcp.policy_tools.recorded import Recorded
    from clinic_mcp.policy_tools.replay import Judged

EXIT_FLIPS = 1
"""Some recorded decision would be another one."""


class Tally:
    """What came of the decisions: all of them counted, the first few named."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.decisions = 0
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.flips: list[dict[str, Any]] = []
        self.untold: list[dict[str, Any]] = []

    def add(self, before: Recorded, after: Judged) -> None:
        self.decisions += 1
        row: dict[str, Any] = {
            "event_id": before.event_id,
            "recorded": before.recorded,
            "caller": before.caller,
            "tool": before.tool,
            "resource_type": before.resource_type,
            "before": {"decision": _word(before.allowed), "policies": list(before.policies)},
        }
        if after.allowed is None:
            self.counts["cannot_tell"] += 1
            self.reasons[" ".join(filter(None, (after.why, ", ".join(after.policies))))] += 1
            self._list(self.untold, {**row, "why": after.why, "policies": list(after.policies)})
        elif after.allowed is not before.allowed:
            self.counts[f"{_word(before.allowed)}_to_{_word(after.allowed)}"] += 1
            now = {"decision": _word(after.allowed), "policies": list(after.policies)}
            self._list(self.flips, {**row, "after": now})
        else:
            self.counts["same" if after.policies == before.policies else "same_by_other_policies"] += 1

    @property
    def flipped(self) -> int:
        return self.counts["allow_to_deny"] + self.counts["deny_to_allow"]

    def _list(self, rows: list[dict[str, Any]], row: dict[str, Any]) -> None:
        if len(rows) < self._limit:
            rows.append(row)


@friendly
def replay(
    policies: Annotated[
        Path | None, typer.Option(help="Folder of the candidate; without it the policies in force decide again.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="From this time on: ISO 8601, or 7d, 24h, 30m ago.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time, likewise.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Flips to list at most; all are counted.")] = 1_000,
    as_json: AsJson = False,
) -> None:
    """Decide the recorded calls of a period again, under other policies, and list those that would flip.

    Each is decided on what the policies saw then: its context and entities as the audit log keeps them.
    Exit: 0 none would flip, 1 some would, 4 none seen, but some decisions could not be judged.
    """
    from clinic_mcp.audit.on_record import asking
    from clinic_mcp.core.policy import PolicySet
    from clinic_mcp.policy_tools.tools import check_fit

    begins, ends = start_of(since), start_of(until)
    with asking() as operator:
        candidate = PolicySet.load(policies or operator.settings.policies)
        check_fit(candidate)
        about = {"policies": candidate.digest, "since": begins, "until": ends}
        operator.record("policy.replayed", about)
        tally = _replay(operator, candidate, begins, ends, limit)
    if as_json:
        show_json(
            {
                "policy_set": candidate.digest,
                "since": begins,
                "until": ends,
                "decisions": tally.decisions,
                "counts": {name: tally.counts[name] for name in _COUNTS},
                "flips": tally.flips,
                "cannot_tell": tally.untold,
            }
        )
    else:
        _show(tally, candidate)
    if tally.flipped:
        raise typer.Exit(EXIT_FLIPS)
    if tally.counts["cannot_tell"]:
        raise typer.Exit(EXIT_CANNOT)


def _replay(operator: Asking, candidate: PolicySet, since: str | None, until: str | None, limit: int) -> Tally:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from clinic_mcp.policy_tools.recorded import count, stream
    from clinic_mcp.policy_tools.replay import Candidate
    from clinic_mcp.policy_tools.tools import every_tool

    judge = Candidate(candidate, {name: tool.kept for name, tool in every_tool().items()})
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    tally = Tally(limit)
    with operator.database.read() as connection, bar:
        task = bar.add_task("Deciding again", total=count(connection, since, until))
        for decision, slice_text in stream(connection, since, until):
            if decision is not None:
                tally.add(decision, judge.judge(decision, slice_text))
            bar.advance(task)
    return tally


_COUNTS = {
    "same": "decided the same",
    "same_by_other_policies": "decided the same, by other policies",
    "allow_to_deny": "allowed, would be denied",
    "deny_to_allow": "denied, would be allowed",
    "cannot_tell": "cannot tell",
}


def _show(tally: Tally, candidate: PolicySet) -> None:
    if tally.flips:
        listed = [_flip(flip) for flip in tally.flips]
        first = f", the first {len(listed)}" if tally.flipped > len(listed) else ""
        show_sections(f"{tally.flipped} would flip{first}", listed)
    if tally.reasons:
        show_table("Cannot tell", ("decisions", "why"), [(number, why) for why, number in tally.reasons.most_common()])
    counted = {words: tally.counts[name] for name, words in _COUNTS.items()}
    show_record(f"{tally.decisions} decisions, policy set {candidate.digest[:16]}…", counted)


def _flip(flip: dict[str, Any]) -> Section:
    return [
        ("call", f"{flip['caller']} {flip['tool']} ({flip['resource_type']})"),
        ("event", f"{flip['event_id']} {flip['recorded']}"),
        ("before", _side(flip["before"])),
        ("after", _side(flip["after"])),
    ]


def _side(side: dict[str, Any]) -> str:
    return f"{side['decision']} ({', '.join(side['policies'])})"


def _word(allowed: bool) -> str:
    return "allow" if allowed else "deny"
