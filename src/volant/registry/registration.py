"""Models that were made elsewhere, on their way into the registry.

An upload is looked at, installed for, proven and stored, each in a step process; only the
last write is the control plane's. A registration lives in memory: a platform that dies
forgets it, and the same upload again gives the same version.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

from volant.domain.codec import from_plain
from volant.domain.model import Lineage, ModelVersion, Signature, Stage
from volant.errors import InvalidInput, NotFound, ResourceExhausted, StepFailed, VolantError
from volant.ports.clock import Clock, Ids
from volant.registry.desk import ModelDesk
from volant.registry.provenance import IMPORTED, admit, of_run

MAX_UPLOAD = 16 << 30  # bytes
_UPLOAD = "model"  # prefixes of folders in staging
_WORK = "import"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_AT_ONCE = 2
_KEPT = 200
_SHORT_S, _PROOF_S, _INSTALL_S = 300.0, 1800.0, 3600.0

log = logging.getLogger(__name__)

Run = Callable[[str, dict[str, Any], str, Path, float], Mapping[str, Any]]
Tell = Callable[[str], None]
Make = Callable[[Path, Tell], tuple[ModelVersion, bool]]


class Uploads(Protocol):
    """Where uploads wait."""

    def receive(self, upload_id: str, filename: str, chunks: Iterable[bytes]) -> dict[str, Any]: ...

    def file_of(self, upload_id: str) -> Path: ...


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user says of an upload. `example` is {text, format}; `env` is auto, own or
    volant; `trusted_by` names the admin who vouches for the pickles in it."""

    example: Mapping[str, str] | None = None
    signature: Mapping[str, Any] | None = None
    task: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    env: str = "auto"
    trusted_by: str | None = None
    tracking_run: str | None = None  # that made it, for its lineage


@dataclass(frozen=True, slots=True)
class Registration:
    """How far one has come: `status` is running, done or failed; `stage` says what is
    being done; `error` is a `VolantError.to_dict()`."""

    id: str
    model: str
    status: str
    stage: str
    started_at: datetime
    version: int | None = None
    known: bool = False
    error: Mapping[str, Any] | None = None


