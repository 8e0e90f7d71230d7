"""Text and ground of every pair the style sheet uses, light and dark, hold to WCAG 2.2 AA (1.4.3, 1.4.11)."""

from __future__ import annotations

import re
from pathlib import Path

import clinic_mcp
import pytest

CSS = (Path(clinic_mcp.__file__).parent / "audit/review/static/review.css").read_text("utf-8")
TEXT, GRAPHIC = 4.5, 3.0
PAIRS = (
    ("ink", "ground", TEXT),
    ("ink", "raised", TEXT),
    ("quiet", "ground", TEXT),
    ("quiet", "raised", TEXT),
    ("link", "ground", TEXT),
    ("link", "raised", TEXT),
    ("button-ink", "button", TEXT),
    ("ok-ink", "ok", TEXT),
    ("bad-ink", "bad", TEXT),
    ("warn-ink", "warn", TEXT),
    ("line", "ground", GRAPHIC),
    ("line", "raised", GRAPHIC),
    ("focus", "ground", GRAPHIC),
    ("focus", "raised", GRAPHIC),
    ("calls", "raised", GRAPHIC),
    ("refusals", "raised", GRAPHIC),
)


def schemes() -> dict[str, dict[str, str]]:
    """The colours of each scheme by their names."""
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", one)) for one in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    )
    return {"light": light, "dark": {**light, **dark}}


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2, "relative luminance")."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground", "least"), PAIRS)
def test_a_pair_can_be_read(scheme: str, text: str, ground: str, least: float) -> None:
    colours = schemes()[scheme]
    assert contrast(colours[text], colours[ground]) >= least


def test_every_colour_is_one_of_the_pairs() -> None:
    """Nothing is coloured past the list above; hairlines between rows carry no meaning."""
    named = {name for text, ground, _ in PAIRS for name in (text, ground)}
    assert set(schemes()["light"]) - named == {"hair"}
    assert set(schemes()["light"]) == set(schemes()["dark"])
    rules = re.sub(r":root \{.*?\}", "", CSS, flags=re.DOTALL)
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgb|hsl", rules)


def test_the_measure_is_the_one_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
