"""`volant predictions`: what a deployment predicted last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import number
from volant.errors import InvalidInput

app = new_app()

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@app.command()
def predictions(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The deployment; a loop's has its name.")],
    last: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many rows.")] = 20,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="From then on: 90s, 10m, 2h, 1d ago, or an ISO time."),
    ] = None,
) -> None:
    """Show the rows that a deployment predicted last, from its prediction log."""
    out = output_of(ctx)
    moment = None if since is None else _moment(since)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"/deployments/{named(name)}/predictions", last=last, since=moment)
    rows = [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
    document = {"deployment": name, "dataset": found["dataset"], "predictions": rows}
    out.document(document, lambda: _render(out, found))


def _moment(text: str) -> str:
    if text[-1:] in _UNITS and text[:-1].replace(".", "", 1).isdigit():
        ago = timedelta(seconds=float(text[:-1]) * _UNITS[text[-1]])
        return (datetime.now(UTC) - ago).isoformat()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no time.", "Give 10m, 2h or 2030-01-31T12:00.") from error
    return moment.astimezone().isoformat()


def _render(out: Output, found: dict[str, Any]) -> None:
    hidden = {"deployment", "model", "revision"}
    shown = [i for i, name in enumerate(found["columns"]) if name not in hidden]
    names = [found["columns"][i] for i in shown]
    rows = [[_cell(row[i], names[place]) for place, i in enumerate(shown)] for row in found["rows"]]
    out.table(names, rows, "Nothing is logged yet.")


def _cell(value: Any, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(number(each) for each in value)
    return str(value)[:19] if name == "time" else number(value)
