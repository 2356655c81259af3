"""How deployments look in a terminal: the list, one of them, its history and its log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from volant.cli.client import Client, named
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import ago, clean, clock, duration, number, paint, size
from volant.errors import InvalidInput

WATCH_S = 1.0
POLL_S = 0.5
_USUAL_LOG = {"sample": 1.0, "max_bytes": 10**9}
_BARS = "▁▂▃▄▅▆▇█"
_SPAN = re.compile(r"(\d+)([mhd])")
_UNITS = {"m": 60, "h": 3600, "d": 86400}

Name = Annotated[str, typer.Argument(help="The deployment.")]
View = Mapping[str, Any]

COLUMNS = ("name", "status", "model", "version", "replicas", "req/s", "p95", "errors", "url")


def row(found: View) -> tuple[str, ...]:
    """One deployment in the list; the numbers are of the last minute."""
    recent = found.get("recent") or {}
    return (
        found["name"],
        found["status"],
        found["model"],
        str(found["live_version"] or "-"),
        replicas(found),
        rate(recent),
        latency(recent.get("p95_ms")),
        str(recent.get("errors", "-")),
        str(found["url"]),
    )


def replicas(found: View) -> str:
    """How many of the live revision serve, and how many may; those beside them."""
    limits, live = found["limits"], found.get("live_revision")
    every = [each for each in found["replicas"] if each["state"] in ("starting", "ready")]
    spares = sum(each["state"] == "spare" for each in found["replicas"])
    own = sum(each["revision"] == live for each in every)
    told = f"{own} of {limits['min']}-{limits['max']}"
    if spares:
        told += f" +{spares} spare"
    if len(every) > own:
        told += f" +{len(every) - own} other"
    return told


def rate(recent: View) -> str:
    """Requests a second of the last minute; `-` for none."""
    if not recent.get("requests"):
        return "-"
    value = float(recent["rps"])
    return f"{value:.0f}" if value >= 100 else number(round(value, 2))


def latency(value: float | None) -> str:
    """Milliseconds, three digits of them."""
    if value is None:
        return "-"
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} ms"


def show(
    ctx: typer.Context,
    name: Name,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew each second.")] = False,
) -> None:
    """Show one deployment: address, numbers, revisions, replicas."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:

        def look() -> View:
            return client.get(f"/deployments/{named(name)}")

        if watch and out.tty and not out.json:
            _watched(look, out)
        else:
            found = look()
            out.document(found, lambda: render(out, found))


def _watched(look: Callable[[], View], out: Output) -> None:
    try:
        while True:
            found = look()
            out.raw("\x1b[H\x1b[J" + clock(datetime.now(UTC).isoformat()))
            render(out, found)
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return


def render(out: Output, found: View) -> None:
    """One deployment in full."""
    limits = found["limits"]
    out.line(f"{found['name']}  {found['url']}", "bold")
    out.line(f"{found['status']}: {found['reason']}" if found["reason"] else found["status"])
    out.line(f"model {found['model']}, live version {found['live_version'] or '-'}")
    out.line(f"replicas {limits['min']} to {limits['max']}, idle after {limits['idle_s']:g} s")
    settings = found.get("settings")
    if settings and (settings["log"] != _USUAL_LOG or settings["keep"]):
        out.line(settings_told(settings))
    out.line(f"infer at {found['infer_url']}")
    for line in numbers(found):
        out.line(line)
    out.line()
    _revisions(out, found["revisions"])
    if found["replicas"]:
        out.line()
        _replicas(out, found["replicas"])


def settings_told(settings: View) -> str:
    """What a deployment logs and keeps."""
    log, keep = settings["log"], settings["keep"]
    told = "logs no predictions"
    if log is not None:
        share = "all" if log["sample"] == 1 else f"{log['sample'] * 100:g} % of its"
        told = f"logs {share} predictions, at most {size(log['max_bytes'])}"
    return f"{told}; keeps {keep} earlier versions" if keep else told


def numbers(found: View) -> Iterator[str]:
    """What it does and did, in lines."""
    recent = found.get("recent")
    if not recent:
        return
    if recent["requests"]:
        yield (
            f"last minute: {rate(recent)} req/s, p50 {latency(recent['p50_ms'])}, "
            f"p95 {latency(recent['p95_ms'])}, p99 {latency(recent['p99_ms'])}, "
            f"{recent['errors']} errors, {recent['refused']} refused"
        )
    else:
        yield "last minute: no requests"
    if recent["in_flight"] or recent["queue_rows"]:
        yield f"now: {recent['in_flight']} in flight, {recent['queue_rows']} rows wait"
    cold = found["cold_starts"]
    words = [f"{found['requests']} requests", f"{found['errors']} errors"]
    if cold["count"]:
        words.append(f"{cold['count']} cold starts (the last took {latency(cold['last_ms'])})")
    yield "since the start: " + ", ".join(words)


def _revisions(out: Output, revisions: Sequence[View]) -> None:
    out.table(
        ("revision", "version", "status", "share", "asked", "requests", "errors", "p95", "reason"),
        [
            (
                str(each["number"]),
                str(each["model_version"]),
                each["status"],
                share(each),
                ago(each["created_at"]),
                number(_counted(each).get("requests")),
                number(_counted(each).get("errors")),
                latency(_counted(each).get("p95_ms")),
                ending(each),
            )
            for each in revisions
        ],
        "No revision yet.",
    )


def share(revision: View) -> str:
    """Of the requests; a shadow's is of copies."""
    if revision.get("percent") is not None:
        return f"{revision['percent']:g} %"
    return "all" if revision["status"] == "live" else "-"


