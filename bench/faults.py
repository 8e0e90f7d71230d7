"""What is lost, doubled or left in doubt when servers are killed, disks fail and lines are cut: the long run.

.venv/bin/python bench/faults.py [--kills 200] [--database sqlite|postgresql|both] [--json]

The tests run the same with twenty kills. PostgreSQL's programs are needed for its half; a cluster of its own
is started and thrown away.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from support import databases
from support.clinic import Clinic
from support.cut_line import Cut
from support.faults import Tally, commits_fail, disk_fails, kill_under_load
from support.faulty_disk import Kind

COLUMNS = ("database", "fault", "tried", "survived", "acknowledged", "lost", "in doubt", "duplicated", "unseen")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="kill -9 so often, on each database")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    wanted = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    rows = []
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder, Progress(console=console, transient=True) as bar:
        for database in wanted:
            task = bar.add_task(f"{database}", total=options.kills + 1 + 4)
            for tally, final in experiments(Path(folder), database, options.kills):
                bar.advance(task)
                if final:
                    rows.append({"database": database, **asdict(tally)})
        databases.stop()
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        table = Table(*COLUMNS, title="Faults", title_justify="left")
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        Console().print(table)
    sys.exit(any(row["lost"] or row["duplicated"] or row["unseen"] or row["survived"] < row["tried"] for row in rows))


def experiments(folder: Path, database: str, kills: int) -> Iterator[tuple[Tally, bool]]:
    """Each tally as it grows, and whether it is the experiment's last."""
    tally = None
    for tally in kill_under_load(clinic(folder / f"{database}-kill", database), kills):
        yield tally, False
    if tally is not None:
        yield tally, True
    if database == "sqlite":
        for kind in Kind:
            yield disk_fails(clinic(folder / f"disk-{kind}", database), kind), True
    else:
        for cut in Cut:
            for kill in (False, True):
                yield commits_fail(clinic(folder / f"line-{cut.name}-{kill}", database), cut, kill=kill), True


def clinic(home: Path, database: str) -> Clinic:
    """A clinic with the starter data, on SQLite or in a database of this run's PostgreSQL."""
    if database == "postgresql":
        databases.place(home, databases.session_cluster())
    made = Clinic(home)
    made.run("init", "--demo")
    if database == "postgresql":
        made.run("db", "grants", "--apply")
    return made


if __name__ == "__main__":
    os.environ.pop("CLINIC_DATABASE_URL", None)
    main()
