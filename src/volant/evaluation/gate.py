"""The gate: ordered rules that a challenger must pass to replace the champion.

Thresholds first, then the champion. All rules are judged even after one has
failed, so that a person sees the whole picture at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from volant.domain.loop import ChampionRule, GateSpec, SliceRule, Threshold
from volant.domain.metric import GREATER_IS_BETTER, TASK_METRICS
from volant.errors import InvalidInput
from volant.evaluation.bootstrap import Gain, paired_gain
from volant.evaluation.metrics import Judged, scores
from volant.evaluation.slices import Group
from volant.evaluation.slices import measured as measured_on
from volant.yamltext.problems import nearest


@dataclass(frozen=True, slots=True)
class Champion:
    """The champion on the same rows. `judged` is None when it couldn't be scored;
    `problem` then says why. `note` is added to the rule's reason."""

    name: str
    task: str
    judged: Judged | None = None
    problem: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Each rule as `{rule, passed, …numbers, reason}`, in the order judged; `slices` are the
    challenger's metrics by the group of rows that they were measured on."""

    passed: bool
    reason: str
    rules: tuple[dict[str, Any], ...]
    slices: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict[str, Mapping[str, float]]
    )


def gate_from(body: Mapping[str, Any]) -> GateSpec:
    """A `GateSpec` from its plain form; keys left out take their defaults."""
    thresholds = tuple(Threshold(**item) for item in body.get("thresholds") or ())
    slices = tuple(SliceRule(**item) for item in body.get("slices") or ())
    if "champion" not in body:
        return GateSpec(thresholds, slices=slices)
    champion = body["champion"]
    rule = None if champion is None else ChampionRule(**champion)
    return GateSpec(thresholds, rule, slices)


def decide(  # noqa: PLR0917 - what a decision takes
    gate: GateSpec,
    metric: str,
    challenger: Judged,
    champion: Champion | None,
    seed: int,
    groups: Mapping[str, Sequence[Group]] | None = None,
) -> Verdict:
    """Judge every rule of `gate`. `champion` None: there is none yet. `groups` are those of
    each column that a slice rule names; the verdict tells what they measured."""
    measured = scores(challenger)
    rules = [_threshold(rule, challenger.task, measured) for rule in gate.thresholds]
    if gate.champion is not None:
        rules.append(_champion(gate.champion, metric, challenger, champion, seed))
    slices: dict[str, Mapping[str, float]] = {}
    for rule in gate.slices:
        found = (groups or {})[rule.by]
        own = measured_on(challenger, found)
        slices |= own
        rules.append(_slice(rule, metric, own, _theirs(champion, challenger.task, found)))
    failed = [rule for rule in rules if not rule["passed"]]
    return Verdict(not failed, _summary(rules, failed), tuple(rules), slices)


def _summary(rules: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]) -> str:
    if not rules:
        return "The gate has no rules: accepted."
    reasons = "; ".join(str(rule["reason"]) for rule in (failed or rules))
    return f"{reasons[0].upper() if reasons.startswith('the ') else reasons[0]}{reasons[1:]}."


def _threshold(rule: Threshold, task: str, measured: Mapping[str, float]) -> dict[str, Any]:
    _known(rule.metric, task)
    facts: dict[str, Any] = {
        "rule": "threshold",
        "metric": rule.metric,
        "min": rule.min,
        "max": rule.max,
    }
    value = measured.get(rule.metric)
    if value is None:
        reason = f"{rule.metric} can't be computed on this holdout, so its threshold isn't met"
        return {**facts, "value": None, "passed": False, "reason": reason}
    low = rule.min is not None and value < rule.min
    high = rule.max is not None and value > rule.max
    if low:
        said = f"is below the minimum {_number(rule.min)}"
    elif high:
        said = f"is above the maximum {_number(rule.max)}"
    else:
        bounds = [f"≥ {_number(rule.min)}"] if rule.min is not None else []
        bounds += [f"≤ {_number(rule.max)}"] if rule.max is not None else []
        said = f"is {' and '.join(bounds)}" if bounds else "has no bound"
    reason = f"{rule.metric} {_number(value)} {said}"
    return {**facts, "value": value, "passed": not (low or high), "reason": reason}


def _champion(
    rule: ChampionRule, metric: str, challenger: Judged, champion: Champion | None, seed: int
) -> dict[str, Any]:
    _known(metric, challenger.task)
    facts: dict[str, Any] = {
        "rule": "champion",
        "metric": metric,
        "better_by": rule.better_by,
        "confidence": rule.confidence,
    }
    if champion is None:
        value = scores(challenger).get(metric)
        own = "" if value is None else f"{metric} {_number(value)}, and "
        reason = f"{own}there is no champion yet to compare with"
        return {**facts, "value": value, "passed": True, "reason": reason}
    facts["champion"] = champion.name
    if champion.task != challenger.task:
        # Another question was asked of it: no number of its could be held against this one.
        reason = (
            f"the champion ({champion.name}) is a {champion.task} model and this one a "
            f"{challenger.task} model: not compared"
        )
        return {**facts, "passed": True, "skipped": True, "reason": reason}
    if champion.judged is None:
        # A fault of ours or of the machine must not wave a model through.
        reason = (
            f"the champion ({champion.name}) couldn't be scored on the holdout, so nothing shows "
            f"that this model is better: {champion.problem}"
        )
        return {**facts, "passed": False, "reason": reason}
    compared = _compared(rule, metric, challenger, champion, theirs=champion.judged, seed=seed)
    return {**facts, **compared}


