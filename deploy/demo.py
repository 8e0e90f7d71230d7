"""`make demo`: a whole consultation on this machine, with what was refused and what is on the record."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".demo"
CLINIC = ROOT / ".venv" / "bin" / "clinic-mcp"
AGENT = ROOT / "agent" / ".venv" / "bin" / "clinic-agent"
BASE_PORT = int(os.environ.get("DEMO_PORT", "8100"))
SERVERS = ("patient-records", "knowledge-base", "pharmacy", "prescriptions")
WAITING, HANDED_OVER = 4, 5
console = Console(highlight=False)


def environment() -> dict[str, str]:
    urls = ",".join(f"{name}=http://127.0.0.1:{BASE_PORT + i}/mcp" for i, name in enumerate(SERVERS, 1))
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("CLINIC_")},
        "CLINIC_HOME": str(HOME),
        "CLINIC_CONSULTATIONS_URL": f"http://127.0.0.1:{BASE_PORT}",
        "CLINIC_SERVER_URLS": urls,
        "CLINIC_LOG_LEVEL": "ERROR",
    }


def main() -> int:
    began = time.monotonic()
    try:
        if HOME.exists():
            shutil.rmtree(HOME)
        HOME.mkdir(mode=0o700)
    except OSError as exc:
        return stop(f"{HOME} cannot be written ({exc.strerror}). Run the demo from a folder you own.")
    say("1  A clinic of its own", f"data folder {HOME.name}/, SQLite, invented patients, no account, no network")
    clinic("init", "--demo")
    say("2  Six processes", "five MCP servers and the consultations service, each with its own part of the data")
    suite = subprocess.Popen([CLINIC, "up", "--base-port", str(BASE_PORT)], env=environment())
    try:
        wait_until_up(suite)
        consultation_of_alice()
        consultation_of_bob()
        asyncio.run(attempts())
        asyncio.run(emergency())
        record()
    except Failed as failed:
        return stop(str(failed))
    finally:
        suite.send_signal(signal.SIGTERM)
        suite.wait(10)
    say("Done", f"in {time.monotonic() - began:.0f} seconds. What to try next:")
    paths = {"home": HOME, "clinic": CLINIC.relative_to(ROOT), "agent": AGENT.relative_to(ROOT), "root": ROOT}
    console.print(NEXT.format(**paths), soft_wrap=True)
    return 0


def consultation_of_alice() -> None:
    say("3  Alice Thompson, P001", "headache and fever; intake may read her record, and nobody else's")
    session = consult("P001", "I have had a headache and a fever since yesterday, no chest pain")
    calls(session, "What intake asked for, what was decided, and by which policy")
    say("4  The doctor decides", "Dr Osei signs off; only what the notes say can become an active prescription")
    agent("resume", session, "--clinician", "dr-osei", "--diagnose", "Paracetamol 500mg three times daily for 3 days")
    calls(session, "The whole consultation on the record")


def consultation_of_bob() -> None:
    say("5  Bob Patel, P002", "the doctor prescribes Amoxicillin, which is out of stock")
    session = consult("P002", "sore throat and swollen glands for three days")
    notes = "Amoxicillin 500mg three times daily for 7 days"
    agent("resume", session, "--clinician", "dr-osei", "--diagnose", notes, expected=(HANDED_OVER,))


async def attempts() -> None:
    say("6  What a hijacked agent would try", "whatever a model is talked into, the servers decide")
    session = clinic("consultation", "open", "--patient", "P001", "--symptoms", "headache")
    intake = clinic("grant", session, "--agent", "intake_agent")
    prescriber = clinic("grant", session, "--agent", "prescription_agent")
    tried = [
        ("The intake agent of Alice's consultation reads Bob's record", 1, intake, "get_patient_record",
         {"patient_id": "P002"}),
        ("The prescription agent records before a sign-off", 4, prescriber, "record_prescription",
         {"session_id": session, "prescription": "Cetirizine 10mg"}),
    ]  # fmt: skip
    for sentence, offset, grant, tool, arguments in tried:
        result = await call(BASE_PORT + offset, grant, tool, arguments)
        error = result.structured_content["error"]
        console.print(f"   {sentence}:")
        console.print(f"   [red]{error['code']}[/red]: {error['message']} {error.get('advice', '')}\n", soft_wrap=True)
        if not result.is_error:
            raise Failed("That call should have been refused. Please report this.")
    calls(session, "Both are on the record, with the policy that refused them")


async def emergency() -> None:
    say("7  An emergency", "Dr Lindqvist does not treat Alice; he breaks the glass, for an hour, and is reviewed")
    token = clinic("token", "issue", "--as", "dr-lindqvist")
    about = {"patient_id": "P001"}
    why = {**about, "reason_code": "unconscious", "reason": "Found unconscious in the waiting room"}
    steps = [
        ("He reads her record", "get_patient_record", about, True),
        ("He gives a reason", "request_emergency_access", why, False),
        ("He reads her record again", "get_patient_record", about, False),
    ]
    for sentence, tool, arguments, refused in steps:
        result = await call(BASE_PORT + 1, token, tool, arguments)
        if result.is_error is not refused:
            raise Failed("That call should have gone the other way. Please report this.")
        content = result.structured_content
        said = content["error"]["message"] if refused else content.get("expires_at", "her record")
        word = "[red]refused[/red]" if refused else "[green]allowed[/green]"
        console.print(f"   {sentence}: {word}, {said}", soft_wrap=True)
    console.print()


async def call(port: int, grant: str, tool: str, arguments: dict[str, Any]) -> Any:
    import httpx2 as httpx
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx.AsyncClient(headers={"Authorization": f"Bearer {grant}"}) as http,
        Client(streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)) as client,
    ):
        return await client.call_tool(tool, arguments)


def record() -> None:
    say("8  The audit log", "every call, intent before effect, in a chain that shows any change")
    subprocess.run([CLINIC, "audit", "list", "--limit", "12"], env=environment(), check=True)
    if subprocess.run([CLINIC, "audit", "verify"], env=environment(), check=False).returncode:
        raise Failed("The audit log does not verify. Please report this.")


def consult(patient: str, symptoms: str) -> str:
    """Run intake until it waits for the doctor; the session id."""
    agent("consult", "--patient", patient, symptoms, expected=(WAITING,))
    sessions = [
        event["session"]["consultation"]
        for event in json.loads(clinic("audit", "list", "--json", "--limit", "200"))
        if event["code"] == "consultation.opened"
    ]
    return str(sessions[-1])


def calls(session: str, title: str) -> None:
    """A consultation's calls with decision and deciding policy, from the audit log."""
    events = json.loads(clinic("audit", "list", "--session", session, "--json"))
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in ("agent", "tool", "decision", "deciding policy"):
        table.add_column(name, overflow="fold")
    for event in events:
        if event["phase"] not in ("intent", "decision"):
            continue
        effect = event["decision"]["effect"]
        shown = f"[green]{effect}[/green]" if effect == "allow" else f"[red]{effect}[/red]"
        table.add_row(event["agent"]["id"], event["call"]["tool"], shown, ", ".join(event["decision"]["policies"]))
    console.print(table)


