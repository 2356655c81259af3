"""A model card, written from what is recorded of a version.

What it tells follows M. Mitchell et al., *Model Cards for Model Reporting* (FAT* 2019):
details, intended use, metrics, data, limits. What nobody recorded isn't in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from volant.domain.dataset import DatasetVersion
from volant.domain.decision import Decision
from volant.domain.metric import better_when_greater
from volant.domain.model import ModelVersion, Stage
from volant.domain.statistics import TrainingStatistics
from volant.registry.document import Block, Bullets, Heading, Paragraph, Table

INTENDED_USE = "card.intended_use"
LIMITS = "card.limits"
_MOST_PARAMS = 200
_MOST_COLUMNS = 100
_TOLD = frozenset({"rule", "name", "passed", "reason"})

_STAGES = {
    Stage.REGISTERED: "It is registered: nobody has proven that it can serve.",
    Stage.CANDIDATE: "It is a candidate: it may serve and never did.",
    Stage.REFUSED: "Its gate refused it.",
    Stage.CHAMPION: "It is the champion: the version that was made live last.",
    Stage.RETIRED: "It is retired: it is out of use.",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the version: `data` and `decision` where they are stored here,
    `ancestors` from its parent on, with what they are now."""

    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    description: str = ""
    data: DatasetVersion | None = None
    decision: Decision | None = None
    ancestors: Sequence[ModelVersion] = ()
    statistics: TrainingStatistics | None = None


def card(version: ModelVersion, facts: Facts) -> list[Block]:
    """The card's blocks, in the order of reading."""
    return [
        Heading(title(version), 1),
        *([Paragraph(facts.description)] if facts.description else []),
        Paragraph(_STAGES[version.stage]),
        Heading("Intended use"),
        Paragraph(facts.tags.get(INTENDED_USE) or "Nobody has told what it is for."),
        Heading("Limits"),
        Bullets(_limits(version, facts)),
        *_metrics(version, facts.decision),
        *_slices(facts.decision),
        *_gate(facts.decision),
        *_data(version, facts.data),
        *_columns(facts.statistics),
        *_signature(version),
        *_params(version),
        *_lineage(version, facts.ancestors),
        Heading("Files"),
        Table(["file", "SHA-256"], sorted(version.files.items())),
    ]


def title(version: ModelVersion) -> str:
    return f"{version.model} version {version.version}"


def _limits(version: ModelVersion, facts: Facts) -> list[str]:
    found = [line for line in facts.tags.get(LIMITS, "").splitlines() if line.strip()]
    if version.lineage.holdout_sha256:
        found.append(
            "Its metrics were measured on rows held out at random from the data below; they "
            "tell nothing of rows unlike those."
        )
    elif version.metrics:
        found.append("Its metrics were told by whoever registered it; they weren't measured here.")
    else:
        found.append("Nobody has measured it.")
    if version.stage is Stage.REFUSED and facts.decision is not None:
        found.append(f"Refused by its gate: {facts.decision.reason}")
    never = [f.name for f in version.signature.inputs if not f.nullable]
    if version.signature.inputs and never:
        found.append(f"It needs a value of {', '.join(never)}.")
    trusted = version.runtime.get("trusted_pickle")
    if isinstance(trusted, Mapping):
        found.append(
            f"Loading it runs code that wasn't made here; {trusted.get('by')} vouched for it."
        )
    return found


def _metrics(version: ModelVersion, decision: Decision | None) -> list[Block]:
    if not version.metrics:
        return []
    champion = decision.details.get("champion_metrics") if decision else None
    beside = champion if isinstance(champion, Mapping) and champion else None
    head = ["metric", "value", *(["the champion then"] if beside else []), "better is"]
    rows = [
        [
            name,
            number(value),
            *([number(beside.get(name))] if beside else []),
            "higher" if better_when_greater(name) else "lower",
        ]
        for name, value in version.metrics.items()
    ]
    return [Heading("Metrics"), Table(head, rows)]


def _slices(decision: Decision | None) -> list[Block]:
    """Metrics of groups of rows, {group: {metric: value}}, that the gate measured."""
    told = decision.details.get("slices") if decision else None
    if not isinstance(told, Mapping) or not told:
        return []
    rows = [
        [str(group), str(name), number(value)]
        for group, metrics in told.items()
        if isinstance(metrics, Mapping)
        for name, value in metrics.items()
    ]
    return [Heading("Slices"), Table(["rows", "metric", "value"], rows)]


