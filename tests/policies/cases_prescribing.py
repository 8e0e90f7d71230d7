"""Who prescribes and dispenses what, and which findings stand against it."""

from __future__ import annotations

from collections.abc import Iterator

from golden_world import (
    ALICE,
    CLOSED,
    INTAKE,
    LINDQVIST,
    NURSE,
    OPEN,
    OSEI,
    P002,
    PHARMACIST,
    PRESCRIBER,
    STOCK,
    UNSIGNED,
    VERY_RESTRICTED,
    VISITING_PRESCRIBER,
    Case,
    consultation,
    findings,
    patient,
    prescription,
)


def cases() -> Iterator[Case]:
    """Every case of prescribing and dispensing."""
    yield from agent_cases()
    yield from prescribing_cases()
    yield from pharmacy_cases()


def agent_cases() -> Iterator[Case]:
    """Agents that record, and where they may not."""
    write = "record_prescription"
    yield Case("prescription-agent-records-after-sign-off", True, PRESCRIBER, write, OPEN, OPEN)
    yield Case("prescription-agent-records-before-sign-off", False, PRESCRIBER, write, UNSIGNED, UNSIGNED)
    other, other_closed = consultation("C-2", "P002"), consultation("C-2", "P002", is_open=False)
    yield Case("prescription-agent-records-in-another-consultation", False, PRESCRIBER, write, other, OPEN, about=P002)
    yield Case(
        "prescription-agent-records-in-another-closed-consultation",
        False,
        PRESCRIBER,
        write,
        other_closed,
        OPEN,
        about=P002,
    )
    unknown = consultation("C-9", "unknown", agents=(), signed=False)
    nobody = patient("unknown")
    name = "prescription-agent-records-in-a-consultation-nobody-opened"
    yield Case(name, False, PRESCRIBER, write, unknown, OPEN, about=nobody)
    yield Case("intake-agent-records-after-sign-off", False, INTAKE, write, OPEN, OPEN)
    yield Case(
        "visiting-prescriber-records-in-a-consultation-it-takes-no-part-in",
        False,
        VISITING_PRESCRIBER,
        write,
        OPEN,
        OPEN,
    )
    yield Case("prescription-agent-records-in-its-closed-consultation", False, PRESCRIBER, write, CLOSED, CLOSED)
    yield Case("prescription-agent-records-without-a-consultation", False, PRESCRIBER, write, OPEN)


def prescribing_cases() -> Iterator[Case]:
    """The guardrails around a prescription, and what a physician can set aside."""
    write = "record_prescription"
    mine, unsigned = consultation(assignee="dr-lindqvist"), consultation(assignee="dr-lindqvist", signed=False)
    yield Case("physician-records-for-care-team-patient", True, OSEI, write, OPEN)
    yield Case("physician-records-in-assigned-consultation", True, LINDQVIST, write, mine)
    yield Case("physician-records-in-assigned-consultation-before-sign-off", False, LINDQVIST, write, unsigned)
    yield Case("physician-records-for-a-stranger", False, LINDQVIST, write, OPEN)
    yield Case("nurse-records-for-care-team-patient", False, NURSE, write, OPEN)
    yield Case("pharmacist-records-for-care-team-patient", False, PHARMACIST, write, OPEN)
    yield Case("physician-records-controlled-drug", True, OSEI, write, OPEN, facts=findings(controlled=True))
    yield Case(
        "prescription-agent-records-controlled-drug",
        False,
        PRESCRIBER,
        write,
        OPEN,
        OPEN,
        facts=findings(controlled=True),
    )
    named = {
        "allergy": "against-allergy",
        "interaction": "against-interaction",
        "duplicate": "of-duplicate-therapy",
        "never_asked": "before-allergies-are-asked",
    }
    for rule, words in named.items():
        found = {rule: ["amoxicillin-500"]}
        other = findings(found, overridden={rule: ["paracetamol-500"]})
        lifted = findings(found, overridden={rule: ["amoxicillin-500"]})
        half = findings({rule: ["amoxicillin-500", "ibuprofen-400"]}, overridden={rule: ["amoxicillin-500"]})
        agent_records = f"prescription-agent-records-{words}"
        yield Case(agent_records, False, PRESCRIBER, write, OPEN, OPEN, facts=findings(found))
        yield Case(f"{agent_records}-overridden", True, PRESCRIBER, write, OPEN, OPEN, facts=lifted)
        yield Case(f"{agent_records}-overridden-for-another-drug", False, PRESCRIBER, write, OPEN, OPEN, facts=other)
        yield Case(f"{agent_records}-overridden-for-half-of-it", False, PRESCRIBER, write, OPEN, OPEN, facts=half)
        yield Case(f"physician-records-{words}", False, OSEI, write, OPEN, facts=findings(found))
        yield Case(f"physician-records-{words}-overridden", True, OSEI, write, OPEN, facts=lifted)
    crossed = findings({"interaction": ["amoxicillin-500"]}, overridden={"allergy": ["amoxicillin-500"]})
    name = "prescription-agent-records-against-interaction-with-an-allergy-overridden"
    yield Case(name, False, PRESCRIBER, write, OPEN, OPEN, facts=crossed)
    name = "prescription-agent-records-in-very-restricted-consultation"
    yield Case(name, False, PRESCRIBER, write, OPEN, OPEN, about=VERY_RESTRICTED)
    yield Case("physician-records-in-very-restricted-consultation", True, OSEI, write, OPEN, about=VERY_RESTRICTED)
    others, nurses = (
        consultation(about="P002", assignee="dr-osei"),
        consultation(about="P002", assignee="nurse-adeyemi"),
    )
    name = "physician-records-in-consultation-assigned-to-another"
    yield Case(name, False, LINDQVIST, write, others, about=P002)
    yield Case("nurse-records-in-assigned-consultation", False, NURSE, write, nurses, about=P002)


def pharmacy_cases() -> Iterator[Case]:
    """What a pharmacist does."""
    receive, dispense = "receive_stock", "dispense_medication"
    yield Case("pharmacist-receives-stock", True, PHARMACIST, receive, STOCK)
    yield Case("physician-receives-stock", False, OSEI, receive, STOCK)
    yield Case("nurse-receives-stock", False, NURSE, receive, STOCK)
    yield Case("intake-agent-receives-stock", False, INTAKE, receive, STOCK, OPEN)
    yield Case("pharmacist-dispenses-active-prescription", True, PHARMACIST, dispense, prescription())
    yield Case("pharmacist-dispenses-a-draft", False, PHARMACIST, dispense, prescription(active=False))
    yield Case("physician-dispenses-active-prescription", False, OSEI, dispense, prescription())
    yield Case("prescription-agent-dispenses-active-prescription", False, PRESCRIBER, dispense, prescription(), OPEN)
    yield Case("patient-dispenses-active-prescription", False, ALICE, dispense, prescription())
    draft = prescription(active=False)
    yield Case("prescription-agent-dispenses-a-draft", False, PRESCRIBER, dispense, draft, OPEN)
