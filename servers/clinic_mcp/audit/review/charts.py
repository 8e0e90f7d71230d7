"""Column charts as SVG: the geometry here, the drawing in `_chart.svg.html`. No script, no style of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 560, 150
LEFT, BOTTOM, TOP = 44, 22, 8
"""Room for the numbers on the left and the times below."""
LABELS = 7
"""Times written below, at most."""


@dataclass(frozen=True)
class Column:
    """One column: where it stands, and what it says."""

    x: float
    y: float
    width: float
    height: float
    name: str
    value: int


@dataclass(frozen=True)
class Chart:
    """A chart, ready to be drawn.

    Args:
        name: Its id on the page.
        title: What it shows.
        summary: The same in a sentence, for whoever cannot see it.
        columns: Its columns, from the left.
        labels: Where times are written, and which.
        ticks: Heights of the lines, and their numbers.
    """

    name: str
    title: str
    summary: str
    columns: tuple[Column, ...]
    labels: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, int], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT


def chart(name: str, title: str, unit: str, values: Sequence[tuple[str, int]]) -> Chart:
    """Lay out a chart.

    Args:
        name: Its id on the page.
        title: What it shows.
        unit: What is counted, in the plural.
        values: A name and a number for each column, the oldest first.
    """
    top = _round_up(max((value for _, value in values), default=0))
    room, floor = HEIGHT - BOTTOM - TOP, HEIGHT - BOTTOM
    step = (WIDTH - LEFT) / max(len(values), 1)
    columns = tuple(
        Column(
            x=round(LEFT + index * step + step * 0.1, 1),
            y=round(floor - room * value / top, 1),
            width=round(step * 0.8, 1),
            height=round(room * value / top, 1),
            name=label,
            value=value,
        )
        for index, (label, value) in enumerate(values)
    )
    every = -(-len(values) // LABELS) or 1
    labels = tuple((round(one.x + one.width / 2, 1), one.name) for one in columns[::every])
    ticks = tuple((round(floor - room * part, 1), round(top * part)) for part in (0, 0.5, 1))
    return Chart(name, title, _summary(unit, values), columns, labels, ticks)


def _round_up(value: int) -> int:
    """The next even number of one digit and zeros, so that half of it is whole too."""
    size = int(10 ** (len(str(value)) - 1))
    return max(2, next((step * size for step in (1, 2, 4, 6, 8) if step * size >= value), 10 * size))


def _summary(unit: str, values: Sequence[tuple[str, int]]) -> str:
    total = sum(value for _, value in values)
    if not total:
        return f"No {unit} in this period."
    when, most = max(values, key=lambda one: one[1])
    return f"{total} {unit} in this period, most of them at {when}: {most}."
