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


@app.command()
def logs(
    ctx: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    step: Annotated[str | None, typer.Option(help="Only this step's lines.")] = None,
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
        none = True
        for line in lines:
            none = False
            out.raw(_shown(line, out, with_step=step is None, with_time=timestamps))
    if none:
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


def _shown(line: dict[str, Any], out: Output, *, with_step: bool, with_time: bool) -> str:
    text = clean(line["text"])
    if line["stream"] == "stderr":
        text = paint(text, "yellow", out.color)
    if with_step:
        text = paint(f"{clean(line['step']):<10} ", "cyan", out.color) + text
    if with_time:
        text = paint(f"{clock(str(line['time']))} ", "dim", out.color) + text
    return text
