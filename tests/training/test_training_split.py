from __future__ import annotations

import json
import multiprocessing as mp
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volant.errors import Conflict, InvalidInput
from volant.training.holdout import choose, find_holdout
from volant.training.rowhash import row_hashes
from volant.training.split import split


def batch(rows: int, seed: int, classes: int = 2) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "a": rng.normal(size=rows),
            "b": rng.normal(size=rows),
            "target": np.arange(rows) % classes,
        }
    )


def test_holds_out_the_fraction_of_each_class(split_inputs: Any, tables: Any, context: Any) -> None:
    answer = split(split_inputs(holdout=0.2), tables([batch(200, 0, 4)]), context)
    assert (answer["train_rows"], answer["holdout_rows"]) == (160, 40)
    assert answer["task"] == "classification"
    assert answer["classes"] == [0, 1, 2, 3]
    held = pq.read_table(answer["holdout_path"]).column("target").to_pylist()
    assert [held.count(c) for c in range(4)] == [10] * 4


def test_the_holdout_stays_and_never_comes_into_training(
    split_inputs: Any, tables: Any, contexts: Any
) -> None:
    first, second = batch(100, 0), batch(80, 1)
    # The second batch repeats the first with flipped targets.
    flipped = first.set_column(2, "target", pa.array(1 - first.column("target").to_numpy()))
    source = tables([first, pa.concat_tables([second, flipped])])
    one = split(split_inputs(), source, contexts("one"))
    two = split(split_inputs(table_version=1), source, contexts("two"))
    assert one["holdout_sha256"] == two["holdout_sha256"]
    assert two["train_rows"] == 280 - 2 * one["holdout_rows"]
    held = set(row_hashes(pq.read_table(two["holdout_path"]), without="target").tolist())
    train = set(row_hashes(pq.read_table(two["train_path"]), without="target").tolist())
    assert not held & train


def test_duplicates_go_to_one_side_and_training_is_not_starved(
    split_inputs: Any, tables: Any, context: Any
) -> None:
    rng = np.random.default_rng(0)
    rows = pa.table(
        {"a": rng.integers(0, 4, 500), "b": rng.integers(0, 3, 500), "target": rng.random(500)}
    )
    answer = split(split_inputs(), tables([rows]), context)
    assert answer["task"] == "regression"
    assert answer["train_rows"] + answer["holdout_rows"] == 500
    assert 0.1 < answer["holdout_rows"] / 500 < 0.4


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=2, max_size=120),
    st.floats(0.05, 0.9),
    st.integers(0, 5),
)
def test_chosen_groups_are_whole_and_each_class_keeps_one(
    rows: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    hashes = np.array([h for h, _ in rows], dtype=np.uint64)
    labels = np.array([c for _, c in rows])
    held = choose(hashes, labels, fraction, seed)
    assert (held == choose(hashes, labels, fraction, seed)).all()
    assert not set(hashes[held].tolist()) & set(hashes[~held].tolist())
    assert (~held).any()


def test_a_class_of_one_row_is_in_training(split_inputs: Any, tables: Any, context: Any) -> None:
    rows = batch(60, 0)
    target = rows.column("target").to_pylist()
    target[7] = 9
    answer = split(
        split_inputs(), tables([rows.set_column(2, "target", pa.array(target))]), context
    )
    assert answer["classes"] == [0, 1, 9]
    assert 9 not in pq.read_table(answer["holdout_path"]).column("target").to_pylist()


def test_rows_without_target_are_left_out(
    split_inputs: Any, tables: Any, context: Any, capsys: Any
) -> None:
    rows = batch(60, 0)
    target = [None if i < 10 else v for i, v in enumerate(rows.column("target").to_pylist())]
    answer = split(
        split_inputs(), tables([rows.set_column(2, "target", pa.array(target))]), context
    )
    assert answer["train_rows"] + answer["holdout_rows"] == 50
    assert "10 of 60 rows have no 'target'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "explicit", "expected"),
    [
        (["a", "b"] * 20, None, "classification"),
        ([True, False] * 20, None, "classification"),
        (list(range(20)) * 2, None, "classification"),
        (list(range(40)), None, "regression"),
        ([0.0, 1.0] * 20, None, "regression"),
        ([0.0, 1.0] * 20, "classification", "classification"),
        ([1, 2] * 20, "regression", "regression"),
    ],
)
def test_the_task(
    target: list[Any],
    explicit: str | None,
    expected: str,
    split_inputs: Any,
    tables: Any,
    context: Any,
) -> None:
    rows = pa.table({"a": np.arange(40) * 1.5, "target": target})
    assert split(split_inputs(task=explicit), tables([rows]), context)["task"] == expected


def test_the_task_stays_what_it_was_when_frozen(
    split_inputs: Any, tables: Any, contexts: Any
) -> None:
    more = pa.table({"a": np.arange(40) + 0.5, "b": np.arange(40.0), "target": np.arange(40)})
    source = tables([batch(40, 0), more])
    assert split(split_inputs(), source, contexts("one"))["task"] == "classification"
    assert split(split_inputs(table_version=1), source, contexts("two"))["task"] == "classification"


