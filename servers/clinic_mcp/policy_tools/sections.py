"""A table of two columns in sections: long conditions fit a terminal of 80 columns unbroken."""

from __future__ import annotations

from collections.abc import Sequence

Section = Sequence[tuple[str, str]]
"""Rows that belong together: what, and the text."""


def show_sections(title: str, sections: Sequence[Section]) -> None:
    """Print sections with a line between them; plain where nobody looks.

    Args:
        title: What it is.
        sections: The rows.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for section in sections:
        for number, (what, text) in enumerate(section, 1):
            style = "bold" if what in ("permit", "forbid") else ""
            table.add_row(what, Text(text, style=style), end_section=number == len(section))
    Console().print(table)
