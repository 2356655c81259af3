"""`volant why NAME`: the chain of decisions, newest first, in words and numbers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import clock, number
from volant.errors import NotFound

app = new_app()
_TOLD = frozenset({"rule", "passed", "reason"})


@app.command()
def why(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The loop, or the deployment.")],
    limit: Annotated[int, typer.Option(min=1, help="At most so many decisions.")] = 20,
) -> None:
    """Why the platform did what it did: every decision, newest first."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = _decisions(client, name, limit)
    out.document(found, lambda: _render(out, name, found["items"]))


def _decisions(client: Client, name: str, limit: int) -> dict[str, Any]:
    """The loop's, or those of a deployment that no loop made; a codeset's by PROJECT/NAME."""
    project, slash, codeset = name.partition("/")
    if slash:
        return client.pages(f"/codesets/{named(project)}/{named(codeset)}/decisions", limit)
    try:
        return client.pages(f"/loops/{named(name)}/decisions", limit)
    except NotFound:
        found = client.pages(f"/deployments/{named(name)}/decisions", limit)
        if not found["items"]:
            raise
        return found


def _render(out: Output, name: str, decisions: list[dict[str, Any]]) -> None:
    if not decisions:
        out.note(f"Nothing was decided for {name} yet. Push data: volant data push DATASET FILE")
        return
    for place, decision in enumerate(decisions):
        if place:
            out.line()
        _decision(out, decision)


def _decision(out: Output, decision: dict[str, Any]) -> None:
    head = f"{clock(decision['time'])}  {decision['kind']} "
    out.raw(head + out.status(decision["outcome"]) + f"  {decision['subject']}")
    out.line(f"  {decision['reason']}")
    for rule in decision["rules"]:
        _rule(out, rule)
    links = {
        "run": decision["run_id"],
        "event": decision["event_id"],
        "decision": decision["id"],
    }
    told = [f"{key} {value}" for key, value in links.items() if value]
    out.line(f"  {'  '.join(told)}", "dim")


def _rule(out: Output, rule: dict[str, Any]) -> None:
    passed = bool(rule.get("passed"))
    mark = "✓ passed" if passed else "✗ failed"
    out.line(f"  {mark}  {rule.get('rule', '')}: {rule.get('reason', '')}", _color(passed))
    numbers = [f"{key} {_value(value)}" for key, value in rule.items() if key not in _TOLD]
    if numbers:
        out.line(f"            {', '.join(numbers)}", "dim")


def _color(passed: bool) -> str:
    return "green" if passed else "red"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_value(each) for each in value)}]"
    return number(value)
