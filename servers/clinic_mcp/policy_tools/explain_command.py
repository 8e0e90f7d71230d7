"""`clinic-mcp policy explain`: one call, or one event of the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clinic_mcp.core.console import AsJson, friendly, show_json, show_record
from clinic_mcp.policy_tools.sections import Section, show_sections

if TYPE_CHECKING:
    from clinic_mcp.policy_tools.different import Applied, Different
    from clinic_mcp.policy_tools.explain import Explanation


@friendly
def explain(
    tool: Annotated[str | None, typer.Argument(help="The tool, e.g. get_patient_record.")] = None,
    arguments: Annotated[list[str] | None, typer.Argument(help="Its arguments, each name=value.")] = None,
    person: Annotated[str | None, typer.Option("--as", help="The calling person's id, e.g. dr-osei.")] = None,
    agent: Annotated[str | None, typer.Option(help="The calling agent, with --session.")] = None,
    session: Annotated[str | None, typer.Option(help="The consultation the agent acts in.")] = None,
    patient: Annotated[str | None, typer.Option(help="The calling patient's id, e.g. P001.")] = None,
    event: Annotated[
        str | None, typer.Option(help="Explain a recorded decision instead: its event, or a refusal's reference.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain a decision: the policies that decide it, their text, and what would have to be different.

    Nothing is called. It is recorded, because it reads data. With --event the policies in force then decide.
    """
    who = (person, agent, session, patient)
    if event is not None:
        if tool is not None or any(who):
            raise typer.BadParameter("An event names its own tool and caller.", param_hint="--event")
        shown = _of_event(event)
    else:
        if tool is None:
            raise typer.BadParameter("Name a tool, or an --event.", param_hint="TOOL")
        if [person, agent, patient].count(None) != 2 or (agent is None) is not (session is None):
            raise typer.BadParameter("Give one of --as, --patient, or --agent with --session.", param_hint="caller")
        shown = _of_call(tool, _words(arguments or []), *who)
    if as_json:
        show_json(shown.as_json())
    else:
        show(shown)


def _words(arguments: list[str]) -> dict[str, str]:
    words = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals:
            raise typer.BadParameter(f"{name!r} is not of the form name=value.", param_hint="ARGUMENTS")
        words[name] = value
    return words


def _of_call(
    tool: str, words: dict[str, str], person: str | None, agent: str | None, session: str | None, patient: str | None
) -> Explanation:
    from clinic_mcp.audit.on_record import asking
    from clinic_mcp.core.policy import PolicySet, folder_of
    from clinic_mcp.policy_tools.asked import Who, asked
    from clinic_mcp.policy_tools.explain import explain as explained

    who = Who(person, agent, session, patient)
    with asking() as operator:
        folder = folder_of(operator.settings.policies)
        policies = PolicySet.load(folder)
        with operator.database.read() as connection:
            question = asked(connection, operator.settings.id, who, tool, words)
        shown = explained(policies, folder, question.request, known=question.target.known)
        about = {"tool": tool, "caller": shown.caller, "consultation": session}
        operator.record("policy.explained", about, question.target.patients)
    return shown


def _of_event(event: str) -> Explanation:
    from clinic_mcp.audit.on_record import asking
    from clinic_mcp.core.policy import PolicySet, folder_of
    from clinic_mcp.policy_tools.explain import explain_recorded, find

    with asking() as operator:
        folder = folder_of(operator.settings.policies)
        today = PolicySet.load(folder)
        with operator.database.read() as connection:
            decision = find(connection, event)
            shown = explain_recorded(connection, decision, today, folder)
        operator.record("policy.explained", {"event": decision.event_id}, decision.patients)
    return shown


def show(shown: Explanation) -> None:
    """An explanation, for people."""
    record: dict[str, object] = {
        "decision": "allow" if shown.allowed else "deny",
        "by": ", ".join(shown.policies),
        "caller": shown.caller,
        "tool": shown.tool,
        "record": shown.resource + ("" if shown.known else " (does not exist)"),
        "the caller is told": shown.advice,
        "policy set": shown.policy_set[:16] + "…",
    }
    if shown.event is not None:
        record |= {"event": shown.event["event_id"], "recorded": shown.event["recorded"]}
    if shown.today is not None:
        record["today"] = _today(shown)
    if shown.notes:
        record["note"] = " ".join(shown.notes)
    show_record("Decision", {key: value for key, value in record.items() if value is not None})
    for policy in shown.deciding:
        typer.echo(f"\n// {policy.place or 'no longer in the files'}\n{policy.text}")
    typer.echo()
    if shown.different is None:
        typer.echo("The engine cannot judge this request, so it is refused. An operator must look at the policies.")
    else:
        _show_different(shown, shown.different)


def _today(shown: Explanation) -> str:
    judged = shown.today
    assert judged is not None  # noqa: S101 - the caller looked
    if judged.allowed is None:
        return f"cannot tell: {judged.why}"
    verdict = f"{'allow' if judged.allowed else 'deny'} ({', '.join(judged.policies)})"
    return f"the same: {verdict}" if judged.allowed == shown.allowed else f"OTHERWISE: {verdict}"


def _show_different(shown: Explanation, different: Different) -> None:
    if shown.allowed:
        facts = [[("must stay so", text)] for text in different.must_stay]
        others = [[("must not be so", one.unmet[0]), ("else refuses", one.id)] for one in different.must_not_be]
        show_sections("What it hangs on", [*facts, *others])
        return
    if different.refusing:
        title = "To be allowed: one thing of each must no longer be so"
        show_sections(title, [_refusing(one) for one in different.refusing])
    if different.lacking:
        title = "To be allowed: one of these permits must have all it lacks"
        title += ", besides" if different.refusing else ""
        show_sections(title, [_lacking(one) for one in different.lacking])
    elif not different.permitted:
        typer.echo(f"No policy permits {shown.caller.partition(':')[0]} {shown.tool} in any circumstances.")


def _refusing(forbid: Applied) -> Section:
    facts = forbid.met or (f"every call of {forbid.scope}",)
    return [("forbid", forbid.id), *(("is so", fact) for fact in facts)]


def _lacking(permit: Applied) -> Section:
    facts = [*(("lacks", fact) for fact in permit.unmet), *(("has", fact) for fact in permit.met)]
    return [("permit", permit.id), *facts]
