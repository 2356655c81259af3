"""The search: candidates measured by cross-validation until the time is up.

Optuna's TPE sampler (Bergstra et al. 2011) chooses after the queue of defaults is
through; a trial whose folds so far are worse than the median of earlier trials at the
same fold is given up (the median rule of Golovin et al. 2017). The time for the final
fit is set aside from the first trial on: a fold starts only if it and the final fit
of what is best so far still fit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold

from volant.domain.metric import GREATER_IS_BETTER
from volant.training.budget import Costs, Deadline
from volant.training.families import QUEUE, Candidate, Setting, build, suggest
from volant.training.prepare import Preparation

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]

_MOST_TRIALS = 400
_UNAFFORDABLE_IN_A_ROW = 40
_ENOUGH_ROWS = 1000  # judged, for a trial whose last folds the clock took
_CACHE_BYTES = 512 * 2**20


class Score(Protocol):
    """Every metric of `task` that these rows define, by name."""

    def __call__(
        self,
        task: str,
        truth: NDArray[Any],
        predicted: NDArray[Any],
        probabilities: NDArray[np.float64] | None = None,
        classes: Any = None,
    ) -> dict[str, float]: ...


@dataclass(frozen=True, slots=True)
class Problem:
    """What is searched on: `matrix` [n, slots], `target` [n], and the rows that a final
    fit will have (`rows_in_all`; more than n when the search runs on a sample)."""

    matrix: NDArray[Any]
    target: NDArray[Any]
    preparation: Preparation
    setting: Setting
    metric: str
    rows_in_all: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """One trial. `values` holds the searched metric by fold, `scores` every metric's mean
    over those folds. `complete`: no fold was left out; `pruned`: given up as worse than
    others; neither: the time ran out. `enough`: its folds tell what it is worth."""

    number: int
    candidate: Candidate
    values: tuple[float, ...]
    scores: dict[str, float]
    complete: bool
    pruned: bool = False
    enough: bool = True

    @property
    def value(self) -> float:
        return float(np.mean(self.values))

    @property
    def folds(self) -> int:
        return len(self.values)


@dataclass(slots=True)
class Search:
    """One run of the search. `outcomes` grow trial by trial, in order."""

    problem: Problem
    score: Score
    deadline: Deadline
    say: Callable[[str], None]
    most_trials: int = _MOST_TRIALS
    costs: Costs = field(default_factory=Costs)
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    _prepared: dict[tuple[int, bool], tuple[Any, Any]] = field(
        default_factory=dict[tuple[int, bool], tuple[Any, Any]]
    )

    def run(self) -> None:
        """Try candidates until the time or the number of trials is up."""
        folds = list(folds_of(self.problem))
        if not folds:
            return
        study = self._study()
        refused = 0
        for number in range(self.most_trials):
            trial = study.ask()
            candidate = suggest(trial)
            if not self._affordable(candidate, folds):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                refused += 1
                if refused >= _UNAFFORDABLE_IN_A_ROW or self._only_the_final_fit_is_left():
                    break
                continue
            refused = 0
            outcome = self._measure(number, trial, candidate, folds)
            if outcome is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                continue
            self.outcomes.append(outcome)
            if outcome.pruned or not outcome.enough:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                study.tell(trial, outcome.value)
            self._tell(outcome)

    def ranked(self) -> list[Outcome]:
        """Best first, see `ranked`."""
        return ranked(self.outcomes, self.problem.metric)

    def final_cost(self, candidate: Candidate) -> float:
        """Seconds that fitting it on all rows will take, as far as is known."""
        return self.costs.predict(candidate, self.problem.rows_in_all)

    def _study(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(
            direction="maximize" if GREATER_IS_BETTER[self.problem.metric] else "minimize",
            sampler=optuna.samplers.TPESampler(
                seed=self.problem.setting.seed, n_startup_trials=len(QUEUE) + 3
            ),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=2),
        )
        for params in QUEUE:
            study.enqueue_trial(dict(params))
        return study

    def _affordable(self, candidate: Candidate, folds: list[Fold]) -> bool:
        """Whether its first fold and the final fit it might lead to end in time."""
        left = self.deadline.left()
        if left <= 0:
            return False
        if not self.outcomes:
            return True
        return self._fold_cost(candidate, folds) + self._reserve(candidate) <= left

    def _only_the_final_fit_is_left(self) -> bool:
        best = self.final_cost(self.ranked()[0].candidate) if self.outcomes else 0.0
        return self.deadline.left() <= best

    def _fold_cost(self, candidate: Candidate, folds: list[Fold]) -> float:
        return self.costs.predict(candidate, len(folds[0][0]))

    def _reserve(self, candidate: Candidate) -> float:
        """The final fit's cost, if this candidate or the best one so far wins. A family
        not seen yet asks for nothing: its first fold will tell."""
        mine = self.final_cost(candidate) if self.costs.knows(candidate) else 0.0
        return max(mine, self.final_cost(self.ranked()[0].candidate)) if self.outcomes else mine

    def _measure(
        self, number: int, trial: optuna.Trial, candidate: Candidate, folds: list[Fold]
    ) -> Outcome | None:
        """None when not even one fold gave the metric."""
        found: list[dict[str, float]] = []
        late = pruned = False
        judged = 0
        for index, fold in enumerate(folds):
            needed = self._fold_cost(candidate, folds) + self._reserve(candidate)
            late = index > 0 and needed > self.deadline.left()
            if late:
                break
            scores = self._fold_scores(candidate, index, fold)
            if self.problem.metric not in scores:
                continue  # not defined on this fold's rows
            found.append(scores)
            judged += len(fold[1])
            trial.report(float(np.mean([s[self.problem.metric] for s in found])), len(found))
            pruned = len(found) < len(folds) and trial.should_prune()
            if pruned:
                break
        if not found:
            return None
        names = [name for name in found[0] if all(name in s for s in found)]
        means = {name: float(np.mean([s[name] for s in found])) for name in names}
        return Outcome(
            number,
            candidate,
            tuple(scores[self.problem.metric] for scores in found),
            means,
            complete=not (late or pruned),
            pruned=pruned,
            enough=judged >= _ENOUGH_ROWS or 2 * len(found) >= len(folds),
        )

    def _fold_scores(self, candidate: Candidate, index: int, fold: Fold) -> dict[str, float]:
        train, test = fold
        target = self.problem.target
        started = self.deadline.clock()
        fit_on, judge_on = self._prepare(index, fold, scaled=candidate.scaled)
        estimator = fit_quietly(build(candidate, self.problem.setting), fit_on, target[train])
        predicted = estimator.predict(judge_on)
        chances = classes = None
        if self.problem.setting.task == "classification":
            chances = np.asarray(estimator.predict_proba(judge_on), dtype=np.float64)
            classes = estimator.classes_
        scores = self.score(
            self.problem.setting.task, target[test], predicted, chances, classes=classes
        )
        self.costs.observe(candidate, len(train), self.deadline.clock() - started)
        return scores

    def _prepare(self, index: int, fold: Fold, *, scaled: bool) -> tuple[Any, Any]:
        """Both parts of a fold, prepared; kept for the next trial while memory allows."""
        key = (index, scaled)
        if key not in self._prepared:
            train, test = fold
            matrix = self.problem.matrix
            transformer: Any = self.problem.preparation.transformer(scaled=scaled)
            pair = transformer.fit_transform(matrix[train]), transformer.transform(matrix[test])
            size = sum(part.nbytes for kept in [*self._prepared.values(), pair] for part in kept)
            if size > _CACHE_BYTES:
                return pair
            self._prepared[key] = pair
        return self._prepared[key]

    def _tell(self, outcome: Outcome) -> None:
        best = self.ranked()[0]
        metric = self.problem.metric
        why = "given up" if outcome.pruned else "no time for more"
        state = "" if outcome.complete else f" ({why} after {outcome.folds} folds)"
        self.say(
            f"trial {outcome.number + 1:>3}  {outcome.candidate.family:<11} "
            f"{metric} {outcome.value:.4f}  best {best.value:.4f} ({best.candidate.family})  "
            f"{max(0.0, self.deadline.left()):.1f} s left{state}"
        )


def ranked(outcomes: Sequence[Outcome], metric: str) -> list[Outcome]:
    """Best first.

    A trial that the clock cut short is held against the best complete one on the folds
    that both have; it comes after all complete ones only if its folds tell too little,
    or if it was pruned.
    """
    sign = -1.0 if GREATER_IS_BETTER[metric] else 1.0
    whole = [o for o in outcomes if o.complete]
    best = min(whole, key=lambda o: sign * o.value) if whole else None

    def key(outcome: Outcome) -> tuple[bool, bool, float, int]:
        value = outcome.value
        if best is not None and not outcome.complete:
            value += best.value - float(np.mean(best.values[: outcome.folds]))
        thin = not (outcome.complete or outcome.enough)
        return outcome.pruned, thin, sign * value, outcome.number

    return sorted(outcomes, key=key)


def folds_of(problem: Problem) -> Iterator[Fold]:
    """Five folds (three for many rows), shuffled by the seed, by class where every class
    has at least two rows; none when there are too few rows to leave any out."""
    rows = len(problem.target)
    wanted = 5 if rows <= 20_000 else 3
    seed = problem.setting.seed
    if rows < 6:
        return
    if problem.setting.task == "classification":
        least = int(np.unique(problem.target, return_counts=True)[1].min())
        if least >= 2:
            splitter: Any = StratifiedKFold(min(wanted, least), shuffle=True, random_state=seed)
            yield from splitter.split(np.zeros(rows), problem.target)
            return
    folds = KFold(min(wanted, rows // 2), shuffle=True, random_state=seed)
    for train, test in folds.split(np.zeros(rows)):
        if problem.setting.task == "classification" and len(np.unique(problem.target[train])) < 2:
            continue
        yield train, test


def fit_quietly(estimator: Any, matrix: Any, target: NDArray[Any]) -> Any:
    """Fit; a linear model that stops before it has converged is a candidate like any other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(matrix, target)
