"""What would have to be different for a decision to be another one: asked of the engine, condition by condition."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from clinic_mcp.core.policy import Decision, PolicySet, Request
from clinic_mcp.policy_tools.conditions import Part, condition_parts, scope_parts


@dataclass(frozen=True)
class Applied:
    """How one policy stands to a request.

    Args:
        id: Its `@id`.
        effect: `permit` or `forbid`.
        scope: Whom, what and about what it is, as Cedar text.
        met: What it asks for that is so, as Cedar text.
        unmet: What it asks for that is not so; it applies where there is nothing.
    """

    id: str
    effect: str
    scope: str
    met: tuple[str, ...]
    unmet: tuple[str, ...]

    @property
    def applies(self) -> bool:
        return not self.unmet


@dataclass(frozen=True)
class Different:
    """What a decision hangs on.

    Args:
        refusing: The forbids that refuse: of each, one condition must no longer hold.
        permitted: Whether some permit covers the call, whatever the forbids say.
        lacking: Where none does: the permits for such a caller, action and resource, and what each still lacks, the
            nearest first.
        must_stay: Of an allowed call, the single facts without which it would be refused.
        must_not_be: Of an allowed call, the forbids one condition away from refusing it, and that condition.
    """

    permitted: bool
    refusing: tuple[Applied, ...] = ()
    lacking: tuple[Applied, ...] = ()
    must_stay: tuple[str, ...] = ()
    must_not_be: tuple[Applied, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def different(policies: PolicySet, request: Request, decision: Decision) -> Different | None:
    """What would have to be different.

    Args:
        policies: Those that decided.
        request: What they were asked.
        decision: What they said.

    Returns:
        Nothing where the engine could not judge the request.
    """
    standing = _standing(policies, request)
    if standing is None or decision.errors:
        return None
    permits = [one for one in standing if one.effect == "permit"]
    forbids = [one for one in standing if one.effect == "forbid"]
    allowing = [one for one in permits if one.applies]
    if decision.allowed:
        shared = set.intersection(*(set(one.met) for one in allowing))
        return Different(
            permitted=True,
            must_stay=tuple(text for text in allowing[0].met if text in shared),
            must_not_be=tuple(one for one in forbids if len(one.unmet) == 1),
        )
    return Different(
        permitted=bool(allowing),
        refusing=tuple(one for one in forbids if one.applies),
        lacking=() if allowing else tuple(sorted(permits, key=lambda one: (len(one.unmet), one.id))),
    )


def _standing(policies: PolicySet, request: Request) -> list[Applied] | None:
    """How each policy stands that is about such a caller, action and resource."""
    parts: dict[str, tuple[dict[str, Part], list[Part]]] = {
        name: (scope_parts(est), condition_parts(est)) for name, est in policies.est.items()
    }
    probes = {
        f"{name} {key}": part.probe
        for name, (scopes, conditions) in parts.items()
        for key, part in (*scopes.items(), *((str(number), one) for number, one in enumerate(conditions)))
    }
    true = policies.satisfied(request, probes)
    if true is None:
        return None
    standing = []
    for name, (scopes, conditions) in parts.items():
        if not all(f"{name} {key}" in true for key in ("kind", "action", "resource")):
            continue
        asked = {f"{name} {number}": one.text for number, one in enumerate(conditions)}
        if scopes["principal"] != scopes["kind"]:
            asked = {f"{name} principal": scopes["principal"].text, **asked}
        whole = ", ".join(scopes[key].text for key in ("principal", "action", "resource"))
        met = tuple(text for key, text in asked.items() if key in true)
        unmet = tuple(text for key, text in asked.items() if key not in true)
        standing.append(Applied(name, policies.policies[name].effect, whole, met, unmet))
    return standing
