"""Which step waits for which."""

import threading
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.workflows.test_workflows_manifest import FUSEML

from volant.adapters.dbos_engine.engine import DbosEngine
from volant.domain.run import Run, RunStatus
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.store import Store, sqlite_url
from volant.testing.engine_contract import ScriptedExecutor, await_state
from volant.workflows.links import links_of
from volant.workflows.manifest import parse_manifest
from volant.workflows.order import Links, circle, places
from volant.workflows.plan import plan_workflow


def link(refers="", needs=None):
    return Links(frozenset(refers.split()), None if needs is None else tuple(needs.split()))


def waits(**links):
    """Everything that each step waits for, as words."""
    after = places(links)
    return {name: " ".join(sorted({*link.all, *after[name]})) for name, link in links.items()}


def test_without_any_link_one_after_the_other():
    assert waits(a=link(), b=link(), c=link()) == {"a": "", "b": "a", "c": "b"}


def test_fusemls_files_run_as_their_data_flows():
    found = waits(**links_of(parse_manifest(FUSEML)))
    assert found == {
        "builder": "",
        "trainer": "builder",
        "converter": "trainer",
        "ovms": "converter",
        "kserve": "trainer",
        "seldon": "trainer",
    }


def test_what_is_referred_to_starts_at_once():
    found = waits(a=link(), b=link(), c=link("a b"))
    assert found == {"a": "", "b": "", "c": "a b"}


def test_a_step_without_links_keeps_its_place():
    found = waits(
        build=link(),
        prepare=link(),
        train=link("build"),
        left=link("train"),
        right=link("train"),
        notify=link(),
        more=link(),
    )
    assert found == {
        "build": "",
        "prepare": "build",
        "train": "build prepare",
        "left": "prepare train",
        "right": "prepare train",
        "notify": "left right",
        "more": "notify",
    }


def test_written_needs_are_all_that_is_waited_for():
    found = waits(a=link(), b=link(needs=""), c=link("a", "b"), d=link(), e=link(needs="a"))
    assert found == {"a": "", "b": "", "c": "a b", "d": "c", "e": "a"}
    assert waits(x=link(), y=link(needs=""), z=link()) == {"x": "", "y": "", "z": "x y"}


def test_a_reference_to_a_later_step_is_no_circle():
    found = waits(a=link(needs="c"), b=link(), c=link())
    assert found == {"a": "c", "b": "", "c": "b"}


def test_a_circle_is_told():
    assert circle({"a": link("b"), "b": link(), "c": link("a")}) is None
    assert circle({"a": link("a")}) == ["a", "a"]
    found = circle({"x": link(), "a": link("c"), "b": link("a x"), "c": link("b")})
    assert found is not None
    assert found[0] == found[-1]
    assert set(found) == {"a", "b", "c"}


@given(
    st.integers(1, 9).flatmap(
        lambda count: st.tuples(
            st.permutations(range(count)),
            st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=12),
            st.sets(st.integers(0, count - 1)),
        )
    )
)
def test_places_never_make_a_circle_and_hold_what_stands_alone(graph):
    written, edges, open_about_it = graph
    edges = {(a, b) for a, b in edges if a < b}  # b waits for a
    links = {
        f"s{n}": Links(
            frozenset(f"s{a}" for a, b in edges if b == n), () if n in open_about_it else None
        )
        for n in written
    }
    after = places(links)
    steps = tuple(
        StepSpec(name, uses="pass", needs=tuple(sorted(link.all)), after=after[name])
        for name, link in links.items()
    )
    plan = plan_workflow(WorkflowSpec("w", steps))  # raises for a circle
    below = {name: plan.downstream(name) for name in plan.order}
    linked = {n for edge in edges for n in edge}
    for n in written:
        if n in linked or n in open_about_it:
            continue
        for other in written:
            if other != n and other not in open_about_it:
                assert f"s{other}" in below[f"s{n}"] or f"s{n}" in below[f"s{other}"]
    if not edges and not open_about_it:
        assert all(later in below[first] for first, later in pairwise(f"s{n}" for n in written))


@pytest.fixture
def engine(tmp_path):
    store = Store(sqlite_url(tmp_path / "volant.db"))
    store.migrate()
    executor = ScriptedExecutor()
    made = DbosEngine(
        sqlite_url(tmp_path / "runs.db"), executor, tmp_path, store.runs.get, plan_workflow
    )
    made.launch()
    made.store, made.executor = store, executor
    yield made
    made.close()
    store.close()


def test_a_skipped_step_does_not_skip_what_only_comes_after_it(engine):
    began = threading.Event()
    engine.executor.scripts["first"] = lambda request: {"went": began.set()}
    steps = (
        StepSpec("first", uses="pass"),
        StepSpec("maybe", uses="pass", when="inputs.x", after=("first",)),
        StepSpec("needs", uses="pass", needs=("maybe",)),
        StepSpec("last", uses="pass", after=("maybe",)),
    )
    run = Run("run-1", WorkflowSpec("w", steps, {"x": ""}), datetime(2030, 1, 1, tzinfo=UTC))
    engine.store.runs.create(run)
    engine.start(run)
    state = await_state(engine, "run-1")
    assert {step.name: step.status for step in state.steps} == {
        "first": RunStatus.SUCCEEDED,
        "maybe": RunStatus.SKIPPED,
        "needs": RunStatus.SKIPPED,
        "last": RunStatus.SUCCEEDED,
    }
