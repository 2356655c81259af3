"""The verbs on logged models."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from volant.domain.query import MeasuredOn, Order, Search, parse_filter
from volant.domain.tracking import DEFAULT_EXPERIMENT, LoggedModel, LoggedModelStatus
from volant.ports.clock import Clock
from volant.ports.tracked import ExperimentRecords, LoggedModelRecords
from volant.tracking import checks
from volant.tracking.vocabularies import LOGGED_MODELS


class LoggedModelDesk:
    """A model from its first byte to its registration."""

    def __init__(
        self, models: LoggedModelRecords, experiments: ExperimentRecords, clock: Clock
    ) -> None:
        self._models = models
        self._experiments = experiments
        self._clock = clock

    def create(
        self,
        experiment_id: str | None,
        *,
        name: str,
        run_id: str | None = None,
        model_type: str = "",
        params: Sequence[tuple[str, str]] = (),
        tags: Sequence[tuple[str, str]] = (),
    ) -> LoggedModel:
        """A pending model; its artifacts go to its `artifact_uri`."""
        if any(mark in name for mark in "/:.%\"'"):
            raise checks.invalid(
                "name", name, "a model's name can't contain / : . % or quotes.", "Rename it."
            )
        experiment = self._experiments.get(experiment_id or DEFAULT_EXPERIMENT)
        now = self._clock.now()
        model_id = f"m-{secrets.token_hex(16)}"
        location = experiment.artifact_location.rstrip("/")
        return self._models.create(
            LoggedModel(
                id=model_id,
                experiment_id=experiment.id,
                name=name or f"model-{model_id[2:8]}",
                status=LoggedModelStatus.PENDING,
                artifact_uri=f"{location}/models/{model_id}/artifacts",
                created_at=now,
                updated_at=now,
                run_id=run_id or None,
                model_type=model_type,
                params=checks.own_params(params),
                tags=checks.own_tags(dict(tags)),
            )
        )

    def get(self, model_id: str) -> LoggedModel:
        return self._models.get(model_id)

    def finalize(self, model_id: str, status: LoggedModelStatus) -> LoggedModel:
        return self._models.change(model_id, status=status)

    def add_params(self, model_id: str, params: Sequence[tuple[str, str]]) -> LoggedModel:
        """Raises `InvalidInput` for a parameter that has another value already."""
        return self._models.change(model_id, params=checks.own_params(params))

    def set_tags(self, model_id: str, tags: Mapping[str, str]) -> LoggedModel:
        return self._models.change(model_id, tags=checks.own_tags(tags))

    def delete_tag(self, model_id: str, key: str) -> LoggedModel:
        return self._models.change(model_id, without=key)

    def delete(self, model_id: str) -> None:
        self._models.delete(model_id)

    def of_run(self, experiment_id: str, run_id: str) -> Sequence[LoggedModel]:
        """What a run logged as models, newest first, 200 at most."""
        return self.search([experiment_id], f"source_run_id = '{run_id}'", [], 200, 0)[0]

    def search(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None,
        order: Sequence[Order],
        limit: int,
        offset: int,
        *,
        datasets: Sequence[MeasuredOn] = (),
    ) -> tuple[Sequence[LoggedModel], bool]:
        """A page, and whether there are more: of models with a metric that was measured on one
        of `datasets`, if there are any. A metric's order is that of its newest points."""
        where = parse_filter(filter_string, LOGGED_MODELS)
        return self._models.search(
            experiment_ids,
            Search(where, tuple(order), limit, offset, datasets=tuple(datasets)),
        )
