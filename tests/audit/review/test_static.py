"""The files the page brings along: colours hold to WCAG 2.2 AA (1.4.3, 1.4.11), and the script is the published one."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import clinic_mcp
import pytest

STATIC = Path(clinic_mcp.__file__).parent / "audit/review/static"
CSS = (STATIC / "review.css").read_text("utf-8")
HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
"""SHA-256 of `dist/htmx.min.js` in htmx.org 2.0.11."""
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


def test_the_script_is_the_published_one_with_its_licence_beside_it() -> None:
    script = (STATIC / "htmx.min.js").read_bytes()
    assert hashlib.sha256(script).hexdigest() == HTMX
    assert b'version:"2.0.11"' in script
    assert "Zero-Clause BSD" in (STATIC / "htmx.LICENSE.txt").read_text("utf-8")


def test_the_style_sheet_asks_nobody_for_anything() -> None:
    assert not re.search(r"url\(|@import|@font-face|https?:", CSS)
