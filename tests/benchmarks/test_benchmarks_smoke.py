"""That the figures' pieces run; what they measure is for `make bench`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        del sys.modules[name]


def test_benchmarks_every_figure_can_be_imported():
    from benchmarks.__main__ import FIGURES, _module

    for name in FIGURES:
        assert _module(name).TITLE
        assert callable(_module(name).measure)


def test_benchmarks_engine_figures(tmp_path: Path):
    from benchmarks.table import HEADS, table

    from benchmarks import durable_step, ten_steps

    lines = [
        *durable_step.measure(tmp_path, quick=True),
        *ten_steps.measure(tmp_path, quick=True),
    ]
    text = table(lines)
    assert all(head in text for head in HEADS)
    assert all(line.floor is not None and line.ratio is not None for line in lines)
    json.dumps([line.to_dict() for line in lines])


def test_benchmarks_goals_and_numbers():
    from benchmarks.line import Line, Samples, number

    assert Line("a", "s", Samples([1, 2, 9]), at_most=2).met is True
    assert Line("a", "s", Samples([3]), at_most=2).met is False
    assert Line("a", "1/s", Samples([5]), Samples([10]), ratio_at_least=1).met is False
    assert Line("a", "s", Samples([3])).met is None
    taken = (Samples([9, 90]), Samples([10, 100]))
    assert Line("a", "1/s", *taken, ratio_at_least=0.9, paired=True).met is True
    assert [number(v) for v in (0, 0.0123, 0.5, 12.34, 12345.6)] == [
        "0",
        "0.012",
        "0.50",
        "12.3",
        "12 346",
    ]


def test_benchmarks_machine_and_load_generator(tmp_path: Path):
    from benchmarks.load import generate
    from benchmarks.plain_server import serving

    from benchmarks import machine

    assert machine.facts(tmp_path)["cores"] > 0
    with serving("hello.py", "app") as server:
        load = asyncio.run(generate(f"http://127.0.0.1:{server.port}/", None, 2, 0.2))
        assert load.rate > 0
        assert machine.pss_mb(server.pid) > 1
        assert server.pid in machine.family(server.pid)


def test_benchmarks_rows_are_the_same_every_time(tmp_path: Path):
    from benchmarks import rows

    first = rows.write(tmp_path / "a.csv", 1, 5).read_text()
    assert rows.write(tmp_path / "b.csv", 1, 5).read_text() == first
    assert rows.write(tmp_path / "c.csv", 2, 5).read_text() != first


def test_benchmarks_workflows_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PEER_ISOLATED", "1")
    from benchmarks.workflows.ours import WIDTH, Bench

    bench = Bench(tmp_path)
    bench.open()
    try:
        for shape in ("chain", "fan", "fan"):
            bench.run(shape, cached=True)
        state = bench.engine.states(["bench-2"])["bench-2"]
    finally:
        bench.close()
    # The chain's steps are the same, but of another workflow.
    assert [step.cached for step in state.steps] == ["bench-1"] * WIDTH


def test_benchmarks_workflows_table_and_goals():
    from benchmarks.workflows.__main__ import goals, table

    figures = {
        ("volant", "chain", "warm"): [0.1, 0.1, 9.0],
        ("volant", "chain", "cached"): [0.2],
        ("volant, in process", "chain", "warm"): [0.04],
        ("metaflow", "chain", "warm"): [1.5],
    }
    text = table(figures, {"volant": 0.01, "metaflow": 0.01}, ["volant", "metaflow"])
    assert [line.split()[-1] for line in text.splitlines()[1:]] == ["10.0", "20.0", "150.0"]
    met = [good for _, _, good in goals(figures, ["metaflow", "dagster"])]
    assert met == [True, True, False, True]
