"""Experiments and comparisons, over the API, on a real store."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from volant.cli.plots import plot
from volant.domain.event import Event
from volant.domain.project import Project
from volant.domain.tracking import Metric, TrackingStatus

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def event(project):
    return Event(f"evt-{project}", "volant.test", "volant/test", f"project/{project}", NOW)


@pytest.fixture
def tracked(platform):
    """Two runs of `wine`: one learns faster and ends better; `idle` has no run."""
    desk, experiments = platform.tracked_runs, platform.experiments
    wine = experiments.create("wine")
    experiments.create("idle")
    ids = []
    for place, depth in enumerate((2, 6)):
        run = desk.create(
            wine.id,
            name=f"depth {depth}",
            user="me",
            started_at=NOW + timedelta(minutes=place),
            tags=[("team", "cellar")],
        )
        points = [Metric("val_rmse", 3 / (step + depth), step, 1000 + step) for step in range(20)]
        desk.log(run.id, points, [("depth", str(depth)), ("seed", "0")])
        desk.log(run.id, [Metric("accuracy", 0.5 + depth / 100, 0, 1000)])
        desk.update(run.id, status=TrackingStatus.FINISHED, ended_at=NOW + timedelta(hours=1))
        ids.append(run.id)
    return ids


def test_the_list_tells_runs_and_the_best(volant, tracked):
    lines = volant("experiments").out.splitlines()
    assert lines[0].split() == ["EXPERIMENT", "RUNS", "NEWEST", "METRIC", "BEST"]
    assert lines[1].split()[:2] == ["wine", "2"]
    assert lines[1].split()[-2:] == ["accuracy", "0.56"]
    assert {line.split()[0] for line in lines[2:]} == {"idle", "Default"}
    summary = volant("experiments", "--json").json["items"][0]
    spans = {span["key"]: span for span in summary["metrics"]}
    assert spans["val_rmse"]["least"] == 3 / 25
    assert spans["val_rmse"]["greatest"] == 3 / 21
    assert summary["best"] == 0.56


def test_runs_are_shown_with_what_differs(volant, tracked):
    done = volant("experiments", "show", "wine")
    head, columns, *rows = done.out.splitlines()
    assert head == "wine: 2 runs, best accuracy 0.56"
    assert columns.split()[5:] == ["ACCURACY", "VAL_RMSE", "DEPTH"]  # seed is the same in both
    assert [row.split()[0] for row in rows] == tracked[::-1]
    assert rows[0].split()[-3:] == ["0.56*", "0.12*", "6"]
    one = volant("experiments", "show", "wine", "--filter", "params.depth = '2'")
    assert [row.split()[0] for row in one.out.splitlines()[2:]] == tracked[:1]
    by = volant("experiments", "show", "wine", "--order", "metrics.accuracy ASC", "--limit", 1)
    assert by.out.splitlines()[2].split()[0] == tracked[0]
    assert "There are more" in by.err
    chosen = volant("experiments", "show", "wine", "--columns", "seed,accuracy")
    assert chosen.out.splitlines()[1].split()[5:] == ["ACCURACY", "SEED"]
    assert volant("experiments", "show", "wine", "--json").json["items"][0]["id"] == tracked[1]
    assert volant("experiments", "show", "idle").err == "The experiment has no run yet.\n"


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["show", "wien"], 3, "Did you mean wine?"),
        (["show", "wine", "--filter", "metrics.rmse = 'x'"], 2, "expected a number"),
        (["show", "wine", "--filter", "x'; DROP TABLE runs"], 2, "Invalid filter"),
        (["show", "wine", "--order", "start_tme"], 2, "Did you mean start_time?"),
        (["show", "wine", "--columns", "deepth"], 2, "There are: accuracy, depth"),
        (["export", "wine", "-o", "/nowhere/a.parquet"], 2, "can't be written"),
    ],
)
def test_what_is_wrong_is_told(volant, tracked, args, code, told):
    done = volant("experiments", *args)
    assert done.code == code
    assert told in done.err


def test_export_writes_every_run_whole(volant, tracked, platform, tmp_path):
    platform.tracked_runs.log(tracked[0], [Metric("odd", math.nan, 0, 1)])
    file = tmp_path / "wine.parquet"
    done = volant("experiments", "export", "wine", "-o", file)
    assert done.out.startswith("2 runs, ")
    table = pq.read_table(file)
    assert table["run_id"].to_pylist() == tracked[::-1]
    assert table["params.depth"].to_pylist() == ["6", "2"]
    assert table["metrics.accuracy"].to_pylist() == [0.56, 0.52]
    odd = table["metrics.odd"].to_pylist()
    assert odd[0] is None
    assert math.isnan(odd[1])
    assert table["tags.team"].to_pylist() == ["cellar"] * 2
    assert table["started_at"].to_pylist()[1] == NOW
    assert [path.name for path in tmp_path.glob("*wine*")] == ["wine.parquet"]  # no draft is left
    again = volant("experiments", "export", "wine", "-o", file)
    assert again.code == 2
    assert "there already" in again.err
    assert volant("experiments", "export", "wine", "-o", file, "--overwrite").code == 0


def test_compare_tells_what_differs_and_draws_curves(volant, tracked):
    done = volant("runs", "compare", *tracked)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].startswith(f"A  {tracked[0]}  depth 2  finished")
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["METRIC"] == ["A", "B"]
    assert rows["accuracy"] == ["0.52", "0.56*"]
    assert rows["val_rmse"][:2] != rows["depth"]
    assert rows["depth"] == ["2", "6"]
    assert "seed" not in rows
    drawn = done.out.split("val_rmse by step\n")[1].splitlines()
    assert all(len(line) <= 72 for line in drawn)
    # A begins higher than B, and neither needs a color to be told from the other
    assert drawn[0].lstrip().startswith("1.5 │A")
    below = [line.split("│")[1][:1] for line in drawn if "│" in line]
    assert below.index("A") < below.index("B")
    assert "\x1b" not in done.out
    everything = volant("runs", "compare", *tracked, "--all", "--no-plots")
    assert "seed" in everything.out
    assert "by step" not in everything.out
    told = volant("runs", "compare", *tracked, "--json").json
    assert told["metrics"]["accuracy"] == {"values": [0.52, 0.56], "best": 0.56}
    assert [len(points) for points in told["histories"]["val_rmse"]] == [20, 20]


def test_compare_shows_each_run_in_one_line(volant, platform, tracked, monkeypatch):
    platform.tracked_runs.update(tracked[0], name="a\tb\nc\x1b[31m " + "d" * 300)
    lines = volant("runs", "compare", *tracked, "--no-plots").out.splitlines()
    assert lines[0].startswith(f"A  {tracked[0]}  a b c ddd")
    assert lines[0].count("d" * 300) == 1  # what isn't a terminal has it whole
    assert lines[1].startswith(f"B  {tracked[1]}")
    monkeypatch.setattr("volant.cli.output.sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "130")
    lines = volant("runs", "compare", *tracked, "--no-plots", "--no-color").out.splitlines()
    assert "d…  finished" in lines[0]
    assert len(lines[0]) == 130


def test_the_experiment_tells_which_way_its_own_metric_is_better(volant, platform, tracked):
    experiments = platform.experiments
    wine = experiments.by_name("wine").id
    for run, gap in zip(tracked, (4.0, 9.0), strict=True):
        platform.tracked_runs.log(run, [Metric("gap", gap, 0, 1)])
    experiments.set_tag(wine, "volant.metric", "gap")
    assert volant("experiments").out.splitlines()[1].split()[-2:] == ["gap", "-"]
    experiments.set_tag(wine, "volant.direction", "minimize")
    assert volant("experiments").out.splitlines()[1].split()[-2:] == ["gap", "4"]
    shown = volant("experiments", "show", "wine", "--columns", "gap").out.splitlines()
    assert shown[0] == "wine: 2 runs, best gap 4"
    assert [row.split()[-1] for row in shown[2:]] == ["9", "4*"]


def test_compare_marks_the_best_as_the_experiment_tells(volant, platform, tracked):
    experiments = platform.experiments
    wine = experiments.by_name("wine").id
    for number in range(120):  # more than a page has, with newer runs
        other = experiments.create(f"other {number}").id
        run = platform.tracked_runs.create(
            other, name="r", user="me", started_at=NOW + timedelta(days=1)
        )
    told = volant("runs", "compare", *tracked, "--json", "--no-plots").json["metrics"]
    assert [told[key]["best"] for key in ("accuracy", "val_rmse")] == [0.56, 3 / 25]
    experiments.set_tag(wine, "volant.metric", "accuracy")
    experiments.set_tag(wine, "volant.direction", "minimize")
    shown = volant("experiments", "show", "wine", "--columns", "accuracy").out.splitlines()
    assert [row.split()[-1] for row in shown[2:]] == ["0.56", "0.52*"]
    lines = volant("runs", "compare", *tracked, "--no-plots").out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["accuracy"] == ["0.52*", "0.56"]
    platform.tracked_runs.log(run.id, [Metric("accuracy", 0.9, 0, 1)])
    experiments.set_tag(other, "volant.metric", "accuracy")
    experiments.set_tag(other, "volant.direction", "maximize")
    mixed = volant("runs", "compare", *tracked, run.id, "--json", "--no-plots").json["metrics"]
    assert mixed["accuracy"]["best"] == 0.9  # they contradict each other: its name tells


def test_compare_needs_two_runs_that_are_there(volant, tracked):
    assert volant("runs", "compare", tracked[0]).code == 2
    assert volant("runs", "compare", tracked[0], "nobody").code == 3


def test_a_plot_fits_and_leaves_out_what_is_no_number():
    curves = {"A": [(0, 0.0), (1, math.nan), (9, 9.0)], "B": [(0, 9.0), (9, 0.0)]}
    lines = plot(curves, width=40, height=9)
    assert len(lines) == 11
    assert max(map(len, lines)) <= 40
    assert any("*" in line for line in lines)  # where they cross
    assert lines[-1].split() == ["0", "9"]
    assert plot({"A": [(0, math.inf)]}) == []
    flat = plot({"A": [(3, 2.0)]}, width=30)
    assert flat[-3].split() == ["2", "│A"]


def test_a_history_is_thinned_with_its_ends(platform, volant, serving):
    import httpx

    run = platform.tracked_runs.create("0", name="long", user="me", started_at=NOW)
    for start in range(0, 3000, 1000):
        platform.tracked_runs.log(
            run.id, [Metric("loss", 1 / (1 + i), i, i) for i in range(start, start + 1000)]
        )
    answer = httpx.get(
        f"{serving.url}/api/v1/tracking/runs/{run.id}/metrics",
        params={"key": "loss", "points": 100},
        headers={"Authorization": "Bearer vol_viewer"},
        trust_env=False,
    ).json()["items"]
    assert 100 <= len(answer) <= 101
    assert (answer[0]["step"], answer[-1]["step"]) == (0, 2999)


def test_an_experiment_of_a_project_goes_by_both_names(volant, platform, tracked):
    for project in ("red", "blue"):
        platform.store.projects.create(Project(project, NOW), event(project))
        for name in ("wine", "both", project):
            platform.experiments.create(name, project=project)
    listed = {line.split()[0] for line in volant("experiments").out.splitlines()[1:]}
    assert {"wine", "red/wine", "blue/wine", "red/red"} <= listed
    assert volant("experiments", "show", "wine", "--json").json["items"][0]["id"] == tracked[1]
    own = volant("experiments", "show", "red/wine", "--json").json
    assert (own["experiment"]["project"], own["items"]) == ("red", [])
    assert volant("experiments", "show", "red", "--json").json["experiment"]["project"] == "red"
    several = volant("experiments", "show", "both")
    assert several.code == 2
    assert "blue/both" in several.err
    assert "red/both" in several.err
    assert "Did you mean red/wine?" in volant("experiments", "show", "red/wien").err
