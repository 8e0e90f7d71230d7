"""What a decision costs, its entity slice from the database included: by number of policies and of patients.

Every row asks about patients picked at random: the caller and the patient's entity are loaded, the question is built
and the policies decide, as in the guard. Each patient has a care team of two, and every tenth an open consultation. No
parsed slice is at hand, as if no patient were asked about twice; in a consultation it is, after the first call.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clinic_mcp.core.clinic import consultations, now, people
from clinic_mcp.core.db import Database
from clinic_mcp.core.identity import resolve
from clinic_mcp.core.policy import PolicySet
from clinic_mcp.core.question import ask
from clinic_mcp.core.settings import Settings
from clinic_mcp.core.tokens import Claims
from clinic_mcp.init import prepare
from clinic_mcp.patient_records import entities
from clinic_mcp.patient_records.arguments import OfPatient
from clinic_mcp.patient_records.models import care_team, patients
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import insert

POLICIES = (20, 100, 500)
PATIENTS = (10, 10_000, 1_000_000)
TEAM = [f"dr-{number}" for number in range(200)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=2_000, help="decisions per cell")
    parser.add_argument("--patients", type=int, nargs="*", default=list(PATIENTS))
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    sets = {number: policy_set(number) for number in POLICIES}
    cells: list[dict[str, Any]] = []
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("deciding", total=len(arguments.patients) * len(sets))
        for count in arguments.patients:
            with tempfile.TemporaryDirectory() as folder:
                database = clinic(Path(folder), count, progress)
                for number, policies in sets.items():
                    cells.append(
                        {
                            "policies": number,
                            "patients": count,
                            **measure(database, policies, count, arguments.decisions),
                        }
                    )
                    progress.advance(task)
                database.close()
    if arguments.json:
        print(json.dumps(cells, indent=2))
        return
    table = Table(title="A decision with its entity slice, in milliseconds", title_justify="left")
    for name in ("policies", "patients", "p50", "p99", "of it the engine, slice new", "slice at hand"):
        table.add_column(name, justify="right")
    for cell in cells:
        shown = (f"{cell[name]:.2f}" for name in ("p50", "p99", "decide_new_p50", "decide_p50"))
        table.add_row(f"{cell['policies']}", f"{cell['patients']:,}", *shown)
    Console().print(table)


def policy_set(number: int) -> PolicySet:
    """The floor, cut or filled up to a number of policies. What is added speaks of patients' records, too: half of it
    for roles nobody here has, half with conditions that are never true."""
    shipped = PolicySet.load()
    texts = [
        part.strip() + ";"
        for part in re.sub(r"^\s*//.*$", "", shipped.text, flags=re.MULTILINE).split(";\n")
        if part.strip()
    ]
    about = [text for text in texts if "patient_read" in text or "any_call" in text or "read_audit_log" in text]
    chosen = [*about, *(text for text in texts if text not in about)][:number]
    for extra in range(number - len(chosen)):
        head = (
            f'principal is Clinic::Clinician in Clinic::Role::"role-{extra}"'
            if extra % 2
            else "principal is Clinic::Clinician"
        )
        chosen.append(
            f'@id("extra-{extra}") {"permit" if extra % 3 else "forbid"} ({head},'
            ' action in Clinic::Action::"patient_read", resource is Clinic::Patient)'
            f' when {{ resource.sensitivity == "X{extra}" }};'
        )
    return PolicySet(shipped.schema_text, "\n".join(chosen))


def clinic(folder: Path, count: int, progress: Progress) -> Database:
    settings = Settings(home=folder)
    prepare(settings, demo=False)
    database = Database(settings.url)
    filling = progress.add_task(f"{count:,} patients", total=count)
    with database.write() as connection:
        rows = [
            {"id": one, "clinic_id": "main", "kind": "Clinician", "role": "physician", "name": one, "active": True}
            for one in TEAM
        ]
        connection.execute(insert(people), rows)
    for start in range(0, count, 20_000):
        numbers = range(start, min(start + 20_000, count))
        with database.write() as connection:
            connection.execute(
                insert(patients),
                [
                    {
                        "id": name(n),
                        "clinic_id": "main",
                        "name": name(n),
                        "birth_date": "1990-01-01",
                        "allergy_status": "none_known",
                    }
                    for n in numbers
                ],
            )
            teams = [(n, member) for n in numbers for member in (n % 200, (n * 7 + 3) % 200)]
            connection.execute(
                insert(care_team),
                [
                    {"patient_id": name(n), "clinician_id": TEAM[m], "clinic_id": "main"}
                    for n, m in dict.fromkeys(teams)
                ],
            )
            opened = [n for n in numbers if n % 10 == 0]
            connection.execute(
                insert(consultations),
                [
                    {
                        "id": f"C-{n:016x}",
                        "clinic_id": "main",
                        "patient_id": name(n),
                        "symptoms": "",
                        "status": "intake",
                        "open": True,
                        "agent_ids": "intake_agent",
                        "assignee_id": TEAM[n % 200],
                        "opened_at": now(),
                        "call_id": "bench",
                    }
                    for n in opened
                ],
            )
        progress.update(filling, completed=numbers.stop)
    progress.remove_task(filling)
    return database


def name(number: int) -> str:
    return f"P{number:08}"


def measure(database: Database, policies: PolicySet, count: int, decisions: int) -> dict[str, float]:
    chance = random.Random(7)  # noqa: S311 - which patients, not a secret
    whole, new, repeated = [], [], []
    allowed = 0
    for turn in range(decisions + 100):
        policies._entities.cache_clear()
        number = chance.randrange(count)
        member = TEAM[number % 200] if turn % 2 else TEAM[(number + 50) % 200]
        claims = Claims(member, "main", "bench", 0, member)
        arguments = OfPatient.model_construct(patient_id=name(number))
        begun = time.perf_counter_ns()
        with database.read() as connection:
            caller = resolve(connection, claims)
            target = entities.record(connection, arguments, "main", caller)
        request = ask(
            caller, "get_patient_record", {"patient_id": name(number)}, target, transport="bench", started=now()
        )
        ready = time.perf_counter_ns()
        allowed += policies.decide(request).allowed
        decided = time.perf_counter_ns()
        policies.decide(request)
        again = time.perf_counter_ns()
        if turn >= 100:  # the first ones warm caches up
            whole.append((decided - begun) / 1e6)
            new.append((decided - ready) / 1e6)
            repeated.append((again - decided) / 1e6)
    assert 0 < allowed < decisions + 100, "both answers are measured"
    p99 = statistics.quantiles(whole, n=100)[98]
    middle: Callable[[list[float]], float] = statistics.median
    return {"p50": middle(whole), "p99": p99, "decide_p50": middle(repeated), "decide_new_p50": middle(new)}


if __name__ == "__main__":
    main()
