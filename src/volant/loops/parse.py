"""volant.yaml's text → `LoopSpec`, or one error that tells everything wrong with it."""

from __future__ import annotations

import keyword
import re
from typing import NamedTuple

from yaml.nodes import Node, ScalarNode

from volant.domain.contract import Contract
from volant.domain.loop import (
    ChampionRule,
    DataSpec,
    GateSpec,
    LoopSpec,
    Threshold,
    TrainSpec,
    TriggerSpec,
)
from volant.domain.metric import GREATER_IS_BETTER, TASK_METRICS
from volant.domain.recipe import TASKS
from volant.errors import InvalidInput
from volant.loops.columns import check_column, contract_of
from volant.loops.deploy import deploy_of
from volant.loops.recipe import recipe_of
from volant.loops.slices import slices_of
from volant.loops.tune import tune_of
from volant.yamltext.commands import commands_of
from volant.yamltext.cron import why_not
from volant.yamltext.nodes import document
from volant.yamltext.problems import Problem, error_of, nearest
from volant.yamltext.reading import Reading, Section, describe

FILE = "volant.yaml"
NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
CALL = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)

NAME_FIX = "Use 1 to 63 lower-case letters, digits, - and _, a letter or digit first and last."
_CALL_FIX = 'Write "module:function", for example "train:fit" for fit in train.py.'
_INVALID = "loop.invalid"
_DAY = 86_400.0
_MEBIBYTE = 2**20
_TEBIBYTE = 2**40

_KEYS = ("kind", "name", "description", "data", "train", "gate", "deploy", "triggers", "tests")
_LATER = {
    "features": "features computed and served by name",
    "monitor": "watching drift and feedback",
    "budget": "a cap on cost; how long to train is train.automl.budget",
}
_TRAIN_KEYS = (
    *("automl", "call", "recipe", "params", "tune", "task", "metric", "seed", "budget", "memory"),
    "timeout",
)
_TRAIN_LATER = {
    "codeset": "training from a git repository",
    "finetune": "fine-tuning a foundation model",
}
_OWN = ("metric", "budget", "task", "seed")  # belong to automl, or beside call
_LATER_TRIGGERS = ("drift", "feedback", "push")


class _Mention(NamedTuple):
    """A metric named somewhere in the file."""

    metric: str
    node: Node
    path: str


def check_name(name: str, what: str) -> None:
    """Raises `InvalidInput` when `name` can't name a loop or a dataset."""
    if NAME.fullmatch(name) is None:
        raise InvalidInput(f"{what} {name[:80]!r} can't be a name.", NAME_FIX, code="bad_name")


def parse(text: str, file: str = FILE) -> LoopSpec:
    """Read one loop.

    Raises:
        InvalidInput: With every problem found; `details["problems"]` lists each one's
            line, column, path, what and fix.
    """
    root = document(text)
    if isinstance(root, Problem):
        raise error_of([root], file, _INVALID)
    reading = Reading()
    spec = _Parse(reading).loop(root)
    if reading.problems or spec is None:
        raise error_of(reading.problems, file, _INVALID)
    return spec


