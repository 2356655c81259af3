"""The verbs on models: register, prepare, retire, get, page, champion, verify."""

from __future__ import annotations

import hashlib
import math
import secrets
import shlex
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from volant.domain.event import MODEL_PREPARED, MODEL_REGISTERED, MODEL_RETIRED, Event
from volant.domain.model import Lineage, ModelVersion, Signature, Stage
from volant.errors import Conflict, InvalidInput, NotFound
from volant.faults import crash_point
from volant.ports.artifacts import Artifacts
from volant.ports.clock import Clock
from volant.ports.records import ModelRecords
from volant.yamltext.problems import nearest

ALIASES = ("champion", "challenger", "latest")
EXAMPLE_FILE = "input_example.json"
_SOURCE = "volant/registry"
_PAGE = 200
_WALKED = 10_000  # versions looked through for the models' names


class ModelDesk:
    """Registers model versions and finds them again.

    Args:
        models: Where versions are stored.
        artifacts: Where their files live.
        clock: For the time of registration.
    """

    def __init__(self, *, models: ModelRecords, artifacts: Artifacts, clock: Clock) -> None:
        self._models = models
        self._artifacts = artifacts
        self._clock = clock
        self._turn = threading.Lock()  # a version's row is stored, or files without one go

    def register(
        self,
        model_dir: Path,
        name: str,
        *,
        passed: bool,
        signature: Signature,
        metrics: Mapping[str, float],
        lineage: Lineage,
        params: Mapping[str, Any] | None = None,
        runtime: Mapping[str, Any] | None = None,
        decision_id: str | None = None,
        key: str | None = None,
    ) -> ModelVersion:
        """Copy the model's folder into the artifact store and store its version.

        One run registers one version: the same run again returns it. Dying between the
        two writes leaves files that the next call finds identical.

        Args:
            model_dir: The folder that training wrote.
            name: The model's name, which is its loop's.
            passed: Its gate's verdict: a candidate, or refused.
            signature: Inputs and outputs.
            metrics: The holdout's; those that aren't finite are left out.
            lineage: Where it comes from; `lineage.run_id` is the version's identity.
            params: What it was trained with.
            runtime: How it is served (ONNX or native), as training proved it.
            decision_id: The gate's decision, told in the event.
            key: Where its files go in the artifact store, if not under the run's id.
        """
        if not model_dir.is_dir():
            raise NotFound(
                f"The model's folder {model_dir} isn't there.",
                "Retry the run from its train step.",
                code="model.files_missing",
            )
        where = key or f"models/{name}/{lineage.run_id}"
        uri, files = self._artifacts.put_tree(where, model_dir)
        crash_point("register.copied")
        finite = {key: float(value) for key, value in metrics.items() if math.isfinite(value)}
        version = ModelVersion(
            model=name,
            version=0,  # the store gives the number
            stage=Stage.CANDIDATE if passed else Stage.REFUSED,
            uri=uri,
            files=files,
            signature=signature,
            metrics=finite,
            lineage=lineage,
            created_at=self._clock.now(),
            params=dict(params or {}),
            runtime=dict(runtime or {}),
        )
        event = self._registered(version, decision_id)
        with self._kept(where, model_dir, uri):
            stored = self._models.register(version, event)
        crash_point("register.stored")
        return stored

    def prepare(
        self,
        version: ModelVersion,
        model_dir: Path,
        *,
        digest: str,
        signature: Signature,
        runtime: Mapping[str, Any],
        metrics: Mapping[str, float],
        code_hash: str,
        environment_hash: str,
    ) -> ModelVersion:
        """Make a candidate of a version that is only registered, with the files of
        `model_dir`, whose content has that `digest`. What it was registered with stays in
        the artifact store.

        Raises `Conflict` when somebody else made it one of other files.
        """
        name, run_id = version.model, version.lineage.run_id
        place = hashlib.sha256(name.encode()).hexdigest()[:16]  # a name may be no folder's
        key = f"prepared/{place}/{run_id}-{digest[:8]}"
        uri, files = self._artifacts.put_tree(key, model_dir)
        crash_point("prepare.copied")
        champion = self._models.champion(name)
        prepared = replace(
            version,
            stage=Stage.CANDIDATE,
            uri=uri,
            files=files,
            signature=signature,
            runtime={**runtime, "registered_uri": version.uri},
            metrics={k: float(v) for k, v in metrics.items() if math.isfinite(v)},
            lineage=replace(
                version.lineage,
                code_hash=code_hash,
                environment_hash=environment_hash,
                parent_version=champion.version if champion else None,
            ),
        )
        event = Event(
            id=registered_event_id(name, run_id).replace("registered", "prepared", 1),
            type=MODEL_PREPARED,
            source=_SOURCE,
            subject=f"model/{name}",
            time=self._clock.now(),
            data={"model": name, "version": version.version, "run_id": run_id},
        )
        with self._kept(key, model_dir, uri):
            stored = self._models.prepare(prepared, event)
        crash_point("prepare.stored")
        return stored

    def retire(self, name: str, version: int | str, by: str) -> ModelVersion:
        """Take a candidate, or a champion that nothing serves, out of use. One that is
        retired already stays so.

        Raises `Conflict` for one that was never accepted, and while a deployment serves it.
        """
        found = self.get(name, version)
        event = Event(
            id=f"evt-retired-{secrets.token_hex(12)}",
            type=MODEL_RETIRED,
            source=_SOURCE,
            subject=f"model/{name}",
            time=self._clock.now(),
            data={"model": name, "version": found.version, "by": by},
        )
        return self._models.retire(name, found.version, event)

    @contextmanager
    def _kept(self, key: str, folder: Path, uri: str) -> Generator[None]:
        """While a version's row is stored, its files aren't taken for those of a deleted
        one; if they were a moment ago, they are copied again."""
        with self._turn:
            try:
                self._artifacts.local_path(uri)
            except NotFound:
                self._artifacts.put_tree(key, folder)
            yield

    def discard(self, uris: Sequence[str]) -> None:
        """Remove the files of deleted versions; those that a version has again stay."""
        for uri in uris:
            with self._turn:
                if not self._models.holds(uri):
                    crash_point("delete.recorded")
                    self._artifacts.remove(uri)

    def _registered(self, version: ModelVersion, decision_id: str | None) -> Event:
        return Event(
            id=registered_event_id(version.model, version.lineage.run_id),
            type=MODEL_REGISTERED,
            source=_SOURCE,
            subject=f"model/{version.model}",
            time=version.created_at,
            data={
                "model": version.model,
                "run_id": version.lineage.run_id,
                "stage": version.stage.value,
                "metrics": dict(version.metrics),
                "dataset": version.lineage.dataset,
                "dataset_version": version.lineage.dataset_version,
                "decision_id": decision_id,
            },
        )

    def get(self, name: str, version: int | str) -> ModelVersion:
        """By number (`3`, `"3"`, `"v3"`) or alias: `champion`, `challenger`, `latest`, or
        one that somebody gave.

        Raises:
            NotFound: With the nearest model's name, or the aliases and numbers there are.
            InvalidInput: For something that is neither a number nor an alias.
        """
        number = _number(version)
        if number is not None:
            return self._numbered(name, number)
        if version not in ALIASES:
            with suppress(NotFound):  # an alias that somebody gave
                return self._models.by_alias(name, str(version))
            guess = nearest(str(version), ALIASES)
            raise InvalidInput(
                f"{str(version)[:80]!r} is no version of a model.",
                f"Did you mean {guess}?"
                if guess
                else f"Give a number, or one of: {', '.join(ALIASES)}.",
                code="model.version",
            )
        return self._aliased(name, str(version))

    def servable(self, name: str, version: int | str) -> ModelVersion:
        """As `get`; raises `Conflict` for a version without signature or input example:
        every replica answers the example before it takes traffic."""
        found = self.get(name, version)
        if found.stage is Stage.REGISTERED:
            return found  # whoever deploys it is told to prepare it
        tensors = found.signature.tensors
        lacks = [] if found.signature.inputs or (tensors and tensors.inputs) else ["a signature"]
        lacks += [] if EXAMPLE_FILE in found.files else ["an input example"]
        if lacks:
            raise Conflict(
                f"{found.model} version {found.version} lacks {' and '.join(lacks)}: a replica "
                "answers the example before it takes traffic.",
                f"Register it again with a few rows: volant models register FILE --name "
                f"{shlex.quote(found.model)} --example ROWS",
                code="model.no_example",
                details={"model": found.model, "version": found.version, "lacks": lacks},
            )
        return found

    def _numbered(self, name: str, number: int) -> ModelVersion:
        try:
            return self._models.get(name, number)
        except NotFound:
            raise self._missing(name, str(number)) from None

    def _aliased(self, name: str, alias: str) -> ModelVersion:
        try:
            if alias != "latest":
                return self._models.by_alias(name, alias)
            versions, _ = self._models.page(1, model=name)
            return versions[0]
        except (NotFound, IndexError):
            raise self._missing(name, alias) from None

    def _missing(self, name: str, version: str) -> NotFound:
        versions, _ = self._models.page(1, model=name)
        if versions:
            newest = versions[0].version
            return NotFound(
                f"The model {name} has no version {version!r}.",
                f"Its newest is {newest}: use a number of 1 to {newest}, or latest.",
                code="model.version_not_found",
                details={"model": name, "version": version, "latest": newest},
            )
        known = self._known()
        guess = nearest(name, known)
        fix = f"Known models: {', '.join(known[:20])}." if known else "Run a loop to make one."
        return NotFound(
            f"There is no model {name!r}.",
            f"Did you mean {guess}?" if guess else fix,
            code="model.not_found",
            details={"model": name, "known": known[:100]},
        )

    def champion(self, name: str) -> ModelVersion | None:
        """The version that serves, or None before the first."""
        return self._models.champion(name)

    def page(
        self, limit: int, before: str | None = None, *, name: str | None = None
    ) -> tuple[Sequence[ModelVersion], str | None]:
        """Versions, newest first; of one model if `name` is given (`NotFound` if unknown)."""
        found = self._models.page(limit, before, model=name)
        if name is not None and before is None and not found[0]:
            raise self._missing(name, "latest")
        return found

    def verify(self, name: str, version: int | str) -> ModelVersion:
        """The version, once its files are proven to be those registered. Raises `Conflict`."""
        found = self.get(name, version)
        self._artifacts.verify(found.uri, found.files)
        return found

    def check(self, version: ModelVersion) -> Mapping[str, str]:
        """How each of its files is: right, changed, missing, or added."""
        return self._artifacts.check(version.uri, version.files)

    def folder(self, version: ModelVersion) -> Path:
        """A folder on this machine with the version's files. Raises `NotFound`."""
        return self._artifacts.local_path(version.uri)

    def _known(self) -> list[str]:
        """The models' names, from the newest versions."""
        names: set[str] = set()
        before: str | None = None
        for _ in range(_WALKED // _PAGE):
            versions, before = self._models.page(_PAGE, before)
            names.update(version.model for version in versions)
            if before is None:
                break
        return sorted(names)


def registered_event_id(model: str, run_id: str) -> str:
    """One registration is one event, however often it is tried."""
    digest = hashlib.sha256(f"{model} {run_id}".encode()).hexdigest()
    return f"evt-registered-{digest[:24]}"


def _number(version: int | str) -> int | None:
    text = str(version).removeprefix("v")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else None
