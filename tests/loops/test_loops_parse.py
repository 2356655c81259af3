from __future__ import annotations

from typing import Any

import pytest

from volant.domain.contract import ColumnRule, ColumnType, Contract
from volant.domain.loop import (
    ChampionRule,
    DataSpec,
    GateSpec,
    LogSpec,
    LoopSpec,
    ReplicaSpec,
    RolloutSpec,
    SliceRule,
    StickyKey,
    Threshold,
    TrainSpec,
    TriggerSpec,
)
from volant.errors import InvalidInput
from volant.loops.parse import parse

MINIMAL = "kind: Loop\nname: wine-quality\ndata: {dataset: wine, target: quality}\n"

FULL = """\
kind: Loop
name: wine-quality
description: "Which wines are good"
data:
  dataset: wine
  target: quality
  holdout: 0.25
  contract:
    columns:
      quality: {type: integer, nullable: false, min: 0, max: 10}
      color: {type: string, values: [red, white, no]}
      label: {type: string, unique: true}
train:
  automl: {metric: rmse, budget: 2m, task: regression, seed: 7}
  memory: 2GB
  timeout: 10m
gate:
  thresholds: {rmse: {max: 0.75}, r2: {min: 1e-1}}
  champion: {better_by: -0.01, confidence: 0.9}
deploy:
  replicas: {min: 1, max: 4, idle: 500s, memory: 1GiB, target: 8, spares: 2, cpu: 0.5}
  rollout:
    shadow: 50
    canary: [10, 50]
    bake: 5m
    rollback_on: {error_rate: 0.01, p95_ms: 50}
    min_requests: 100
    sticky: {header: X-User}
  keep: 2
  log: {sample: 0.5, max: 2GB}
triggers: [data, {cron: "0  2 * * *"}]
"""


def problems(text: str) -> list[dict[str, Any]]:
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    assert caught.value.fix
    return caught.value.details["problems"]


def only(text: str) -> dict[str, Any]:
    (problem,) = problems(text)
    return problem


def test_slices():
    text = "gate: {slices: [{by: color, max_regression: 0.02}, {by: size, min_rows: 5}]}\n"
    found = parse(MINIMAL + text).gate
    assert found.slices == (SliceRule("color", 0.02), SliceRule("size", 0.0, 5))
    assert found.champion == ChampionRule()


def test_the_least_loop_gets_every_default() -> None:
    assert parse(MINIMAL) == LoopSpec("wine-quality", DataSpec("wine", "quality"))


def test_every_key_is_read() -> None:
    assert parse(FULL) == LoopSpec(
        name="wine-quality",
        description="Which wines are good",
        data=DataSpec(
            "wine",
            "quality",
            Contract(
                (
                    ColumnRule("quality", ColumnType.INTEGER, False, 0.0, 10.0),
                    # YAML 1.2: `no` is a word
                    ColumnRule("color", ColumnType.STRING, values=("red", "white", "no")),
                    ColumnRule("label", ColumnType.STRING, unique=True),
                ),
                inferred=False,
            ),
            0.25,
        ),
        train=TrainSpec("rmse", 120.0, "regression", 7, None, {}, 2_000_000_000, 600.0),
        gate=GateSpec(
            (Threshold("rmse", max=0.75), Threshold("r2", min=0.1)), ChampionRule(-0.01, 0.9)
        ),
        replicas=ReplicaSpec(1, 4, 500.0, 2**30, 8, 2, 0.5),
        triggers=(TriggerSpec("data"), TriggerSpec("cron", "0 2 * * *")),
        rollout=RolloutSpec((10.0, 50.0), 300.0, 0.01, 50.0, 100, StickyKey(header="x-user"), 50.0),
        keep=2,
        log=LogSpec(0.5, 2 * 10**9),
    )


def test_a_callable_with_its_own_keys() -> None:
    spec = parse(
        MINIMAL
        + """\
train:
  call: "pkg.train:fit"
  params: {depth: 3, rate: 1e-3, layers: [8, 4], name: "{{ x }}", on: true, none: null}
  metric: f1
  seed: 0x10
  budget: 90s
"""
    )
    assert spec.train == TrainSpec(
        metric="f1",
        budget_s=90.0,
        seed=16,
        call="pkg.train:fit",
        params={
            "depth": 3,
            "rate": 0.001,
            "layers": [8, 4],
            "name": "{{ x }}",
            "on": True,
            "none": None,
        },
    )