@pytest.mark.parametrize(
    ("rows", "changes", "words", "fix"),
    [
        (batch(40, 0), {"target": "tarjet"}, "no column 'tarjet'", "Did you mean 'target'"),
        (batch(40, 0), {"target": "zzz"}, "no column 'zzz'", "a, b, target"),
        (
            pa.table({"a": range(30), "target": pa.nulls(30, pa.int64())}),
            {},
            "null in all 30 rows",
            "Push rows",
        ),
        (
            pa.table({"a": range(30), "target": ["x"] * 30}),
            {},
            "one class only: 'x'",
            "other class",
        ),
        (pa.table({"a": range(30), "target": [1.5] * 30}), {}, "one value only", "other value"),
        (batch(19, 0), {}, "19 rows", "at least 1 more"),
        (pa.table({"target": [0, 1] * 20}), {}, "no column to learn from", "one more column"),
        (batch(40, 0), {"holdout": 1.0}, "data.holdout is 1", "between 0 and 1"),
        (batch(40, 0), {"task": "cluster"}, "'cluster'", "classification, regression"),
        (
            pa.table({"a": range(40), "target": ["x", "y"] * 20}),
            {"task": "regression"},
            "holds text",
            "classification",
        ),
        (
            pa.table({"a": range(40), "target": [0.5, 1.0] * 20}),
            {"task": "classification"},
            "fractions such as 0.5",
            "regression",
        ),
        (pa.table({"a": [1] * 40, "target": [0, 1] * 20}), {}, "No row can be held out", "differ"),
    ],
)
def test_bad_input_says_what_to_do(
    rows: pa.Table, changes: Any, words: str, fix: str, split_inputs: Any, tables: Any, context: Any
) -> None:
    with pytest.raises(InvalidInput) as caught:
        split(split_inputs(**changes), tables([rows]), context)
    assert words in caught.value.what
    assert fix in caught.value.fix


def test_an_altered_holdout_is_refused(split_inputs: Any, tables: Any, contexts: Any) -> None:
    inputs, source = split_inputs(), tables([batch(60, 0)])
    path = Path(split(inputs, source, contexts("one"))["holdout_path"])
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(Conflict, match="altered") as caught:
        split(inputs, source, contexts("two"))
    assert str(path.parent) in caught.value.fix
    path.unlink()
    with pytest.raises(Conflict, match="is gone"):
        split(inputs, source, contexts("two"))


def test_another_target_is_refused(split_inputs: Any, tables: Any, contexts: Any) -> None:
    source = tables([batch(60, 0)])
    split(split_inputs(), source, contexts("one"))
    with pytest.raises(Conflict, match="frozen for the target 'target', not 'a'"):
        split(split_inputs(target="a"), source, contexts("two"))


def test_a_broken_record_is_refused(split_inputs: Any, tables: Any, contexts: Any) -> None:
    inputs, source = split_inputs(), tables([batch(60, 0)])
    split(inputs, source, contexts("one"))
    Path(inputs["holdout_dir"], "holdout.json").write_text("{}")
    with pytest.raises(Conflict, match="can't be read"):
        split(inputs, source, contexts("two"))


def test_dying_between_the_two_files_loses_nothing(
    split_inputs: Any, tables: Any, contexts: Any
) -> None:
    inputs, source = split_inputs(), tables([batch(60, 0)])
    one = split(inputs, source, contexts("one"))
    record = Path(inputs["holdout_dir"], "holdout.json")
    before = json.loads(record.read_text())
    record.unlink()
    two = split({**inputs, "seed": 99}, source, contexts("two"))
    assert two["holdout_sha256"] == one["holdout_sha256"]
    assert json.loads(record.read_text()) == before


def _split_in_child(inputs: Any, source: Any, context: Any, crash: bool) -> None:
    if crash:
        os.environ["VOLANT_CRASH_AT"] = "split.frozen"
    split(inputs, source, context)


def test_killed_after_the_freeze_the_next_attempt_uses_it(
    split_inputs: Any, tables: Any, contexts: Any
) -> None:
    inputs, source = split_inputs(), tables([batch(60, 0)])
    child = mp.get_context("fork").Process(
        target=_split_in_child, args=(inputs, source, contexts("one"), True)
    )
    child.start()
    child.join(30)
    assert child.exitcode == -9
    frozen = find_holdout(Path(inputs["holdout_dir"]))
    assert frozen is not None
    answer = split({**inputs, "seed": 8}, source, contexts("two"))
    assert answer["holdout_sha256"] == frozen.sha256


def test_of_many_first_runs_one_freezes(split_inputs: Any, tables: Any, contexts: Any) -> None:
    source = tables([batch(60, 0)])
    children = [
        mp.get_context("fork").Process(
            target=_split_in_child,
            args=(split_inputs(seed=seed), source, contexts(f"c{seed}"), False),
        )
        for seed in range(4)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0] * 4
    held = find_holdout(Path(split_inputs()["holdout_dir"]))
    assert held is not None
    sizes = {pq.read_table(contexts(f"c{s}").workdir / "train.parquet").num_rows for s in range(4)}
    assert sizes == {60 - held.facts.rows}
    leftovers = sorted(p.name for p in held.path.parent.iterdir())
    assert leftovers == ["holdout.json", "holdout.parquet"]
