"""`volant runs compare`: what differs between tracked runs, as a table and as curves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from string import ascii_uppercase
from typing import Annotated, Any

import typer

from volant.cli.client import Client, named
from volant.cli.experiments import best_of, differing
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.plots import plot
from volant.cli.tables import cut
from volant.cli.text import clock, number, one_line, took
from volant.domain.metric import plain_name
from volant.errors import InvalidInput

_WIDTH = 72  # of a plot where there is no terminal
_MOST_PLOTS = 6
_LEAST_NAME = 18  # cells of a run's name, in a terminal

Run = Mapping[str, Any]


def compare(
    ctx: typer.Context,
    run_ids: Annotated[
        list[str], typer.Argument(metavar="RUN…", help="Tracked runs, or runs of loops, by id.")
    ],
    every: Annotated[
        bool, typer.Option("--all", help="Params and metrics that are equal, too.")
    ] = False,
    plots: Annotated[
        bool, typer.Option("--plots/--no-plots", help="Curves of what was measured on the way.")
    ] = True,
) -> None:
    """Compare tracked runs: params and metrics that differ, the best marked with *."""
    out = output_of(ctx)
    asked = list(dict.fromkeys(run_ids))
    if not 2 <= len(asked) <= len(ascii_uppercase):
        raise InvalidInput(
            f"{len(asked)} runs can't be compared.", f"Name 2 to {len(ascii_uppercase)} runs."
        )
    with Client.of(options_of(ctx)) as client:
        runs = [client.get(f"/tracking/runs/{named(run_id)}") for run_id in asked]
        histories = _histories(client, runs) if plots else {}
        metrics = _keys(runs, "metrics", every)
        greater = _greater(client, runs) if metrics else {}
    params = _keys(runs, "params", every)
    document = {
        "runs": runs,
        "params": {key: [run["params"].get(key) for run in runs] for key in params},
        "metrics": {
            key: {
                "values": [run["metrics"].get(key) for run in runs],
                "best": best_of([run["metrics"].get(key) for run in runs], key, greater.get(key)),
            }
            for key in metrics
        },
        "histories": histories,
    }
    out.document(document, lambda: _render(out, document))


def _keys(runs: Sequence[Run], part: str, every: bool) -> list[str]:
    if every:
        return list(dict.fromkeys(key for run in runs for key in run[part]))
    return differing(runs, part)


def _greater(client: Client, runs: Sequence[Run]) -> dict[str, bool]:
    """Which way is better of the main metrics of the runs' experiments, where these tell and
    don't contradict each other."""
    told: dict[str, set[bool]] = {}
    for summary in _summaries(client, {run["experiment_id"] for run in runs}):
        if summary["metric"] is not None and summary["greater"] is not None:
            told.setdefault(summary["metric"], set()).add(summary["greater"])
    return {key: ways.pop() for key, ways in told.items() if len(ways) == 1}


def _summaries(client: Client, wanted: set[str]) -> Iterator[dict[str, Any]]:
    """Of these experiments; a deleted one has none. Those with the newest runs come first, so
    the first page has them as a rule."""
    cursor: str | None = None
    while wanted:
        page = client.get("/experiments", limit=100, before=cursor)
        for summary in page["items"]:
            if summary["experiment"]["id"] in wanted:
                wanted = wanted - {summary["experiment"]["id"]}
                yield summary
        cursor = page["next"]
        if cursor is None:
            return


def _histories(client: Client, runs: Sequence[Run]) -> dict[str, list[list[dict[str, Any]]]]:
    """By metric, the points of each run: of the metrics that were measured at several steps
    in one run at least."""
    found: dict[str, list[list[dict[str, Any]]]] = {}
    steps = {
        (index, point["key"]): point["step"]
        for index, run in enumerate(runs)
        for point in run["latest"]
    }
    keys = list(dict.fromkeys(key for (_, key), step in steps.items() if step > 0))
    for key in sorted(keys, key=lambda key: (key.startswith("system/"), plain_name(key))):
        if len(found) == _MOST_PLOTS:
            break
        points = [
            client.get(f"/tracking/runs/{named(run['id'])}/metrics", key=key)["items"]
            if (index, key) in steps
            else []
            for index, run in enumerate(runs)
        ]
        if any(len(each) > 1 for each in points):
            found[key] = points
    return found


def _render(out: Output, document: Mapping[str, Any]) -> None:
    runs = document["runs"]
    signs = ascii_uppercase[: len(runs)]
    for sign, run in zip(signs, runs, strict=True):
        out.line(_head(out, sign, run))
    rows = [
        [key, *(_marked(value, told["best"], told["values"]) for value in told["values"])]
        for key, told in document["metrics"].items()
    ]
    parameters = [
        [key, *("-" if value is None else value for value in values)]
        for key, values in document["params"].items()
    ]
    for title, found in (("metric", rows), ("param", parameters)):
        out.line()
        if found:
            out.table([title, *signs], found)
        else:
            out.line(f"No {title} differs.")
    _curves(out, document["histories"], signs)


def _head(out: Output, sign: str, run: Run) -> str:
    """A run in one line; in a terminal a long name is cut to what is left of its width."""
    before = f"{sign}  {run['id']}  "
    after = (
        f"  {run['status'].lower()}"
        f"  {clock(run['started_at'])}  {took(run['started_at'], run['ended_at'])}"
    )
    name = one_line(run["name"])
    if out.tty:
        room = shutil.get_terminal_size().columns - len(before) - len(after)
        name = cut(name, max(room, _LEAST_NAME))
    return f"{before}{name}{after}"


def _marked(value: Any, best: float | None, values: Sequence[Any]) -> str:
    differ = any(each != values[0] for each in values)
    return number(value) + ("*" if differ and value is not None and value == best else "")


def _curves(
    out: Output, histories: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], signs: str
) -> None:
    width = shutil.get_terminal_size().columns if out.tty else _WIDTH
    for key, runs in histories.items():
        curves = {
            sign: [
                (point["step"], point["value"]) for point in points if point["value"] is not None
            ]
            for sign, points in zip(signs, runs, strict=True)
        }
        lines = plot(curves, width=min(width, 120))
        if lines:
            out.line()
            out.line(f"{key} by step", "bold")
            for line in lines:
                out.line(line)
