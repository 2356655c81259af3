"""The verbs on experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from volant.domain.project import DEFAULT_PROJECT
from volant.domain.query import Search, parse_filter, parse_order
from volant.domain.tracking import DEFAULT_EXPERIMENT, DEFAULT_NAME, Experiment, Lifecycle
from volant.errors import InvalidInput, NotFound
from volant.ports.tracked import ExperimentRecords
from volant.tracking import checks
from volant.tracking.vocabularies import EXPERIMENTS


class ExperimentDesk:
    """Create, find, change and search experiments."""

    def __init__(self, experiments: ExperimentRecords) -> None:
        self._experiments = experiments

    def create(
        self,
        name: str,
        artifact_location: str = "",
        tags: Mapping[str, str] | None = None,
        *,
        project: str = DEFAULT_PROJECT,
    ) -> Experiment:
        """Raises `Conflict` when the name is taken in the project, `InvalidInput` for a bad
        name, or for a place of its own outside the default project."""
        return self._experiments.create(
            checks.experiment_name(name),
            artifact_location=checks.artifact_location(artifact_location, project),
            tags=checks.experiment_tags(tags or {}),
            project=project,
        )

    def default(self, project: str) -> Experiment:
        """Where a project's run goes when nobody named an experiment, made if need be."""
        if project == DEFAULT_PROJECT:
            return self._experiments.get(DEFAULT_EXPERIMENT)
        try:
            return self._experiments.by_name(DEFAULT_NAME, project)
        except NotFound:
            return self._experiments.create(DEFAULT_NAME, project=project, exist_ok=True)

    def get(self, experiment_id: str) -> Experiment:
        return self._experiments.get(experiment_id)

    def by_name(self, name: str, project: str = DEFAULT_PROJECT) -> Experiment:
        return self._experiments.by_name(name, project)

    def rename(self, experiment_id: str, name: str | None) -> Experiment:
        """Raises `InvalidInput` for a deleted experiment, `Conflict` for a taken name."""
        found = self._experiments.get(experiment_id)
        if found.lifecycle is not Lifecycle.ACTIVE:
            raise InvalidInput(
                "Cannot rename a non-active experiment.", "Restore it first.", code="not_active"
            )
        wanted = checks.experiment_name(name) if name is not None else None
        return self._experiments.change(experiment_id, name=wanted)

    def delete(self, experiment_id: str) -> None:
        """Mark it and its runs deleted; `restore` brings them back."""
        if experiment_id == DEFAULT_EXPERIMENT:
            raise InvalidInput(
                "The default experiment can't be deleted.",
                "Delete its runs instead.",
                code="invalid_parameter",
            )
        self._experiments.change(experiment_id, lifecycle=Lifecycle.DELETED)

    def restore(self, experiment_id: str) -> None:
        self._experiments.change(experiment_id, lifecycle=Lifecycle.ACTIVE)

    def set_tag(self, experiment_id: str, key: str, value: str) -> None:
        tags = checks.experiment_tags({key: value})
        self._experiments.change(experiment_id, tags=tags)

    def delete_tag(self, experiment_id: str, key: str) -> None:
        self._experiments.change(experiment_id, without=key)

    def search(
        self,
        filter_string: str | None,
        order_by: Sequence[str],
        lifecycles: Sequence[Lifecycle],
        limit: int,
        offset: int,
        *,
        project: str | None = None,
    ) -> tuple[Sequence[Experiment], bool]:
        """A page, of one project or of all, and whether there are more."""
        return self._experiments.search(
            Search(
                parse_filter(filter_string, EXPERIMENTS),
                parse_order(list(order_by), EXPERIMENTS),
                limit,
                offset,
                tuple(lifecycles),
                project,
            )
        )
