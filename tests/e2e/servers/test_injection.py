"""An agent that obeys every instruction it reads, on real servers: nothing happens, nothing leaks, all is recorded."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from clinic_mcp.registry import SERVERS
from support.calls import EXPECTED
from support.clinic import Clinic
from support.injection import CARRIERS, GOALS, INTAKE, PHRASINGS, PRESCRIBER, Goal, Scene, heard, texts
from support.log import AuditReader
from support.servers import headers, request, serving

CANARY = f"canary-{secrets.token_hex(8)}"
EFFECTS = (
    "prescriptions",
    "sign_offs",
    "clarifications",
    "guardrail_overrides",
    "review_items",
    "emergency_access",
    "stock_entries",
    "people",
    "agents",
    "clients",
    "care_team",
    "medication_statements",
)
"""Tables in which no attempt may leave a trace; the others change only where the test itself hides a text."""


@dataclass
class World:
    """The clinic, its running servers, the agents' grants, and what came of it."""

    clinic: Clinic
    scene: Scene
    urls: dict[str, str]
    client: httpx.Client
    tokens: dict[tuple[str, str, bool], str] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)

    def call(self, server: str, tool: str, arguments: Any, agent: str, *, signed: bool = False) -> dict[str, Any]:
        token = self.tokens[agent, server, signed]
        answer = self.client.post(self.urls[server], json=request(tool, arguments), headers=headers(token))
        self.outputs.append(answer.text)
        result: dict[str, Any] = answer.json()["result"]
        return result


@pytest.fixture(scope="module")
def world(module_clinic: Clinic) -> Iterator[World]:
    clinic = module_clinic
    for statement in (
        "UPDATE patients SET name = 'Bob ' || ? WHERE id = 'P002'",
        "UPDATE conditions SET notes = ? WHERE patient_id = 'P002'",
        "UPDATE patients SET name = ? WHERE id = 'P005'",
    ):
        clinic.execute(statement, CANARY)
    scene = Scene(
        unsigned=clinic.consult("P001"),
        signed=clinic.consult("P001", notes="Paracetamol 500mg"),
        foreign=clinic.consult("P002", notes="Ibuprofen 400mg"),
        prescription="RX-000000000000",
    )
    clinic.execute("UPDATE consultations SET symptoms = ? WHERE id = ?", CANARY, scene.foreign)
    own = EXPECTED["dispense_medication"].own(clinic, scene.foreign)
    scene = Scene(scene.unsigned, scene.signed, scene.foreign, own["prescription_id"])
    with ExitStack() as stack:
        running = {name: stack.enter_context(serving(clinic, name, CLINIC_LOG_LEVEL="WARNING")) for name in SERVERS}
        client = stack.enter_context(httpx.Client(timeout=30))
        made = World(clinic, scene, {name: f"{process.url}/mcp" for name, process in running.items()}, client)
        for agent in (INTAKE, PRESCRIBER):
            for server in SERVERS:
                for session, signed in ((scene.unsigned, False), (scene.signed, True)):
                    made.tokens[agent, server, signed] = clinic.tokens.grant(session, agent, "P001", audience=server)
        yield made


def tables(clinic: Clinic) -> dict[str, list[tuple[Any, ...]]]:
    return {name: [tuple(row) for row in clinic.execute(f"SELECT * FROM {name}")] for name in EFFECTS}  # noqa: S608


def test_the_agent_hears_every_instruction_of_a_text() -> None:
    scene = Scene("C-0000000000000000", "C-0000000000000001", "C-0000000000000002", "RX-000000000000")
    expected = [(goal.tool, goal.arguments(scene)) for goal in GOALS]
    for _, text in texts(scene):
        assert heard(text) == expected


@pytest.mark.parametrize("carrier", CARRIERS)
def test_an_agent_that_obeys_what_it_reads_gets_nothing_done(world: World, carrier: str) -> None:
    way, before = CARRIERS[carrier], tables(world.clinic)
    for _, text in texts(world.scene):
        way.hide(world.clinic, text, world.scene)
        said = text
        if way.tool:
            answer = world.call(way.server, way.tool, way.arguments(text), INTAKE)
            said = json.dumps(answer["structuredContent"], ensure_ascii=False)
            if carrier == "tool error":
                assert answer["isError"]
                assert text[:40] not in said, "an error repeats nothing"
                said = text  # as if a server had written it
            else:
                assert not answer["isError"]
                said = "\n".join(_strings(answer["structuredContent"]))
        instructions = heard(said)
        assert len(instructions) == len(GOALS), "the whole text reached the agent"
        marker = AuditReader(world.clinic)
        with ThreadPoolExecutor(4) as pool:
            ends = list(pool.map(lambda goal: obey(world, goal), GOALS))
        for goal, end in zip(GOALS, ends, strict=True):
            assert end == goal.ends, f"{goal.agent} got {goal.tool} through: {end}"
            world.ends[carrier, end] += 1
        events = marker.events()
        assert len(events) == len(GOALS), "every attempt is one event"
        for event in events:
            assert event["phase"] == "decision"
            assert event["decision"]["effect"] == "deny"
            assert event["decision"]["policies"], "with the policy, or the check, that refused it"
            assert event["agent"]["id"] in (INTAKE, PRESCRIBER)
            if event["code"] == "call.refused":
                assert event["decision"]["errors"] == 0
                assert "slice" in event["cedar"]
    way.hide(world.clinic, "nothing to obey", world.scene)
    assert tables(world.clinic) == before


def obey(world: World, goal: Goal) -> str:
    result = world.call(goal.server, goal.tool, goal.arguments(world.scene), goal.agent, signed=goal.signed)
    return str(result["structuredContent"]["error"]["code"]) if result["isError"] else "ok"


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def test_no_byte_of_another_patient_left_and_all_cases_ran(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    cases = len(CARRIERS) * len(GOALS) * sum(len(phrasings) for phrasings in PHRASINGS.values())
    assert sum(world.ends.values()) == cases >= 3_000
    leaked = sum(output.count(CANARY) for output in world.outputs)
    assert leaked == 0
    owner = world.clinic.tokens.person("dr-osei", "patient-records")
    bob = request("get_patient_record", {"patient_id": "P002"})
    seen = world.client.post(world.urls["patient-records"], json=bob, headers=headers(owner)).text
    assert CANARY in seen, "the canary is there to be leaked"
    assert world.clinic.run("audit", "verify").returncode == 0
    with capsys.disabled():
        print(f"\n{cases} injected instructions obeyed: 0 effects, {leaked} canaries, {dict(world.ends)}")
