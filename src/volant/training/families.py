"""The kinds of model that AutoML tries: how each is made, and what may be tuned.

`suggest` reads parameters from an Optuna trial; `QUEUE` holds settings that are good
without any search, the cheapest first, so that a short budget ends with a sound model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lightgbm import LGBMClassifier, LGBMRegressor
from optuna import Trial
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge

Params = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for all candidates of a search."""

    task: str
    seed: int
    threads: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A family with its parameters. `weight` is proportional to its fitting time for
    a given table, within the family."""

    family: str
    params: Params
    weight: float

    @property
    def scaled(self) -> bool:
        """Whether its numbers are standardised first."""
        return self.family == "linear"


@dataclass(frozen=True, slots=True)
class _Family:
    suggest: Callable[[Trial], Params]
    build: Callable[[Params, Setting], Any]
    weight: Callable[[Params], float]


def _linear_space(trial: Trial) -> Params:
    return {"strength": trial.suggest_float("linear.strength", 1e-4, 1e4, log=True)}


def _linear(params: Params, setting: Setting) -> Any:
    strength = params["strength"]  # of the regularisation
    if setting.task == "classification":
        return LogisticRegression(C=1.0 / strength, max_iter=500, random_state=setting.seed)
    return Ridge(alpha=strength)


def _forest_space(prefix: str) -> Callable[[Trial], Params]:
    def suggest(trial: Trial) -> Params:
        return {
            "trees": trial.suggest_int(f"{prefix}.trees", 50, 400, log=True),
            "features": trial.suggest_float(f"{prefix}.features", 0.1, 1.0),
            "leaf": trial.suggest_int(f"{prefix}.leaf", 1, 20, log=True),
        }

    return suggest


def _forest_build(classifier: Any, regressor: Any) -> Callable[[Params, Setting], Any]:
    def build(params: Params, setting: Setting) -> Any:
        kind = classifier if setting.task == "classification" else regressor
        return kind(
            n_estimators=params["trees"],
            max_features=params["features"],
            min_samples_leaf=params["leaf"],
            n_jobs=setting.threads,
            random_state=setting.seed,
        )

    return build


def _forest_weight(params: Params) -> float:
    return params["trees"] * params["features"] ** 0.5


def _boosting_space(trial: Trial) -> Params:
    return {
        "trees": trial.suggest_int("boosting.trees", 40, 500, log=True),
        "rate": trial.suggest_float("boosting.rate", 0.01, 0.3, log=True),
        "leaves": trial.suggest_int("boosting.leaves", 3, 127, log=True),
        "leaf": trial.suggest_int("boosting.leaf", 2, 60, log=True),
        "rows": trial.suggest_float("boosting.rows", 0.5, 1.0),
        "features": trial.suggest_float("boosting.features", 0.3, 1.0),
        "shrink": trial.suggest_float("boosting.shrink", 1e-3, 30.0, log=True),
    }


def _boosting(params: Params, setting: Setting) -> Any:
    kind = LGBMClassifier if setting.task == "classification" else LGBMRegressor
    return kind(
        n_estimators=params["trees"],
        learning_rate=params["rate"],
        num_leaves=params["leaves"],
        min_child_samples=params["leaf"],
        subsample=params["rows"],
        subsample_freq=1,
        colsample_bytree=params["features"],
        reg_lambda=params["shrink"],
        n_jobs=setting.threads,
        random_state=setting.seed,
        # The same numbers whatever the number of threads.
        deterministic=True,
        force_row_wise=True,
        verbosity=-1,
    )


def _boosting_weight(params: Params) -> float:
    return params["trees"] * params["leaves"] ** 0.7


_FAMILIES: dict[str, _Family] = {
    "linear": _Family(_linear_space, _linear, lambda params: 1.0),
    "boosting": _Family(_boosting_space, _boosting, _boosting_weight),
    "extra_trees": _Family(
        _forest_space("extra_trees"),
        _forest_build(ExtraTreesClassifier, ExtraTreesRegressor),
        _forest_weight,
    ),
    "forest": _Family(
        _forest_space("forest"),
        _forest_build(RandomForestClassifier, RandomForestRegressor),
        _forest_weight,
    ),
}

QUEUE: tuple[Mapping[str, Any], ...] = (
    {"family": "linear", "linear.strength": 1.0},
    {
        "family": "boosting",
        "boosting.trees": 100,
        "boosting.rate": 0.1,
        "boosting.leaves": 15,
        "boosting.leaf": 10,
        "boosting.rows": 0.9,
        "boosting.features": 0.8,
        "boosting.shrink": 1.0,
    },
    {"family": "linear", "linear.strength": 20.0},
    {"family": "linear", "linear.strength": 0.05},
    {
        "family": "extra_trees",
        "extra_trees.trees": 150,
        "extra_trees.features": 0.6,
        "extra_trees.leaf": 1,
    },
    {"family": "forest", "forest.trees": 150, "forest.features": 0.4, "forest.leaf": 1},
    {
        "family": "boosting",
        "boosting.trees": 200,
        "boosting.rate": 0.05,
        "boosting.leaves": 31,
        "boosting.leaf": 20,
        "boosting.rows": 0.8,
        "boosting.features": 0.6,
        "boosting.shrink": 1.0,
    },
    {
        "family": "boosting",
        "boosting.trees": 150,
        "boosting.rate": 0.06,
        "boosting.leaves": 5,
        "boosting.leaf": 5,
        "boosting.rows": 0.8,
        "boosting.features": 0.5,
        "boosting.shrink": 3.0,
    },
)


def suggest(trial: Trial) -> Candidate:
    """The next candidate, by the trial's own choices."""
    name = trial.suggest_categorical("family", list(_FAMILIES))
    params = _FAMILIES[name].suggest(trial)
    return Candidate(name, params, _FAMILIES[name].weight(params))


def simplest() -> Candidate:
    """What is fitted when there is time for nothing else."""
    params = {"strength": 1.0}
    return Candidate("linear", params, 1.0)


def build(candidate: Candidate, setting: Setting) -> Any:
    """An unfitted scikit-learn estimator."""
    return _FAMILIES[candidate.family].build(candidate.params, setting)
