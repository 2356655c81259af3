"""`volant deployments`: list, show."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import ago, duration, size

app = new_app(help="What is served, and where.", invoke_without_command=True)


@app.callback()
def deployments(ctx: typer.Context) -> None:
    """List the deployments."""
    if ctx.invoked_subcommand is not None:
        return
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get("/deployments")
    columns = ("name", "status", "model", "version", "replicas", "url")
    out.document(
        found,
        lambda: out.table(columns, [_row(each) for each in found["items"]], "Nothing is deployed."),
    )


def _row(found: dict[str, Any]) -> tuple[str, ...]:
    limits = found["limits"]
    return (
        found["name"],
        found["status"],
        found["model"],
        str(found["live_version"] or "-"),
        f"{len(found['replicas'])} of {limits['min']}-{limits['max']}",
        str(found["url"]),
    )


@app.command()
def show(ctx: typer.Context, name: Annotated[str, typer.Argument(help="The deployment.")]) -> None:
    """Show one deployment: address, revisions, replicas."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"/deployments/{named(name)}")
    out.document(found, lambda: _render(out, found))


def _render(out: Output, found: dict[str, Any]) -> None:
    limits = found["limits"]
    out.line(f"{found['name']}  {found['url']}", "bold")
    out.line(f"{found['status']}: {found['reason']}" if found["reason"] else found["status"])
    out.line(f"model {found['model']}, live version {found['live_version'] or '-'}")
    out.line(f"replicas {limits['min']} to {limits['max']}, idle after {limits['idle_s']:g} s")
    out.line(f"infer at {found['infer_url']}")
    out.line()
    out.table(
        ("revision", "version", "status", "asked", "reason"),
        [
            (
                str(each["number"]),
                str(each["model_version"]),
                each["status"],
                ago(each["created_at"]),
                each.get("reason") or "-",
            )
            for each in found["revisions"]
        ],
        "No revision yet.",
    )
    if found["replicas"]:
        out.line()
        out.table(
            ("pid", "revision", "state", "age", "memory", "requests"),
            [
                (
                    str(each["pid"]),
                    str(each["revision"]),
                    each["state"],
                    duration(each["age_s"]),
                    size(each["memory_bytes"]),
                    str(each["requests"]),
                )
                for each in found["replicas"]
            ],
        )


@app.command()
def delete(
    ctx: typer.Context, name: Annotated[str, typer.Argument(help="The deployment.")]
) -> None:
    """End a deployment. Its model's versions stay."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        client.delete(f"/deployments/{named(name)}")
    out.document({"deleted": name}, lambda: out.line(f"Deleted deployment {name}."))
