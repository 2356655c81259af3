"""The registry's verbs beyond registering: what reaches into other rooms' records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from volant.domain.dataset import DatasetVersion
from volant.domain.decision import Decision
from volant.domain.model import ModelVersion
from volant.domain.statistics import TrainingStatistics
from volant.errors import Conflict, InvalidInput, NotFound
from volant.formats.pickles import pickles_in
from volant.registry.card import Facts, card, title
from volant.registry.desk import ModelDesk
from volant.registry.diff import difference
from volant.registry.document import markdown, page
from volant.registry.exporting import Export, ExportDesk
from volant.registry.importing import ImportDesk
from volant.registry.provenance import versions_of
from volant.registry.registered import RegisteredDesk
from volant.registry.registration import Registration, RegistrationDesk, Run, Uploads
from volant.registry.retention import Kept, RetentionDesk
from volant.registry.statistics import read_statistics
from volant.store import Store

_GENERATIONS = 20

Using = Callable[[str, int | None], str | None]


class Registry:
    """Args:
    store: Where versions, datasets and decisions are.
    models: Versions by number and alias.
    registered: The same in MLflow's words, with tags; deletes.
    registrations: Registers what is uploaded.
    uploads: Where uploads wait.
    run: (action, inputs, profile, workdir, timeout_s) → outputs of a step process.
    using: (model, version or None) → what works with it now, or None.
    """

    def __init__(
        self,
        store: Store,
        models: ModelDesk,
        registered: RegisteredDesk,
        *,
        registrations: RegistrationDesk,
        uploads: Uploads,
        run: Run,
        using: Using,
    ) -> None:
        versions = store.registered_versions
        self._store = store
        self._models = models
        self._registered = registered
        self._exports = ExportDesk(models, versions, pickles_in)
        self._imports = ImportDesk(
            models=models,
            versions=versions,
            registrations=registrations,
            uploads=uploads,
            run=run,
        )
        self._retention = RetentionDesk(models, registered, using)

    def delete(self, name: str, version: int | str) -> None:
        """Raises `NotFound`, and `Conflict` while anything serves it or needs it."""
        self._registered.delete_version(name, self._models.get(name, version).version)

    def retire(self, name: str, version: int | str, by: str) -> ModelVersion:
        """See `ModelDesk.retire`."""
        return self._models.retire(name, version, by)

    def tag(
        self, name: str, version: int | str, tags: Mapping[str, str | None]
    ) -> Mapping[str, str]:
        """Set tags, remove those that are None; returns all that it has then."""
        number = self._models.get(name, version).version
        for key, value in tags.items():
            if value is None:
                self._registered.delete_version_tag(name, number, key)
            else:
                self._registered.set_version_tag(name, number, key, value)
        return self._registered.version(name, number).tags

    def alias(self, name: str, alias: str, version: int | str | None) -> Mapping[str, int]:
        """Point an alias at a version, or remove it when that is None; returns all that the
        model has then.

        Raises `NotFound`; `InvalidInput` for a new one that stands for a version by itself;
        `Conflict` for the platform's own, where they follow what serves.
        """
        if version is None:  # whatever it is called: MLflow's clients may have set it
            self._registered.version_by_alias(name, alias)
            self._registered.delete_alias(name, alias)
            return self._registered.get(name).aliases
        if alias.isdecimal():
            raise InvalidInput(
                f"{alias[:250]!r} can't be an alias: it is a version's number.", "Choose a word."
            )
        self._registered.set_alias(name, alias, self._models.get(name, version).version)
        return self._registered.get(name).aliases

    def check(self, name: str, version: int | str | None) -> list[dict[str, Any]]:
        """The files of one version, or of all of a model: {version, file, state}."""
        if version is not None:
            found = [self._models.get(name, version)]
        else:
            self._models.page(1, name=name)
            found = list(versions_of(self._models, name))
        return [
            {"version": one.version, "file": file, "state": state}
            for one in found
            for file, state in self._models.check(one).items()
        ]

    def diff(self, a: tuple[str, int | str], b: tuple[str, int | str]) -> Mapping[str, Any]:
        """From (model, version) to (model, version); see `difference`."""
        before, after = self._models.get(*a), self._models.get(*b)
        rows = tuple(data.rows_total if (data := self._data(v)) else None for v in (before, after))
        return difference(before, after, (rows[0], rows[1]))

    def card(self, name: str, version: int | str, form: Literal["md", "html"]) -> str:
        """The model card as Markdown, or as a page that loads and runs nothing."""
        found = self._models.get(name, version)
        told = self._registered.version(name, found.version)
        facts = Facts(
            tags=told.tags,
            description=told.description,
            data=self._data(found),
            decision=self._decision(found),
            ancestors=self._ancestors(found),
            statistics=self._statistics(found),
        )
        blocks = card(found, facts)
        return page(title(found), blocks) if form == "html" else markdown(blocks)

    def statistics(self, name: str, version: int | str) -> TrainingStatistics:
        """What its training data looked like.

        Raises `NotFound` for a version that no loop trained, and one from before there were
        statistics; `Conflict` for one whose file was altered.
        """
        found = self._models.get(name, version)
        statistics = read_statistics(self._models, found)
        if statistics is None:
            raise NotFound(
                f"{found.model} version {found.version} has no statistics of training data.",
                "Only loops record them, when they train. Train it again: volant run LOOP",
                code="model.no_statistics",
            )
        return statistics

    def export(self, name: str, version: int | str, *, without_pickles: bool = False) -> Export:
        """See `ExportDesk.open`."""
        return self._exports.open(name, version, without_pickles=without_pickles)

    def import_file(self, name: str, upload: str, trusted_by: str | None = None) -> Registration:
        """See `ImportDesk.start`."""
        return self._imports.start(name, upload, trusted_by)

    def prune(self, keep: int, name: str | None, *, apply: bool) -> Sequence[Kept]:
        """See `RetentionDesk.prune`."""
        return self._retention.prune(keep, name, apply=apply)

    # inside

    def _data(self, version: ModelVersion) -> DatasetVersion | None:
        """None also for a version whose data another platform has."""
        lineage = version.lineage
        if not lineage.dataset or "imported" in version.runtime:
            return None
        with suppress(NotFound):
            return self._store.versions.get(lineage.dataset, lineage.dataset_version)
        return None

    def _statistics(self, version: ModelVersion) -> TrainingStatistics | None:
        """None also where they can't be read: `verify` tells of that."""
        with suppress(Conflict, NotFound):
            return read_statistics(self._models, version)
        return None

    def _decision(self, version: ModelVersion) -> Decision | None:
        with suppress(NotFound):
            return self._store.decisions.get(f"gate-{version.lineage.run_id}")
        return None

    def _ancestors(self, version: ModelVersion) -> list[ModelVersion]:
        found: list[ModelVersion] = []
        parent = version.lineage.parent_version
        while parent is not None and len(found) < _GENERATIONS:
            try:
                found.append(self._models.get(version.model, parent))
            except NotFound:
                break
            parent = found[-1].lineage.parent_version
        return found
