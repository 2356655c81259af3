"""`volant batch`: predictions for a whole file or dataset."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from volant.cli import exits
from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.watch import ended, steps_of, told_failure
from volant.errors import InvalidInput

app = new_app()

POLL_S = 0.3
DATASET = "dataset:"
_ANEW = ("invalid_input", "not_found", "conflict")  # kinds of errors of what was asked for


class FileFormat(StrEnum):
    """What an input file may be."""

    CSV = "csv"
    PARQUET = "parquet"
    JSONL = "jsonl"


@app.command()
def batch(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="The deployment or model.")],
    source: Annotated[
        str,
        typer.Option("--input", metavar="FILE|dataset:NAME[@VERSION]", help="Rows to predict."),
    ],
    target: Annotated[
        str,
        typer.Option("--output", metavar="FILE|dataset:NAME", help="Where predictions go."),
    ],
    version: Annotated[
        str | None,
        typer.Option(metavar="N|@ALIAS", help="The model's version; what is live when absent."),
    ] = None,
    chunk_rows: Annotated[int, typer.Option(min=1, help="Rows predicted at once.")] = 50_000,
    input_format: Annotated[
        FileFormat | None, typer.Option(help="By the input's name when absent.")
    ] = None,
    only: Annotated[
        bool, typer.Option("--only", help="Write the predictions without the input's columns.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first row that can't be used.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output that is there.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it to its end.")] = True,
) -> None:
    """Predict every row of a file or dataset. Rows that can't be used are set aside.

    The same command again goes on where it stopped.
    """
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        body = {
            "input": _place(source, client.url),
            "output": _place(target, client.url),
            "version": version,
            "chunk_rows": chunk_rows,
            "format": input_format.value if input_format else None,
            "only": only,
            "strict": strict,
            "overwrite": overwrite,
        }
        found = client.post(f"/models/{named(name)}/batches", body)
        run_id = found["run"]["id"]
        if not wait:
            out.document(found, lambda: out.line(f"Run {run_id} is {found['state']}."))
            return
        if found["state"] in ("resumed", "running"):
            out.note(f"Going on with run {run_id}.")
        view = _follow(client, out, run_id)
    _tell(out, view, found["state"])


def _place(given: str, url: str) -> str:
    """A dataset as it is; a file by its whole path, which the server must be able to see."""
    if given.startswith(DATASET):
        return given
    if urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1"):
        raise InvalidInput(
            f"{given} lies on this machine, and the server runs on another.",
            "Push the data first (volant data push), then name datasets:"
            " --input dataset:NAME --output dataset:NAME.",
            code="batch_remote",
        )
    return str(Path(given).expanduser().absolute())


def _follow(client: Client, out: Output, run_id: str) -> dict[str, Any]:
    """Show its progress until the run ends, and return it."""
    bar = out.tty and not out.json
    after: str | None = None
    while True:
        view = client.get(f"/runs/{named(run_id)}")
        logs = client.get(f"/runs/{named(run_id)}/logs", step="batch", after=after)
        after = logs["after"]
        for line in logs["lines"]:
            if line["stream"] == "stdout" and bar:
                sys.stderr.write(f"\r\x1b[K{line['text']}")
                sys.stderr.flush()
            elif line["stream"] == "stdout":
                out.note(line["text"])
        if ended(view):
            if bar:
                sys.stderr.write("\r\x1b[K")
            return view
        time.sleep(POLL_S)


def _tell(out: Output, view: dict[str, Any], state: str) -> None:
    step = steps_of(view)[0]
    if view["state"]["status"] != "succeeded":
        out.document(view, lambda: told_failure(view, out))
        if _goes_on(view, step["error"]):
            out.note("What was predicted is kept: the same command goes on from there.")
        raise typer.Exit(exits.FAILED)
    outputs = {"run": view["id"], "state": state, **step["outputs"]}
    out.document(outputs, lambda: _summary(out, outputs, done=state == "done"))


def _goes_on(view: dict[str, Any], error: dict[str, Any] | None) -> bool:
    """Whether the same command has use for what was predicted: where the input is at fault,
    it is another input once it is mended."""
    if view["state"]["status"] == "cancelled":
        return True
    told = error or {}
    some = told.get("details", {}).get("predicted") != 0  # nobody tells where it was killed
    return some and told.get("kind") not in _ANEW


def _summary(out: Output, outputs: dict[str, Any], *, done: bool) -> None:
    if done:
        out.line(f"That is done already, by run {outputs['run']}.")
    out.line(
        f"{outputs['predicted']:,} of {outputs['rows']:,} rows predicted by"
        f" {outputs['model']} v{outputs['version']}: {outputs['output']}"
    )
    for warning in outputs.get("warnings", ()):
        out.line(warning, "yellow")
    if outputs.get("rows_quarantined"):
        name = outputs["dataset"]
        out.line(
            f"{outputs['rows_quarantined']:,} of them are in quarantine:"
            f" volant data quarantine {name}",
            "yellow",
        )
    if outputs["rejected"]:
        out.line(
            f"{outputs['rejected']:,} rows can't be used: {outputs['rejected_path']}", "yellow"
        )
