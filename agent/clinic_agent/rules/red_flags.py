"""The rules of `red_flags.toml`, each with its source and its phrases in English, French and Spanish."""

import re
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Literal

Level = Literal["emergency", 5, 4, 3, 2, 1]


@dataclass(frozen=True)
class Rule:
    """One finding: what it is called, how grave it is, where that is said, and its phrases as one pattern."""

    id: str
    label: str
    level: Level
    source: str
    pattern: re.Pattern[str]


def _load() -> tuple[Rule, ...]:
    data = tomllib.loads(resources.files(__package__).joinpath("red_flags.toml").read_text(encoding="utf-8"))
    return tuple(
        Rule(
            id=entry["id"],
            label=entry["label"],
            level=entry["level"],
            source=f"{entry['source']} {data['sources'][entry['source']]['year']}",
            pattern=re.compile("|".join(f"(?:{phrase})" for phrase in entry["phrases"])),
        )
        for entry in data["rules"]
    )


RULES = _load()
