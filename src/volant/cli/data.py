"""`volant data`: push, list, show, versions, quarantine, release."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from volant.cli import exits
from volant.cli.client import Client, dataset_path, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import ago, clean, number, paint
from volant.cli.upload import check_files, upload_all
from volant.cli.watch import ended, told_failure
from volant.errors import NotFound, VolantError

app = new_app(help="Push, list and inspect data.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The dataset.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for what becomes of it.")]
POLL_S = 0.1
OUTPUTS_S = 5.0


@app.command()
def push(
    ctx: typer.Context,
    *,
    name: Name,
    files: Annotated[list[Path], typer.Argument(help="CSV, Parquet or JSON lines.")],
    wait: Wait = True,
    input_format: Annotated[
        str | None,
        typer.Option(metavar="csv|parquet|jsonl", help="By the file's name when absent."),
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="A CSV's; guessed when absent.")] = None,
    encoding: Annotated[str | None, typer.Option(help="The text's; UTF-8 when absent.")] = None,
    key: Annotated[
        str | None, typer.Option(help="The same key again is the same push, not another.")
    ] = None,
) -> None:
    """Deliver files: rows that keep the contract become a new version, others go to quarantine.

    Exits 1 when the push is rejected.
    """
    out = output_of(ctx)
    check_files(files)
    options = {"format": input_format, "delimiter": delimiter, "encoding": encoding}
    with Client.of(options_of(ctx)) as client:
        uploads = upload_all(client, out, name, files)
        body: dict[str, Any] = {
            "uploads": uploads,
            "options": {key: value for key, value in options.items() if value is not None},
        }
        pushed = client.post(f"/datasets/{named(name)}/pushes", {**body, "key": key})
        _await(client, out, pushed, wait)


@app.command()
def release(
    ctx: typer.Context,
    *,
    name: Name,
    push_id: Annotated[str | None, typer.Option("--push", help="Only this push's rows.")] = None,
    rows: Annotated[
        list[str] | None, typer.Option("--row", help="Only this row; may be repeated.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take them even if they break the contract.")
    ] = False,
    wait: Wait = True,
) -> None:
    """Check quarantined rows again; those that pass now become a new version."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        body = {"push": push_id, "rows": rows or None, "force": force}
        _await(client, out, client.post(f"/datasets/{named(name)}/release", body), wait)


def _await(client: Client, out: Output, pushed: dict[str, Any], wait: bool) -> None:
    if not wait:
        out.document(pushed, lambda: out.line(f"Received as {pushed['id']}."))
        return
    run: dict[str, Any] | None = None
    while pushed["status"] == "received":
        run = _run_of(client, pushed)
        if run and run["state"]["status"] in ("failed", "cancelled"):
            pushed = client.get(f"/pushes/{pushed['id']}")
            break
        time.sleep(POLL_S)
        pushed = client.get(f"/pushes/{pushed['id']}")
    if pushed["status"] == "received" and run:
        _not_ingested(out, pushed, run)
    outputs = _outputs(client, pushed)
    document = {**pushed, "reasons": outputs.get("reasons", {}), "warnings": []}
    document["warnings"] = outputs.get("warnings", [])
    out.document(document, lambda: _render(out, document))
    if pushed["status"] != "committed":
        raise typer.Exit(exits.FAILED)


def _run_of(client: Client, pushed: dict[str, Any]) -> dict[str, Any] | None:
    """None while it waits to be stored, as on a full disk: the push itself is safe."""
    try:
        return client.get(f"/runs/{pushed['run_id']}") if pushed["run_id"] else None
    except NotFound:
        return None


def _not_ingested(out: Output, pushed: dict[str, Any], run: dict[str, Any]) -> None:
    told_failure(run, out)
    raise VolantError(
        f"Push {pushed['id']} was not ingested: run {pushed['run_id']} {run['state']['status']}.",
        f"Its files are kept. See volant logs {pushed['run_id']}, then: "
        f"volant runs resume {pushed['run_id']}",
        code="push_not_ingested",
        details={"push": pushed["id"], "run": pushed["run_id"]},
    )


def _outputs(client: Client, pushed: dict[str, Any]) -> dict[str, Any]:
    """What the ingest step said: the reasons of quarantine with their counts, warnings.

    The step is recorded as done a moment after its commit. What became of the push is
    told in any case: without these, if they can't be had.
    """
    deadline = time.monotonic() + OUTPUTS_S
    while pushed["run_id"]:
        try:
            run = client.get(f"/runs/{pushed['run_id']}")
        except VolantError:
            break
        for step in run["state"]["steps"]:
            if "reasons" in step["outputs"]:
                return step["outputs"]
        if ended(run) or time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    return {}


