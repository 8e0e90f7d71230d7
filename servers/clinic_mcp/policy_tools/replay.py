"""Recorded decisions, decided again by other policies: which of them would flip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clinic_mcp.core.policy import DEFAULT_DENY, PolicySet, Request
from clinic_mcp.core.policy_parts import Est
from clinic_mcp.policy_tools.conditions import condition_parts
from clinic_mcp.policy_tools.recorded import NotKept, Recorded

EVERY = "*"
"""Stands for every argument, where a policy reads `context.input` as a whole."""

_CONTEXT: Est = {"Var": "context"}
_INPUT: Est = {".": {"left": _CONTEXT, "attr": "input"}}


@dataclass(frozen=True)
class Judged:
    """What other policies say of a recorded decision.

    Args:
        allowed: Their decision, or none where they cannot be asked.
        policies: Which of them decide; where they cannot be asked, those that stand in the way.
        why: Why they cannot be asked.
    """

    allowed: bool | None
    policies: tuple[str, ...] = ()
    why: str | None = None


class Candidate:
    """A policy set that is asked about recorded decisions.

    Args:
        policies: The set.
        kept: For each tool the arguments that the log keeps; of others it knows only that they were there.
    """

    def __init__(self, policies: PolicySet, kept: Mapping[str, frozenset[str]]) -> None:
        self.policies = policies
        self._kept = kept
        self._reads = {name: inputs_read(est) for name, est in policies.est.items()}

    def judge(self, decision: Recorded, slice_text: str | None) -> Judged:
        """What these policies say of a recorded decision.

        Args:
            decision: It.
            slice_text: Its entities as the log keeps them.
        """
        try:
            request = decision.request(slice_text)
        except NotKept as exc:
            return Judged(None, why=exc.message)
        again = self.policies.decide(request)
        if again.errors and not decision.errors:
            return Judged(None, why="The recorded entities or context do not fit these policies' schema.")
        blind = self.blind(decision)
        if blind and not again.errors:
            return self._judge_partly(request, blind)
        return Judged(again.allowed, again.policies)

    def blind(self, decision: Recorded) -> dict[str, frozenset[str]]:
        """The policies that read arguments which the log did not keep for a decision, and which arguments."""
        lost = decision.inputs - self._kept.get(decision.tool, frozenset())
        found = {name: lost if EVERY in reads else reads & lost for name, reads in self._reads.items()}
        return {name: arguments for name, arguments in found.items() if arguments}

    def _judge_partly(self, request: Request, blind: Mapping[str, frozenset[str]]) -> Judged:
        """What can be said although some policies read what is lost: each of those may apply where everything else
        it asks for holds, and where it cannot change the decision it does not matter whether it does."""
        probes = {name: _without(est, blind[name]) if name in blind else est for name, est in self.policies.est.items()}
        true = self.policies.satisfied(request, probes) or frozenset()
        certain = _by_effect(self.policies, true - blind.keys())
        perhaps = _by_effect(self.policies, true & blind.keys())
        if certain["forbid"]:
            return Judged(False, certain["forbid"])
        if not certain["permit"] and not perhaps["permit"]:
            return Judged(False, (DEFAULT_DENY,))
        if perhaps["forbid"] or not certain["permit"]:
            named = (*perhaps["forbid"], *(() if certain["permit"] else perhaps["permit"]))
            arguments = sorted(set().union(*(blind[name] for name in named)))
            return Judged(None, named, f"They read arguments that the log does not keep: {', '.join(arguments)}.")
        return Judged(True, certain["permit"])


def inputs_read(node: Any) -> frozenset[str]:
    """The arguments of a call that a policy reads, `EVERY` where it reads them as a whole.

    Args:
        node: A policy, or a part of one, in Cedar's JSON form.
    """
    if isinstance(node, list):
        return frozenset().union(*(inputs_read(one) for one in node))
    if not isinstance(node, dict):
        return frozenset()
    if node in (_CONTEXT, _INPUT):
        return frozenset({EVERY})
    accessed = node.get(".") or node.get("has")
    if isinstance(accessed, dict) and accessed["left"] == _INPUT:
        return frozenset({accessed["attr"]})
    if isinstance(accessed, dict) and accessed["left"] == _CONTEXT:
        return frozenset()
    return frozenset().union(*(inputs_read(one) for one in node.values()))


def _without(est: Est, arguments: frozenset[str]) -> Est:
    """A policy without the conditions that read some arguments."""
    kept = [part.probe for part in condition_parts(est) if not inputs_read(part.probe) & {*arguments, EVERY}]
    return {**est, "conditions": [clause for probe in kept for clause in probe["conditions"]]}


def _by_effect(policies: PolicySet, names: frozenset[str]) -> dict[str, tuple[str, ...]]:
    return {
        effect: tuple(sorted(name for name in names if policies.policies[name].effect == effect))
        for effect in ("permit", "forbid")
    }
