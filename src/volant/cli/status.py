"""`volant status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from volant.cli.client import Client
from volant.cli.deployment_views import latency, rate
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import pairs, took

app = new_app()


@app.command()
def status(ctx: typer.Context) -> None:
    """The platform at a glance."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get("/status")
        url = client.url
    out.document({"url": url, **found}, lambda: _render(out, url, found))


def _render(out: Output, url: str, found: Mapping[str, Any]) -> None:
    out.line(f"Volant {found['version']} at {url}", "bold")
    out.line(f"home      {found['home']}")
    out.line(f"database  {found['database']}")
    out.line(f"up for    {took(found['started_at'], None)}")
    out.line()
    out.table(
        ("dataset", "version", "rows", "quarantined"),
        [
            (
                each["name"],
                _or_dash(each["version"]),
                str(each["rows"]),
                str(each["quarantined"]),
            )
            for each in found["datasets"]
        ],
        "No data yet. Push some: volant data push NAME FILE",
    )
    out.line()
    out.table(
        ("loop", "dataset", "champion", "metrics", "deployment", "req/s", "p95", "last run"),
        [_loop(each) for each in found["loops"]],
        "No loop yet. Make one: volant init --from data.csv --target COLUMN; volant apply",
    )
    _by_hand(out, found)
    for loop in found["loops"]:
        if loop["last_decision"]:
            out.line(f"{loop['name']}: {loop['last_decision']}", "dim")


def _by_hand(out: Output, found: Mapping[str, Any]) -> None:
    """The deployments that stand beside no loop."""
    loops = {loop["name"] for loop in found["loops"]}
    others = [each for each in found["deployments"] if each["name"] not in loops]
    if others:
        out.line()
        columns = ("deployment", "status", "model", "version", "req/s", "p95", "url")
        out.table(columns, [_deployment(each) for each in others])


def _deployment(each: Mapping[str, Any]) -> tuple[str, ...]:
    recent = each["recent"] or {}
    return (
        each["name"],
        each["status"],
        each["model"],
        _or_dash(each["live_version"]),
        rate(recent),
        latency(recent.get("p95_ms")),
        str(each["infer_url"]),
    )


def _loop(loop: Mapping[str, Any]) -> tuple[str, ...]:
    run = loop["last_run"]
    return (
        loop["name"],
        loop["dataset"],
        _or_dash(loop["champion"]),
        pairs(loop["metrics"], 2) or "-",
        loop["deployment"],
        rate(loop.get("recent") or {}),
        latency((loop.get("recent") or {}).get("p95_ms")),
        run["status"] if run else "-",
    )


def _or_dash(value: Any) -> str:
    return "-" if value is None else str(value)
