"""`volant experiments`: list, show, export."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from volant.cli.client import Client
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.tables import table_lines
from volant.cli.text import ago, number, one_line, took
from volant.domain.metric import better_when_greater
from volant.domain.project import DEFAULT_PROJECT
from volant.errors import InvalidInput, NotFound

app = new_app(
    help="List, show and export experiments and their tracked runs.", invoke_without_command=True
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The experiment, or PROJECT/NAME outside the default one; a loop's has its name.",
    ),
]
Filter = Annotated[
    str | None,
    typer.Option(
        "--filter",
        metavar="TEXT",
        help="MLflow's grammar: \"metrics.rmse < 0.7 AND params.x = '1'\".",
    ),
]
Order = Annotated[
    list[str] | None,
    typer.Option("--order", metavar="KEY", help="'metrics.rmse ASC'; may be repeated."),
]

POLL_S = 1.0
PARENT_TAG = "mlflow.parentRunId"
_NAME_WIDTH = 18  # of a run's name, in a terminal

Run = Mapping[str, Any]


@app.callback()
def experiments(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
) -> None:
    """List experiments, those with the newest runs first."""
    if ctx.invoked_subcommand is not None:
        return
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.pages("/experiments", limit)
    columns = ("experiment", "runs", "newest", "metric", "best")
    rows = [_row(summary) for summary in found["items"]]
    out.document(found, lambda: out.table(columns, rows, "No experiment yet."))


def _row(summary: Mapping[str, Any]) -> tuple[str, ...]:
    under_way = f" ({summary['active']} running)" if summary["active"] else ""
    return (
        title(summary["experiment"]),
        f"{summary['runs']}{under_way}",
        ago(summary["newest"]),
        summary["metric"] or "-",
        number(summary["best"]),
    )


@app.command()
def show(
    ctx: typer.Context,
    *,
    name: Name,
    where: Filter = None,
    order: Order = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many runs.")] = 20,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="KEYS",
            help="Params and metrics to show, with commas; what differs when absent.",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on until none of the runs is running.")
    ] = False,
) -> None:
    """Show an experiment's runs with the params and metrics in which they differ."""
    out = output_of(ctx)
    wanted = [key.strip() for key in columns.split(",")] if columns else None
    with Client.of(options_of(ctx)) as client:

        def ask() -> dict[str, Any]:
            summary = find(client, name)
            path = f"/experiments/{summary['experiment']['id']}/runs"
            found = client.pages(path, limit, filter=where, order=order)
            return {**summary, "items": found["items"], "next": found["next"]}

        if follow and not out.json:
            _watch(out, ask, wanted)
            return
        found = ask()
        while follow and _running(found["items"]):
            time.sleep(POLL_S)
            found = ask()
    out.document(found, lambda: _render(out, found, wanted))


def title(experiment: Mapping[str, Any]) -> str:
    """Its name, with its project before it unless that is the default one."""
    project = experiment.get("project", DEFAULT_PROJECT)
    return experiment["name"] if project == DEFAULT_PROJECT else f"{project}/{experiment['name']}"


def find(client: Client, name: str) -> dict[str, Any]:
    """An experiment's summary, by its title or by a name that one project alone has. Raises
    `NotFound`, with the nearest name, and `InvalidInput` when several projects have it."""
    names = (name, name.partition("/")[2])
    found = [
        summary
        for each in names
        if each
        for summary in client.get("/experiments", name=each, limit=100)["items"]
    ]
    for summary in found:
        if title(summary["experiment"]) == name:
            return summary
    called = [each for each in found if each["experiment"]["name"] == name]
    if len(called) > 1:
        raise InvalidInput(
            f"Several projects have an experiment {name!r}.",
            f"Say which: {', '.join(title(each['experiment']) for each in called)}.",
            code="tracking.which_experiment",
        )
    if called:
        return called[0]
    from volant.yamltext.problems import nearest

    known = [title(each["experiment"]) for each in client.pages("/experiments", 500)["items"]]
    near = nearest(name, known)
    raise NotFound(
        f"There is no experiment {name!r}.",
        (f"Did you mean {near}? " if near else "") + "`volant experiments` lists them.",
        code="tracking.no_experiment",
    )


def _running(runs: Sequence[Run]) -> bool:
    return any(run["status"] == "RUNNING" for run in runs)


def _render(out: Output, found: Mapping[str, Any], wanted: Sequence[str] | None) -> None:
    if not found["items"]:
        out.note("No run fits." if found["runs"] else "The experiment has no run yet.")
        return
    out.line(head(found), "bold")
    width = shutil.get_terminal_size().columns if out.tty else None
    out.table(*_table_of(found, wanted, width))
    if found["next"]:
        out.note(f"There are more: --limit {2 * len(found['items'])}, or narrow with --filter.")


def head(found: Mapping[str, Any]) -> str:
    """The experiment in one line, with the best so far."""
    words = f"{one_line(title(found['experiment']))}: {found['runs']} runs"
    if found["active"]:
        words += f", {found['active']} running"
    if found["metric"] and found["best"] is not None:
        words += f", best {found['metric']} {number(found['best'])}"
    return words