class RegistrationDesk:
    """Takes uploads and makes model versions of them.

    Args:
        models: The registry.
        uploads: Where uploads wait.
        staging: The folder that both they and the work lie in.
        environments: The folder of models' own environments.
        run: (action, inputs, profile, workdir, timeout_s) → outputs of a step process;
            raises its error.
        clock: The time.
        ids: New identifiers.
    """

    def __init__(
        self,
        *,
        models: ModelDesk,
        uploads: Uploads,
        staging: Path,
        environments: Path,
        run: Run,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._models = models
        self._uploads = uploads
        self._staging = staging
        self._environments = environments
        self._run = run
        self._clock = clock
        self._ids = ids
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Registration] = OrderedDict()
        self._turns = WeakValueDictionary[str, threading.Lock]()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="volant-register")

    def recover(self) -> None:
        """Remove what an earlier life left in staging; nobody can ask for it any more."""
        for prefix in (_UPLOAD, _WORK):
            for folder in self._staging.glob(f"{prefix}-*"):
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """No new work; what runs ends with the step processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def upload(self, name: str, filename: str, chunks: Iterable[bytes]) -> dict[str, Any]:
        """Store a model's file, or a tar of its folder: {id, filename, bytes, sha256}.

        Raises `InvalidInput` for a bad name or an empty file, `ResourceExhausted` for more
        than 16 GiB or a full disk; nothing of it stays then.
        """
        check_model_name(name)
        return self._uploads.receive(self._ids.new(_UPLOAD), filename, _bounded(chunks))

    def register(self, name: str, upload: str, wishes: Mapping[str, Any]) -> Registration:
        """Begin; returns at once. Ask `get` for what became of it. `wishes` are the fields
        of `Wishes`.

        Raises `InvalidInput` for a bad name, `NotFound` for an unknown upload.
        """
        check_model_name(name)
        path = uploaded(self._uploads, upload)
        told = Wishes(**wishes)

        def make(workdir: Path, stage: Tell) -> tuple[ModelVersion, bool]:
            try:
                return self._registered(name, {"upload": str(path)}, told, workdir, stage)
            finally:
                shutil.rmtree(path.parent, ignore_errors=True)

        return self.begin(name, make)

    def register_folder(
        self, name: str, folder: Path, wishes: Wishes, tell: Tell
    ) -> tuple[ModelVersion, bool]:
        """A version of the files in `folder`, and whether it was known: the same files are
        the same version. In this thread, unlike `register`; `tell` hears of each stage.

        Raises what keeps it from being one.
        """
        check_model_name(name)
        workdir = self._staging / self._ids.new(_WORK)
        try:
            return self._registered(name, {"folder": str(folder)}, wishes, workdir, tell)
        finally:
            shutil.rmtree(workdir, ignore_errors=True)

    def prepare(self, name: str, version: int | str, wishes: Mapping[str, Any]) -> Registration:
        """Begin to make a candidate of a version that is only registered, by the proof that
        an upload goes through; returns at once. One that is a candidate already, or more,
        is left as it is (`known`).

        Raises `NotFound`, and `Conflict` for a version whose files were altered.
        """
        found = self._models.get(name, version)
        told = Wishes(**wishes)
        return self.begin(name, lambda workdir, stage: self._prepared(found, told, workdir, stage))

    def begin(self, name: str, make: Make) -> Registration:
        """Have `make` (its work folder, what to call with each stage) return a version of
        the model in a thread of the pool; whether it was known is the second it returns."""
        begun = Registration(
            self._ids.new("registration"), name, "running", "waiting", self._clock.now()
        )
        self._put(begun)
        self._pool.submit(self._work, begun, make)
        return begun

    def get(self, name: str, registration_id: str) -> Registration:
        """Raises `NotFound` when it isn't known (any more)."""
        with self._lock:
            found = self._known.get(registration_id)
        if found is None or found.model != name:
            raise NotFound(
                f"There is no registration {registration_id[:80]!r}.",
                "A restart of the server ends those under way: register the model again.",
                code="model.registration_not_found",
            )
        return found

    def _put(self, state: Registration) -> None:
        with self._lock:
            self._known[state.id] = state
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)

    # in a thread of the pool

    def _work(self, state: Registration, make: Make) -> None:
        workdir = self._staging / self._ids.new(_WORK)

        def stage(what: str) -> None:
            self._put(replace(state, stage=what))

        try:
            version, known = make(workdir, stage)
            self._put(
                replace(state, status="done", stage="done", version=version.version, known=known)
            )
        except VolantError as error:
            self._put(replace(state, status="failed", stage="failed", error=error.to_dict()))
        except Exception as error:
            log.exception("a registration failed")
            told = StepFailed(f"The registration failed: {error}", "See the server's log.")
            self._put(replace(state, status="failed", stage="failed", error=told.to_dict()))
        finally:
            shutil.rmtree(workdir, ignore_errors=True)

    def _registered(
        self, name: str, source: Mapping[str, str], wishes: Wishes, workdir: Path, stage: Tell
    ) -> tuple[ModelVersion, bool]:
        stage("reading")
        told = {**source, "env": wishes.env}
        found = self._run("inspect_model", told, "command", workdir, _SHORT_S)
        run_id = _identity(found, wishes)
        with self._alone(f"{name} {run_id}"):
            known = of_run(self._models, name, run_id)
            if known is not None:
                return known, True
            proven = self._proven(found, wishes, workdir, stage, "register it with --trust-pickle")
            stage("storing")
            return self._store(name, run_id, found, proven, wishes=wishes), False

    def _prepared(
        self, version: ModelVersion, wishes: Wishes, workdir: Path, stage: Tell
    ) -> tuple[ModelVersion, bool]:
        name, number = version.model, version.version
        with self._alone(f"{name} {number}"):
            version = self._models.get(name, number)
            if version.stage is not Stage.REGISTERED:
                return version, True
            stage("reading")
            stored = {
                "folder": str(self._models.folder(version)),
                "files": dict(version.files),
                "name": f"{name} version {number}",
            }
            told = {"stored": stored, "env": wishes.env}
            found = self._run("inspect_model", told, "command", workdir, _SHORT_S)
            proven = self._proven(found, wishes, workdir, stage, "prepare it with --trust-pickle")
            stage("storing")
            made = self._models.prepare(
                version,
                Path(proven["model_dir"]),
                digest=proven["digest"],
                signature=from_plain(Signature, proven["signature"]),
                runtime=proven["runtime"],
                metrics=wishes.metrics,
                code_hash=found["digest"],
                environment_hash=str(found["environment"].get("key") or ""),
            )
            return made, False

    def _proven(
        self, found: Mapping[str, Any], wishes: Wishes, workdir: Path, stage: Tell, flag: str
    ) -> dict[str, Any]:
        """What the proof answered, with who vouched for pickles in its `runtime`."""
        trusted = admit(self._models, found["pickles"], wishes.trusted_by, flag)
        self.install(found["environment"], workdir, stage)
        stage("proving")
        told = {
            **found,
            "example": wishes.example,
            "signature": wishes.signature,
            "task": wishes.task,
        }
        proven = dict(self._run("prove_model", told, found["profile"], workdir, _PROOF_S))
        if trusted is not None:
            proven["runtime"] = {**proven["runtime"], "trusted_pickle": dict(trusted)}
        return proven

    def install(self, environment: Mapping[str, Any], workdir: Path, stage: Tell) -> None:
        """Build a model's own environment if it has one that isn't there yet."""
        if environment["kind"] == "own":
            stage("installing its environment")
            told = {"environments": str(self._environments), **environment}
            self._run("build_environment", told, "command", workdir, _INSTALL_S)

    def _store(
        self,
        name: str,
        run_id: str,
        found: Mapping[str, Any],
        proven: Mapping[str, Any],
        *,
        wishes: Wishes,
    ) -> ModelVersion:
        champion = self._models.champion(name)
        return self._models.register(
            Path(proven["model_dir"]),
            name,
            passed=True,
            signature=from_plain(Signature, proven["signature"]),
            metrics=wishes.metrics,
            lineage=Lineage(
                run_id=run_id,
                dataset="",
                dataset_version=0,
                holdout_sha256="",
                code_hash=found["digest"],
                environment_hash=str(found["environment"].get("key") or ""),
                tracking_run=wishes.tracking_run,
                parent_version=champion.version if champion else None,
            ),
            runtime=proven["runtime"],
            # A proof that died before its version was stored may have left files there; what
            # the same upload gives now may differ from them in a byte.
            key=f"models/{name}/{run_id}-{proven['digest'][:8]}",
        )

    @contextmanager
    def _alone(self, key: str) -> Generator[None]:
        """The same upload twice at once is proven once: the second finds the version. A
        lock is forgotten when nobody holds or awaits it any more."""
        with self._lock:
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:
            yield


