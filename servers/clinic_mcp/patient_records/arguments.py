"""What the patient-records tools take."""

from __future__ import annotations

from clinic_mcp.core.tool import Arguments, PatientId


class OfPatient(Arguments):
    """A patient."""

    patient_id: PatientId