def _render(out: Output, pushed: dict[str, Any]) -> None:
    name, held = pushed["dataset"], pushed["rows_quarantined"]
    if pushed["status"] == "committed":
        version = f" as version {pushed['version']}" if pushed["version"] is not None else ""
        done = paint("Committed", "green", out.color)
        out.raw(f"{done} {pushed['rows_added']} rows to {clean(name)}{version}.")
    else:
        done = paint("Rejected", "red", out.color)
        out.raw(f"{done}: {clean(pushed['reason'] or 'no reason was given')}")
    if held:
        rows = "1 row is" if held == 1 else f"{held} rows are"
        out.line(f"{rows} in quarantine:", "yellow")
        for reason, count in sorted(pushed["reasons"].items(), key=lambda each: -each[1]):
            out.line(f"  {count:>6}  {reason}")
        out.line(f"See them: volant data quarantine {name} --push {pushed['id']}", "dim")
    for warning in pushed["warnings"]:
        out.note(f"Warning: {warning}")


@app.command("list")
def list_datasets(ctx: typer.Context) -> None:
    """List the datasets."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get("/datasets")
    rows = [
        (
            each["name"],
            str(each["latest_version"] or "-"),
            str(each["rows"]),
            str(each["quarantined"]),
            ago(each["created_at"]),
        )
        for each in found["items"]
    ]
    columns = ("name", "version", "rows", "quarantined", "made")
    out.document(found, lambda: out.table(columns, rows, "No dataset yet."))


@app.command()
def show(
    ctx: typer.Context,
    name: Name,
    version: Annotated[int | None, typer.Option(help="The newest when absent.")] = None,
    rows: Annotated[int, typer.Option(min=0, max=1000, help="So many first rows.")] = 5,
) -> None:
    """Show a dataset: its contract and its first rows."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"/datasets/{dataset_path(name)}")
        sample: dict[str, Any] | None = None
        if rows and found["latest_version"] is not None:
            sample = client.get(f"/datasets/{dataset_path(name)}/rows", version=version, limit=rows)
    out.document({**found, "sample": sample}, lambda: _show(out, found, sample))


def _show(out: Output, found: dict[str, Any], sample: dict[str, Any] | None) -> None:
    out.line(found["name"], "bold")
    version = found["latest_version"]
    out.line(
        f"version {version if version is not None else '-'}, {found['rows']} rows,"
        f" {found['quarantined']} in quarantine"
    )
    contract = found["contract"]
    out.line()
    if contract is None and "/" in found["name"]:
        out.line("The prediction log of a deployment; it has no contract.")
    elif contract is None:
        out.line("No contract yet: the first push makes one.")
    else:
        out.line("Contract (inferred)" if contract["inferred"] else "Contract", "bold")
        columns = ("column", "type", "null", "allowed", "unique")
        out.table(columns, [_rule(rule) for rule in contract["columns"]])
    if sample and sample["rows"]:
        out.line()
        out.line(f"First rows of version {sample['version']}", "bold")
        out.table(sample["columns"], [_cells(row, sample["columns"]) for row in sample["rows"]])


def _cells(row: Any, columns: list[str]) -> list[str]:
    values = [row.get(column) for column in columns] if isinstance(row, dict) else row
    return ["" if value is None else number(value) for value in values]


def _rule(rule: dict[str, Any]) -> tuple[str, ...]:
    if rule["values"] is not None:
        allowed = ", ".join(map(str, rule["values"]))
    elif rule["min"] is not None or rule["max"] is not None:
        low = "" if rule["min"] is None else number(rule["min"])
        high = "" if rule["max"] is None else number(rule["max"])
        allowed = f"{low} to {high}" if low and high else f"≥ {low}" if low else f"≤ {high}"
    else:
        allowed = "any"
    null = "yes" if rule["nullable"] else "no"
    return (rule["name"], rule["type"], null, allowed, "yes" if rule["unique"] else "no")


@app.command()
def versions(
    ctx: typer.Context,
    name: Name,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
) -> None:
    """List a dataset's versions, newest first."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.pages(f"/datasets/{dataset_path(name)}/versions", limit)
    rows = [
        (
            str(each["version"]),
            str(each["rows_added"]),
            str(each["rows_total"]),
            str(each["rows_quarantined"]),
            each["push_id"],
            ago(each["created_at"]),
        )
        for each in found["items"]
    ]
    columns = ("version", "added", "total", "quarantined", "push", "made")
    out.document(found, lambda: out.table(columns, rows, "No version yet."))


@app.command()
def quarantine(
    ctx: typer.Context,
    name: Name,
    push_id: Annotated[str | None, typer.Option("--push", help="Only this push's rows.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 20,
) -> None:
    """Show rows that broke the contract, as they came, with the reasons."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"/datasets/{dataset_path(name)}/quarantine", push=push_id, limit=limit)
    rows = [
        (
            str(each["id"]),
            f"{each['source']}:{each['row_number']}",
            "; ".join(each["reasons"]),
            str(each["raw"]),
        )
        for each in found["items"]
    ]
    columns = ("id", "from", "reasons", "as it came")
    out.document(found, lambda: out.table(columns, rows, "Nothing is in quarantine."))
