"""What clinicians do with consultations from their own client, and who assigns them."""

from __future__ import annotations

from collections.abc import Iterator

from golden_world import (
    ADMIN,
    ALICE,
    AUDITOR,
    CLOSED,
    DESK,
    INTAKE,
    LINDQVIST,
    NURSE,
    OPEN,
    OSEI,
    P002,
    PHARMACIST,
    PRESCRIBER,
    UNSIGNED,
    VERY_RESTRICTED,
    Case,
    consultation,
    patient,
    person,
)


def cases() -> Iterator[Case]:
    """What clinicians do with consultations from their own client."""
    mine, closed = consultation(assignee="dr-lindqvist"), consultation(assignee="dr-lindqvist", is_open=False)
    others, nurses = (
        consultation(about="P002", assignee="dr-osei"),
        consultation(about="P002", assignee="nurse-adeyemi"),
    )
    listing, show, sign = "list_my_consultations", "get_consultation", "sign_off_consultation"
    override, assign = "override_guardrail", "assign_consultation"
    for who, name, right in ((OSEI, "physician", True), (NURSE, "nurse", True), (PHARMACIST, "pharmacist", False)):
        yield Case(f"{name}-lists-own-consultations", right, who, listing, DESK)
        yield Case(f"{name}-reads-consultation-of-care-team-patient", right, who, show, OPEN)
        yield Case(f"{name}-signs-off-for-care-team-patient", name == "physician", who, sign, OPEN)
        yield Case(f"{name}-overrides-for-care-team-patient", name == "physician", who, override, OPEN)
        yield Case(f"{name}-assigns-consultation", False, who, assign, OPEN)
    for action, words in ((show, "reads"), (sign, "signs-off"), (override, "overrides-in")):
        yield Case(f"physician-{words}-assigned-consultation", True, LINDQVIST, action, mine)
        yield Case(f"physician-{words}-consultation-of-a-stranger", False, LINDQVIST, action, OPEN)
        yield Case(f"administrator-{words}-consultation", False, ADMIN, action, OPEN)
        yield Case(f"auditor-{words}-consultation", False, AUDITOR, action, OPEN)
        yield Case(f"patient-{words}-own-consultation", False, ALICE, action, OPEN)
        yield Case(f"prescription-agent-{words}-its-consultation", False, PRESCRIBER, action, OPEN, OPEN)
        name = f"physician-{words}-consultation-assigned-to-another"
        yield Case(name, False, LINDQVIST, action, others, about=P002)
        yield Case(f"nurse-{words}-assigned-consultation", False, NURSE, action, nurses, about=P002)
        yield Case(f"physician-{words}-unsigned-consultation", True, OSEI, action, UNSIGNED)
        closed_is_right = action == show
        yield Case(f"physician-{words}-closed-consultation", closed_is_right, LINDQVIST, action, closed)
    foreign = consultation(clinic="elsewhere", assignee="dr-lindqvist")
    name = "physician-reads-assigned-consultation-of-another-clinic"
    yield Case(name, False, LINDQVIST, show, foreign, about=patient("P001", clinic="elsewhere"))
    name = "intake-agent-reads-its-very-restricted-consultation"
    yield Case(name, False, INTAKE, show, OPEN, OPEN, about=VERY_RESTRICTED)
    inactive = person("admin-gone", "administrator", "Administrator", active=False)
    yield Case("administrator-assigns-consultation", True, ADMIN, assign, OPEN)
    yield Case("administrator-assigns-closed-consultation", False, ADMIN, assign, CLOSED)
    yield Case("inactive-administrator-assigns-consultation", False, inactive, assign, OPEN)
    yield Case("prescription-agent-assigns-its-consultation", False, PRESCRIBER, assign, OPEN, OPEN)
    yield Case("auditor-lists-consultations", False, AUDITOR, listing, DESK)
    yield Case("patient-lists-consultations", False, ALICE, listing, DESK)
    yield Case("intake-agent-lists-consultations", False, INTAKE, listing, DESK, OPEN)
    yield Case("nurse-reads-consultation-of-a-stranger", False, NURSE, show, consultation(about="P002"), about=P002)
    yield Case("administrator-assigns-unsigned-consultation", True, ADMIN, assign, UNSIGNED)
    trainee = person("admin-new", "trainee", "Administrator")
    yield Case("administrator-without-the-role-assigns-consultation", False, trainee, assign, OPEN)
