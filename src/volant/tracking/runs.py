"""The verbs on tracked runs: create, log, change, search."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

from volant.domain.query import Search, parse_filter, parse_order
from volant.domain.tracking import (
    DEFAULT_EXPERIMENT,
    DatasetInput,
    Lifecycle,
    Metric,
    ModelLink,
    TrackedRun,
    TrackingStatus,
)
from volant.ports.tracked import ExperimentRecords, Measurements, TrackedRunRecords
from volant.tracking import checks
from volant.tracking.vocabularies import RUNS

_NAME_TAG = "mlflow.runName"
_MODELS_TAG = "mlflow.log-model.history"
_ADJECTIVES = (
    *("able", "bold", "brisk", "calm", "clever", "eager", "fair", "fond", "keen", "kind"),
    *("lively", "merry", "nimble", "quick"),
)
_NOUNS = (
    *("bee", "crane", "deer", "finch", "fox", "hare", "heron", "lark", "lynx", "mole"),
    *("otter", "robin", "seal", "swan", "wren"),
)


class TrackedRunDesk:
    """What a program that trains does with its runs."""

    def __init__(
        self,
        runs: TrackedRunRecords,
        data: Measurements,
        experiments: ExperimentRecords,
    ) -> None:
        self._runs = runs
        self._data = data
        self._experiments = experiments

    def create(
        self,
        experiment_id: str | None,
        *,
        name: str,
        user: str,
        started_at: datetime,
        tags: Sequence[tuple[str, str]] = (),
        run_id: str | None = None,
    ) -> TrackedRun:
        """A new running run. Its name may come as the tag `mlflow.runName`; without one
        it gets one. `run_id` is chosen by the platform alone. Raises `InvalidInput` for a
        deleted experiment, and for two names."""
        experiment = self._experiments.get(experiment_id or DEFAULT_EXPERIMENT)
        given = checks.own_tags(dict(tags))
        tagged = given.get(_NAME_TAG, "")
        if name and tagged and name != tagged:
            raise checks.invalid(
                "run_name",
                name,
                "both 'run_name' and the tag 'mlflow.runName' are there, with different values"
                f" (the tag is {tagged[:250]!r}).",
                "Give the run one name.",
            )
        called = checks.text(name or tagged or _random_name(), "tag", _NAME_TAG)
        run_id = run_id or secrets.token_hex(16)
        return self._runs.create(
            TrackedRun(
                id=run_id,
                experiment_id=experiment.id,
                name=called,
                status=TrackingStatus.RUNNING,
                started_at=started_at,
                artifact_uri=f"{experiment.artifact_location.rstrip('/')}/{run_id}/artifacts",
                user=user,
                tags={**given, _NAME_TAG: called},
            )
        )

    def get(self, run_id: str) -> TrackedRun:
        return self._runs.get(checks.run_id(run_id))

    def update(
        self,
        run_id: str,
        *,
        name: str | None = None,
        status: TrackingStatus | None = None,
        ended_at: datetime | None = None,
    ) -> TrackedRun:
        """Raises `InvalidInput` for a deleted run."""
        found = self.get(run_id)
        if found.lifecycle is not Lifecycle.ACTIVE:
            raise checks.invalid(
                "run_id", run_id, "the run must be in the 'active' state.", "Restore it first."
            )
        if name is not None:
            name = checks.cut(name, "tag", _NAME_TAG, checks.MAX_TAG)
        return self._runs.change(run_id, name=name or None, status=status, ended_at=ended_at)

    def delete(self, run_id: str) -> None:
        """Mark it deleted; `restore` brings it back."""
        self._runs.change(checks.run_id(run_id), lifecycle=Lifecycle.DELETED)

    def restore(self, run_id: str) -> None:
        self._runs.change(checks.run_id(run_id), lifecycle=Lifecycle.ACTIVE)

    def log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[tuple[str, str]] = (),
        tags: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Log a batch, all or nothing; the same again changes nothing."""
        checks.batch(len(metrics), len(params), len(tags))
        self._data.log(
            checks.run_id(run_id),
            checks.metrics(metrics),
            checks.params(params),
            checks.tags(dict(tags)),
        )

    def add_logged_model(self, run_id: str, described: str) -> None:
        """Remember what an old client says of a model that it logged, in its own tag."""
        try:
            body = json.loads(described)
        except ValueError:
            body = None
        if not isinstance(body, dict) or not {"artifact_path", "run_id"} <= body.keys():
            raise checks.invalid(
                "model_json", described, "it doesn't describe a model.", "Log it with MLflow."
            )
        known = json.loads(self.get(run_id).tags.get(_MODELS_TAG, "[]"))
        # Several models make a long text: it isn't a user's tag and has no limit.
        self._data.log(run_id, tags={_MODELS_TAG: json.dumps([*known, body])})

    def delete_tag(self, run_id: str, key: str) -> None:
        self._data.untag(checks.run_id(run_id), key)

    def history(
        self, run_id: str, key: str, limit: int | None = None, offset: int = 0
    ) -> Sequence[Metric]:
        """Points by step, time, order of arrival."""
        return self._data.history(checks.run_id(run_id), key, limit, offset)

    def link(
        self,
        run_id: str,
        inputs: Sequence[DatasetInput] = (),
        read: Sequence[ModelLink] = (),
        made: Sequence[ModelLink] = (),
    ) -> None:
        """The datasets and models that a run read, and the models that it made."""
        self._data.link(checks.run_id(run_id), inputs, read, made)

    def search(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None,
        order_by: Sequence[str],
        lifecycles: Sequence[Lifecycle],
        page: Mapping[str, int],
    ) -> tuple[Sequence[TrackedRun], bool]:
        """A page (`limit`, `offset`) with all data, and whether there are more."""
        return self._runs.search(
            experiment_ids,
            Search(
                parse_filter(filter_string, RUNS),
                parse_order(list(order_by), RUNS),
                page["limit"],
                page["offset"],
                tuple(lifecycles),
            ),
        )


def _random_name() -> str:
    number = secrets.randbelow(1000)
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{number}"
