"""`LoopSpec` → the document that `parse` reads back as the same spec."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from volant.domain.contract import ColumnRule, Contract
from volant.domain.loop import (
    GateSpec,
    LogSpec,
    LoopSpec,
    ReplicaSpec,
    RolloutSpec,
    TrainSpec,
    TriggerSpec,
)
from volant.loops.tune import tune_document
from volant.yamltext.nodes import core_tag
from volant.yamltext.units import duration_text, size_text

# Words that YAML 1.1 readers (editors, other tools) take for something else than text.
_ELSEWHERE = re.compile(r"(?i)y|n|yes|no|on|off|[-+]?[0-9].*|=|<<")
_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./ @%+()-]*")
_INDENT = "  "


def document_of(spec: LoopSpec) -> dict[str, Any]:
    """Every fact of `spec` under the file's own keys, in the file's own forms."""
    document: dict[str, Any] = {"kind": "Loop", "name": spec.name}
    if spec.description:
        document["description"] = spec.description
    document["data"] = _without_none(
        dataset=spec.data.dataset,
        target=spec.data.target,
        holdout=spec.data.holdout,
        contract=None if spec.data.contract is None else contract_document(spec.data.contract),
    )
    document["train"] = _train(spec.train)
    document["gate"] = _gate(spec.gate)
    document["deploy"] = _deploy(spec)
    document["triggers"] = [_trigger(trigger) for trigger in spec.triggers]
    if spec.tests:
        document["tests"] = list(spec.tests)
    return document


def contract_document(contract: Contract) -> dict[str, Any]:
    return {"columns": {column.name: rule_document(column) for column in contract.columns}}


def rule_document(rule: ColumnRule) -> dict[str, Any]:
    """A column's rule without what is the default anyway, `nullable` excepted."""
    found = _without_none(type=rule.type.value, nullable=rule.nullable)
    found |= _without_none(min=_short(rule.min), max=_short(rule.max))
    if rule.values is not None:
        found["values"] = list(rule.values)
    if rule.unique:
        found["unique"] = True
    return found


def _short(value: float | None) -> float | int | None:
    """A whole float as an integer where that reads back the same."""
    if value is None or value != int(value) or abs(value) >= 2**53:
        return value
    return int(value)


def _train(train: TrainSpec) -> dict[str, Any]:
    own = _without_none(
        metric=train.metric,
        budget=duration_text(train.budget_s),
        task=train.task,
        seed=train.seed,
    )
    if train.recipe is not None:
        found: dict[str, Any] = {"recipe": train.recipe, **own, "params": dict(train.params)}
    elif train.call is None:
        found = {"automl": own}
    else:
        found = {"call": train.call, **own, "params": dict(train.params)}
        if train.tune is not None:
            found["tune"] = tune_document(train.tune, duration_text)
    return found | _without_none(
        memory=None if train.memory_bytes is None else size_text(train.memory_bytes),
        timeout=None if train.timeout_s is None else duration_text(train.timeout_s),
    )


def _gate(gate: GateSpec) -> dict[str, Any]:
    thresholds = {t.metric: _without_none(min=t.min, max=t.max) for t in gate.thresholds}
    champion: Any = False
    if gate.champion is not None:
        rule = gate.champion
        champion = {"better_by": rule.better_by, "confidence": rule.confidence}
    slices = [
        {"by": rule.by, "max_regression": rule.max_regression, "min_rows": rule.min_rows}
        for rule in gate.slices
    ]
    return (
        ({"thresholds": thresholds} if thresholds else {})
        | {"champion": champion}
        | ({"slices": slices} if slices else {})
    )


def _deploy(spec: LoopSpec) -> dict[str, Any]:
    found: dict[str, Any] = {"replicas": _replicas(spec.replicas)}
    if spec.rollout is not None:
        found["rollout"] = _rollout(spec.rollout)
    if spec.keep:
        found["keep"] = spec.keep
    if spec.log is None:
        found["log"] = False
    elif spec.log != LogSpec():
        found["log"] = {"sample": spec.log.sample, "max": size_text(spec.log.max_bytes)}
    return found


def _replicas(replicas: ReplicaSpec) -> dict[str, Any]:
    memory = None if replicas.memory_bytes is None else size_text(replicas.memory_bytes)
    return _without_none(
        min=replicas.min,
        max=replicas.max,
        idle=duration_text(replicas.idle_s),
        memory=memory,
        target=None if replicas.target == 16 else replicas.target,
        spares=replicas.spares or None,
        cpu=replicas.cpu,
    )


def _rollout(rollout: RolloutSpec) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if rollout.shadow:
        found["shadow"] = _short(rollout.shadow)
    if rollout.canary:
        found["canary"] = [_short(percent) for percent in rollout.canary]
    found["bake"] = duration_text(rollout.bake_s)
    found["rollback_on"] = _without_none(error_rate=rollout.error_rate, p95_ms=rollout.p95_ms)
    found["min_requests"] = rollout.min_requests
    if rollout.sticky is not None:
        sticky = rollout.sticky
        found["sticky"] = _without_none(header=sticky.header, parameter=sticky.parameter)
    return found


def _trigger(trigger: TriggerSpec) -> Any:
    return "data" if trigger.cron is None else {"cron": trigger.cron}


def _without_none(**items: Any) -> dict[str, Any]:
    return {key: value for key, value in items.items() if value is not None}


def render(spec: LoopSpec) -> str:
    """`spec` as YAML; `parse(render(spec)) == spec` for every spec `parse` can make."""
    return block(document_of(spec))


def block(value: Mapping[str, Any], depth: int = 0) -> str:
    """A mapping as indented YAML, its lists and innermost mappings in one line each."""
    lines: list[str] = []
    indent = _INDENT * depth
    for key, item in value.items():
        head = _key(key, indent)
        if isinstance(item, Mapping) and any(isinstance(v, Mapping) for v in item.values()):
            lines.append(f"{head}\n{block(item, depth + 1)}")
        else:
            lines.append(f"{head} {flow(item)}\n")
    return "".join(lines)


def _key(key: str, indent: str) -> str:
    text = scalar(key)
    # YAML looks at most 1,024 characters ahead for the colon of a plain key.
    return f"{indent}{text}:" if len(text) < 1000 else f"{indent}? {text}\n{indent}:"


def flow(value: Any) -> str:
    """A JSON value as YAML in one line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{scalar(str(k))}: {flow(v)}" for k, v in value.items())
        return "{" + inner + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """One value; text is quoted wherever a reader could take it for anything else."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    plain = _PLAIN.fullmatch(text) and not text.endswith(" ")
    if plain and core_tag(text) == "str" and not _ELSEWHERE.fullmatch(text) and text != "...":
        return text
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    code = ord(character)
    # Exactly what YAML allows to stand as it is, line breaks excepted.
    if 0x20 <= code <= 0x7E or (0xA0 <= code <= 0xD7FF and code not in {0x2028, 0x2029}):
        return character
    if 0xE000 <= code <= 0xFFFD and code != 0xFEFF:
        return character
    if code > 0xFFFF:
        return character
    return f"\\u{code:04x}"