def test_sections_whose_keys_are_all_commented_out_are_defaults() -> None:
    assert parse(MINIMAL + "train:\n  automl:\ngate:\n  champion:\ndeploy:\n") == parse(MINIMAL)


def test_a_rollout_only_if_it_is_asked_for() -> None:
    for text in ("", "deploy: {rollout: }", "deploy: {rollout: false}"):
        assert parse(MINIMAL + text).rollout is None
    assert parse(MINIMAL + "deploy: {rollout: {}}").rollout == RolloutSpec()


def test_the_prediction_log_can_be_turned_off() -> None:
    for text in ("off", "false", "'off'"):
        assert parse(MINIMAL + f"deploy: {{log: {text}}}").log is None
    assert parse(MINIMAL + "deploy: {log: {}}").log == LogSpec()


def test_no_comparison_with_the_champion_on_demand() -> None:
    assert parse(MINIMAL + "gate: {champion: false}\n").gate.champion is None
    assert parse(MINIMAL + "gate: {champion: true}\n").gate.champion == ChampionRule()


# (text after the minimal loop, path, line, column, a part of what, a part of the fix)
WRONG = [
    ("trian: {}", "trian", 4, 1, "not a key", "Did you mean train?"),
    ("zebra: {}", "zebra", 4, 1, "not a key", "Use one of these keys: kind, name"),
    ("train: {automl: {budgte: 3s}}", "train.automl.budgte", 4, 18, "not a key", "budget?"),
    ("train: {automl: {metric: rsme}}", "train.automl.metric", 4, 26, "'rsme'", "rmse?"),
    ("train: {automl: {metric: zzz}}", "train.automl.metric", 4, 26, "'zzz'", "accuracy"),
    ("train: {automl: {metric: 3}}", "train.automl.metric", 4, 26, "the number 3", "quotes"),
    ("train: {automl: {metric: }}", "train.automl.metric", 4, 25, "nothing", "delete the key"),
    ("train: {automl: {budget: 30}}", "train.automl.budget", 4, 26, "number 30", "30s"),
    ("train: {automl: {budget: 30 secs}}", "train.automl.budget", 4, 26, "'30 secs'", "500ms"),
    ("train: {automl: {budget: 10ms}}", "train.automl.budget", 4, 26, "range", "1s to 7d"),
    ("train: {automl: {task: cluster}}", "train.automl.task", 4, 24, "'cluster'", "regression"),
    ("train: {automl: {task: Regression}}", "train.automl.task", 4, 24, "'Reg", "regression?"),
    ("train: {automl: {seed: 1.5}}", "train.automl.seed", 4, 24, "whole", "Write 2"),
    ("train: {automl: {seed: -1}}", "train.automl.seed", 4, 24, "range", "0 to 4294967295"),
    ("train: {automl: {seed: true}}", "train.automl.seed", 4, 24, "not true", "whole number"),
    ("train: {memory: 512}", "train.memory", 4, 17, "number 512", "512MB"),
    ("train: {memory: 1KB}", "train.memory", 4, 17, "range", "64MiB"),
    ("train: {timeout: 5s}", "train.timeout", 4, 18, "before its budget", "longer"),
    ("train: {metric: rmse}", "train.metric", 4, 17, "no train.call", "automl: {metric"),
    ("train: {params: {a: 1}}", "train.params", 4, 17, "no train.call", "delete the key"),
    ('train: {call: "train.py"}', "train.call", 4, 15, "'train.py'", "module:function"),
    ('train: {call: "a.class:fit"}', "train.call", 4, 15, "'a.class:fit'", "module:function"),
    ('train: {call: "a:b", automl: {}}', "train.automl", 4, 30, "both", "Keep the one"),
    ('train: {call: "a:b", params: [1]}', "train.params", 4, 30, "a list", "key: value"),
    ('train: {call: "a:b", params: {x: .nan}}', "train.params.x", 4, 34, "finite", "finite"),
    ('train: {call: "a:b", params: {x: 1e999}}', "train.params.x", 4, 34, "finite", "finite"),
    ('train: {call: "a:b", params: {x: "\\0"}}', "train.params.x", 4, 34, "U+0000", "Delete"),
    ('train: {call: "a:b", params: {x: "\\ud800"}}', "train.params.x", 4, 34, "U+D800", "Delete"),
    ("train: {finetune: {}}", "train.finetune", 4, 9, "isn't in this version", "for now"),
    ("train: {codeset: x}", "train.codeset", 4, 9, "isn't in this version", "for now"),
    ("features: []", "features", 4, 1, "isn't in this version", "for now"),
    ("monitor: {}", "monitor", 4, 1, "isn't in this version", "for now"),
    ("budget: {}", "budget", 4, 1, "isn't in this version", "for now"),
    (
        "gate: {slices: [{max_regression: 1}]}",
        "gate.slices[0].by",
        4,
        17,
        "is missing",
        "Add the key by",
    ),
    ("deploy: {rollout: {canary: 10}}", "deploy.rollout.canary", 4, 28, "a list", "[10, 50]"),
    ("deploy: {rollout: {canary: [0]}}", "deploy.rollout.canary[0]", 4, 29, "range", "0 and 100"),
    ("deploy: {rollout: {canary: [9, 9]}}", "deploy.rollout.canary[1]", 4, 32, "not above", "grow"),
    ("deploy: {rollout: {canary: [x]}}", "deploy.rollout.canary[0]", 4, 29, "'x'", "quotes"),
    ("deploy: {rollout: {canry: [1]}}", "deploy.rollout.canry", 4, 20, "not a key", "canary?"),
    ("deploy: {rollout: true}", "deploy.rollout", 4, 19, "mapping", "key: value"),
    ("deploy: {rollout: {bake: 2}}", "deploy.rollout.bake", 4, 26, "duration", "2m"),
    ("deploy: {rollout: {shadow: 101}}", "deploy.rollout.shadow", 4, 28, "range", "0 to 100"),
    (
        "deploy: {rollout: {rollback_on: {error_rate: 5}}}",
        "deploy.rollout.rollback_on.error_rate",
        *(4, 46, "range", "0 to 1"),
    ),
    ("deploy: {rollout: {sticky: {}}}", "deploy.rollout.sticky", 4, 28, "one of", "x-user"),
    (
        "deploy: {rollout: {sticky: {header: 'a b'}}}",
        "deploy.rollout.sticky.header",
        *(4, 37, "header", "x-user"),
    ),
    ("deploy: {keep: -1}", "deploy.keep", 4, 16, "range", "0 to 20"),
    ("deploy: {log: on}", "deploy.log", 4, 15, "'on'", "off for no log"),
    ("deploy: {log: {sample: 2}}", "deploy.log.sample", 4, 24, "range", "1e-06 to 1"),
    ("deploy: {replicas: {cpu: 0}}", "deploy.replicas.cpu", 4, 26, "range", "0.01 to 1024"),
    ("triggers: [data, drift]", "triggers[1]", 4, 18, "drift isn't in this version", "cron"),
    ("triggers: [dta]", "triggers[0]", 4, 12, "'dta' is no trigger", "data"),
    ("triggers: [data, data]", "triggers[1]", 4, 18, "twice", "one"),
    ("triggers: data", "triggers", 4, 11, "must be a list", "[one, two]"),
    ("triggers: [{chron: x}]", "triggers[0].chron", 4, 13, "not a key", "cron?"),
    ('triggers: [{cron: "0 2 * *"}]', "triggers[0].cron", 4, 19, "4 fields", "five fields"),
    ('triggers: [{cron: "61 * * * *"}]', "triggers[0].cron", 4, 19, "range", "five fields"),
    ('triggers: [{cron: "0 0 31 2 *"}]', "triggers[0].cron", 4, 19, "no such date", "five"),
    ('triggers: [{cron: "R * * * *"}]', "triggers[0].cron", 4, 19, "'R'", "five fields"),
    ('triggers: [{cron: "@daily"}]', "triggers[0].cron", 4, 19, "1 fields", "five fields"),
    ("triggers: [{cron: 5}]", "triggers[0].cron", 4, 19, "number 5", "quotes"),
    ("gate: {thresholds: {rsme: {max: 1}}}", "gate.thresholds.rsme", 4, 21, "'rsme'", "rmse?"),
    ("gate: {thresholds: {rmse: {}}}", "gate.thresholds.rmse", 4, 27, "no bound", "{min: …}"),
    ("gate: {thresholds: {rmse: {max: x}}}", "gate.thresholds.rmse.max", 4, 33, "'x'", "quotes"),
    ("gate: {thresholds: {rmse: {min: 2, max: 1}}}", "gate.thresholds.rmse.min", 4, 33, "ab", "Sw"),
    ("gate: {thresholds: [rmse]}", "gate.thresholds", 4, 20, "a list", "key: value"),
    ("gate: {slices: [{by: a}, {by: a}]}", "gate.slices[1].by", 4, 31, "stands above", "Keep one"),
    ("gate: {slices: {by: a}}", "gate.slices", 4, 16, "a mapping", "[one, two]"),
    ("gate: {champion: 3}", "gate.champion", 4, 18, "number 3", "false"),
    ("gate: {champion: {confidence: 95}}", "gate.champion.confidence", 4, 31, "range", "0.9999"),
    ("deploy: {replicas: {min: 3, max: 2}}", "deploy.replicas.min", 4, 26, "above max", "0 to 2"),
    ("deploy: {replicas: {idle: 0s}}", "deploy.replicas.idle", 4, 27, "range", "1s"),
    ("deploy: [1]", "deploy", 4, 9, "a list", "key: value"),
    ("name: other", "name", 4, 1, "twice (first in line 2)", "Keep one"),
    ("description: [1]", "description", 4, 14, "a list", "one text"),
    ("---\nkind: Loop", "", 4, 1, "second document", "file of its own"),
    ("gate: &a {}", "", 4, 7, "anchors", "Write the value out"),
    ("gate: !!python/object:os.system {}", "", 4, 7, "tag", "Delete the tag"),
    ("gate:\n\tchampion: false", "", 5, 1, "'\\t'", "spaces"),
    ("gate: {", "", 5, 1, "isn't valid YAML", "indentation"),
    ("a: b: c", "", 4, 5, "isn't valid YAML", "colons"),
    ("? [a, b]\n: 1", "", 4, 3, "a list, not text", "plain text"),
    ("description: \x07", "", 4, 14, "U+0007", "UTF-8"),
    ('description: "\\UFFFFFFFF"', "", 1, 1, "isn't valid YAML", "escape"),
    ("description: " + "[" * 100, "", 4, 53, "nested deeper", "indentation"),
]


