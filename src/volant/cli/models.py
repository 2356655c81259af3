"""`volant models`: list, show, register, prepare. Its other commands are in model_*.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from volant.cli import model_life, model_travel, model_views, oci
from volant.cli import register as registering
from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.model_text import Name, Version, render_version
from volant.cli.options import options_of
from volant.cli.output import output_of
from volant.cli.text import ago, pairs
from volant.errors import Conflict, NotFound

Example = Annotated[
    Path | None, typer.Option("--example", help="A few rows or tensors of its inputs.")
]
SignatureFile = Annotated[
    Path | None, typer.Option("--signature", help="A JSON file with its inputs.")
]
Task = Annotated[
    str | None, typer.Option("--task", help="What it does, such as text-classification.")
]
Metrics = Annotated[
    list[str] | None, typer.Option("--metric", help="NAME=NUMBER; may be repeated.")
]
Where = Annotated[registering.Env, typer.Option("--env", help="Where it is served.")]
Trust = Annotated[
    bool, typer.Option("--trust-pickle", help="Vouch for the pickles in it (admins only).")
]

app = new_app(help="List, show, register and move models.", invoke_without_command=True)


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
        f"{lineage['dataset']}@{lineage['dataset_version']}" if lineage["dataset"] else "-",
        ago(version["created_at"]),
    )


@app.command()
def show(
    ctx: typer.Context,
    name: Name,
    version: Version = "champion",
) -> None:
    """Show one version: stage, metrics, signature, lineage, training data, files."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"/models/{named(name)}/versions/{named(version)}")
        found["statistics"] = _statistics(client, name, found["version"])
    out.document(found, lambda: render_version(out, found))


def _statistics(client: Client, name: str, version: int) -> dict[str, Any] | None:
    """Of its training data; None for a version that has none, or no readable ones."""
    try:
        return client.get(f"/models/{named(name)}/versions/{version}/statistics")
    except (NotFound, Conflict):
        return None


@app.command()
def register(
    ctx: typer.Context,
    *,
    path: Annotated[Path, typer.Argument(help="The model's file or folder.")],
    name: Annotated[str, typer.Option("--name", help="The model's name.")],
    example: Example = None,
    signature: SignatureFile = None,
    task: Task = None,
    metric: Metrics = None,
    env: Where = registering.Env.auto,
    trust_pickle: Trust = False,
) -> None:
    """Register a model that was made elsewhere as a new version.

    ONNX, MLflow and Hugging Face folders, PyTorch, LightGBM, XGBoost, scikit-learn, or a
    folder with a model.py.
    """
    wishes = registering.wishes_of(example, signature, task, metric or [], env)
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = registering.register(client, out, path, name, wishes, trusted=trust_pickle)
    out.document(found, lambda: render_version(out, found))


@app.command()
def prepare(
    ctx: typer.Context,
    name: Name,
    version: Version,
    *,
    example: Example = None,
    signature: SignatureFile = None,
    task: Task = None,
    metric: Metrics = None,
    env: Where = registering.Env.auto,
    trust_pickle: Trust = False,
) -> None:
    """Make a version that an MLflow client registered ready to serve.

    It is proven as `volant models register` proves a file, and becomes a candidate under
    the same number.
    """
    wishes = registering.wishes_of(example, signature, task, metric or [], env)
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = registering.prepare(client, out, name, version, wishes, trusted=trust_pickle)
    out.document(found, lambda: render_version(out, found))


for group in (model_life, model_views, model_travel, oci):
    group.add_to(app)
