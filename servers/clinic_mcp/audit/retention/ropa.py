"""The record of processing activities (GDPR, Article 30(1)), from what the installation is and did. No patient in it.

What each letter asks for is of the regulation's text: (a) controller, (b) purposes, (c) categories of people and of
data, (d) recipients, (e) transfers to third countries, (f) time limits for erasure, (g) measures of Article 32(1).
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, FromClause, func, make_url, select, table, text

from clinic_mcp.audit import guards, tree
from clinic_mcp.audit.models import events
from clinic_mcp.audit.retention import erasure, expiry, hold
from clinic_mcp.audit.retention.detail import overdue
from clinic_mcp.audit.retention.plan import last_purge
from clinic_mcp.audit.retention.statement import CODE as PURGED
from clinic_mcp.core.clinic import agents, clients, now, people
from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.grants import PARTS, role
from clinic_mcp.core.policy import PolicySet
from clinic_mcp.core.providers import load_providers
from clinic_mcp.core.settings import Settings

NOT_SET = "not set"
CATEGORIES: Mapping[str, tuple[str, str]] = {
    "patients": ("patients", "identity: name, date of birth, blood group, allergy status, sensitivity"),
    "care_team": ("patients, clinicians", "who treats whom"),
    "allergy_intolerances": ("patients", "health data: allergies"),
    "conditions": ("patients", "health data: conditions, treatments, notes"),
    "medication_statements": ("patients", "health data: medication"),
    "consultations": ("patients, clinicians", "health data: symptoms, course of a consultation"),
    "clarifications": ("patients, clinicians", "health data: questions and answers"),
    "sign_offs": ("patients, clinicians", "health data: a clinician's notes"),
    "prescriptions": ("patients, clinicians", "health data: prescriptions"),
    "emergency_access": ("patients, clinicians", "emergency access and its reason"),
    "guardrail_overrides": ("patients, clinicians", "overridden warnings and their reason"),
    "review_items": ("patients, clinicians", "reviews of emergency access and overrides"),
    "people": ("staff", "name, role"),
    "clients": ("staff", "credentials: public keys, digests of secrets"),
    "audit_events": ("patients, staff", "who asked for what about which patient id, and what was decided"),
    "audit_detail": ("patients, staff", "arguments and results of calls, where they are kept"),
}
"""Tables with personal data: whose, and what."""
PURPOSES = {
    "TREAT": "treatment",
    "ETREAT": "emergency treatment",
    "BTG": "break the glass: access in an emergency",
    "HOPERAT": "healthcare operations",
    "HMARKT": "healthcare marketing",
    "HPAYMT": "payment",
    "PATRQT": "at the patient's request",
}
"""HL7 v3 PurposeOfUse (v3-ActReason)."""


def report(connection: Connection, settings: Settings, since: str | None = None) -> dict[str, Any]:
    """The record.

    Args:
        connection: An open read transaction of the operator.
        settings: The installation's.
        since: ISO 8601, from when on the log is counted; none is all that is there.
    """
    return {
        "made": now(),
        "clinic": settings.id,
        "period": {"since": since or _first(connection), "until": now()},
        "a_controller": {
            "name": settings.controller or NOT_SET,
            "contact": settings.controller_contact or NOT_SET,
            "data_protection_officer": settings.data_protection_officer or NOT_SET,
        },
        "b_purposes": _purposes(connection, since),
        "c_categories": _categories(connection),
        "d_recipients": _recipients(connection, settings, since),
        "e_transfers": {
            "by_the_servers": "none: they open no connection but to the database and to the providers' public keys",
            "outside": "the language model an agent is set to use (CLINIC_MODEL) is not part of the servers; where it"
            " runs elsewhere, what the agent sends it is a transfer of its own",
        },
        "f_time_limits": _time_limits(connection, settings),
        "g_measures": _measures(connection, settings),
    }


def _first(connection: Connection) -> str | None:
    found: str | None = connection.execute(select(func.min(events.c.recorded))).scalar()
    return found


def _purposes(connection: Connection, since: str | None) -> list[dict[str, Any]]:
    counts: dict[str, int] = {}
    query = select(events.c.leaf).where(events.c.phase == "intent", events.c.recorded >= (since or ""))
    for row in connection.execute(query, execution_options={"yield_per": 1_000}):
        purpose = str(json.loads(row.leaf).get("purpose", NOT_SET))
        counts[purpose] = counts.get(purpose, 0) + 1
    return [
        {"purpose": code, "meaning": PURPOSES.get(code, ""), "calls": count} for code, count in sorted(counts.items())
    ]


def _categories(connection: Connection) -> list[dict[str, Any]]:
    return [
        {"table": name, "people": whose, "data": what, "rows": _count(connection, table(name))}
        for name, (whose, what) in CATEGORIES.items()
    ]


def _count(connection: Connection, rows: FromClause) -> int:
    return int(connection.execute(select(func.count()).select_from(rows)).scalar_one())


def _recipients(connection: Connection, settings: Settings, since: str | None) -> dict[str, Any]:
    who = select(people.c.kind, people.c.role, func.count().label("count")).where(people.c.active)
    by_role = connection.execute(who.group_by(people.c.kind, people.c.role).order_by(people.c.kind, people.c.role))
    named = (select(one.c.id).where(one.c.active).order_by(one.c.id) for one in (agents, clients))
    agent_ids, client_ids = (list(connection.execute(query).scalars()) for query in named)
    disclosed = select(func.count()).where(events.c.phase == "disclosure", events.c.recorded >= (since or ""))
    return {
        "people": [{"kind": row.kind, "role": row.role, "count": row.count} for row in by_role],
        "agents": agent_ids,
        "clients": client_ids,
        "openid_providers": _issuers(settings),
        "disclosures": int(connection.execute(disclosed).scalar_one()),
    }


def _issuers(settings: Settings) -> list[str]:
    try:
        return [one.issuer for one in load_providers(settings.providers, own_issuer=settings.issuer)]
    except Misconfigured:
        return ["the file that CLINIC_PROVIDERS names cannot be read"]


def _time_limits(connection: Connection, settings: Settings) -> dict[str, Any]:
    purge = last_purge(connection)
    before = expiry.cutoff(settings.audit_detail_days, datetime.now(UTC))
    return {
        "audit_log_years": settings.audit_retention_years,
        "detail": settings.audit_detail,
        "detail_days": settings.audit_detail_days,
        "detail_overdue": overdue(connection, before),
        "oldest_event": _first(connection),
        "last_purge": _when(connection, PURGED),
        "purged_before": None if purge is None else purge.cutoff,
        "last_erasure": _when(connection, erasure.CODE),
        "on_hold": hold.is_on(connection),
        "clinical_records": "kept until the clinic removes them: their retention is its own",
    }


def _when(connection: Connection, code: str) -> str | None:
    query = select(func.max(events.c.recorded)).where(events.c.code == code)
    found: str | None = connection.execute(query).scalar()
    return found


def _measures(connection: Connection, settings: Settings) -> dict[str, Any]:
    newest = tree.latest_checkpoint(connection)
    uncovered = _count(connection, events) if newest is None else _after(connection, newest.size)
    return {
        "database": make_url(settings.url).get_backend_name(),
        "separate_roles": _roles(connection),
        "private_files": _modes(settings),
        "policies": _policies(settings),
        "audit_log": {
            "guards": guards.problem(connection) or "in place: append-only",
            "last_checkpoint": None if newest is None else {"size": newest.size, "recorded": newest.recorded},
            "events_after_it": uncovered,
            "verified": _when(connection, "audit.verify"),
            "witness": "configured" if settings.witness else NOT_SET,
        },
        "encryption_in_transit": "TLS is not ended by the servers: they listen on loopback unless a proxy with TLS is"
        " put in front",
        "encryption_at_rest": "left to the disk or the database server",
    }


def _after(connection: Connection, size: int) -> int:
    """Events the newest checkpoint does not cover."""
    return _count(connection, events) - max(size - _purged(connection), 0)


def _purged(connection: Connection) -> int:
    purge = last_purge(connection)
    return 0 if purge is None else int(purge.upto)


def _roles(connection: Connection) -> str:
    if connection.dialect.name == "sqlite":
        return "each server holds its own connections to its tables; the file has no users"
    wanted = {role(part) for part in PARTS}
    there = set(
        connection.execute(
            text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:names)"), {"names": sorted(wanted)}
        ).scalars()
    )
    return "applied" if there == wanted else f"not applied: {len(wanted - there)} of {len(wanted)} roles are missing"


def _modes(settings: Settings) -> dict[str, str]:
    """The modes of the private files, by their names."""
    found = [
        *sorted(settings.keys.glob("*.jwk")),
        *sorted(settings.credentials.glob("*")),
    ]
    return {_name(path, settings): oct(stat.S_IMODE(path.stat().st_mode)) for path in found if path.is_file()}


def _name(path: Path, settings: Settings) -> str:
    return path.relative_to(settings.home).as_posix()


def _policies(settings: Settings) -> dict[str, Any]:
    try:
        policies = PolicySet.load(settings.policies)
    except Misconfigured as exc:
        return {"problem": exc.message}
    effects = [one.effect for one in policies.policies.values()]
    return {"policy_set": policies.digest, "permits": effects.count("permit"), "forbids": effects.count("forbid")}