@pytest.mark.parametrize(("more", "path", "line", "column", "what", "fix"), WRONG)
def test_each_mistake_names_its_place_and_its_fix(
    more: str, path: str, line: int, column: int, what: str, fix: str
) -> None:
    problem = only(MINIMAL + more + "\n")
    assert (problem["path"], problem["line"], problem["column"]) == (path, line, column)
    assert what in problem["what"]
    assert fix in problem["fix"]


CONTRACT = "kind: Loop\nname: a\ndata:\n  dataset: d\n  target: y\n  contract:\n    columns:\n"

WRONG_COLUMNS = [
    ("y: {type: int}", "data.contract.columns.y.type", "'int'", "integer?"),
    ("y: {type: blob}", "data.contract.columns.y.type", "'blob'", "boolean"),
    ("y: {nullable: true}", "data.contract.columns.y.type", "missing", "Add the key type"),
    ("y: {type: string, min: 1}", "data.contract.columns.y.min", "bounds numbers", "Delete"),
    ("y: {type: number, min: 2, max: 1}", "data.contract.columns.y.min", "above", "Swap"),
    ("y: {type: string, values: []}", "data.contract.columns.y.values", "no row", "List"),
    ("y: {type: string, values: [1]}", "data.contract.columns.y.values[0]", "number 1", "quotes"),
    ("y: {type: integer, values: [1.5]}", "data.contract.columns.y.values[0]", "whole", "2"),
    ("y: {type: boolean, values: [x]}", "data.contract.columns.y.values[0]", "'x'", "true"),
    ("y: {type: timestamp, values: [x]}", "data.contract.columns.y.values", "times", "Delete"),
    ("y: {type: string, unique: 1}", "data.contract.columns.y.unique", "number 1", "true"),
    ("y: {type: string, uniqe: true}", "data.contract.columns.y.uniqe", "not a key", "unique?"),
    ("y: number", "data.contract.columns.y", "mapping", "key: value"),
    ("yy: {type: number}", "data.target", "'y' isn't a column", "Did you mean yy?"),
    ("target_y: {type: number}", "data.target", "'y' isn't a column", "data.contract"),
]


