"""What differs between two versions, by their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volant.domain.codec import to_plain
from volant.domain.metric import better_when_greater
from volant.domain.model import ModelVersion, Signature

Rows = int | None


def difference(
    a: ModelVersion, b: ModelVersion, rows: tuple[Rows, Rows] = (None, None)
) -> dict[str, Any]:
    """From `a` to `b`; `rows` are those of their dataset versions, where known.

    a, b: {model, version, stage}. metrics: all of both, each {name, a, b, change, better}
    (`better` None where they are the same or one lacks it). params, facts: those that
    differ, {name, a, b}. inputs, outputs: {added, removed, retyped, reordered}. data: {a,
    b}, each {dataset, version, rows, holdout_sha256}. files: {added, removed, changed,
    same}.
    """
    before, after = _columns(a.signature, "inputs"), _columns(b.signature, "inputs")
    gave, gives = _columns(a.signature, "outputs"), _columns(b.signature, "outputs")
    return {
        "a": _head(a),
        "b": _head(b),
        "metrics": [_metric(name, a.metrics, b.metrics) for name in _names(a.metrics, b.metrics)],
        "params": _changed(to_plain(a.params), to_plain(b.params)),
        "facts": _changed(_facts(a), _facts(b)),
        "inputs": _moved(before, after),
        "outputs": _moved(gave, gives),
        "data": {"a": _data(a, rows[0]), "b": _data(b, rows[1])},
        "files": _files(a.files, b.files),
    }


def _head(version: ModelVersion) -> dict[str, Any]:
    return {"model": version.model, "version": version.version, "stage": version.stage.value}


def _names(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return sorted({*a, *b})


def _metric(name: str, a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, Any]:
    before, after = a.get(name), b.get(name)
    change = None if before is None or after is None else after - before
    better = None
    if change:
        better = (change > 0) == better_when_greater(name)
    return {"name": name, "a": before, "b": after, "change": change, "better": better}


def _changed(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "a": a.get(name), "b": b.get(name)}
        for name in _names(a, b)
        if a.get(name) != b.get(name)
    ]


def _facts(version: ModelVersion) -> dict[str, Any]:
    """What a version is made and served by."""
    environment = version.runtime.get("environment")
    return {
        "task": version.signature.task,
        "classes": to_plain(version.signature.classes),
        "code": version.lineage.code_hash or None,
        "environment": version.lineage.environment_hash or None,
        "runs on": version.runtime.get("kind"),
        "made as": version.runtime.get("found"),
        "served in": environment.get("key") if isinstance(environment, Mapping) else None,
        "replaces": version.lineage.parent_version,
    }


def _columns(signature: Signature, side: str) -> dict[str, str]:
    """Type by name, in the signature's order."""
    fields = getattr(signature, side)
    tensors = getattr(signature.tensors, side) if signature.tensors else ()
    found = {f.name: f.type + (", may be null" if f.nullable else "") for f in fields}
    return {**found, **{t.name: f"{t.datatype} {list(t.shape)}" for t in tensors}}


def _moved(a: Mapping[str, str], b: Mapping[str, str]) -> dict[str, Any]:
    both: Sequence[str] = [name for name in a if name in b]
    return {
        "added": [{"name": name, "type": b[name]} for name in b if name not in a],
        "removed": [{"name": name, "type": a[name]} for name in a if name not in b],
        "retyped": [{"name": n, "a": a[n], "b": b[n]} for n in both if a[n] != b[n]],
        "reordered": both != [name for name in b if name in a],
    }


def _data(version: ModelVersion, rows: Rows) -> dict[str, Any]:
    lineage = version.lineage
    return {
        "dataset": lineage.dataset or None,
        "version": lineage.dataset_version if lineage.dataset else None,
        "rows": rows,
        "holdout_sha256": lineage.holdout_sha256 or None,
    }


def _files(a: Mapping[str, str], b: Mapping[str, str]) -> dict[str, Any]:
    both = [name for name in sorted(a) if name in b]
    return {
        "added": sorted(set(b) - set(a)),
        "removed": sorted(set(a) - set(b)),
        "changed": [name for name in both if a[name] != b[name]],
        "same": sum(a[name] == b[name] for name in both),
    }
