from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, StrEnum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volant.domain.codec import from_plain, to_plain
from volant.domain.contract import Contract
from volant.domain.dataset import Dataset, DatasetVersion, Push
from volant.domain.decision import Decision
from volant.domain.deployment import Deployment, Revision
from volant.domain.event import Event
from volant.domain.job import Job, JobResult
from volant.domain.loop import Loop, TrainSpec
from volant.domain.model import ModelVersion, Signature
from volant.domain.principal import AuditEntry, Role, Token
from volant.domain.run import Run, RunState
from volant.domain.tracking import Experiment, Metric, TrackedRun
from volant.domain.trigger import Firing, Trigger
from volant.errors import InvalidInput

KINDS = [
    AuditEntry, Contract, Dataset, DatasetVersion, Decision, Deployment, Event, Experiment, Firing,
    Job, JobResult, Loop, Metric, ModelVersion, Push, Revision, Run, RunState, Signature, Token,
    TrackedRun, Trigger,
]  # fmt: skip

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
number = st.floats(allow_nan=False, allow_infinity=False)
scalar = st.one_of(st.none(), st.booleans(), st.integers(), number, text)
anything = st.recursive(
    scalar,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=3,
)
SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    Any: anything,
    NoneType: st.none(),
    bool: st.booleans(),
    int: st.integers(),
    float: number,
    str: text,
    datetime: st.integers(-(2**54), 2**54).map(lambda us: EPOCH + timedelta(microseconds=us)),
    Path: st.lists(text.filter(lambda part: "\0" not in part), min_size=1).map(
        lambda parts: Path(*parts)
    ),
}


@cache
def _values(kind: Any) -> st.SearchStrategy[Any]:
    members = get_args(kind)
    origin = get_origin(kind)
    if kind in SIMPLE:
        return SIMPLE[kind]
    if origin in (Union, UnionType):
        return st.one_of([_values(member) for member in members])
    if origin is tuple:
        return st.lists(_values(members[0]), max_size=2).map(tuple)
    if origin is not None:
        return st.dictionaries(_values(members[0]), _values(members[1]), max_size=2)
    if issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: _values(hint) for name, hint in hints.items()})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=30)
@given(data=st.data())
def test_round_trip(kind: type[Any], data: st.DataObject) -> None:
    value = data.draw(_values(kind))
    sent = json.loads(json.dumps(to_plain(value), allow_nan=False))
    assert from_plain(kind, sent) == value


def test_plain_form() -> None:
    token = Token("t", "ann", Role.ADMIN, "x", datetime(2030, 1, 1, tzinfo=UTC))
    assert to_plain(token) == {
        "id": "t",
        "principal": "ann",
        "role": 4,
        "sha256": "x",
        "created_at": "2030-01-01T00:00:00Z",
        "last_used_at": None,
    }


@pytest.mark.parametrize(
    ("value", "plain"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")]
)
def test_numbers_that_json_has_not(value: float, plain: str) -> None:
    sent = to_plain(Metric("loss", value, 3, 1_900_000_000_000))
    assert sent["value"] == plain
    back = from_plain(Metric, sent)
    assert back.value == value or (math.isnan(back.value) and math.isnan(value))


def test_times_become_utc() -> None:
    local = datetime(2030, 1, 1, 5, tzinfo=timezone(timedelta(hours=5)))
    assert to_plain(local) == "2030-01-01T00:00:00Z"
    assert from_plain(datetime, "2030-01-01T05:00:00+05:00") == local
    assert from_plain(datetime, "2030-01-01T05:00:00+05:00").tzinfo is UTC


class Color(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Tree:
    name: str
    pair: tuple[int, str] = (1, "a")
    color: Color = Color.RED
    children: tuple[Tree, ...] = ()
    sizes: Mapping[str, float] | None = None
    choice: int | str = 0
    items: list[bool] | None = None


def test_a_class_may_hold_itself() -> None:
    tree = Tree("a", children=(Tree("b", sizes={"x": 1.5}),), items=[True], choice="c")
    assert from_plain(Tree, to_plain(tree)) == tree


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": 1}, "Tree.name"),
        ({"pair": [1]}, "Tree.pair"),
        ({"pair": [1, 2]}, "Tree.pair[1]"),
        ({"color": "blue"}, "Tree.color"),
        ({"children": "x"}, "Tree.children"),
        ({"children": [{"name": None}]}, "Tree.children[0].name"),
        ({"children": [3]}, "Tree.children[0]"),
        ({"sizes": {"x": "1"}}, "Tree.sizes.x"),
        ({"sizes": {1: 1.0}}, "Tree.sizes (key)"),
        ({"sizes": []}, "Tree.sizes"),
        ({"choice": 1.5}, "Tree.choice"),
        ({"choice": True}, "Tree.choice"),
        ({"items": [1]}, "Tree.items[0]"),
        ({"other": 1}, "Tree"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        from_plain(Tree, {"name": "a"} | change)
    assert caught.value.details["path"] == path
    assert caught.value.fix


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidInput, match="'name'") as caught:
        from_plain(Tree, {})
    assert caught.value.error_code == "missing_field"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (TrainSpec, {"seed": True}),
        (TrainSpec, {"budget_s": "30"}),
        (TrainSpec, {"budget_s": None}),
        (Token, {"id": "t", "principal": "p", "role": True, "sha256": "", "created_at": "x"}),
        (datetime, "2030-01-01T00:00:00"),
        (datetime, "yesterday"),
        (datetime, 5),
    ],
)
def test_types_are_strict(kind: type[Any], data: Any) -> None:
    with pytest.raises(InvalidInput):
        from_plain(kind, data)


@pytest.mark.parametrize("value", [b"x", {1, 2}, object(), {1: 2}, EPOCH.replace(tzinfo=None)])
def test_no_plain_form(value: object) -> None:
    with pytest.raises(InvalidInput):
        to_plain({"key": [value]})


def test_defaults_fill_what_older_rows_lack() -> None:
    assert from_plain(TrainSpec, {"seed": 3}) == replace(TrainSpec(), seed=3)
