"""`volant runs`: list, show, compare, cancel, resume, retry."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from volant.cli import run_life
from volant.cli.client import Client, named
from volant.cli.compare import compare
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import output_of
from volant.cli.text import ago, took
from volant.cli.watch import (
    render,
    steps_of,
    told_end,
    verdict,
    watch,
    with_search,
)

app = new_app(help="List, show, compare, steer and prune runs.", invoke_without_command=True)

app.command()(compare)
run_life.add_to(app)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]


@app.callback()
def runs(
    ctx: typer.Context,
    loop: Annotated[str | None, typer.Option(help="Only this loop's.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only this workflow's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
) -> None:
    """List runs, newest first."""
    if ctx.invoked_subcommand is not None:
        return
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.pages("/runs", limit, loop=loop, workflow=workflow)
        if loop and not found["items"]:
            client.get(f"/loops/{named(loop)}")  # says so if there is none
    columns = ("run", "of", "status", "step", "started", "took")
    out.document(
        found,
        lambda: out.table(columns, [_row(view) for view in found["items"]], "No run yet."),
    )


def _row(view: dict[str, Any]) -> tuple[str, ...]:
    state = view["state"]
    return (
        view["id"],
        view["loop"] or view["workflow"]["name"],
        state["status"],
        _where(view),
        ago(state["started_at"] or view["created_at"]),
        took(state["started_at"], state["ended_at"]),
    )


def _where(view: dict[str, Any]) -> str:
    """The step that a run is at or broke at."""
    at = [_counted(s) for s in steps_of(view) if s["status"] in ("running", "failed")]
    return ", ".join(at) or "-"


def _counted(step: dict[str, Any]) -> str:
    """`fit`, or with how many of its elements are done: `fit 7/10`."""
    found = step.get("elements")
    if not found:
        return step["name"]
    done = found["ended"] - found.get("failed", 0)
    return f"{step['name']} {done}/{found['total']}"


@app.command()
def show(
    ctx: typer.Context,
    run_id: RunId,
    follow: Annotated[
        bool, typer.Option("--watch", "-w", help="Follow it until it ends; exit 1 if it fails.")
    ] = False,
) -> None:
    """Show a run and its steps."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        if not follow:
            view = with_search(client, client.get(f"/runs/{named(run_id)}"))
            out.document(view, lambda: render(view, out))
            return
        last = watch(client, out, run_id)
    out.document(last, lambda: told_end(last, out))
    raise typer.Exit(verdict(last))


@app.command()
def cancel(ctx: typer.Context, run_id: RunId) -> None:
    """Stop a run and the steps that it is at."""
    _changed(ctx, run_id, "cancel", "Cancelled")


@app.command()
def resume(ctx: typer.Context, run_id: RunId) -> None:
    """Go on with a stopped or failed run where it stopped."""
    _changed(ctx, run_id, "resume", "Resumed")


def _changed(ctx: typer.Context, run_id: str, verb: str, done: str) -> None:
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        view = client.post(f"/runs/{named(run_id)}/{verb}")
    out.document(view, lambda: out.line(f"{done} {run_id}."))


@app.command()
def retry(
    ctx: typer.Context,
    run_id: RunId,
    from_step: Annotated[
        str | None,
        typer.Option(
            "--from-step",
            "--from",
            metavar="STEP",
            help="Where to begin; where it failed when absent.",
        ),
    ] = None,
) -> None:
    """Run again as a new run, keeping what was done before a step."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        started = client.post(
            f"/runs/{named(run_id)}/retry", {"from_step": from_step} if from_step else None
        )
    hint = f"volant runs show {started['id']} --watch"
    out.document(started, lambda: out.line(f"Started {started['id']}. Watch it: {hint}"))