class _Parse:
    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.mentions: list[_Mention] = []

    def loop(self, root: Node) -> LoopSpec | None:
        required = ("kind", "name", "data")
        top = self.reading.section(root, "", _KEYS, later=_LATER, required=required)
        if top is None:
            return None
        self._kind(top)
        deploy = deploy_of(self.reading, top)
        data = self._data(top)
        spec = LoopSpec(
            name=self._name(top, "name"),
            description=top.text("description") or "",
            data=data,
            train=self._train(top),
            gate=self._gate(top, data.contract),
            replicas=deploy.replicas,
            triggers=self._triggers(top),
            rollout=deploy.rollout,
            keep=deploy.keep,
            log=deploy.log,
            tests=commands_of(top, "tests"),
        )
        self._one_task(spec.train.task or TASKS.get(spec.train.recipe or ""))
        return spec

    def _section(
        self, parent: Section, key: str, keys: tuple[str, ...], **more: object
    ) -> Section | None:
        node = parent.child(key)
        if node is None:
            return None
        return self.reading.section(node, parent.at(key), keys, **more)  # pyright: ignore[reportArgumentType]

    def _kind(self, top: Section) -> None:
        kind = top.text("kind")
        if kind is not None and kind != "Loop":
            top.bad("kind", f"kind is {kind!r}; this version knows only Loop.", "Write kind: Loop.")

    def _name(self, section: Section, key: str) -> str:
        name = section.text(key)
        if name is not None and NAME.fullmatch(name) is None:
            section.bad(key, f"{section.at(key)} {name[:80]!r} can't be a name.", NAME_FIX)
        return name or ""

    def _data(self, top: Section) -> DataSpec:
        section = self._section(
            top,
            "data",
            ("dataset", "target", "contract", "holdout"),
            required=("dataset", "target"),
        )
        if section is None:
            return DataSpec("", "")
        target = section.text("target") or ""
        given = section.child("target")
        if isinstance(given, ScalarNode) and given.tag == "str" and given.value == "":
            section.bad("target", "data.target is empty.", "Name the column to predict.")
        node = section.child("contract")
        contract = None if node is None else contract_of(self.reading, node, "data.contract")
        if target:
            check_column(section, "target", target, contract)
        return DataSpec(
            dataset=self._name(section, "dataset"),
            target=target,
            contract=contract,
            holdout=_or(section.number("holdout", 0.01, 0.9), 0.2),
        )

    def _train(self, top: Section) -> TrainSpec:
        section = self._section(top, "train", _TRAIN_KEYS, later=_TRAIN_LATER)
        if section is None:
            return TrainSpec()
        call = self._call(section)
        own = section if "call" in section or "recipe" in section else self._automl(section)
        params = section.child("params")
        budget = own.duration("budget", 1, 7 * _DAY) if own else None
        fixed = self._params(params) if params is not None else {}
        task = self._task(own)
        spec = TrainSpec(
            metric=self._metric(own),
            budget_s=_or(budget, 30.0),
            task=task,
            seed=own.integer("seed", 0, 0, 2**32 - 1) if own else 0,
            call=call,
            params=fixed,
            memory_bytes=section.size("memory", 64 * _MEBIBYTE, 64 * _TEBIBYTE),
            timeout_s=section.duration("timeout", 1, 30 * _DAY),
            tune=tune_of(
                self.reading, section, fixed, lambda *told: self.mentions.append(_Mention(*told))
            ),
            recipe=recipe_of(section, fixed, task),
        )
        if spec.timeout_s is not None and spec.timeout_s < spec.budget_s:
            section.bad(
                "timeout",
                f"train.timeout ({spec.timeout_s:g} s) ends training before its budget "
                f"({spec.budget_s:g} s) is used.",
                "Write a timeout longer than the budget, or leave it out.",
            )
        return spec

    def _params(self, node: Node) -> dict[str, object]:
        if isinstance(node, ScalarNode) and node.tag == "null":
            return {}
        named = self.reading.pairs(node, "train.params")
        return {} if named is None else self.reading.plain(node, "train.params")

    def _call(self, section: Section) -> str | None:
        call = section.text("call")
        if call is None:
            return None
        if "automl" in section:
            section.bad(
                "automl", "train has both automl and call.", "Keep the one that shall train."
            )
        words = call.replace(":", ".").split(".")
        if CALL.fullmatch(call) is None or any(keyword.iskeyword(word) for word in words):
            section.bad("call", f"train.call {call[:80]!r} names no callable.", _CALL_FIX)
        return call

    def _automl(self, section: Section) -> Section | None:
        """AutoML's own keys, having refused those that stand beside `call` only."""
        for key in (*_OWN, "params"):
            if key in section:
                fix = (
                    "Name your callable with train.call, or delete the key."
                    if key == "params"
                    else f"Move it into train.automl, or name your callable with train.call: "
                    f"`automl: {{{key}: …}}`."
                )
                section.bad(key, f"train.{key} stands beside no train.call.", fix)
        return self._section(section, "automl", _OWN)

    def _task(self, own: Section | None) -> str | None:
        task = own.text("task") if own else None
        if own is None or task is None or task in TASK_METRICS:
            return task
        guess = nearest(task, TASK_METRICS)
        fix = f"Did you mean {guess}?" if guess else f"Use one of: {', '.join(TASK_METRICS)}."
        own.bad("task", f"{own.at('task')} {task[:80]!r} isn't a task.", fix)
        return None

    def _metric(self, own: Section | None) -> str | None:
        metric = own.text("metric") if own else None
        if own is None or metric is None:
            return None
        return metric if self._known(metric, own.items["metric"], own.at("metric")) else None

    def _known(self, metric: str, node: Node, path: str) -> bool:
        if metric in GREATER_IS_BETTER:
            self.mentions.append(_Mention(metric, node, path))
            return True
        guess = nearest(metric, GREATER_IS_BETTER)
        fix = f"Did you mean {guess}?" if guess else f"Use one of: {', '.join(GREATER_IS_BETTER)}."
        self.reading.bad(node, path, f"{path}: {metric[:80]!r} is no metric Volant knows.", fix)
        return False

    def _one_task(self, task: str | None) -> None:
        """Every metric in the file belongs to one task, the declared one if there is."""
        for mention in self.mentions:
            own = next(name for name, known in TASK_METRICS.items() if mention.metric in known)
            task = task or own
            if own != task:
                self.reading.bad(
                    mention.node,
                    mention.path,
                    f"{mention.path}: {mention.metric} measures {own}, but this loop does {task}.",
                    f"Use one of: {', '.join(TASK_METRICS[task])}.",
                )

    def _gate(self, top: Section, contract: Contract | None) -> GateSpec:
        section = self._section(top, "gate", ("thresholds", "champion", "slices"))
        if section is None:
            return GateSpec()
        return GateSpec(
            self._thresholds(section), self._champion(section), slices_of(section, contract)
        )

    def _thresholds(self, gate: Section) -> tuple[Threshold, ...]:
        node = gate.child("thresholds")
        if node is None or (isinstance(node, ScalarNode) and node.tag == "null"):
            return ()
        found: list[Threshold] = []
        for metric, (key_node, value) in (
            self.reading.pairs(node, "gate.thresholds") or {}
        ).items():
            path = f"gate.thresholds.{metric[:60]}"
            self._known(metric, key_node, path)
            section = self.reading.section(value, path, ("min", "max"))
            if section is None:
                continue
            low, high = section.number("min"), section.number("max")
            if not section.items:
                self.reading.bad(
                    value, path, f"{path} has no bound.", "Write {min: …} or {max: …}."
                )
            elif low is not None and high is not None and low > high:
                section.bad("min", f"{path}: min {low} is above max {high}.", "Swap them.")
            found.append(Threshold(metric, _float(low), _float(high)))
        return tuple(found)

    def _champion(self, gate: Section) -> ChampionRule | None:
        node = gate.child("champion")
        if node is None:
            return ChampionRule()
        if isinstance(node, ScalarNode) and node.tag == "bool":
            return ChampionRule() if gate.flag("champion") else None
        if isinstance(node, ScalarNode) and node.tag != "null":
            gate.bad(
                "champion",
                f"gate.champion must be a mapping or false, not {describe(node)}.",
                "Write {better_by: 0, confidence: 0.95}, or false for no comparison.",
            )
            return ChampionRule()
        section = self._section(gate, "champion", ("better_by", "confidence"))
        if section is None:
            return ChampionRule()
        return ChampionRule(
            better_by=_or(section.number("better_by"), 0.0),
            confidence=_or(section.number("confidence", 0.5, 0.9999), 0.95),
        )

    def _triggers(self, top: Section) -> tuple[TriggerSpec, ...]:
        node = top.child("triggers")
        if node is None:
            return (TriggerSpec("data"),)
        found: list[TriggerSpec] = []
        for i, item in enumerate(self.reading.listing(node, "triggers") or []):
            path = f"triggers[{i}]"
            trigger = self._trigger(item, path)
            if trigger is not None and trigger in found:
                self.reading.bad(item, path, f"{path} stands here twice.", "Keep one of the two.")
            elif trigger is not None:
                found.append(trigger)
        return tuple(found)

    def _trigger(self, item: Node, path: str) -> TriggerSpec | None:
        if isinstance(item, ScalarNode):
            return self._named_trigger(item, path)
        section = self.reading.section(item, path, ("cron",), required=("cron",))
        if section is None:
            return None
        cron = section.text("cron")
        if cron is None:
            return None
        cron = " ".join(cron.split())
        reason = why_not(cron)
        if reason is not None:
            fix = 'Write five fields in UTC: "minute hour day month weekday", like "0 2 * * *".'
            section.bad("cron", f"{path}.cron {cron[:80]!r} is no schedule: {reason}.", fix)
        return TriggerSpec("cron", cron)

    def _named_trigger(self, item: ScalarNode, path: str) -> TriggerSpec | None:
        name = self.reading.text(item, path)
        if name == "data":
            return TriggerSpec("data")
        if name in _LATER_TRIGGERS:
            what = f"{path}: the trigger {name} isn't in this version of Volant yet."
            self.reading.bad(item, path, what, "Use data or {cron: …}.")
        elif name is not None:
            what = f"{path}: {name[:80]!r} is no trigger."
            self.reading.bad(item, path, what, 'Use data or {cron: "0 2 * * *"}.')
        return None


def _or(value: float | None, default: float) -> float:
    return default if value is None else float(value)


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)
