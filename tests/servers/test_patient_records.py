"""The patient records' reads."""

from __future__ import annotations

from clinic_mcp.patient_records.store import HISTORY_LIMIT, medical_history, patient_record
from support.clinic import Clinic


def test_a_record_has_the_seeds_fields(template: Clinic) -> None:
    with template.database() as database, database.read() as connection:
        assert patient_record(connection, "P001", "main") == {
            "id": "P001",
            "name": "Alice Thompson",
            "dob": "1985-03-12",
            "blood_type": "A+",
            "allergies": "Penicillin",
        }
        assert patient_record(connection, "P002", "main")["allergies"] == "None"
        assert patient_record(connection, "P003", "main")["allergies"] == "Sulfonamides, Aspirin"


def test_never_asked_is_not_none(clinic: Clinic) -> None:
    clinic.execute("UPDATE patients SET allergy_status = 'never_asked' WHERE id = 'P002'")
    with clinic.database() as database, database.read() as connection:
        assert "ask" in patient_record(connection, "P002", "main")["allergies"]


def test_a_patient_of_another_clinic_is_no_patient(template: Clinic) -> None:
    with template.database() as database, database.read() as connection:
        assert set(patient_record(connection, "P001", "elsewhere")) == {"error"}
        assert patient_record(connection, "P999", "main") == patient_record(connection, "P001", "elsewhere")
        assert medical_history(connection, "P001", "elsewhere") == []


def test_history_is_newest_first_and_bounded(clinic: Clinic) -> None:
    with clinic.sql() as connection:
        connection.executemany(
            "INSERT INTO conditions (id, clinic_id, patient_id, recorded_date, condition, treatment, notes)"
            " VALUES (?, 'main', 'P001', ?, 'c', 't', 'n')",
            [(f"X{number}", f"20{number % 30:02}-01-01") for number in range(HISTORY_LIMIT + 50)],
        )
    with clinic.database() as database, database.read() as connection:
        dates = [entry["date"] for entry in medical_history(connection, "P001", "main")]
    assert len(dates) == HISTORY_LIMIT
    assert dates == sorted(dates, reverse=True)
