"""Calls as OCSF events: every attribute is one of its class, every required one is there, every number is in its list.

`ocsf_1_8_0.json` holds the facts of the released schema for the class, the profile and the objects that are used.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from clinic_mcp.audit.exports import ocsf
from clinic_mcp.audit.questions.calls import Call
from hypothesis import given
from hypothesis import strategies as st
from support.clinic import Clinic
from support.day import CALLS, spend

SCHEMA = json.loads(Path(__file__).with_name("ocsf_1_8_0.json").read_text("utf-8"))
PYTHON = {"string_t": str, "integer_t": int, "long_t": int, "boolean_t": bool, "float_t": float}


def faults(event: Any, facts: Any = SCHEMA["event"], path: str = "event") -> list[str]:
    """What the schema does not allow, each with where it is."""
    attributes = facts["attributes"]
    found = [f"{path}.{name} is no attribute" for name in event.keys() - attributes.keys()]
    found += [
        f"{path}.{name} is required"
        for name, about in attributes.items()
        if about["requirement"] == "required" and name not in event
    ]
    if not event.keys() & set(facts.get("at_least_one", event)):
        found.append(f"{path} has none of {facts.get('at_least_one')}")
    for name, value in event.items():
        about = attributes.get(name)
        if about is None:
            continue
        if about.get("array") is not isinstance(value, list) and (about.get("array") or isinstance(value, list)):
            found.append(f"{path}.{name} is a list or is none")
            continue
        for one in value if isinstance(value, list) else [value]:
            found += _of_type(one, about, f"{path}.{name}")
    return found


def _of_type(value: Any, about: Any, path: str) -> list[str]:
    if about["type"] in SCHEMA["objects"]:
        return faults(value, SCHEMA["objects"][about["type"]], path)
    if about["type"] == "object":
        return [] if isinstance(value, dict) else [f"{path} is no object"]
    basic = SCHEMA["types"].get(about["type"])
    if basic is None:
        return [f"{path} is a {about['type']}, of which the table has no facts"]
    if type(value) is not PYTHON[basic]:
        return [f"{path} is no {basic}"]
    return [f"{path} is {value}, which is in no list"] if "enum" in about and value not in about["enum"] else []


def check(event: Any) -> None:
    assert faults(event) == []
    assert (event["category_uid"], event["class_uid"]) == (SCHEMA["category_uid"], SCHEMA["class_uid"])
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert event["metadata"]["version"] == "1.8.0"
    assert set(event["metadata"]["profiles"]) == set(SCHEMA["profiles"])
    assert event["time"] > 1_700_000_000_000, "milliseconds since the epoch"


def test_a_days_events_are_valid(module_clinic: Clinic, tmp_path: Path) -> None:
    spend(module_clinic)
    path = tmp_path / "log.ocsf"
    module_clinic.run("audit", "export", "ocsf", str(path))
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len(events) == CALLS
    for event in events:
        check(event)
    assert [event["action_id"] for event in events] == [1, 2, 2, *[1] * 7]
    assert events[1]["severity_id"] > events[0]["severity_id"]
    assert events[1]["authorizations"] == [{"decision": "deny", "policy": {"name": "no-other-patient"}}]
    assert events[0]["actor"] == {"user": {"uid": "dr-osei"}, "app_uid": "intake_agent"}
    assert {event["metadata"]["tenant_uid"] for event in events} == {"main"}
    assert [
        event["unmapped"]["purpose_of_use"] for event in events if event["is_alert"] and event["status_id"] == 1
    ] == ["BTG"]


text = st.text(min_size=1, max_size=20)
maybe = st.none() | text


@given(
    who=maybe,
    agent=maybe,
    behalf=maybe,
    server=maybe,
    tool=maybe | st.sampled_from(sorted(ocsf.ACTIVITIES)),
    peer=maybe | st.ip_addresses().map(str),
    patients=st.lists(text, max_size=3),
    policies=st.lists(text, max_size=3),
    purpose=maybe | st.just("BTG"),
    reason=maybe,
    consultation=maybe,
    ended=st.sampled_from(["ok", "error", "refused", "unauthenticated", "unknown", "in doubt"]),
)
def test_every_call_there_can_be_is_valid(**facts: Any) -> None:
    check(ocsf.api_activity(Call("c", 1, "2026-11-24T10:00:00.000Z", **facts), clinic="main"))


GOOD = ocsf.api_activity(
    Call("c", 1, "2026-11-24T10:00:00.000Z", who="Clinician:a", tool="t", server="s", peer="::1", patients=["P1"]),
    clinic="main",
)


def without(*path: str) -> Any:
    changed = json.loads(json.dumps(GOOD))
    *above, last = path
    inner = changed
    for name in above:
        inner = inner[name]
    del inner[last]
    return changed


@pytest.mark.parametrize(
    "path",
    [
        *product(("activity_id", "category_uid", "class_uid", "type_uid", "severity_id", "time", "metadata", "actor")),
        *product(("api", "src_endpoint")),
        ("metadata", "product"),
        ("metadata", "version"),
        ("api", "operation"),
    ],
    ids=".".join,
)
def test_the_check_misses_what_is_missing(path: tuple[str, ...]) -> None:
    assert faults(without(*path)) == [f"{'.'.join(('event', *path))} is required"]


def test_the_check_sees_what_does_not_belong() -> None:
    for bad in (
        {**GOOD, "patient": "P001"},
        {**GOOD, "severity_id": 7},
        {**GOOD, "time": "2026-11-24"},
        {**GOOD, "actor": {}},
        {**GOOD, "resources": {"uid": "P1"}},
        {**GOOD, "api": {**GOOD["api"], "tool": "t"}},
        {**GOOD, "src_endpoint": {"port": "8080", "ip": "::1"}},
        {**GOOD, "attacks": [{}]},
    ):
        assert len(faults(bad)) == 1, bad
