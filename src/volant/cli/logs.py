"""`volant logs`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import clean, clock, paint

app = new_app()
POLL_S = 0.5
_TIME = 19  # cells of a time
_NAME = 10  # cells for a step's name, at least


@app.command()
def logs(
    ctx: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    step: Annotated[
        str | None,
        typer.Option(help="Only this step's lines; fit/2: of one element of a foreach."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")
    ] = False,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Each line with its time.")
    ] = False,
) -> None:
    """What a run's steps wrote, in order."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        lines = _lines(client, run_id, step, follow)
        if out.json:
            out.document({"lines": list(lines)}, lambda: None)
            return
        width = 0
        for line in lines:
            width = max(width, _NAME, len(line["step"]))
            name = width if line["step"] != step else 0
            out.raw(_shown(line, out, name, with_time=timestamps))
    if not width:
        out.note("Nothing was written yet." if not follow else "Nothing was written.")


def _lines(client: Client, run_id: str, step: str | None, follow: bool) -> Iterator[dict[str, Any]]:
    after: str | None = None
    while True:
        found = client.get(f"/runs/{named(run_id)}/logs", step=step, after=after)
        yield from found["lines"]
        after = found["after"]
        if found["done"] and not found["lines"]:
            return
        if not found["lines"]:
            if not follow:
                return
            time.sleep(POLL_S)


def _shown(line: dict[str, Any], out: Output, width: int, *, with_time: bool) -> str:
    """With its step's name in `width` cells, if there are any."""
    text = clean(line["text"])
    if line["stream"] == "stderr":
        text = paint(text, "yellow", out.color)
    if width:
        text = paint(f"{clean(line['step']):<{width}} | ", "cyan", out.color) + text
    if with_time:
        text = paint(f"{clock(line['time']):<{_TIME}} ", "dim", out.color) + text
    return text
