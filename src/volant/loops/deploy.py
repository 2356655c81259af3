"""`deploy:` of a volant.yaml: replicas, rollout, what is kept and what is logged."""

from __future__ import annotations

import re
from typing import NamedTuple

from yaml.nodes import Node, ScalarNode, SequenceNode

from volant.domain.loop import LogSpec, ReplicaSpec, RolloutSpec, StickyKey
from volant.yamltext.reading import Reading, Section, describe

_DAY = 86_400.0
_MEBIBYTE = 2**20
_TEBIBYTE = 2**40
_STEPS = 20
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # a token, as RFC 9110 has it

_REPLICA_KEYS = ("min", "max", "idle", "memory", "target", "spares", "cpu")
_ROLLOUT_KEYS = ("canary", "bake", "rollback_on", "min_requests", "sticky", "shadow")


class Deploy(NamedTuple):
    """The section as a loop has it."""

    replicas: ReplicaSpec
    rollout: RolloutSpec | None
    keep: int
    log: LogSpec | None


def deploy_of(reading: Reading, top: Section) -> Deploy:
    """Read the section; what is wrong is noted, and has its default then."""
    node = top.child("deploy")
    section = (
        reading.section(node, "deploy", ("replicas", "rollout", "keep", "log")) if node else None
    )
    if section is None:
        return Deploy(ReplicaSpec(), None, 0, LogSpec())
    return Deploy(
        _replicas(section),
        _rollout(section) if "rollout" in section else None,
        section.integer("keep", 0, 0, 20),
        _log(section),
    )


def _inner(section: Section, key: str, keys: tuple[str, ...]) -> Section | None:
    node = section.child(key)
    return section.reading.section(node, section.at(key), keys) if node is not None else None


def _replicas(deploy: Section) -> ReplicaSpec:
    section = _inner(deploy, "replicas", _REPLICA_KEYS)
    if section is None:
        return ReplicaSpec()
    low = section.integer("min", 0, 0, 64)
    high = section.integer("max", max(low, 1), 1, 64)
    if low > high:
        what = f"deploy.replicas: min {low} is above max {high}."
        section.bad("min", what, f"Write a min of 0 to {high}.")
    return ReplicaSpec(
        min=low,
        max=high,
        idle_s=_or(section.duration("idle", 1, 30 * _DAY), 60.0),
        memory_bytes=section.size("memory", 64 * _MEBIBYTE, 64 * _TEBIBYTE),
        target=section.integer("target", 16, 1, 10_000),
        spares=section.integer("spares", 0, 0, 16),
        cpu=_float(section.number("cpu", 0.01, 1024)),
    )


def _rollout(deploy: Section) -> RolloutSpec | None:
    node = deploy.child("rollout")
    if isinstance(node, ScalarNode) and (
        node.tag == "null" or (node.tag == "bool" and node.value.casefold() == "false")
    ):
        return None
    section = _inner(deploy, "rollout", _ROLLOUT_KEYS)
    if section is None:
        return None
    limits = _inner(section, "rollback_on", ("error_rate", "p95_ms"))
    return RolloutSpec(
        canary=_canary(section),
        bake_s=_or(section.duration("bake", 1, 30 * _DAY), 120.0),
        error_rate=_or(limits.number("error_rate", 0, 1) if limits else None, 0.05),
        p95_ms=_float(limits.number("p95_ms", 0.001, 3_600_000)) if limits else None,
        min_requests=section.integer("min_requests", 20, 1, 1_000_000),
        sticky=_sticky(section),
        shadow=_or(section.number("shadow", 0, 100), 0.0),
    )


def _canary(section: Section) -> tuple[float, ...]:
    """Percents that grow, each above 0 and below 100."""
    node = section.child("canary")
    if node is None:
        return ()
    if not isinstance(node, SequenceNode):
        what = f"{section.at('canary')} must be a list of percents, not {describe(node)}."
        section.bad("canary", what, "Write it as [10, 50].")
        return ()
    items: list[Node] = list(node.value)
    if len(items) > _STEPS:
        what = f"{section.at('canary')} has {len(items)} steps."
        section.bad("canary", what, f"Write at most {_STEPS}.")
    found: list[float] = []
    for i, item in enumerate(items):
        path = f"{section.at('canary')}[{i}]"
        value = section.reading.number(item, path)
        if value is None:
            continue
        if not 0 < value < 100:
            what = f"{path} is {describe(item)}, out of range."
            fix = "Write a percent between 0 and 100; after the last one comes all of it."
            section.reading.bad(item, path, what, fix)
        elif found and value <= found[-1]:
            what = f"{path} is {value:g}, not above the {found[-1]:g} before it."
            section.reading.bad(item, path, what, "Write percents that grow.")
        else:
            found.append(float(value))
    return tuple(found)


def _sticky(section: Section) -> StickyKey | None:
    found = _inner(section, "sticky", ("header", "parameter"))
    if found is None:
        return None
    header, parameter = found.text("header"), found.text("parameter")
    if header is not None and _HEADER.fullmatch(header) is None:
        what = f"{found.at('header')} {header[:80]!r} can't be a header's name."
        found.bad("header", what, "Write one like x-user.")
        return None
    if parameter is not None and not parameter:
        found.bad("parameter", f"{found.at('parameter')} is empty.", "Name a parameter.")
        return None
    if len(found.items) != 1:
        what = f"{found.path} needs one of header and parameter."
        found.reading.bad(found.node, found.path, what, "Write {header: x-user}.")
        return None
    return StickyKey(header.lower() if header else None, parameter) if header or parameter else None


def _log(deploy: Section) -> LogSpec | None:
    node = deploy.child("log")
    if isinstance(node, ScalarNode) and (
        (node.tag == "str" and node.value == "off")
        or (node.tag == "bool" and node.value.casefold() == "false")
    ):
        return None
    if isinstance(node, ScalarNode) and node.tag != "null":
        what = f"deploy.log must be a mapping or off, not {describe(node)}."
        deploy.bad("log", what, "Write {sample: 1.0, max: 1GB}, or off for no log.")
        return LogSpec()
    section = _inner(deploy, "log", ("sample", "max"))
    if section is None:
        return LogSpec()
    return LogSpec(
        sample=_or(section.number("sample", 0.000001, 1), 1.0),
        max_bytes=section.size("max", _MEBIBYTE, 64 * _TEBIBYTE) or 10**9,
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else float(value)


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)