def _gate(decision: Decision | None) -> list[Block]:
    if decision is None:
        return []
    rows = [
        [
            str(rule.get("rule") or rule.get("name") or ""),
            "passed" if rule.get("passed") else "failed",
            str(rule.get("reason") or ""),
            ", ".join(f"{key} {number(rule[key])}" for key in rule if key not in _TOLD),
        ]
        for rule in decision.rules
    ]
    return [
        Heading("The gate's decision"),
        Paragraph(f"{decision.outcome.value}: {decision.reason} ({decision.id})"),
        *([Table(["rule", "verdict", "because", "numbers"], rows)] if rows else []),
    ]


def _data(version: ModelVersion, data: DatasetVersion | None) -> list[Block]:
    lineage = version.lineage
    if not lineage.dataset:
        return []
    rows = [["dataset", lineage.dataset], ["version", str(lineage.dataset_version)]]
    if data is not None:
        rows += [["rows", str(data.rows_total)], ["committed", data.created_at.isoformat()]]
    if lineage.holdout_sha256:
        rows.append(["holdout (SHA-256)", lineage.holdout_sha256])
    return [Heading("Data"), Table(["", ""], rows)]


def _columns(statistics: TrainingStatistics | None) -> list[Block]:
    if statistics is None:
        return []
    label, shown = statistics.label, statistics.columns[:_MOST_COLUMNS]
    more = len(statistics.columns) - len(shown) + statistics.left_out
    head = ["column", "missing", "min", "median", "max", "most frequent"]
    rows = [
        [
            column.name,
            str(column.missing),
            *(map(number, column.range) if column.range else [""] * 3),
            column.shown,
        ]
        for column in (*shown, label)
    ]
    said = f"Of {statistics.rows} rows, the holdout not among them. {label.name} is predicted."
    if more:
        said += f" {more} more columns aren't shown."
    return [Heading("Training data"), Paragraph(said), Table(head, rows)]


def _signature(version: ModelVersion) -> list[Block]:
    signature = version.signature
    tensors = signature.tensors
    blocks: list[Block] = []
    for side, fields in (("Inputs", signature.inputs), ("Outputs", signature.outputs)):
        specs = (tensors.inputs if side == "Inputs" else tensors.outputs) if tensors else ()
        rows = [[f.name, f.type, "yes" if f.nullable else "no"] for f in fields]
        rows += [[t.name, f"{t.datatype} {list(t.shape)}", "no"] for t in specs]
        if rows:
            blocks += [Heading(side), Table(["name", "type", "may be null"], rows)]
    if signature.classes:
        classes = ", ".join(str(one) for one in signature.classes[:100])
        blocks.append(Paragraph(f"Classes: {classes}"))
    return blocks


def _params(version: ModelVersion) -> list[Block]:
    if not version.params:
        return []
    shown = list(version.params.items())[:_MOST_PARAMS]
    rows = [[name, number(value)] for name, value in shown]
    return [Heading("Parameters"), Table(["parameter", "value"], rows)]


def _lineage(version: ModelVersion, ancestors: Sequence[ModelVersion]) -> list[Block]:
    lineage, runtime = version.lineage, version.runtime
    origin = runtime.get("imported")
    rows = [
        ["made", version.created_at.isoformat()],
        ["task", version.signature.task],
        ["runs on", str(runtime.get("kind") or "")],
        ["made as", str(runtime.get("found") or "")],
        ["run", lineage.run_id],
        ["tracked run", lineage.tracking_run or ""],
        ["code", lineage.code_hash],
        ["environment", lineage.environment_hash],
        ["replaces", ", ".join(f"{a.version} ({a.stage.value})" for a in ancestors)],
    ]
    if isinstance(origin, Mapping):
        rows.append(["imported", f"{origin.get('model')} version {origin.get('version')}"])
    return [Heading("Lineage"), Table(["", ""], [row for row in rows if row[1]])]


def number(value: Any) -> str:
    """A number as short as it may be read; anything else as it is."""
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return "-" if value is None else str(value)
