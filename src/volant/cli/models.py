"""`volant models`: list, show."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import ago, clock, number, pairs

app = new_app(help="List and show models.", invoke_without_command=True)


@app.callback()
def models(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Option("--model", help="Only this model's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
) -> None:
    """List versions of models, newest first."""
    if ctx.invoked_subcommand is not None:
        return
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.pages(f"/models/{named(model)}/versions" if model else "/models", limit)
    columns = ("model", "version", "stage", "metrics", "data", "made")
    out.document(
        found,
        lambda: out.table(columns, [_row(each) for each in found["items"]], "No model yet."),
    )


def _row(version: dict[str, Any]) -> tuple[str, ...]:
    lineage = version["lineage"]
    return (
        version["model"],
        str(version["version"]),
        version["stage"],
        pairs(version["metrics"], 3),
        f"{lineage['dataset']}@{lineage['dataset_version']}",
        ago(version["created_at"]),
    )


@app.command()
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The model.")],
    version: Annotated[
        str, typer.Argument(help="A number, or champion, or challenger.")
    ] = "champion",
) -> None:
    """Show one version: stage, metrics, signature, lineage, files."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"/models/{named(name)}/versions/{named(version)}")
    out.document(found, lambda: _render(out, found))


def _render(out: Output, version: dict[str, Any]) -> None:
    lineage = version["lineage"]
    aliases = f" ({', '.join(version['aliases'])})" if version["aliases"] else ""
    out.line(f"{version['model']} version {version['version']}{aliases}", "bold")
    signature = version["signature"]
    runtime = version["runtime"]
    facts = {
        "stage": version["stage"],
        "made": clock(version["created_at"]),
        "task": signature["task"],
        "classes": ", ".join(map(str, signature["classes"] or [])) or None,
        "runs on": runtime.get("kind"),
        "data": f"{lineage['dataset']} version {lineage['dataset_version']}",
        "run": lineage["run_id"],
        "replaces": lineage["parent_version"],
        "code": lineage["code_hash"][:12],
        "environment": lineage["environment_hash"][:12],
    }
    for key, value in facts.items():
        if value not in (None, ""):
            out.line(f"  {key.ljust(12)} {value}")
    _section(out, "Metrics on the holdout", version["metrics"])
    _section(out, "Parameters", version["params"])
    fields = {
        each["name"]: each["type"] + (", may be null" if each["nullable"] else "")
        for each in signature["inputs"]
    }
    _section(out, "Inputs", fields)
    _section(out, "Files (SHA-256)", version["files"])


def _section(out: Output, title: str, values: dict[str, Any]) -> None:
    if not values:
        return
    out.line()
    out.line(title, "bold")
    width = max(len(key) for key in values)
    for key, value in values.items():
        out.line(f"  {key.ljust(width)}  {number(value)}")