def _watch(out: Output, ask: Any, wanted: Sequence[str] | None) -> None:
    """Redrawn in a terminal; elsewhere one line whenever something has changed."""
    if not out.tty:
        _told(out, ask)
        _render(out, ask(), wanted)
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(no_color=not out.color, highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        for found in _views(ask):
            columns, rows = _table_of(found, wanted, console.width)
            cells = [[one_line(cell) for cell in row] for row in rows]
            lines = [head(found), *table_lines(columns, cells, console.width, False)]
            live.update(Text("\n".join(lines[: max(2, console.height - 1)])), refresh=True)


def _told(out: Output, ask: Any) -> None:
    last = ""
    for found in _views(ask):
        line = head(found)
        if line != last:
            out.line(line)
        last = line


def _views(ask: Any) -> Iterator[dict[str, Any]]:
    while True:
        found = ask()
        yield found
        if not _running(found["items"]):
            return
        time.sleep(POLL_S)


def _table_of(
    found: Mapping[str, Any], wanted: Sequence[str] | None, width: int | None
) -> tuple[list[str], list[list[str]]]:
    return runs_table(found["items"], found["metric"], wanted, width, greater=found["greater"])


def runs_table(
    runs: Sequence[Run],
    metric: str | None,
    wanted: Sequence[str] | None = None,
    width: int | None = None,
    *,
    greater: bool | None = None,
) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: what a run is, its metrics (the main one first), its params. With a
    width, params that don't fit are left out, then metrics but the main one. `greater`: which
    way is better of the main one, if the experiment tells."""
    facts = [_facts(run) for run in runs]
    metrics, params = _columns(runs, metric, wanted)
    told = {metric: greater}
    best = {
        key: best_of([run["metrics"].get(key) for run in runs], key, told.get(key))
        for key in metrics
    }
    cells = {
        key: [_marked(run["metrics"], key, best[key], len(runs)) for run in runs] for key in metrics
    }
    fit = width is not None
    cells |= {key: [_param(run["params"].get(key, "-"), fit=fit) for run in runs] for key in params}
    chosen = [*metrics, *params]
    if width is not None and wanted is None:
        facts = [[run_id, _cut(name), status, took] for run_id, name, status, _, took in facts]
        taken = sum(2 + max(map(len, column)) for column in zip(*facts, strict=True))
        in_turn = [*metrics[:1], *params, *metrics[1:]]
        kept = _fitting({key: cells[key] for key in in_turn}, width - taken)
        chosen = [key for key in chosen if key in kept]
    names = ["run", "name", "status", "started", "took"]
    if fit and wanted is None:
        names.remove("started")
    rows = [[*fact, *(cells[key][place] for key in chosen)] for place, fact in enumerate(facts)]
    return [*names, *chosen], rows


def _facts(run: Run) -> list[str]:
    return [
        run["id"],
        ("↳ " if PARENT_TAG in run["tags"] else "") + run["name"],
        run["status"].lower(),
        ago(run["started_at"]),
        took(run["started_at"], run["ended_at"]),
    ]


def _cut(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"


def _fitting(columns: Mapping[str, Sequence[str]], room: int) -> set[str]:
    """The first of `columns` that fit into `room` cells, one at least."""
    kept: set[str] = set()
    for key, column in columns.items():
        needed = 2 + max(len(key), *map(len, column))
        if needed <= room or not kept:
            kept.add(key)
            room -= needed
    return kept


def _param(text: str, *, fit: bool) -> str:
    """A param; a long number is cut to what a person compares, in a terminal."""
    if fit and len(text) > 8:
        with contextlib.suppress(ValueError):
            return number(float(text))
    return text


def _marked(values: Mapping[str, Any], key: str, best: float | None, runs: int) -> str:
    if key not in values:
        return "-"
    value = values[key]
    return number(value) + ("*" if runs > 1 and value is not None and value == best else "")


def best_of(values: Sequence[Any], key: str, greater: bool | None = None) -> float | None:
    """The best of a metric's values, those that aren't numbers left out; None for a metric
    of which nobody knows which way is better: neither `greater` nor its name tells."""
    known = [value for value in values if isinstance(value, int | float)]
    greater = better_when_greater(key) if greater is None else greater
    if not known or greater is None:
        return None
    return max(known) if greater else min(known)


def _columns(
    runs: Sequence[Run], metric: str | None, wanted: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    if wanted is None:
        params = differing(runs, "params")
        params.sort(key=lambda key: -sum(key in run["params"] for run in runs))
        return differing(runs, "metrics", first=metric), params
    known = {key for run in runs for part in ("metrics", "params") for key in run[part]}
    for key in wanted:
        if key not in known:
            raise InvalidInput(
                f"No run here has a param or metric {key!r}.",
                f"There are: {', '.join(sorted(known)[:40])}.",
            )
    metrics = [key for key in wanted if any(key in run["metrics"] for run in runs)]
    return metrics, [key for key in wanted if key not in metrics]


def differing(runs: Sequence[Run], part: str, first: str | None = None) -> list[str]:
    """The keys of `params` or `metrics` that aren't the same in all runs; all of them for
    a single run."""
    keys = dict.fromkeys([first] if first else [])
    for run in runs:
        keys |= dict.fromkeys(run[part])
    values = {key: [run[part].get(key) for run in runs] for key in keys}
    return [
        key
        for key, found in values.items()
        if any(each is not None for each in found)
        and (len(runs) == 1 or any(each != found[0] for each in found))
    ]


@app.command()
def export(
    ctx: typer.Context,
    *,
    name: Name,
    target: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.parquet", help="Where it goes.")
    ],
    where: Filter = None,
    order: Order = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
) -> None:
    """Write all runs of an experiment, with params, metrics and tags, to a Parquet file."""
    from volant.cli.tracked_table import write_parquet

    out = output_of(ctx)
    if target.exists() and not overwrite:
        raise InvalidInput(f"{target} is there already.", "Name another file, or add --overwrite.")
    with Client.of(options_of(ctx)) as client:
        experiment = find(client, name)["experiment"]
        runs = client.pages(
            f"/experiments/{experiment['id']}/runs", 10**9, filter=where, order=order
        )["items"]
    columns = write_parquet(runs, target)
    told = {"experiment": name, "file": str(target), "runs": len(runs), "columns": columns}
    out.document(told, lambda: out.line(f"{len(runs):,} runs, {columns} columns: {target}"))
