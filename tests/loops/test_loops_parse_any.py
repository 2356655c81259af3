"""Any text is a loop or a list of problems; every loop is rendered so that it is read back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.loops.test_loops_parse import FULL, MINIMAL

from volant.domain.contract import ColumnRule, ColumnType, Contract
from volant.domain.loop import (
    ChampionRule,
    DataSpec,
    GateSpec,
    LogSpec,
    LoopSpec,
    ReplicaSpec,
    RolloutSpec,
    StickyKey,
    Threshold,
    TrainSpec,
    TriggerSpec,
)
from volant.domain.metric import TASK_METRICS
from volant.errors import InvalidInput
from volant.loops.parse import parse
from volant.loops.render import render

# -- any text ---------------------------------------------------------------

_WORDS = """
kind name description data dataset target contract columns holdout train automl call params
seed metric budget memory timeout task gate thresholds rmse min max champion better_by
confidence deploy replicas idle triggers cron type nullable values unique y target spares cpu
rollout canary bake rollback_on error_rate p95_ms min_requests sticky header parameter shadow keep
log sample
"""
_words = st.sampled_from(_WORDS.split())
_values = st.one_of(
    st.sampled_from(["Loop", "wine", "30s", "1GB", "data", "rmse", "number", "0 2 * * *", "a:b"]),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
)
_documents = st.recursive(
    _values,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words, inner, max_size=6),
    max_leaves=25,
)


def spec_or_invalid(text: str) -> None:
    spec = invalid = None
    try:
        spec = parse(text)
    except InvalidInput as error:
        invalid = error
    if spec is not None:
        assert parse(render(spec)) == spec
    else:
        assert invalid is not None
        assert invalid.fix
        assert invalid.details["problems"]
        str(invalid).encode()  # no lone surrogate gets into a message


@given(_documents)
def test_any_document_is_a_spec_or_invalid_input(document: Any) -> None:
    spec_or_invalid(yaml.safe_dump(document, allow_unicode=True))


@given(st.dictionaries(_words, _documents, max_size=5))
def test_any_change_of_a_loop_is_a_spec_or_invalid_input(changed: dict[str, Any]) -> None:
    spec_or_invalid(yaml.safe_dump({**yaml.safe_load(FULL), **changed}, allow_unicode=True))


@given(st.text() | st.text(alphabet="&*!|>%@`\"'{}[],:-?#~ \n\ta1.x\\U", max_size=40))
def test_any_text_is_a_spec_or_invalid_input(text: str) -> None:
    spec_or_invalid(text)
    spec_or_invalid(MINIMAL + text)


# -- every spec -------------------------------------------------------------

_names = st.from_regex(r"[a-z0-9](?:[a-z0-9_-]{0,20}[a-z0-9])?", fullmatch=True)
_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_finite = st.floats(allow_nan=False, allow_infinity=False)
_seconds = st.floats(1, 604_800) | st.integers(1, 604_800).map(float)
_bytes = st.integers(64 * 2**20, 2**46)


@st.composite
def _rules(draw: st.DrawFn, name: str) -> ColumnRule:
    kind = draw(st.sampled_from(ColumnType))
    values = {
        ColumnType.STRING: _texts,
        ColumnType.INTEGER: st.integers(-(2**63), 2**63 - 1),
        ColumnType.NUMBER: _finite,
        ColumnType.BOOLEAN: st.booleans(),
        ColumnType.TIMESTAMP: None,
    }[kind]
    low, high = None, None
    if kind in {ColumnType.INTEGER, ColumnType.NUMBER}:
        low, high = sorted([draw(_finite), draw(_finite)])
    listed = (
        draw(st.none() | st.lists(values, min_size=1, max_size=4)) if values is not None else None
    )
    return ColumnRule(
        name,
        kind,
        draw(st.booleans()),
        draw(st.sampled_from([None, low])),
        draw(st.sampled_from([None, high])),
        None if listed is None else tuple(listed),
        draw(st.booleans()),
    )


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    names = draw(st.lists(_texts.filter(bool), min_size=1, max_size=5, unique=True))
    return Contract(tuple(draw(_rules(name)) for name in names))


_rollouts = st.builds(
    RolloutSpec,
    canary=st.lists(st.floats(0.01, 99.9), unique=True, max_size=4).map(sorted).map(tuple),
    bake_s=_seconds,
    error_rate=st.floats(0, 1),
    p95_ms=st.none() | st.floats(0.001, 3_600_000),
    min_requests=st.integers(1, 1_000_000),
    sticky=st.none()
    | st.just(StickyKey(header="x-user"))
    | st.builds(StickyKey, st.none(), _texts.filter(bool)),
    shadow=st.floats(0, 100),
)


@st.composite
def specs(draw: st.DrawFn) -> LoopSpec:
    contract = draw(st.none() | contracts())
    target = draw(
        _texts.filter(bool)
        if contract is None
        else st.sampled_from([c.name for c in contract.columns])
    )
    task = draw(st.sampled_from(sorted(TASK_METRICS)))
    metrics = st.sampled_from(TASK_METRICS[task])
    thresholds = [
        Threshold(m, *draw(st.sampled_from([(0.5, None), (None, 0.5), (0.1, 0.7)])))
        for m in draw(st.lists(metrics, unique=True))
    ]
    call = draw(st.none() | st.sampled_from(["train:fit", "a.b_c:D"]))
    json = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | _finite | _texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
        max_leaves=8,
    )
    budget = draw(_seconds)
    low, extra = draw(st.integers(0, 8)), draw(st.integers(0, 8))
    crons = draw(st.lists(st.sampled_from(["0 2 * * *", "*/5 * * * mon-fri"]), unique=True))
    return LoopSpec(
        draw(_names),
        DataSpec(draw(_names), target, contract, draw(st.floats(0.01, 0.9))),
        TrainSpec(
            draw(st.none() | metrics),
            budget,
            draw(st.sampled_from([None, task])),
            draw(st.integers(0, 2**32 - 1)),
            call,
            draw(st.dictionaries(_texts, json, max_size=3)) if call else {},
            draw(st.none() | _bytes),
            draw(st.sampled_from([None, budget, budget + 60])),
        ),
        GateSpec(
            tuple(thresholds),
            draw(st.none() | st.builds(ChampionRule, _finite, st.floats(0.5, 0.9999))),
        ),
        ReplicaSpec(
            low,
            max(1, low + extra),
            draw(_seconds),
            draw(st.none() | _bytes),
            draw(st.integers(1, 100)),
            draw(st.integers(0, 16)),
            draw(st.none() | st.floats(0.01, 64)),
        ),
        (TriggerSpec("data"), *(TriggerSpec("cron", c) for c in crons)),
        draw(_texts),
        draw(st.none() | _rollouts),
        draw(st.integers(0, 20)),
        draw(st.none() | st.builds(LogSpec, st.floats(0.001, 1), _bytes)),
    )


@settings(max_examples=150)
@given(specs())
def test_a_rendered_spec_is_parsed_back(spec: LoopSpec) -> None:
    assert parse(render(spec)) == spec


@given(specs())
def test_other_yaml_readers_understand_what_is_rendered(spec: LoopSpec) -> None:
    spec = replace(spec, train=replace(spec.train, params={}))
    read = yaml.safe_load(render(spec))
    assert read["data"]["target"] == spec.data.target
    assert read["name"] == spec.name
    assert read.get("description", "") == spec.description
