"""Optuna's view of a search, told anew from its records whenever they have changed.

The study lives in memory, in the process of one trial. What samplers and pruners note in
their own words (a rung reached, an optimizer's state) is kept in the trial's record, so that
the next process tells them that too.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from volant.domain.loop import TuneSpec
from volant.errors import InvalidInput
from volant.training.search_space import distributions, draw, grid_point, used
from volant.training.trial_records import COMPLETE, FAILED, PRUNED, Records, Trial

_STATES = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}
_LOOK_AGAIN_S = 0.5  # how old the view of trials at work beside this one may be


class Study:
    """The search as trial `number` sees it."""

    def __init__(
        self, spec: TuneSpec, records: Records, number: int, *, greater: bool, seed: int
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        self._spec = spec
        self._records = records
        self._number = number
        self._greater = greater
        self._seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        self._distributions: dict[str, BaseDistribution] = distributions(spec.space)
        self._looked = 0.0
        self._seen: Sequence[Trial] = ()
        self._trial = self._told()

    def ask(self) -> dict[str, Any]:
        """What this trial is to use. Asked before its process died, it gets the same again."""
        own = self._records.get(self._number)
        if own.drawn is None:
            if self._spec.sampler == "grid":
                drawn: dict[str, Any] = dict(grid_point(self._spec.space, self._number))
            else:
                drawn = draw(self._spec.space, self._trial)
            params = used(self._spec.space, drawn)
            attrs = self._attrs()
            self._records.write(self._number, "asked", drawn=drawn, params=params, attrs=attrs)
            self._trial = self._told()
            own = self._records.get(self._number)
        return dict(own.params)

    def report(self, key: str, step: int, value: float) -> bool:
        """Note an intermediate value, and say whether the trial is to be given up. A step
        that was reported already, before the process died, isn't judged again."""
        own = self._records.get(self._number)
        if step in own.reports:
            return own.stop and step == max(own.reports)
        self._look_again()
        self._trial.report(value, step)
        stop = self._worse()
        facts = {"key": key, "step": step, "value": value, "stop": stop, "attrs": self._attrs()}
        self._records.write(self._number, "reported", **facts)
        return stop

    def _worse(self) -> bool:
        """What the pruner says. Where every trial reported NaN, numpy warns of it within:
        that says nothing to whoever reads the log."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
            return bool(self._trial.should_prune())

    def _look_again(self) -> None:
        """Trials beside this one have gone on: tell sampler and pruner, now and then."""
        if self._spec.parallel < 2 or time.monotonic() - self._looked < _LOOK_AGAIN_S:
            return
        trials = self._records.all()
        self._looked = time.monotonic()
        if [t for t in trials if t.number != self._number] != self._seen:
            self._trial = self._told()

    def _told(self) -> optuna.Trial:
        trials = {trial.number: trial for trial in self._records.all()}
        self._looked = time.monotonic()
        self._seen = [t for t in trials.values() if t.number != self._number]
        study = optuna.create_study(
            study_name="volant",
            direction="maximize" if self._greater else "minimize",
            sampler=self._sampler(),
            pruner=_pruner(self._spec.pruner),
        )
        for number in range(max([self._number, *trials]) + 1):
            study.add_trial(self._frozen(trials.get(number, Trial(number))))
        # Only by its own name is a trial known to Optuna that was begun elsewhere.
        storage = study._storage  # pyright: ignore[reportPrivateUsage]
        mine = storage.get_trial_id_from_study_id_trial_number(
            study._study_id,  # pyright: ignore[reportPrivateUsage]
            self._number,
        )
        return optuna.Trial(study, mine)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        state = _STATES.get(trial.state, TrialState.RUNNING)
        if trial.number != self._number and trial.drawn is None:
            state = TrialState.FAIL  # it has no parameters yet: nothing to learn from
        return optuna.trial.create_trial(
            state=state,
            value=trial.value if state is TrialState.COMPLETE else None,
            params=dict(trial.drawn or {}),
            distributions=self._distributions if trial.drawn is not None else {},
            system_attrs=dict(trial.attrs),
            intermediate_values={step: point.value for step, point in trial.reports.items()},
        )

    def _attrs(self) -> dict[str, Any]:
        trials = self._trial.study.get_trials(deepcopy=False)
        return dict(trials[self._number].system_attrs)

    def _sampler(self) -> optuna.samplers.BaseSampler:
        spec = self._spec
        if spec.sampler in ("random", "grid"):
            return optuna.samplers.RandomSampler(seed=self._seed)
        # Some points anywhere first, fewer where few trials are to come.
        startup = max(4, min(10, spec.trials // 4))
        if spec.sampler == "cmaes":
            return _cmaes(self._seed, startup)
        return optuna.samplers.TPESampler(
            seed=self._seed, n_startup_trials=startup, constant_liar=spec.parallel > 1
        )


def _cmaes(seed: int, startup: int) -> optuna.samplers.BaseSampler:
    try:
        import cmaes as _  # noqa: F401  # pyright: ignore
    except ImportError as error:
        raise InvalidInput(
            "The sampler cmaes needs a package that isn't installed.",
            "pip install 'volant[tune]', or use the sampler tpe.",
            code="missing_extra",
        ) from error
    return optuna.samplers.CmaEsSampler(
        seed=seed, n_startup_trials=startup, warn_independent_sampling=False
    )


def _pruner(name: str) -> optuna.pruners.BasePruner:
    """`median`: Golovin et al. 2017; `asha`: Li et al. 2020; `hyperband`: Li et al. 2018."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4)
    if name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, reduction_factor=3)
    return optuna.pruners.NopPruner()
