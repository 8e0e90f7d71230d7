"""A purge in this process, step by step, and a clinic whose log is old enough for one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

from clinic_mcp.audit.event import Draft, Phase, Writer, uuid7
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.audit.retention import purge as steps
from clinic_mcp.audit.retention.plan import Plan, choose, examine

from support.aged import age
from support.calls import EXPECTED
from support.clinic import Clinic
from support.servers import connected
from support.signed import sign, work

OPERATOR = {"type": "Operator", "id": "test", "clinic": "main"}


def grown_old(clinic: Clinic) -> int:
    """Work, a checkpoint across which a server ran and a call was open, and work after it: what came before is seven
    years old. Returns the checkpoint's size."""
    work(clinic)
    call_id = uuid7()
    with clinic.database() as database, connected(clinic, "patient-records", "stdio") as caller:
        log = AuditLog(database, Writer("pharmacy", "main", "clinic-mcp/main"))
        session = clinic.consult()
        row = EXPECTED["get_patient_record"]
        assert caller.call("get_patient_record", row.own(clinic, session), row.right(clinic, session)).code == "ok"
        log.append(Draft(Phase.INTENT, "call.allowed", call_id, {}, ("P001", "P002")))
        size = int(sign(clinic)["signed"])
        log.append(Draft(Phase.OUTCOME, "call.ok", call_id, {"outcome": {"status": "ok"}}, ("P001", "P002")))
        assert caller.call("get_patient_record", row.own(clinic, session), row.right(clinic, session)).code == "ok"
        log.close()
    work(clinic)
    sign(clinic)
    age(clinic, size=size)
    return size


def planned(clinic: Clinic, years: int = 6) -> Plan:
    """The purge that the clinic's log is old enough for, with what it keeps of calls written down."""
    with clinic.database() as database:
        with database.read() as connection:
            plan = choose(connection, years, datetime.now(UTC))
        assert plan is not None, "something is old enough"
        steps.stage(database, examine(database, plan))
    return plan


def recorded(clinic: Clinic, plan: Plan) -> str:
    """Put it on record; nothing is signed over it yet, and nothing gone."""
    with clinic.database() as database, closing(_log(clinic, database)) as log:
        return steps.record(clinic.settings, log, plan, OPERATOR)


def purge(clinic: Clinic, alter: Callable[[Plan], None] = lambda _: None) -> Plan:
    """A whole purge, of a plan that may be altered before it is put on record."""
    plan = planned(clinic)
    alter(plan)
    call_id = recorded(clinic, plan)
    with clinic.database() as database:
        steps.sign(clinic.settings, database, call_id)
        steps.remove(database, plan.upto)
    return plan


def _log(clinic: Clinic, database: object) -> AuditLog:
    return AuditLog(database, Writer("audit", "main", "clinic-mcp/main"), announce=False)  # type: ignore[arg-type]
