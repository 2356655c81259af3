"""The metrics of `volant.domain.metric`, computed for many row weightings at once.

A weight vector counts how often each row is drawn; a vector of ones gives the
metric itself, a matrix of resample counts gives its bootstrap distribution. So
the number a person reads and the one the gate decides on come from one formula.

Definitions (K classes, weights w, rows i):

- accuracy: Σ w·[ŷ=y] / Σ w.
- balanced_accuracy: mean over the classes present of each class's recall.
- f1: macro average, over the classes present in truth or prediction, of
  2·tp / (2·tp + fp + fn); no class is "the positive one".
- roc_auc: the Mann-Whitney form with ties counted one half (Hanley & McNeil
  1982); two classes: the score is the probability of the last class; more: mean
  of one-vs-rest over the classes present.
- log_loss: -Σ w·ln p(y) / Σ w, p renormalised and clipped to float64's epsilon;
  a label that the model doesn't know has probability 0 before clipping.
- rmse, mae; r2: 1 - SSE/SST.

A metric that isn't defined on the rows (roc_auc or r2 on a constant truth) is NaN
in the weighted functions and left out of `score`'s answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volant.domain.metric import TASK_METRICS

Floats = NDArray[np.float64]
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a model said about rows whose truth is known.

    Args:
        task: `classification` or `regression`.
        truth: class codes [n] (int64) or target values [n] (float64).
        predicted: the same for the predictions.
        classes: number of codes; 0 for regression.
        probabilities: [n, classes], columns by code; None when the model gives none.
    """

    task: str
    truth: NDArray[Any]
    predicted: NDArray[Any]
    classes: int = 0
    probabilities: Floats | None = None

    @property
    def rows(self) -> int:
        return len(self.truth)


def judge(
    task: str,
    truth: Sequence[Any] | NDArray[Any],
    predicted: Sequence[Any] | NDArray[Any],
    probabilities: Floats | None = None,
    classes: Sequence[Any] | None = None,
) -> Judged:
    """Bring labels and values of any type to the codes that the formulas work on.

    `classes` are the labels of `probabilities`' columns. Labels are matched by
    equality, so 1, 1.0 and True are one label; those that only the truth or the
    predictions hold get codes of their own.
    """
    if task == "regression":
        return Judged(task, _values(truth), _values(predicted))
    codes: dict[Any, int] = {}
    for label in classes if classes is not None else ():
        codes.setdefault(_plain(label), len(codes))
    true_codes = _encode(truth, codes)
    predicted_codes = _encode(predicted, codes)
    table: Floats | None = None
    if probabilities is not None:
        table = np.zeros((len(true_codes), len(codes)), dtype=np.float64)
        table[:, : probabilities.shape[1]] = probabilities
    return Judged(task, true_codes, predicted_codes, len(codes), table)


def score(
    task: str,
    truth: Sequence[Any] | NDArray[Any],
    predicted: Sequence[Any] | NDArray[Any],
    probabilities: Floats | None = None,
    classes: Sequence[Any] | None = None,
) -> dict[str, float]:
    """Every metric of the task that these rows define, by name."""
    return scores(judge(task, truth, predicted, probabilities, classes))