def agent(*arguments: str, expected: tuple[int, ...] = (0, HANDED_OVER)) -> None:
    done = subprocess.run([AGENT, *arguments], env=environment(), stdin=subprocess.DEVNULL, check=False, timeout=60)
    if done.returncode not in expected:
        raise Failed(f"clinic-agent ended with exit code {done.returncode}; the lines above say why.")


def clinic(*arguments: str) -> str:
    done = subprocess.run([CLINIC, *arguments], env=environment(), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Failed(f"clinic-mcp {arguments[0]} ended with exit code {done.returncode}; the line above says why.")
    return done.stdout.strip()


def wait_until_up(suite: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 40
    for port in range(BASE_PORT, BASE_PORT + 5):
        while not answers(port):
            if suite.poll() is not None:
                raise Failed(
                    "The servers did not start; the line above says why. Other ports: make demo DEMO_PORT=9100"
                )
            if time.monotonic() > deadline:
                raise Failed("The servers did not answer within 40 seconds.")
            time.sleep(0.1)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


class Failed(Exception):
    """The demo cannot go on; the message says why, in a sentence."""


def say(title: str, sentence: str) -> None:
    console.print(f"\n[bold cyan]{title}[/bold cyan]  {sentence}\n", soft_wrap=True)


def stop(sentence: str) -> int:
    Console(stderr=True).print(sentence, style="yellow")
    return 1


NEXT = """\
   The same clinic again:     export CLINIC_HOME={home}
   Start the servers:         {clinic} up
   Another consultation:      {agent} consult --patient P003 "j'ai mal à la gorge"
   Read the log:              {clinic} audit list --patient P001
   Check it:                  {clinic} audit verify
   See it in a browser:       {clinic} audit review
     with the token of:       {clinic} token issue --as auditor-tan --server review

   Plug a server into Claude Desktop (claude_desktop_config.json), as Dr Osei, for an hour:
     {clinic} token issue --as dr-osei > {home}/dr-osei.token
     {{"mcpServers": {{"patient-records": {{
         "command": "{root}/{clinic}",
         "args": ["serve", "patient-records"],
         "env": {{"CLINIC_HOME": "{home}", "CLINIC_TOKEN_FILE": "{home}/dr-osei.token"}}}}}}}}
"""

if __name__ == "__main__":
    sys.exit(main())
