"""`volant workflow run|plan|list-runs`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from volant.cli.client import Client, named
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import ago, duration, took, word
from volant.cli.watch import told_end, verdict, watch
from volant.cli.workflow_names import (
    CodesetName,
    CodesetOption,
    NameOption,
    ProjectOption,
    WorkflowName,
    chosen,
    codeset,
    text_of,
)
from volant.errors import InvalidInput, NotFound

# FuseML's words for statuses, and ours
_STATUSES: dict[str, tuple[str, ...]] = {
    "started": ("queued",),
    "queued": ("queued",),
    "running": ("running",),
    "cancelled": ("cancelled",),
    "succeeded": ("succeeded",),
    "completed": ("succeeded",),
    "failed": ("failed",),
    "timeout": ("failed",),
}

Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="NAME=VALUE", help="Instead of its default."),
]
Version = Annotated[
    int | None, typer.Option(min=1, help="The workflow's version; the newest when absent.")
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Do every step, also what was done before.")
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Refuse an environment that can't be had as it is written."),
]


def add_to(app: typer.Typer) -> None:
    """Give `volant workflow` these commands."""
    app.command()(run)
    app.command()(plan)
    app.command("list-runs")(list_runs)


def run(
    ctx: typer.Context,
    *,
    workflow: WorkflowName = None,
    on: Annotated[
        str | None,
        typer.Argument(metavar="[CODESET]", help="PROJECT/NAME, or PROJECT/NAME@COMMIT."),
    ] = None,
    name: NameOption = None,
    codeset_name: CodesetOption = None,
    codeset_project: ProjectOption = None,
    inputs: Inputs = None,
    version: Version = None,
    no_cache: NoCache = False,
    strict: Strict = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Show it until it ends; exit 1 if it fails.")
    ] = False,
) -> None:
    """Run a workflow now, on the newest version of a codeset or on a commit."""
    out = output_of(ctx)
    wanted = chosen(workflow, name)
    where = codeset(options_of(ctx), on, codeset_name, codeset_project)
    body = {**_request(where, inputs, version, no_cache), "strict": strict}
    with Client.of(options_of(ctx)) as client:
        started = client.post(f"/workflows/{named(wanted)}/runs", body)
        if not wait:
            hint = f"volant runs show {started['id']} --watch"
            out.document(started, lambda: out.line(f"Started {started['id']}. Watch it: {hint}"))
            return
        view = watch(client, out, started["id"])

    out.document(view, lambda: told_end(view, out))
    raise typer.Exit(verdict(view))


def plan(
    ctx: typer.Context,
    *,
    what: Annotated[
        str | None, typer.Argument(metavar="[WORKFLOW|FILE]", help="Registered, or a manifest.")
    ] = None,
    on: CodesetName = None,
    name: NameOption = None,
    codeset_name: CodesetOption = None,
    codeset_project: ProjectOption = None,
    inputs: Inputs = None,
    version: Version = None,
    no_cache: NoCache = False,
) -> None:
    """Show what a run would do: its graph, images, inputs, and what it may cost."""
    out = output_of(ctx)
    wanted = chosen(what, name)
    where = codeset(options_of(ctx), on, codeset_name, codeset_project)
    body = _request(where, inputs, version, no_cache)
    if Path(wanted).suffix in (".yaml", ".yml", ".json") or Path(wanted).is_file():
        body |= {"source": text_of(Path(wanted)), "file": wanted[:500]}
    else:
        body["name"] = wanted
    with Client.of(options_of(ctx)) as client:
        found = client.post("/workflows/plan", body)
    out.document(found, lambda: _render_plan(out, found))


def _render_plan(out: Output, found: dict[str, Any]) -> None:
    number = f"  version {found['version']}" if found["version"] else ""
    out.line(f"{found['workflow']}{number}", "bold")
    for line in found["drawing"]:
        out.line(line)
    if found["inputs"]:
        out.line()
        out.line("Inputs", "bold")
    for key, value in found["inputs"].items():
        out.line(f"  {key} = {_input(value)}")
    out.line()
    rows = [
        (
            step["name"],
            step["image"] or step["uses"] or step["kind"],
            ", ".join(f"{key}={_short(value)}" for key, value in step["inputs"].items()) or "-",
            "yes" if step["cache"] else "no",
            duration(step["seconds"]) if step["seconds"] is not None else "-",
        )
        for step in found["steps"]
    ]
    out.table(("step", "does", "inputs", "cached", "took last"), rows)
    out.line(_estimate(found["estimate"]))


def _input(value: Any) -> str:
    if _is_codeset(value):
        return "{project}/{name}@{version:.12}".format(**value)
    return word(value)


def _is_codeset(value: Any) -> bool:
    return isinstance(value, dict) and {"project", "name", "version"} <= value.keys()


def _short(value: Any) -> str:
    text = f"{value['project']}/{value['name']}" if _is_codeset(value) else word(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _estimate(estimate: dict[str, Any]) -> str:
    unknown = estimate["unknown"]
    if not estimate["step_s"]:
        return "Estimate: none, as no step of it was done yet."
    told = f"Estimate: {duration(estimate['wall_s'])}"
    if estimate["cost"] is not None:
        told += f", at {estimate['price_per_hour']:g} an hour {estimate['cost']:g}"
    return told + (f", without {', '.join(unknown)}, not done yet." if unknown else ".")


def list_runs(
    ctx: typer.Context,
    *,
    name: NameOption = None,
    codeset_name: CodesetOption = None,
    codeset_project: ProjectOption = None,
    status: Annotated[
        str | None,
        typer.Option("--status", "-s", metavar="STATUS", help=f"One of {', '.join(_STATUSES)}."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
) -> None:
    """List the runs of workflows, newest first."""
    out = output_of(ctx)
    if status is not None and status.lower() not in _STATUSES:
        raise InvalidInput(
            f"{status!r} is no status.", f"It is one of {', '.join(_STATUSES)}.", code="bad_status"
        )
    query = {
        "workflow": name,
        "project": codeset_project,
        "codeset": codeset_name,
        "status": _STATUSES[status.lower()] if status else None,
    }
    with Client.of(options_of(ctx)) as client:
        found = client.pages("/runs", limit, registered=True, **query)
        if name is not None and not found["items"]:
            found = _of_deleted(client, name, limit, query) or found
    columns = ("name", "workflow", "started", "duration", "status")
    rows = [_run_row(view) for view in found["items"]]
    out.document(found, lambda: out.table(columns, rows, "No run yet."))


def _of_deleted(
    client: Client, name: str, limit: int, query: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The runs of a workflow that isn't registered any more, which stay; None when it is
    registered. Raises `NotFound` for one that never was."""
    try:
        client.get(f"/workflows/{named(name)}")
    except NotFound:
        found = client.pages("/runs", limit, **query)
        found["items"] = [each for each in found["items"] if each["loop"] is None]
        if not found["items"]:
            raise
        return found
    return None


def _run_row(view: dict[str, Any]) -> tuple[str, ...]:
    state = view["state"]
    return (
        view["id"],
        view["workflow"]["name"],
        ago(state["started_at"]) if state["started_at"] else "---",
        took(state["started_at"], state["ended_at"]) if state["ended_at"] else "---",
        state["status"].capitalize(),
    )


def _request(
    where: tuple[str, str, str | None] | None,
    inputs: list[str] | None,
    version: int | None,
    no_cache: bool,
) -> dict[str, Any]:
    project, code, commit = where or (None, None, None)
    return {
        "project": project,
        "codeset": code,
        "commit": commit,
        "inputs": _pairs(inputs or []),
        "version": version,
        "no_cache": no_cache,
    }


def _pairs(given: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for each in given:
        key, sign, value = each.partition("=")
        if not sign or not key:
            raise InvalidInput(f"--input {each!r} isn't NAME=VALUE.", "Write it so.")
        if key in pairs:
            raise InvalidInput(f"--input {key} is given twice.", "Give it once.")
        pairs[key] = value
    return pairs