def scores(judged: Judged) -> dict[str, float]:
    """As `score`, for rows that are judged already."""
    ones = np.ones((1, judged.rows), dtype=np.float64)
    found = {name: weighted(name, judged, ones)[0] for name in TASK_METRICS[judged.task]}
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def weighted(name: str, judged: Judged, weights: Floats) -> Floats:
    """The metric under each row of `weights` [b, n]; [b], NaN where undefined."""
    if judged.rows == 0:
        return np.full(len(weights), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _FORMULAS[name](judged, weights)


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def _values(values: Sequence[Any] | NDArray[Any]) -> Floats:
    return np.asarray(values, dtype=np.float64).ravel()


def _encode(labels: Sequence[Any] | NDArray[Any], codes: dict[Any, int]) -> NDArray[np.int64]:
    plain = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    return np.fromiter(
        (codes.setdefault(label, len(codes)) for label in plain), dtype=np.int64, count=len(plain)
    )


def _mean(per_row: Floats, weights: Floats) -> Floats:
    return (weights @ per_row) / weights.sum(axis=1)


def _accuracy(judged: Judged, weights: Floats) -> Floats:
    return _mean((judged.truth == judged.predicted).astype(np.float64), weights)


def _members(codes: NDArray[Any], classes: int) -> Floats:
    return (codes[:, None] == np.arange(classes)[None, :]).astype(np.float64)


def _balanced_accuracy(judged: Judged, weights: Floats) -> Floats:
    truth = _members(judged.truth, judged.classes)
    right = truth * (judged.truth == judged.predicted)[:, None]
    return np.nanmean(_drawn(weights @ right, weights @ truth), axis=1)


def _drawn(part: Floats, whole: Floats) -> Floats:
    """part / whole, NaN where a class wasn't drawn."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _f1(judged: Judged, weights: Floats) -> Floats:
    truth = _members(judged.truth, judged.classes)
    predicted = _members(judged.predicted, judged.classes)
    hits = weights @ (truth * predicted)
    both = weights @ truth + weights @ predicted
    return np.nanmean(_drawn(2 * hits, both), axis=1)


def _log_loss(judged: Judged, weights: Floats) -> Floats:
    table = judged.probabilities
    if table is None:
        return np.full(len(weights), np.nan)
    total = table.sum(axis=1)
    own = table[np.arange(judged.rows), judged.truth] / np.where(total > 0, total, 1.0)
    return _mean(-np.log(np.clip(own, _EPSILON, 1.0)), weights)


def _roc_auc(judged: Judged, weights: Floats) -> Floats:
    table = judged.probabilities
    if table is None or len(np.unique(judged.truth)) < 2:
        return np.full(len(weights), np.nan)
    if judged.classes == 2:
        return _auc_of(judged.truth == 1, table[:, 1], weights)
    parts = [
        _auc_of(judged.truth == code, table[:, code], weights) for code in np.unique(judged.truth)
    ]
    stacked = np.stack(parts, axis=1)
    known = np.isfinite(stacked)
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, stacked, 0.0).sum(axis=1) / count, np.nan)


def _auc_of(positive: NDArray[np.bool_], scores_: Floats, weights: Floats) -> Floats:
    """P(a positive outranks a negative) + ½ P(tie), for each weighting."""
    order = np.argsort(scores_, kind="stable")
    ranked = scores_[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    drawn = weights[:, order]
    up = np.add.reduceat(drawn * positive[order], starts, axis=1)
    down = np.add.reduceat(drawn * ~positive[order], starts, axis=1)
    below = np.cumsum(down, axis=1) - down
    pairs = up.sum(axis=1) * down.sum(axis=1)
    wins = (up * (below + 0.5 * down)).sum(axis=1)
    return np.divide(wins, pairs, out=np.full_like(wins, np.nan), where=pairs > 0)


def _rmse(judged: Judged, weights: Floats) -> Floats:
    return np.sqrt(_mean((judged.truth - judged.predicted) ** 2, weights))


def _mae(judged: Judged, weights: Floats) -> Floats:
    return _mean(np.abs(judged.truth - judged.predicted), weights)


def _r2(judged: Judged, weights: Floats) -> Floats:
    # Centring first keeps the subtraction below from losing digits of large targets.
    centred = judged.truth - judged.truth.mean()
    spread = _mean(centred**2, weights) - _mean(centred, weights) ** 2
    error = _mean((judged.truth - judged.predicted) ** 2, weights)
    enough = spread > _EPSILON * max(float(np.max(np.abs(centred), initial=0.0)) ** 2, 1e-300)
    return 1.0 - np.divide(error, spread, out=np.full_like(error, np.nan), where=enough)


_FORMULAS: dict[str, Callable[[Judged, Floats], Floats]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1": _f1,
    "roc_auc": _roc_auc,
    "log_loss": _log_loss,
    "rmse": _rmse,
    "mae": _mae,
    "r2": _r2,
}