@pytest.mark.parametrize(("column", "path", "what", "fix"), WRONG_COLUMNS)
def test_each_mistake_in_a_contract(column: str, path: str, what: str, fix: str) -> None:
    problem = only(f"{CONTRACT}      {column}\n")
    assert problem["path"] == path
    assert what in problem["what"]
    assert fix in problem["fix"]


@pytest.mark.parametrize(
    ("contract", "path", "what"),
    [
        ("{}", "data.contract.columns", "missing"),
        ("[]", "data.contract", "a list"),
        ("{columns: {}}", "data.contract.columns", "empty"),
        ("{columns: [y]}", "data.contract.columns", "a list"),
        ("{columns: {y: {type: 3}}}", "data.contract.columns.y.type", "number 3"),
        ("{columns: {y: {type: string, values: x}}}", "data.contract.columns.y.values", "text 'x'"),
    ],
)
def test_each_mistake_around_the_columns(contract: str, path: str, what: str) -> None:
    text = f"kind: Loop\nname: a\ndata: {{dataset: d, target: y, contract: {contract}}}\n"
    problem = only(text)
    assert problem["path"] == path
    assert what in problem["what"]


def test_a_column_needs_a_name_of_a_sane_length() -> None:
    text = f'{CONTRACT}      y: {{type: number}}\n      "": {{type: number}}\n'
    text += f"      {'x' * 501}: {{type: number}}\n"
    assert ["0 characters" in p["what"] or "501 char" in p["what"] for p in problems(text)] == [
        True,
        True,
    ]


