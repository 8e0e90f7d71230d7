"""One event's bytes."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest
import rfc8785
from clinic_mcp.audit.event import (
    Commitment,
    Draft,
    Phase,
    Writer,
    canonical,
    compose,
    leaf_hash,
    project,
    safe_label,
    safe_request_id,
    safe_traceparent,
    uuid7,
)
from hypothesis import given, settings
from hypothesis import strategies as st

ASCII = st.text(st.characters(max_codepoint=127), max_size=8)
FLOAT_FREE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ASCII, inner, max_size=5),
    max_leaves=20,
)


@settings(deadline=None, max_examples=500)
@given(FLOAT_FREE)
def test_canonical_bytes_are_those_of_rfc_8785(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value",
    [1.5, {"a": 0.0}, [float("nan")], {"é": 1}, {"a": {"ü": 1}}, 2**53, -(2**60), "\ud800", {"a": ["\udfff"]}],
    ids=ascii,
)
def test_what_has_no_safe_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the encoder's own subclass counts too
        canonical(value)


@settings(deadline=None)
@given(FLOAT_FREE)
def test_a_commitment_differs_each_time_and_tells_nothing(value: Any) -> None:
    first, second = Commitment.to(value).text, Commitment.to(value).text
    assert first != second
    assert re.fullmatch(r"sha256s:[0-9a-f]{64}", first)


def test_a_commitment_takes_whatever_json_a_caller_sent() -> None:
    assert Commitment.to({"a": "\ud800", "b": 2**80, "c": float("nan"), "d": [None]})


def test_a_leaf_hash_is_that_of_rfc_6962() -> None:
    """RFC 6962, section 2.1: the hash of the empty leaf, from the Certificate Transparency test vectors."""
    assert leaf_hash(b"") == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_event_ids_are_uuid7_and_grow_with_time() -> None:
    ids = [uuid.UUID(uuid7()) for _ in range(200)]
    assert {one.version for one in ids} == {7}
    assert {one.variant for one in ids} == {uuid.RFC_4122}
    assert len(set(ids)) == 200
    stamps = [one.int >> 80 for one in ids]
    assert stamps == sorted(stamps)


def test_an_event_holds_its_place_and_its_columns_repeat_it() -> None:
    writer = Writer("pharmacy", "main", "clinic-mcp/main")
    body = {
        "principal": {"type": "Agent", "id": "intake_agent"},
        "agent": {"id": "intake_agent"},
        "session": {"consultation": "C-1"},
        "call": {"tool": "check_pharmacy_inventory"},
        "decision": {"effect": "allow", "policies": ["b", "a"]},
        "nothing": None,
    }
    event = compose(
        Draft(Phase.INTENT, "call.allowed", "c1", body, ("P001",)), writer, 3, "p" * 64, "2026-11-22T10:00:00.000Z"
    )
    record = json.loads(event.leaf)
    assert event.leaf == rfc8785.dumps(record)
    assert record["writer"]["seq"] == 3
    assert record["writer"]["prev"] == "p" * 64
    assert record["patients"] == ["P001"]
    assert "nothing" not in record
    assert event.row == project(record, event.leaf)
    assert (event.row["principal"], event.row["policies"], event.row["consultation"]) == (
        "Agent:intake_agent",
        "b a",
        "C-1",
    )


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("claude-desktop/1.2", "claude-desktop/1.2"),
        ("Alice\nThompson", None),
        ("x" * 65, None),
        (5, None),
        ("P001;", None),
    ],
)
def test_a_claimed_label_is_kept_only_when_it_looks_like_one(value: object, kept: str | None) -> None:
    assert safe_label(value) == kept


def test_a_trace_parent_is_kept_only_in_its_form() -> None:
    good = f"00-{'a' * 32}-{'b' * 16}-01"
    assert safe_traceparent(good) == good
    for bad in ("Alice", good + "\n", good.upper(), None, 5):
        assert safe_traceparent(bad) is None


def test_a_request_id_that_is_text_is_kept_as_a_digest() -> None:
    assert safe_request_id(7) == 7
    assert safe_request_id(None) is None
    for chosen in ("Alice Thompson", "\ud800", 2**80, 1.5, True):
        kept = safe_request_id(chosen)
        assert isinstance(kept, str)
        assert re.fullmatch(r"sha256:[0-9a-f]{16}", kept)