def _compared(
    rule: ChampionRule,
    metric: str,
    challenger: Judged,
    champion: Champion,
    *,
    theirs: Judged,
    seed: int,
) -> dict[str, Any]:
    own, other = scores(challenger).get(metric), scores(theirs).get(metric)
    if own is None or other is None:
        reason = f"{metric} can't be computed on this holdout, so the models can't be compared"
        return {"passed": False, "reason": reason}
    gain = paired_gain(metric, challenger, theirs, confidence=rule.confidence, seed=seed)
    passed = not math.isnan(gain.lower_bound) and gain.lower_bound >= rule.better_by
    return {
        "passed": passed,
        "value": own,
        "champion_value": other,
        "gain": gain.observed,
        "lower_bound": None if math.isnan(gain.lower_bound) else gain.lower_bound,
        "resamples": gain.resamples,
        "rows": challenger.rows,
        "reason": _sentence(rule, metric, (own, other), gain, champion, passed=passed),
    }


def _theirs(
    champion: Champion | None, task: str, groups: Sequence[Group]
) -> tuple[str, Mapping[str, Mapping[str, float]]] | None:
    """The champion's name and what it measures on the groups; None when it can't be compared."""
    if champion is None or champion.judged is None or champion.task != task:
        return None
    return champion.name, measured_on(champion.judged, groups)


def _slice(
    rule: SliceRule,
    metric: str,
    own: Mapping[str, Mapping[str, float]],
    theirs: tuple[str, Mapping[str, Mapping[str, float]]] | None,
) -> dict[str, Any]:
    """How much worse than the champion the challenger is on each group that is large enough."""
    facts: dict[str, Any] = {
        "rule": "slice",
        "by": rule.by,
        "metric": metric,
        "max_regression": rule.max_regression,
    }
    if theirs is None:
        reason = f"there is no champion to compare the groups of {rule.by} with"
        return {**facts, "passed": True, "skipped": True, "reason": reason}
    champion, others = theirs
    compared = [
        (name, here, others[name])
        for name, here in own.items()
        if here["rows"] >= rule.min_rows and metric in here and metric in others[name]
    ]
    facts["groups"] = len(compared)
    sign = 1.0 if GREATER_IS_BETTER[metric] else -1.0
    losses = [(sign * (there[metric] - here[metric]), name) for name, here, there in compared]
    worse = sorted((each for each in losses if each[0] > rule.max_regression), reverse=True)
    if not worse:
        reason = (
            f"{metric} is on no group of {rule.by} worse than the champion's by more than "
            f"{_number(rule.max_regression)} ({len(compared)} compared)"
        )
        return {**facts, "passed": True, "reason": reason}
    told = "; ".join(
        f"{name} ({_number(own[name][metric])} against {_number(others[name][metric])}, worse by "
        f"{_number(loss)}, {own[name]['rows']:.0f} rows)"
        for loss, name in worse
    )
    reason = (
        f"{metric} is worse than the champion's ({champion}) by more than "
        f"{_number(rule.max_regression)} where {told}"
    )
    return {**facts, "passed": False, "worst": worse[0][0], "reason": reason}


def _sentence(
    rule: ChampionRule,
    metric: str,
    values: tuple[float, float],
    gain: Gain,
    champion: Champion,
    *,
    passed: bool,
) -> str:
    """E.g. "log_loss 0.0910 beats the champion's 0.1180 (v1) by 0.0270; 95 % lower
    bound of the gain +0.0110 ≥ 0"."""
    said = "beats" if gain.observed > 0 else "loses to" if gain.observed < 0 else "equals"
    by = f" by {_number(abs(gain.observed))}" if gain.observed else ""
    note = f" ({champion.note})" if champion.note else ""
    return (
        f"{metric} {_number(values[0])} {said} the champion's {_number(values[1])} "
        f"({champion.name}){by}; {100 * rule.confidence:g} % lower bound of the gain "
        f"{_number(gain.lower_bound, sign=True)} {'≥' if passed else '<'} "
        f"{_number(rule.better_by)}{note}"
    )


def _number(value: float | None, *, sign: bool = False) -> str:
    """Four decimals, or three significant digits where those would show nothing."""
    if value is None:
        return "none"
    if value == 0:
        return "0"
    text = f"{value:.4f}" if 0.001 <= abs(value) < 1000 else f"{value:.3g}"
    if "." in text and "e" not in text:
        text = text.rstrip("0").rstrip(".")
    return f"+{text}" if sign and value > 0 else text


def _known(metric: str, task: str) -> None:
    names = TASK_METRICS[task]
    if metric in names:
        return
    near = nearest(metric, names)
    raise InvalidInput(
        f"The gate asks for {metric!r}, which isn't a metric of {task}.",
        f"Did you mean {near!r}?" if near else f"Use one of: {', '.join(names)}.",
        details={"metric": metric, "known": list(names)},
    )
