"""One graph, the same bytes: in-process tools over the database, MCP on HTTP, MCP on stdio. What comes out is the same.

What may differ is listed here and nowhere else: ids, the fields an article's source adds, and what the prescriptions
server says of a draft, which the in-process tool cannot know of.
"""

import copy
import functools
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from agent_e2e.clinic import ROOT, Clinic
from agent_e2e.player import Player

FOREIGN = ROOT / "tests" / "agent" / "foreign"
IN_PROCESS = Path(__file__).parent / "in_process"
MCP_TOOLS = FOREIGN / "mcp_tools"
ADDED_TO_ARTICLES = {"source", "version", "reviewed"}


@dataclass(frozen=True)
class Case:
    """One consultation: who, what they say, whether the doctor asks first, and what is signed."""

    patient: str
    symptoms: str
    asks: bool
    notes: str


CASES = {
    "asked first, two medicines in stock": Case(
        "P001",
        "headache and fever since yesterday, no chest pain",
        True,
        "Viral infection. Paracetamol 500mg three times daily for 3 days. Cetirizine 10mg once daily for 5 days.",
    ),
    "out of stock": Case("P002", "sore throat and fever", False, "Amoxicillin 500mg three times daily for 7 days."),
    "an emergency": Case("P003", "chest pain radiating to my left arm, sweating", False, ""),
}


def played(case: Case, clinic: Clinic, tools: Path, transport: str = "") -> dict[str, Any]:
    """Play the graph to its end with one `tools` module; everything it said, asked for and was told."""
    session = clinic.open(case.patient, case.symptoms) if transport else "C-0000000000000000"
    environment = {**clinic.environment, **(clinic.over(transport) if transport else {})}
    player = Player(FOREIGN, tools, environment)
    try:
        assert player.loaded["graph"] == hashlib.sha256((FOREIGN / "graph.py").read_bytes()).hexdigest()
        assert Path(player.loaded["tools"]).parent == tools
        first = {"session_id": session, "patient_id": case.patient, "symptoms": case.symptoms, "messages": []}
        at = [player.play(start=first)]
        if case.asks:
            at.append(player.play(resume={"action": "clarify", "question": "Since when?"}))
            at.append(player.play(resume="Since yesterday evening."))
        if case.notes:
            if transport:
                clinic.sign_off(session, case.notes)
            at.append(player.play(resume={"action": "diagnose", "notes": case.notes}))
    finally:
        player.end()
    assert at[-1]["paused"] == []
    transcript = {"pauses": [step["paused"] for step in at], "state": at[-1]["state"], "calls": at[-1]["calls"]}
    without_ids = json.dumps(transcript).replace(session, "SESSION")
    told: dict[str, Any] = json.loads(re.sub(r"Prescription RX-[0-9a-f]{12} ", "Prescription ", without_ids))
    return told


def without_sources(transcript: dict[str, Any]) -> dict[str, Any]:
    """The transcript without the fields that only the MCP tool's articles have; each article must have them."""
    seed = copy.deepcopy(transcript)
    for call in seed["calls"]:
        for article in call["result"] if call["tool"] == "search_knowledge_base" else []:
            if "note" not in article:
                assert set(article) >= ADDED_TO_ARTICLES
                for name in ADDED_TO_ARTICLES:
                    del article[name]
    return seed


def test_the_change_is_one_line() -> None:
    assert (MCP_TOOLS / "tools.py").read_text() == "from clinic_agent.tools import *\n"
    assert sorted(path.name for path in MCP_TOOLS.iterdir() if path.suffix) == ["tools.py"]


@pytest.fixture(scope="module")
def in_process(clinic: Clinic) -> Callable[[str], dict[str, Any]]:
    """The transcript of a case with in-process tools, played once."""
    return functools.cache(lambda name: played(CASES[name], clinic, IN_PROCESS))


# On stdio every case starts four processes: the one that uses all five tools and both pauses stands for the others.
@pytest.mark.parametrize(("name", "transport"), [*[(name, "http") for name in CASES], (next(iter(CASES)), "stdio")])
def test_the_transcripts_are_the_same(
    name: str, transport: str, in_process: Callable[[str], dict[str, Any]], clinic: Clinic
) -> None:
    case, expected = CASES[name], in_process(name)
    transcript = without_sources(played(case, clinic, MCP_TOOLS, transport))
    if "Amoxicillin" in case.notes:
        recorded = transcript["calls"][-1]
        assert recorded["tool"] == "record_prescription"
        assert recorded["result"].startswith("Prescription kept as a draft for session SESSION: a clinician must sign")
        recorded["result"] = "Prescription recorded for session SESSION."
        assert "Azithromycin 250mg in place of Amoxicillin" in transcript["state"]["prescription"]
    assert transcript == expected
    assert transcript["state"]["status"] == ("complete" if case.notes else "emergency")
    assert len(transcript["calls"]) >= (5 if case.notes else 3)
