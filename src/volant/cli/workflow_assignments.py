"""`volant workflow assign|unassign|list-assignments`."""

from __future__ import annotations

from typing import Any

import typer

from volant.cli.client import Client, named
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import ago
from volant.cli.workflow_names import (
    CodesetName,
    CodesetOption,
    NameOption,
    ProjectOption,
    WorkflowName,
    chosen,
    codeset,
)
from volant.errors import InvalidInput


def add_to(app: typer.Typer) -> None:
    """Give `volant workflow` these commands."""
    app.command()(assign)
    app.command()(unassign)
    app.command("list-assignments")(list_assignments)


def assign(
    ctx: typer.Context,
    *,
    workflow: WorkflowName = None,
    on: CodesetName = None,
    name: NameOption = None,
    codeset_name: CodesetOption = None,
    codeset_project: ProjectOption = None,
) -> None:
    """Run a workflow on every push to a codeset, and on its newest version now."""
    out = output_of(ctx)
    wanted, on = _names(workflow, name, on)
    project, code = _codeset(ctx, on, codeset_name, codeset_project)
    with Client.of(options_of(ctx)) as client:
        found = client.put(f"/workflows/{named(wanted)}/assignments/{_path(project, code)}", {})

    def render() -> None:
        out.line(f'Workflow "{wanted}" assigned to codeset "{project}/{code}"')
        if found["run"]:
            out.note(f"Watch its first run: volant runs show {found['run']['id']} --watch")

    out.document(found, render)


def unassign(
    ctx: typer.Context,
    *,
    workflow: WorkflowName = None,
    on: CodesetName = None,
    name: NameOption = None,
    codeset_name: CodesetOption = None,
    codeset_project: ProjectOption = None,
) -> None:
    """Run a workflow on pushes to a codeset no more. Runs under way go on."""
    out = output_of(ctx)
    wanted, on = _names(workflow, name, on)
    project, code = _codeset(ctx, on, codeset_name, codeset_project)
    with Client.of(options_of(ctx)) as client:
        client.delete(f"/workflows/{named(wanted)}/assignments/{_path(project, code)}")
    told = {"workflow": wanted, "project": project, "codeset": code}
    out.document(
        told, lambda: out.line(f'Workflow "{wanted}" unassigned from codeset "{project}/{code}"')
    )


def list_assignments(ctx: typer.Context, name: NameOption = None) -> None:
    """List which workflows are assigned to which codesets."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get("/assignments", workflow=name)
    out.document(found, lambda: _table(out, found["items"]))


def _table(out: Output, items: list[dict[str, Any]]) -> None:
    rows = [
        (each["workflow"], f"{each['project']}/{each['codeset']}", ago(each["created_at"]))
        for each in items
    ]
    out.table(
        ("workflow", "codeset", "assigned"),
        rows,
        "Nothing is assigned. Do it: volant workflow assign WORKFLOW PROJECT/CODESET",
    )


def _names(workflow: str | None, name: str | None, on: str | None) -> tuple[str, str | None]:
    """The workflow, and the codeset as an argument: the one argument beside --name is the
    codeset."""
    if name is not None and workflow is not None and on is None:
        return name, workflow
    return chosen(workflow, name), on


def _codeset(
    ctx: typer.Context, on: str | None, name: str | None, project: str | None
) -> tuple[str, str]:
    found = codeset(options_of(ctx), on, name, project)
    if found is None:
        raise InvalidInput(
            "Which codeset?",
            "Write PROJECT/NAME, or give --codeset-project and --codeset-name.",
            code="which_codeset",
        )
    if found[2] is not None:
        raise InvalidInput(
            "A workflow is assigned to a codeset, not to one of its commits.",
            f"Leave @{found[2]} out; run it on a commit with `volant workflow run`.",
        )
    return found[:2]


def _path(project: str, code: str) -> str:
    return f"{named(project)}/{named(code)}"
