"""`volant workflow`: create, update, list, get, versions, delete, templates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from volant.cli import export, workflow_assignments, workflow_runs
from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import ago
from volant.cli.workflow_names import NameOption, WorkflowName, chosen, text_of
from volant.errors import InvalidInput

app = new_app(help="Register workflows, assign them to codesets, run them.", no_args_is_help=True)

FileArgument = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="The workflow's manifest.")
]
Template = Annotated[
    str | None, typer.Option("--template", "-t", metavar="NAME", help="One that comes along.")
]


@app.command()
def create(ctx: typer.Context, file: FileArgument = None, template: Template = None) -> None:
    """Create a workflow from a file, or from a template."""
    out = output_of(ctx)
    body = _source(file, template)
    with Client.of(options_of(ctx)) as client:
        found = client.post("/workflows", body)
    out.document(found, lambda: _created(out, found))


def _created(out: Output, found: dict[str, Any]) -> None:
    out.line(f'Workflow "{found["name"]}" successfully created')
    if any(each["type"] == "codeset" for each in found["inputs"]):
        out.note(f"Run it on every push: volant workflow assign {found['name']} PROJECT/CODESET")
    else:
        out.note(f"Run it: volant workflow run {found['name']}")


@app.command()
def update(ctx: typer.Context, file: FileArgument = None, template: Template = None) -> None:
    """Store a workflow's next version. Its assignments stay; runs under way go on."""
    out = output_of(ctx)
    body = _source(file, template)
    with Client.of(options_of(ctx)) as client:
        name = name_in(body["source"], body["file"])
        before = client.get(f"/workflows/{named(name)}")["version"]
        found = client.put(f"/workflows/{named(name)}", body)
    same = before == found["version"]
    told = "is unchanged" if same else "successfully updated"
    out.document(found, lambda: out.line(f'Workflow "{name}" {told} (version {found["version"]})'))


