"""A client's credential: a private key or a secret, and what is said of a file that is neither."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from clinic_agent.consultations import Consultations
from clinic_agent.credentials import Credential, load_credential
from clinic_agent.errors import SettingsProblem, Unauthenticated
from clinic_agent.grants import Caller, Grants, token_url
from conftest import World

SECRET = "s3cr3t"


def written(world: World, **fields: Any) -> Path:
    """A credential file of a client that has a secret, with other fields changed or left out (`...`)."""
    own = {name: value for name, value in world.clinic.credentials["clinic-agent"].items() if name != "private_key"}
    own |= {"client_id": "desk-app", **fields}
    path = world.home / "desk-app.json"
    path.write_text(json.dumps({name: value for name, value in own.items() if value is not ...}))
    return path


def exchanged(world: World, credential: Credential) -> dict[str, Any]:
    """The claims of a grant."""
    session = world.clinic.open("P001")

    async def ask() -> str:
        async with httpx.AsyncClient(timeout=15) as http:
            grants = Grants(credential, token_url(credential, world.clinic_url), http)
            return await grants.get(Caller(session, "intake_agent"), "patient-records")

    claims: dict[str, Any] = jwt.decode(asyncio.run(ask()), options={"verify_signature": False})
    return claims


@pytest.fixture(autouse=True)
def secret(world: World) -> Path:
    world.clinic.secrets["desk-app"] = SECRET
    path = world.home / "desk-app.secret"
    path.write_text(SECRET + "\n")
    return path


@pytest.mark.parametrize("kind", ["absolute file", "file beside", "secret itself"])
def test_a_client_with_a_secret_gets_its_grants(world: World, secret: Path, kind: str) -> None:
    fields = {
        "absolute file": {"secret_file": str(secret)},
        "file beside": {"secret_file": secret.name},
        "secret itself": {"client_secret": SECRET},
    }[kind]
    credential = load_credential(written(world, **fields))
    assert exchanged(world, credential)["client"] == "desk-app"
    with Consultations(credential, world.clinic_url) as service:
        assert service.open("P001", "fever").patient_id == "P001"
    assert SECRET not in repr(credential)


def test_a_new_secret_in_the_file_counts_at_the_next_request(world: World, secret: Path) -> None:
    credential = load_credential(written(world, secret_file=str(secret)))
    world.clinic.secrets["desk-app"] = "another"
    with pytest.raises(Unauthenticated):
        exchanged(world, credential)
    secret.write_text("another")
    assert exchanged(world, credential)["client"] == "desk-app"


@pytest.mark.parametrize("fields", [{}, {"secret_file": "nowhere.secret"}, {"secret_file": "empty.secret"}], ids=str)
def test_a_credential_without_its_secret_is_a_sentence(world: World, fields: dict[str, Any]) -> None:
    (world.home / "empty.secret").write_text("\n")
    with pytest.raises(SettingsProblem) as problem:
        load_credential(written(world, **fields))
    assert str(problem.value).count("\n") == 0


def test_a_credential_proves_itself_in_one_way(world: World, secret: Path) -> None:
    key = world.clinic.credentials["clinic-agent"]["private_key"]
    for fields in (
        {"secret_file": str(secret), "private_key": key},
        {"secret_file": str(secret), "client_secret": SECRET},
    ):
        with pytest.raises(SettingsProblem):
            load_credential(written(world, **fields))
