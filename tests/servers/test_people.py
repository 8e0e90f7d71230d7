"""The people who work at the clinic, and a patient's own token."""

from __future__ import annotations

import time
from pathlib import Path

import jwt
import pytest
from clinic_mcp.core.tokens import TokenVerifier
from support.clinic import Clinic
from support.log import AuditReader
from support.servers import connected


def test_a_person_is_added_once_and_on_the_record(clinic: Clinic) -> None:
    log = AuditReader(clinic)
    shown = clinic.json("person", "add", "dr-novak", "--role", "physician", "--name", "Dr Jana Novák")
    assert shown == {"id": "dr-novak", "role": "physician", "name": "Dr Jana Novák", "active": True}
    (event,) = log.events()
    assert (event["phase"], event["code"]) == ("admin", "person.added")
    assert event["about"] == {"type": "Clinician", "id": "dr-novak", "role": "physician"}
    assert "Novák" not in str(event)
    (row,) = clinic.execute("SELECT * FROM people WHERE id = 'dr-novak'")
    assert (row["kind"], row["clinic_id"], row["active"], row["call_id"]) == (
        "Clinician",
        "main",
        1,
        event["call_id"],
    )
    log.mark()
    clinic.run("person", "add", "dr-novak", "--role", "nurse", "--name", "Somebody", code=1)
    assert log.events() == []


@pytest.mark.parametrize(
    ("role", "kind"),
    [
        ("physician", "Clinician"),
        ("nurse", "Clinician"),
        ("pharmacist", "Clinician"),
        ("auditor", "Auditor"),
        ("administrator", "Administrator"),
    ],
)
def test_each_role_makes_somebody_of_a_person(module_clinic: Clinic, role: str, kind: str) -> None:
    module_clinic.run("person", "add", f"a-{role}", "--role", role, "--name", "A")
    (row,) = module_clinic.execute("SELECT kind, role FROM people WHERE id = ?", f"a-{role}")
    assert (row["kind"], row["role"]) == (kind, role)


@pytest.mark.parametrize(
    ("person", "role", "name", "code"),
    [
        ("patient:P001", "physician", "A", 1),
        ("client:x", "physician", "A", 1),
        ("two words", "physician", "A", 1),
        ("", "physician", "A", 1),
        ("x" * 65, "physician", "A", 1),
        ("a\n", "physician", "A", 1),
        ("ok", "patient", "A", 1),
        ("ok", "surgeon", "A", 2),
        ("ok", "physician", " ", 1),
        ("ok", "physician", "x" * 201, 1),
    ],
    ids=ascii,
)
def test_who_cannot_be_a_person_is_not_added(
    module_clinic: Clinic, person: str, role: str, name: str, code: int
) -> None:
    log = AuditReader(module_clinic)
    done = module_clinic.run("person", "add", person, "--role", role, "--name", name, code=code)
    assert "Traceback" not in done.stderr
    assert log.events() == []


def test_somebody_who_left_is_refused_at_the_next_call_and_may_come_back(clinic: Clinic) -> None:
    token = clinic.tokens.person("dr-osei", "patient-records")
    log = AuditReader(clinic, "consultations")
    with connected(clinic, "patient-records", "stdio") as caller:

        def code() -> str:
            return caller.call("get_patient_record", {"patient_id": "P001"}, token).code

        assert code() == "ok"
        clinic.run("person", "deactivate", "dr-osei")
        assert code() == "refused"
        clinic.run("person", "deactivate", "dr-osei")
        clinic.run("person", "activate", "dr-osei")
        assert code() == "ok"
    assert [event["code"] for event in log.events()] == ["person.deactivated", "person.activated"]
    assert {entry["id"]: entry["active"] for entry in clinic.json("person", "list")}["dr-osei"] is True
    clinic.run("person", "deactivate", "ghost", code=1)


def test_a_patients_token_speaks_for_the_patient_for_an_hour_at_most(clinic: Clinic) -> None:
    log = AuditReader(clinic)
    token = clinic.json("token", "issue", "--patient", "P001", "--server", "patient-records")["token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["sub"], claims["aud"], claims["exp"] - claims["iat"]) == ("patient:P001", "patient-records", 3600)
    assert claims["nbf"] == claims["iat"] <= time.time()
    (event,) = log.events()
    assert (event["code"], event["patients"], event["about"]) == (
        "token.issued",
        ["P001"],
        {"type": "Patient", "id": "P001"},
    )
    jwks = Path(clinic.home / "keys" / "jwks.json")
    verified = TokenVerifier(jwks, "urn:clinic-mcp:issuer", frozenset({"patient-records"})).verify(token)
    assert (verified.subject, verified.agent, verified.issuer) == ("patient:P001", None, None)
    with connected(clinic, "patient-records", "stdio") as caller:
        assert caller.call("get_patient_record", {"patient_id": "P001"}, token).code == "ok"
        assert caller.call("get_patient_record", {"patient_id": "P002"}, token).code == "refused"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--patient", "P999"), 1),
        (("--patient", "P001", "--server", "consultations"), 1),
        (("--patient", "P001", "--minutes", "61"), 2),
        (("--patient", "P001", "--as", "dr-osei"), 2),
        ((), 2),
    ],
    ids=str,
)
def test_a_token_that_may_not_be_is_not_issued(template: Clinic, arguments: tuple[str, ...], code: int) -> None:
    done = template.run("token", "issue", *arguments, code=code)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