def check_model_name(name: str) -> None:
    """Raises `InvalidInput` unless `name` can be a model's."""
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"{name[:80]!r} can't be a model's name.",
            "Use lower-case letters, digits, - and _; begin with a letter or digit; at most 63.",
            code="model.name",
        )


def _identity(found: Mapping[str, Any], wishes: Wishes) -> str:
    """The same content with the same words is the same version."""
    words = {
        "digest": found["digest"],
        "example": wishes.example,
        "signature": wishes.signature,
        "task": wishes.task,
        "environment": {k: found["environment"].get(k) for k in ("kind", "key")},
    }
    digest = hashlib.sha256(json.dumps(words, sort_keys=True, default=dict).encode())
    return IMPORTED + digest.hexdigest()[:24]


def _bounded(chunks: Iterable[bytes]) -> Iterator[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > MAX_UPLOAD:
            raise ResourceExhausted(
                f"The model is larger than {MAX_UPLOAD >> 30} GiB.",
                "Send the files that it needs to predict, and no others.",
                code="model.too_large",
            )
        yield chunk


def uploaded(uploads: Uploads, upload: str) -> Path:
    """The file of a model's upload; raises `NotFound`, also for an upload of data."""
    if not upload.startswith(f"{_UPLOAD}-"):
        raise NotFound(
            f"There is no upload {upload[:80]!r} of a model.",
            "Upload the model first, and register it under the id that the upload answers.",
        )
    return uploads.file_of(upload)
