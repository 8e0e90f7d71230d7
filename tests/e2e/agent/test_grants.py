"""Grants against the real service: asked for once, renewed in time, and asked for anew when they are not accepted."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from agent_e2e.clinic import Clinic
from agent_e2e.runs import run
from clinic_agent import tools
from clinic_agent.credentials import load_credential
from clinic_agent.errors import Unauthenticated
from clinic_agent.gateway import close_connections
from clinic_agent.grants import Caller, Grants, token_url


def issued(clinic: Clinic, session: str) -> int:
    return sum(event["code"] == "grant.issued" for event in clinic.events(session))


def read(session: str) -> Any:
    return run("intake_agent", session, lambda: tools.get_patient_record.invoke({"patient_id": "P001"}))


def test_a_grant_serves_every_call_and_a_new_process_asks_for_its_own(
    clinic: Clinic, reach: Callable[..., None]
) -> None:
    reach(clinic)
    session = clinic.open("P001")
    assert [read(session)["id"] for _ in range(3)] == ["P001"] * 3
    assert issued(clinic, session) == 1
    close_connections()
    assert read(session)["id"] == "P001"
    assert issued(clinic, session) == 2


def test_a_grant_is_renewed_a_minute_before_it_expires(clinic: Clinic) -> None:
    session = clinic.open("P001")
    credential = load_credential(clinic.home / "credentials" / "clinic-agent.json")
    url = token_url(credential, clinic.environment["CLINIC_CONSULTATIONS_URL"])
    caller, clock = Caller(session, "intake_agent"), [0.0]

    async def at(*moments: float) -> list[str]:
        held = []
        async with httpx.AsyncClient(timeout=15) as http:
            grants = Grants(credential, url, http, clock=lambda: clock[0])
            for moment in moments:
                clock[0] = moment
                held.append(await grants.get(caller, "patient-records"))
        return held

    first, still, renewed = asyncio.run(at(0, 839, 841))
    assert first == still
    assert renewed != first
    claims = jwt.decode(renewed, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 900
    assert (claims["sid"], claims["patient"], claims["aud"]) == (session, "P001", "patient-records")
    assert claims["act"] == {"sub": "intake_agent"}


def test_when_the_clinic_changes_its_key_the_tools_ask_for_a_new_grant_by_themselves(
    other_clinic: Clinic, reach: Callable[..., None]
) -> None:
    clinic = other_clinic
    reach(clinic)
    session = clinic.open("P001")
    assert read(session)["id"] == "P001"
    clinic.down()
    for name in ("grants.jwk", "jwks.json"):  # the log's own keys stay: it was signed with them
        (clinic.home / "keys" / name).unlink()
    clinic.mcp("init")
    clinic.up()
    assert read(session)["id"] == "P001"
    assert [event["reason"] for event in clinic.strangers()] == ["unknown-key"]
    assert issued(clinic, session) == 2


def test_one_credential_does_not_work_twice(clinic: Clinic) -> None:
    """An assertion is good once: whoever copies a request from a log gets nothing."""
    credential = load_credential(clinic.home / "credentials" / "dr-osei.json")
    form = credential.authenticated({"grant_type": "client_credentials", "audience": "consultations"})
    url = token_url(credential, clinic.environment["CLINIC_CONSULTATIONS_URL"])
    assert httpx.post(url, data=form, timeout=15).status_code == 200
    again = httpx.post(url, data=form, timeout=15)
    assert (again.status_code, json.loads(again.content)["error"]) == (401, "invalid_client")


def test_a_client_with_a_secret_gets_its_grants_until_it_is_revoked(clinic: Clinic) -> None:
    secret = clinic.home / "ward-7.secret"
    clinic.mcp("client", "add", "ward-7", "--agent", "intake_agent", "--secret-file", str(secret))
    credential = load_credential(clinic.home / "credentials" / "ward-7.json")
    url = token_url(credential, clinic.environment["CLINIC_CONSULTATIONS_URL"])
    caller = Caller(clinic.open("P001"), "intake_agent")

    async def ask() -> str:
        async with httpx.AsyncClient(timeout=15) as http:
            return await Grants(credential, url, http).get(caller, "patient-records")

    claims = jwt.decode(asyncio.run(ask()), options={"verify_signature": False})
    assert (claims["client_id"], claims["act"]) == ("ward-7", {"sub": "intake_agent"})
    clinic.mcp("client", "revoke", "ward-7")
    with pytest.raises(Unauthenticated):
        asyncio.run(ask())
