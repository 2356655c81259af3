"""The registry in MLflow's words: models that hold versions, versions that hold files."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from volant.domain.event import MODEL_DELETED, MODEL_REGISTERED, Event
from volant.domain.model import Lineage, ModelVersion, Stage
from volant.domain.project import DEFAULT_PROJECT
from volant.domain.query import Search, Vocabulary, parse_filter, parse_order
from volant.domain.registered import OldStage, RegisteredModel, RegisteredVersion
from volant.errors import Conflict, InvalidInput, NotFound
from volant.faults import crash_point
from volant.ports.artifacts import Artifacts
from volant.ports.clock import Clock
from volant.ports.registered import RegisteredModels, RegisteredVersions
from volant.registry.mlmodel import read_signature

MAX_KEY = 250
MAX_TAG = 100_000
MAX_NAME = 256
RESERVED_ALIAS = "latest"
_SHOWN = 10  # of a model's aliases, in a message

_ALIAS = re.compile(r"[\w\-]{1,255}")
_LIKE_A_VERSION = re.compile(r"[vV]\d+")
_TIMES = frozenset({"creation_timestamp", "last_updated_timestamp"})
_ENTITIES = {
    **dict.fromkeys(("attribute", "attributes", "attr"), "attribute"),
    **dict.fromkeys(("tag", "tags"), "tag"),
}
_MODELS = Vocabulary(
    entities=_ENTITIES,
    texts=frozenset({"name"}),
    numbers=_TIMES,
    free={"tag": "text"},
    aliases={"timestamp": "last_updated_timestamp"},
)
_VERSIONS = Vocabulary(
    entities=_ENTITIES,
    texts=frozenset({"name", "run_id", "source_path", "source", "model_id"}),
    numbers=_TIMES | {"version_number"},
    free={"tag": "text"},
    aliases={"timestamp": "last_updated_timestamp", "version": "version_number"},
)

Folder = Callable[[str], Path]
InUse = Callable[[str, int | None], str | None]


def _unused(_name: str, _version: int | None) -> str | None:
    return None


class RegisteredDesk:
    """Args:
    folder: Where on this machine the files of an artifact URI are; raises `NotFound`,
        or `InvalidInput` for a URI of another store.
    in_use: (model, version or None for any) → what works with it now and isn't in the
        store's tables, such as `the run batch-1`; None when nothing does.
    """

    def __init__(
        self,
        *,
        models: RegisteredModels,
        versions: RegisteredVersions,
        artifacts: Artifacts,
        folder: Folder,
        clock: Clock,
        in_use: InUse = _unused,
    ) -> None:
        self._models = models
        self._versions = versions
        self._artifacts = artifacts
        self._folder = folder
        self._clock = clock
        self._in_use = in_use

    # models

    def create(
        self,
        name: str,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        *,
        project: str = DEFAULT_PROJECT,
    ) -> RegisteredModel:
        """Raises `Conflict` when there is one of that name, in whatever project."""
        now = self._clock.now()
        own = _tags(tags or {})
        return self._models.create(
            RegisteredModel(_name(name), now, now, description, own, project=project)
        )

    def get(self, name: str) -> RegisteredModel:
        return self._models.get(name)

    def describe(self, name: str, description: str) -> RegisteredModel:
        return self._models.change(name, description=description)

    def rename(self, name: str, new_name: str) -> RegisteredModel:
        """Raises `Conflict` for a taken name, and for a model in use."""
        return self._models.change(name, new_name=_name(new_name))

    def delete(self, name: str) -> None:
        """With all its versions; raises `Conflict` while it is in use."""
        self._refuse_in_use(name, None)
        self._models.delete(name, self._deleted(name, None))

    def set_tag(self, name: str, key: str, value: str) -> None:
        self._models.change(name, tags=_tags({key: value}))

    def delete_tag(self, name: str, key: str) -> None:
        self._models.change(name, without=key)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Raises `InvalidInput` for an alias that reads like a version or is reserved, and
        `Conflict` for the platform's own where they follow what serves."""
        if _ALIAS.fullmatch(alias) is None:
            raise _wrong("alias", alias, "only alphanumerics, underscores and dashes")
        if _LIKE_A_VERSION.fullmatch(alias) or alias.lower() == RESERVED_ALIAS:
            raise _wrong("alias", alias, "no name that stands for a version by itself")
        self._models.change(name, aliases={alias: version})

    def delete_alias(self, name: str, alias: str) -> None:
        self._models.change(name, aliases={alias: None})

    def search(
        self,
        filter_string: str | None,
        order_by: Sequence[str],
        limit: int,
        offset: int,
        *,
        project: str | None = None,
    ) -> tuple[Sequence[RegisteredModel], bool]:
        """A page, of one project or of all, and whether there are more."""
        where = parse_filter(filter_string, _MODELS)
        order = parse_order(list(order_by), _MODELS)
        return self._models.search(Search(where, order, limit, offset, project=project))

    # versions

    def create_version(
        self,
        name: str,
        source: str,
        *,
        run_id: str = "",
        model_id: str = "",
        description: str = "",
        user: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> RegisteredVersion:
        """Copy the files at `source` into the registry and store a new version of them:
        what is registered never changes, whatever becomes of the run.

        Raises `NotFound` for an unknown model or a source without files, `InvalidInput`
        for a source in another store.
        """
        self._models.get(name)
        checked = _tags(tags or {})
        folder = self._folder(source)
        if not folder.is_dir():
            raise NotFound(
                f"There are no files at {source[:300]!r}.",
                "Log the model first; `mlflow artifacts list` shows what a run has.",
                code="model.files_missing",
            )
        identity = f"mlflow-{secrets.token_hex(16)}"
        place = hashlib.sha256(name.encode()).hexdigest()[:16]
        uri, files = self._artifacts.put_tree(f"registered/{place}/{identity}", folder)
        crash_point("register.copied")
        now = self._clock.now()
        version = ModelVersion(
            model=name,
            version=0,  # the store gives the number
            stage=Stage.REGISTERED,
            uri=uri,
            files=files,
            signature=read_signature(folder),
            metrics={},
            lineage=Lineage(identity, "", 0, "", "", "", run_id or None),
            created_at=now,
        )
        told = RegisteredVersion(
            model=name,
            version=0,
            created_at=now,
            updated_at=now,
            uri=uri,
            description=description,
            user=user,
            source=source,
            run_id=run_id,
            model_id=model_id,
            tags=checked,
        )
        event = Event(
            id=f"evt-registered-{identity}",
            type=MODEL_REGISTERED,
            source="volant/registry",
            subject=f"model/{name}",
            time=now,
            data={"model": name, "run_id": run_id, "stage": Stage.REGISTERED.value},
        )
        return self._versions.create(version, told, event)

    def version(self, name: str, version: int) -> RegisteredVersion:
        return self._versions.get(name, version)

    def download_uri(self, name: str, version: int) -> str:
        """Where the folder is that MLflow can load."""
        uri = self._versions.get(name, version).uri
        return loadable(uri, self._artifacts.local_path(uri))

    def version_by_alias(self, name: str, alias: str) -> RegisteredVersion:
        """Raises `NotFound` with some of the aliases that there are."""
        found = self._versions.by_alias(name, alias)
        if found is None:
            raise NotFound(
                f"Registered model alias {alias[:250]} not found.",
                _shown(list(self._models.get(name).aliases)),
                code="model.no_alias",
            )
        return found

    def describe_version(self, name: str, version: int, description: str) -> RegisteredVersion:
        return self._versions.change(name, version, description=description)

    def transition(
        self, name: str, version: int, stage: str, archive_others: bool
    ) -> RegisteredVersion:
        """Set one of MLflow's old stages. It is a label: what serves isn't moved by it."""
        found = _old_stage(stage)
        return self._versions.change(name, version, old_stage=found, archive_others=archive_others)

    def delete_version(self, name: str, version: int) -> None:
        """Raises `Conflict` while anything serves it, works with it or came of it."""
        self._refuse_in_use(name, version)
        self._versions.delete(name, version, self._deleted(name, version))

    def uses(self, name: str) -> Mapping[int, str]:
        """The versions that can't be deleted because serving needs them, each with why."""
        return self._versions.uses(name)

    def _deleted(self, name: str, version: int | None) -> Event:
        """Whoever hears of it removes the files: a number is never given again, but a name
        is, so the id is a new one."""
        return Event(
            id=f"evt-deleted-{secrets.token_hex(12)}",
            type=MODEL_DELETED,
            source="volant/registry",
            subject=f"model/{name}",
            time=self._clock.now(),
            data={"model": name, "version": version},
        )

    def _refuse_in_use(self, name: str, version: int | None) -> None:
        by = self._in_use(name, version)
        if by is not None:
            raise Conflict(
                f"{by} works with {name!r} now.",
                "Wait until it ends, or cancel it.",
                code="model.in_use",
            )

    def set_version_tag(self, name: str, version: int, key: str, value: str) -> None:
        self._versions.change(name, version, tags=_tags({key: value}))

    def delete_version_tag(self, name: str, version: int, key: str) -> None:
        self._versions.change(name, version, without=key)

    def search_versions(
        self,
        filter_string: str | None,
        order_by: Sequence[str],
        limit: int,
        offset: int,
        *,
        project: str | None = None,
    ) -> tuple[Sequence[RegisteredVersion], bool]:
        """A page, of one project or of all, and whether there are more."""
        where = parse_filter(filter_string, _VERSIONS)
        order = parse_order(list(order_by), _VERSIONS)
        return self._versions.search(Search(where, order, limit, offset, project=project))

    def latest(self, name: str, stages: Sequence[str] = ()) -> Sequence[RegisteredVersion]:
        """The newest version of each old stage, or of those that are asked for. Raises
        `InvalidInput` for what is no stage."""
        wanted = {_old_stage(stage) for stage in stages}
        self._models.get(name)
        quoted = name.replace("'", "''")
        found, _ = self.search_versions(f"name = '{quoted}'", ["version_number DESC"], 10_000, 0)
        newest: dict[OldStage, RegisteredVersion] = {}
        for version in found:
            newest.setdefault(version.old_stage, version)
        return [version for stage, version in newest.items() if not wanted or stage in wanted]


def _old_stage(stage: str) -> OldStage:
    known = {one.value.lower(): one for one in OldStage}
    found = known.get(stage.lower())
    if found is None:
        raise _wrong("stage", stage, "one of " + ", ".join(one.value for one in OldStage))
    return found


def _shown(aliases: Sequence[str]) -> str:
    """The first of the aliases, each as far as anybody reads it."""
    names = ", ".join(f"{each[:40]}…" if len(each) > 40 else each for each in aliases[:_SHOWN])
    more = len(aliases) - _SHOWN
    return f"There are: {names or 'none'}{f' and {more} more' if more > 0 else ''}."


def loadable(uri: str, folder: Path) -> str:
    """The URI of the folder with the `MLmodel`: what a replica loads has it one level down
    beside `volant.json`, if the version was made from files."""
    inner = not (folder / "MLmodel").is_file() and (folder / "model" / "MLmodel").is_file()
    return f"{uri}/model" if inner else uri


def _wrong(parameter: str, value: str, expected: str) -> InvalidInput:
    return InvalidInput(
        f"Invalid value {value[:200]!r} for parameter {parameter!r} supplied: expected {expected}.",
        "Choose another one.",
        code="invalid_parameter",
    )


def _name(name: str) -> str:
    if not name.strip():
        raise _wrong("name", name, "a name")
    if len(name) > MAX_NAME or "/" in name or ":" in name:
        raise _wrong("name", name, f"at most {MAX_NAME} characters, none of them / or :")
    return name


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    for key, value in tags.items():
        if not key or len(key) > MAX_KEY:
            raise _wrong("key", key, f"1 to {MAX_KEY} characters")
        if len(value) > MAX_TAG:
            raise _wrong("value", value[:40], f"at most {MAX_TAG} characters")
    return dict(tags)
