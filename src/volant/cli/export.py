"""`volant workflow export`: a workflow as a file of another scheduler."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from volant.cli.client import Client, named
from volant.cli.options import options_of
from volant.cli.output import output_of
from volant.cli.saved import save_text
from volant.cli.workflow_names import text_of
from volant.errors import Conflict, NotFound


class Target(StrEnum):
    """The systems that a workflow can be written for."""

    AIRFLOW = "airflow"
    ARGO = "argo"
    TEKTON = "tekton"
    GITHUB_ACTIONS = "github-actions"
    JENKINS = "jenkins"


def add_to(app: typer.Typer) -> None:
    """The command, as one of `volant workflow`."""
    app.command("export")(export)


def export(
    ctx: typer.Context,
    workflow: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A registered workflow, or its manifest.")
    ],
    to: Annotated[Target, typer.Option("--to", help="Whose file it is to be.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to; standard output if absent."),
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="The newest when absent.")] = None,
) -> None:
    """Write a workflow as a file of another scheduler, which has Volant do each step."""
    out = output_of(ctx)
    file = Path(workflow)
    from_file = "/" in workflow or file.suffix in (".yaml", ".yml")
    with Client.of(options_of(ctx)) as client:
        name = _registered(client, file) if from_file else workflow
        found = client.get(f"/workflows/{named(name)}/export", to=to.value, version=version)
    if output is None:
        out.document(found, lambda: out.raw(found["text"].rstrip("\n")))
        return
    save_text(output, found["text"])
    out.document(
        {**found, "saved": str(output)},
        lambda: out.line(f"{output}: {name}, version {found['version']}, for {to.value}"),
    )


def _registered(client: Client, file: Path) -> str:
    """The name of the workflow in `file`, which has to be registered as it stands there:
    the exported tasks have the server do its steps."""
    from volant.cli.workflow import name_in

    text = text_of(file)
    name = name_in(text, str(file))
    try:
        found: dict[str, Any] = client.get(f"/workflows/{named(name)}")
    except NotFound as error:
        raise NotFound(
            f"The workflow {name} isn't registered, so no task could call its steps.",
            f"Register it first: volant workflow create {file}",
        ) from error
    same = hashlib.sha256(found["source"].encode()).hexdigest()
    if same != hashlib.sha256(text.encode()).hexdigest():
        raise Conflict(
            f"{file} isn't the workflow {name} as it is registered (version {found['version']}).",
            f"Register it first: volant workflow update {file}",
        )
    return name