@app.command("list")
def list_workflows(ctx: typer.Context, name: NameOption = None) -> None:
    """List the workflows."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get("/workflows")
    if name is not None:
        found["items"] = [each for each in found["items"] if each["name"] == name]
    columns = ("name", "description", "inputs", "outputs", "steps", "version", "changed")
    out.document(
        found,
        lambda: out.table(
            columns,
            [_row(each) for each in found["items"]],
            "No workflow yet. Make one: volant workflow create FILE, or --template NAME",
        ),
    )


def _row(found: dict[str, Any]) -> tuple[str, ...]:
    return (
        found["name"],
        found["description"].strip().split("\n")[0],
        ", ".join(_port(each) for each in found["inputs"]) or "-",
        ", ".join(each["name"] for each in found["outputs"]) or "-",
        found.get("problem") or ", ".join(each["name"] for each in found["steps"]),
        str(found["version"]),
        ago(found["updated_at"]),
    )


def _port(port: dict[str, Any]) -> str:
    kind = "" if port["type"] == "string" else f" ({port['type']})"
    default = f"={port['default']}" if port["default"] is not None else ""
    return f"{port['name']}{default}{kind}"


@app.command()
def get(
    ctx: typer.Context,
    workflow: WorkflowName = None,
    name: NameOption = None,
    version: Annotated[int | None, typer.Option(min=1, help="The newest when absent.")] = None,
    source: Annotated[bool, typer.Option("--source", help="Only its text.")] = False,
) -> None:
    """Show a workflow: what it takes and gives, its steps, where it is assigned."""
    out = output_of(ctx)
    wanted = chosen(workflow, name)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"/workflows/{named(wanted)}", version=version)
        assigned = client.get("/assignments", workflow=wanted)["items"]
        told = client.get(f"/workflows/{named(wanted)}/decisions", limit=3)["items"]
    if source:
        out.document(found, lambda: out.raw(found["source"].rstrip("\n")))
        return
    document = {**found, "assignments": assigned, "decisions": told}
    out.document(document, lambda: _show(out, document))


def _show(out: Output, found: dict[str, Any]) -> None:
    out.line(f"{found['name']}  version {found['version']}", "bold")
    if found["description"]:
        out.line(found["description"].rstrip())
    if found.get("problem"):
        out.line(found["problem"], "red")
    for title, lines in (
        ("Inputs", [_described(each, _port(each)) for each in found["inputs"]]),
        ("Outputs", [_described(each, each["name"]) for each in found["outputs"]]),
        ("Steps", _steps(found["steps"])),
        ("Assigned to", [f"{each['project']}/{each['codeset']}" for each in found["assignments"]]),
        ("Lately", [f"{ago(each['time'])}: {each['reason']}" for each in found["decisions"]]),
    ):
        if lines:
            out.line()
            out.line(title, "bold")
        for line in lines:
            out.line(f"  {line}")


def _described(port: dict[str, Any], shown: str) -> str:
    return f"{shown}  {port['description'].strip()}".rstrip()


def _steps(steps: list[dict[str, Any]]) -> list[str]:
    width = max((len(each["name"]) for each in steps), default=0)
    return [_step(each, width) for each in steps]


def _step(step: dict[str, Any], width: int) -> str:
    what = next(
        f"{key} {step[key].strip().splitlines()[0]}"
        for key in ("uses", "call", "run", "image", "name")
        if step[key]
    )
    return f"{step['name'].ljust(width)}  {what}{'  for each' if step['foreach'] else ''}"


@app.command()
def versions(ctx: typer.Context, workflow: WorkflowName = None, name: NameOption = None) -> None:
    """List the versions of a workflow, newest first."""
    out = output_of(ctx)
    wanted = chosen(workflow, name)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"/workflows/{named(wanted)}/versions")
    rows = [
        (str(v["version"]), v["sha256"][:12], ago(v["created_at"]), v["created_by"] or "-")
        for v in found["items"]
    ]
    out.document(found, lambda: out.table(("version", "sha256", "created", "by"), rows))


@app.command()
def delete(ctx: typer.Context, workflow: WorkflowName = None, name: NameOption = None) -> None:
    """Delete a workflow, its versions and its assignments. Its runs stay."""
    out = output_of(ctx)
    wanted = chosen(workflow, name)
    with Client.of(options_of(ctx)) as client:
        held = client.delete(f"/workflows/{named(wanted)}")
    assigned: list[dict[str, Any]] = (held or {}).get("items", [])
    document = {"deleted": wanted, "assignments": assigned}

    def render() -> None:
        out.line(f"Workflow {wanted} successfully deleted")
        for each in assigned:
            out.note(f"It was assigned to {each['project']}/{each['codeset']}.")

    out.document(document, render)


@app.command()
def templates(
    ctx: typer.Context,
    template: Annotated[str | None, typer.Argument(help="Print this one.")] = None,
) -> None:
    """List the templates that come along, or print one."""
    from volant.workflows.manifest import parse_manifest
    from volant.workflows.templates import template as text_of_template
    from volant.workflows.templates import template_names

    out = output_of(ctx)
    if template is not None:
        text = text_of_template(template)
        out.document({"name": template, "source": text}, lambda: out.raw(text.rstrip("\n")))
        return
    found = {name: parse_manifest(text_of_template(name), name) for name in template_names()}
    rows = [(name, each.description.strip().split("\n")[0]) for name, each in found.items()]
    document = {"items": [{"name": name, "description": told} for name, told in rows]}
    out.document(document, lambda: out.table(("name", "description"), rows))


def _source(file: Path | None, template: str | None) -> dict[str, str]:
    if (file is None) == (template is None):
        raise InvalidInput(
            "Give a file, or --template and a name." if file is None else "Give one of them only.",
            "`volant workflow templates` lists the templates.",
        )
    if template is not None:
        from volant.workflows.templates import template as text_of_template

        return {"source": text_of_template(template), "file": f"{template}.yaml"}
    assert file is not None
    return {"source": text_of(file), "file": str(file)[:500]}


def name_in(source: str, file: str) -> str:
    """The manifest's name; what else is wrong with it, the server tells."""
    import re

    found = re.search(r"^[\"']?name[\"']?\s*:\s*[\"']?([^\s\"'#]+)", source, re.MULTILINE)
    if found is None:
        raise InvalidInput(f"{file} has no name.", "Write one: name: my-workflow")
    return found[1]


workflow_runs.add_to(app)
workflow_assignments.add_to(app)
export.add_to(app)