def test_values_of_an_unknown_type_are_not_judged_by_it() -> None:
    column = "y: {type: blob, values: [1, x, [2]]}"
    assert [p["path"][-9:] for p in problems(f"{CONTRACT}      {column}\n")] == [
        "ns.y.type",
        "values[2]",
    ]


def test_column_names_may_be_anything() -> None:
    spec = parse(
        CONTRACT
        + '      y: {type: number}\n      2019: {type: number}\n      "a b": {type: string}\n'
    )
    assert spec.data.contract is not None
    assert [c.name for c in spec.data.contract.columns] == ["y", "2019", "a b"]


def test_all_mistakes_are_told_at_once_in_the_files_order() -> None:
    text = "kind: Lop\nname: No Name\ndata: {target: 3}\ntrain: {automl: {budget: x}}\nnope: 1\n"
    with pytest.raises(InvalidInput) as caught:
        parse(text, "my.yaml")
    error = caught.value
    assert [p["path"] for p in error.details["problems"]] == [
        "kind",
        "name",
        "data.dataset",
        "data.target",
        "train.automl.budget",
        "nope",
    ]
    assert error.what.startswith("my.yaml has 6 problems:\n  my.yaml:1:7: kind is 'Lop'")
    assert error.error_code == "loop.invalid"
    assert (error.details["line"], error.details["column"]) == (1, 7)


def test_one_mistake_is_one_sentence() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(MINIMAL + "train: {automl: {metric: rsme}}\n")
    assert str(caught.value) == (
        "volant.yaml:4:26: train.automl.metric: 'rsme' is no metric Volant knows. "
        "Did you mean rmse?"
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "text", "3", "null", "---\n"])
def test_a_file_that_holds_no_mapping(text: str) -> None:
    assert only(text)["fix"]


def test_missing_keys_are_named() -> None:
    assert [p["path"] for p in problems("{}")] == ["kind", "name", "data"]
    assert [p["path"] for p in problems("kind: Loop\nname: a\ndata:\n")] == ["data"]


def test_metrics_of_two_tasks_are_refused() -> None:
    text = "train: {automl: {metric: rmse}}\ngate: {thresholds: {accuracy: {min: 0.9}}}\n"
    problem = only(MINIMAL + text)
    assert problem["path"] == "gate.thresholds.accuracy"
    assert "rmse" in problem["fix"]


def test_a_metric_against_the_declared_task_is_refused() -> None:
    problem = only(MINIMAL + "train: {automl: {task: classification, metric: rmse}}\n")
    assert problem["path"] == "train.automl.metric"


def test_a_huge_file_is_refused_before_it_is_read() -> None:
    assert "characters" in only("a" * 1_000_001)["what"]


def test_a_byte_order_mark_is_no_problem() -> None:
    assert parse("\ufeff" + MINIMAL) == parse(MINIMAL)


def test_tests_are_commands() -> None:
    assert parse(MINIMAL).tests == ()
    assert parse(MINIMAL + "tests: pytest -q\n").tests == ("pytest -q",)
    assert parse(MINIMAL + "tests:\n  - a\n  - |\n    b\n    c\n").tests == ("a", "b\nc")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("1", "tests"),
        ("{a: b}", "tests"),
        ("''", "tests"),
        ("[a, 1]", "tests[1]"),
        ("['']", "tests"),
    ],
)
def test_tests_that_are_no_commands(text: str, path: str) -> None:
    assert only(MINIMAL + f"tests: {text}\n")["path"] == path


def test_there_is_a_bound_on_tests() -> None:
    assert "more than 50" in only(MINIMAL + f"tests: {['a'] * 51}\n")["what"]
