"""`volant deployments`: list and delete; others are in `deployment_views` and `steer`."""

from __future__ import annotations

from typing import Annotated

import typer

from volant.cli import deployment_views, steer
from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import output_of

app = new_app(help="What is served, and where.", invoke_without_command=True)


@app.callback()
def deployments(ctx: typer.Context) -> None:
    """List the deployments."""
    if ctx.invoked_subcommand is not None:
        return
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get("/deployments")
    rows = [deployment_views.row(each) for each in found["items"]]
    out.document(found, lambda: out.table(deployment_views.COLUMNS, rows, "Nothing is deployed."))


@app.command()
def delete(
    ctx: typer.Context, name: Annotated[str, typer.Argument(help="The deployment.")]
) -> None:
    """End a deployment. Its model's versions stay."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        client.delete(f"/deployments/{named(name)}")
    out.document({"deleted": name}, lambda: out.line(f"Deleted deployment {name}."))


_VERBS = (
    deployment_views.show,
    deployment_views.history,
    deployment_views.logs,
    steer.deploy,
    steer.promote,
    steer.abort,
    steer.rollback,
    steer.scale,
    steer.load,
    steer.unload,
    steer.revisions,
)
for verb in _VERBS:
    app.command()(verb)
