"""What a check of the log can find."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum


class Verdict(IntEnum):
    """The exit code of `clinic-mcp audit verify`."""

    WHOLE = 0
    ALTERED = 1
    TRUNCATED = 2
    IN_DOUBT = 3
    CANNOT_CHECK = 4


@dataclass
class Report:
    """What verification found.

    Args:
        verdict: The worst of it.
        events: Events read.
        writers: Starts of a process that wrote.
        problem: The first thing wrong, in a sentence.
        event_id: The event it is about.
        in_doubt: Calls with an intent and no outcome: whether they had an effect is not on the record.
        checkpoints: Signed checkpoints whose root the events gave again.
        covered: Events under the newest of them.
        uncovered: Events after it: the end of a chain among them could still be cut off without a trace.
        reached: The last event that was read and held.
        witnessed: Notes of the witness file that the log agrees with.
        purged: Events that a recorded purge took; their hashes stand in the tree.
    """

    verdict: Verdict = Verdict.WHOLE
    events: int = 0
    writers: int = 0
    problem: str | None = None
    event_id: str | None = None
    in_doubt: list[str] = field(default_factory=list)
    checkpoints: int = 0
    covered: int = 0
    uncovered: int = 0
    witnessed: int = 0
    reached: str | None = None
    purged: int = 0


class Found(Exception):
    """Something is wrong with the log.

    Args:
        sentence: What, for people.
        event_id: The event it is about.
        verdict: How bad it is.
    """

    def __init__(self, sentence: str, event_id: str | None = None, verdict: Verdict = Verdict.ALTERED) -> None:
        super().__init__(sentence)
        self.event_id = event_id
        self.verdict = verdict
