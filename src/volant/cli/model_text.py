"""A model version in a terminal, and the arguments that name one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from volant.cli.output import Output
from volant.cli.text import clock, number
from volant.domain.codec import from_plain
from volant.domain.statistics import TrainingStatistics

Name = Annotated[str, typer.Argument(help="The model.")]
Version = Annotated[str, typer.Argument(help="A number, or champion, or challenger.")]


def render_version(out: Output, version: dict[str, Any]) -> None:
    """One version, for a person."""
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
        **_served(runtime),
        "data": f"{lineage['dataset']} version {lineage['dataset_version']}"
        if lineage["dataset"]
        else None,
        "run": lineage["run_id"],
        "replaces": lineage["parent_version"],
        "imported": _origin(runtime.get("imported")),
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
    tensors = signature.get("tensors") or {"inputs": [], "outputs": []}
    _section(out, "Inputs", {**fields, **_shapes(tensors["inputs"])})
    _section(out, "Outputs", _shapes(tensors["outputs"]))
    _training_data(out, version.get("statistics"))
    _section(out, "Files (SHA-256)", version["files"])


def _origin(imported: dict[str, Any] | None) -> str | None:
    """What it was where it was exported."""
    return None if imported is None else f"{imported['model']} version {imported['version']}"


def _served(runtime: dict[str, Any]) -> dict[str, Any]:
    """How a version is served, and why so."""
    difference = runtime.get("max_abs_diff")
    environment = runtime.get("environment") or {}
    trusted = runtime.get("trusted_pickle")
    return {
        "made as": runtime.get("found"),
        "runs on": runtime.get("kind"),
        "because": runtime.get("reason") or None,
        "difference": None if difference is None else f"at most {difference:.2g}",
        "served in": f"its own environment {environment['key']}"
        if environment.get("kind") == "own"
        else None,
        "trusted by": trusted["by"] if trusted else None,
    }


def _shapes(tensors: list[dict[str, Any]]) -> dict[str, str]:
    return {each["name"]: f"{each['datatype']} {each['shape']}" for each in tensors}


def _training_data(out: Output, told: dict[str, Any] | None) -> None:
    if not told:
        return
    statistics = from_plain(TrainingStatistics, told)
    out.line()
    out.line(f"Training data ({statistics.rows} rows)", "bold")
    rows = [
        (
            column.name,
            str(column.missing),
            *(map(number, column.range) if column.range else "---"),
            column.shown or "-",
        )
        for column in (*statistics.columns, statistics.label)
    ]
    out.table(("column", "missing", "min", "median", "max", "most frequent"), rows)
    if statistics.left_out:
        out.line(f"  {statistics.left_out} more columns have no statistics.", "dim")


def _section(out: Output, title: str, values: dict[str, Any]) -> None:
    if not values:
        return
    out.line()
    out.line(title, "bold")
    width = max(len(key) for key in values)
    for key, value in values.items():
        out.line(f"  {key.ljust(width)}  {number(value)}")