def ending(revision: View) -> str:
    """How a revision ended, without its number and version, which stand beside it; of a
    shadow how its answers compare."""
    numbers = _counted(revision)
    if revision["status"] == "shadow" and numbers.get("compared"):
        return f"{numbers['differing']} of {numbers['compared']} compared answers differ"
    text = str(revision.get("reason") or "-")
    head = rf"Revision {revision['number']} \(version {revision['model_version']} of [^)]*\) "
    return re.sub(f"^{head}", "", text)


def _counted(revision: View) -> View:
    return revision.get("numbers") or {}


def _replicas(out: Output, replicas: Sequence[View]) -> None:
    out.table(
        ("pid", "revision", "state", "age", "memory", "cpu", "cpu time", "requests", "in flight"),
        [
            (
                str(each["pid"]),
                str(each["revision"]),
                each["state"],
                duration(each["age_s"]),
                size(each["memory_bytes"]),
                f"{each.get('cpu_percent', 0):.0f}%",
                duration(each.get("cpu_s", 0)),
                str(each["requests"]),
                str(each["in_flight"]),
            )
            for each in replicas
        ],
    )


def history(
    ctx: typer.Context,
    name: Name,
    since: Annotated[str, typer.Option(help="How far back, such as 30m, 6h or 7d.")] = "1h",
    step: Annotated[str | None, typer.Option(help="Of each point, such as 1m or 1h.")] = None,
) -> None:
    """Show a deployment's last hours: requests, latency, errors, memory."""
    out = output_of(ctx)
    start = datetime.now(UTC) - timedelta(seconds=span(since))
    with Client.of(options_of(ctx)) as client:
        found = client.get(
            f"/deployments/{named(name)}/history",
            since=start.isoformat(),
            step=span(step) if step else None,
        )
    out.document(found, lambda: _history(out, found))


def span(text: str) -> int:
    """`30m`, `6h`, `7d` in seconds. Raises `InvalidInput`."""
    match = _SPAN.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise InvalidInput(f"{text!r} is not a time.", "Give one like 30m, 6h or 7d.")
    return int(match[1]) * _UNITS[match[2]]


def _history(out: Output, found: View) -> None:
    points: list[View] = found["points"]
    if not points:
        out.note(f"{found['deployment']} was asked nothing since {clock(found['since'])}.")
        return
    every = _filled(found)
    lines = (
        ("requests/s", [p["rps"] if p else 0.0 for p in every], number),
        ("p50", [p["p50_ms"] if p else None for p in every], latency),
        ("p95", [p["p95_ms"] if p else None for p in every], latency),
        ("p99", [p["p99_ms"] if p else None for p in every], latency),
        ("errors", [p["errors"] if p else 0 for p in every], number),
        ("refused", [p["refused"] if p else 0 for p in every], number),
        ("cold starts", [p["cold_starts"] if p else 0 for p in every], number),
        ("replicas", [p["replicas"] if p else 0 for p in every], number),
        ("memory", [p["memory_bytes"] if p else 0 for p in every], size),
    )
    out.line(f"{found['deployment']}  {clock(found['since'])} to {clock(found['until'])}", "bold")
    out.line(f"each bar {duration(found['step_s'])}; at the right the highest")
    for label, values, shown in lines:
        highest = max((v for v in values if v), default=None)
        text = shown(highest) if highest else "-"
        out.line(f"{label:<12} {bars(values)}  {text}")


def _filled(found: View) -> list[View | None]:
    """A point for each step, also for those in which nothing happened."""
    start, step = datetime.fromisoformat(found["since"]), found["step_s"]
    seconds = (datetime.fromisoformat(found["until"]) - start).total_seconds()
    every: list[View | None] = [None] * max(1, -int(-seconds // step))
    for point in found["points"]:
        at = int((datetime.fromisoformat(point["minute"]) - start).total_seconds() // step)
        if 0 <= at < len(every):
            every[at] = point
    return every


def bars(values: Sequence[float | None], width: int = 60) -> str:
    """One character a value, from nothing to the highest; neighbours share one when
    there are more than `width`, by the higher."""
    group = max(1, -(-len(values) // width))
    shared = [
        max((v for v in values[at : at + group] if v is not None), default=None)
        for at in range(0, len(values), group)
    ]
    highest = max((v for v in shared if v), default=0)
    return "".join(
        _BARS[min(7, int(value / highest * 7.999))] if value and highest else " "
        for value in shared
    )


def logs(
    ctx: typer.Context,
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=1000)] = 100,
) -> None:
    """What a deployment's replicas wrote: failed requests, and what the model prints."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        path = f"/deployments/{named(name)}/logs"
        found = client.get(path, limit=lines)
        if out.json and not follow:
            out.document(found, lambda: None)
            return
        if not found["lines"] and not follow:
            out.note("Nothing was written yet.")
        try:
            while True:
                for line in found["lines"]:
                    out.raw(_json(line) if out.json else _shown(line, out))
                if not follow:
                    return
                if not found["lines"]:
                    time.sleep(POLL_S)
                found = client.get(path, after=found["after"], limit=1000)
        except KeyboardInterrupt:
            return


def _json(line: View) -> str:
    import json

    return json.dumps(line, ensure_ascii=False)


def _shown(line: View, out: Output) -> str:
    """A failed request in one line; anything else by its fields."""
    fields = dict(line)
    when = fields.pop("time", None)
    head = paint(f"{clock(str(when))} ", "dim", out.color) if when else ""
    if "status" in fields and "path" in fields:
        status = int(fields.pop("status"))
        text = f"{status} {fields.pop('method', '')} {fields.pop('path')}"
        head += paint(clean(text), "red" if status >= 500 else "yellow", out.color) + " "
    if set(fields) == {"text"}:
        return head + clean(str(fields["text"]))
    return head + clean(" ".join(f"{key}={value}" for key, value in fields.items() if value != ""))
