"""The verbs on codesets: register, list, get, delete, versions, files, checkout."""

from __future__ import annotations

import errno
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from volant.codesets.checkouts import Checkouts
from volant.codesets.git import Git
from volant.codesets.importing import commit_archive
from volant.codesets.names import HASH, check_labels, check_names
from volant.codesets.origins import Logins
from volant.codesets.pushes import SOURCE, Pushes
from volant.codesets.repository import Repository
from volant.domain.codeset import Codeset, CodesetFile, CodesetRef, Commit
from volant.domain.event import CODESET_DELETED, CODESET_REGISTERED, Event
from volant.errors import Conflict, InvalidInput, NotFound, ResourceExhausted, Unavailable
from volant.faults import crash_point
from volant.ports.clock import Clock, Ids
from volant.ports.codesets import CodesetRecords

MAX_UPLOAD = 512 << 20  # bytes of a folder's archive
MAX_REPOSITORY = 2_000_000_000  # bytes on the disk, after which nothing more is taken
MAX_DESCRIPTION = 10_000
_UPLOADS = ".uploads"


def nobody(project: str, name: str) -> str | None:
    """The `in_use` of a platform without runs."""
    return None


class CodesetDesk:
    """Codesets: rows in the store, repositories under `root`.

    Args:
        records: Where they are stored.
        root: `home/codesets`; `<project>/<name>.git` lies there.
        clock: For times of creation and of events.
        ids: For events' identity.
        url: Where this platform is asked, without a slash at its end.
        ensure_project: Makes a project of that name unless there is one.
        max_bytes: What one repository may take on the disk.
    """

    def __init__(
        self,
        records: CodesetRecords,
        root: Path,
        clock: Clock,
        ids: Ids,
        *,
        url: Callable[[], str],
        ensure_project: Callable[[str], object],
        max_bytes: int = MAX_REPOSITORY,
    ) -> None:
        self.records = records
        self.root = root
        self.git = Git(root)
        self.pushes = Pushes(records, self.repository, root, clock)
        self.max_bytes = max_bytes
        self.logins = Logins(root / ".logins")
        self._checkouts = Checkouts(root / ".checkouts")
        self._clock = clock
        self._ids = ids
        self._url = url
        self._ensure_project = ensure_project
        self._in_use: Callable[[str, str], str | None] = nobody
        self._deleting = threading.Lock()
        self._trees = lru_cache(maxsize=4096)(self._tree)

    def bind(self, in_use: Callable[[str, str], str | None]) -> None:
        """`in_use` names the run that is under way with a codeset, if one is."""
        self._in_use = in_use

    def recover(self) -> None:
        """What was under way when the last platform ended."""
        self.root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.root / _UPLOADS, ignore_errors=True)
        self._checkouts.sweep()
        self.pushes.clear()
        self.pushes.recover("recovered")

    # making

    def register(
        self,
        project: str,
        name: str,
        *,
        description: str | None = None,
        labels: Sequence[str] | None = None,
    ) -> Codeset:
        """Make the codeset with an empty repository, and its project if need be; one that
        is there gets what is told of it.

        Dying in between leaves at most a repository that the next try takes over.
        """
        check_names(project, name)
        told = tuple(dict.fromkeys(labels)) if labels is not None else None
        check_labels(told or ())
        if len(description or "") > MAX_DESCRIPTION:
            raise InvalidInput(
                f"The description has {len(description or ''):,} characters.",
                f"Write at most {MAX_DESCRIPTION:,}.",
            )
        self._ensure_project(project)
        self.root.mkdir(parents=True, exist_ok=True)
        with self._deleting:
            repository = self.repository(project, name)
            self.pushes.finish_deleting(project, name)
            repository.create()
            crash_point("codeset.made")
            new = Codeset(project, name, self._clock.now(), description or "", told or ())
            stored = self.records.register(
                new, self._event(CODESET_REGISTERED, project, name, {"labels": list(new.labels)})
            )
        if (description, told) != (None, None):
            stored = self.records.describe(project, name, description=description, labels=told)
        return stored

    def receive(
        self, project: str, name: str, chunks: Iterable[bytes], *, by: str, message: str = ""
    ) -> Codeset:
        """A folder's files, a .tar.gz, as the codeset's next version; the same files again
        change nothing.

        Raises `Conflict` for a mirror, or when somebody pushed meanwhile.
        """
        codeset = self.writable(project, name)
        room = self.room(project, name)
        folder = self.root / _UPLOADS
        upload = self._ids.new("up")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder) as file:
                _written(file, chunks, min(MAX_UPLOAD, room))
                commit_archive(
                    self.repository(project, name),
                    Path(file.name),
                    branch=codeset.branch,
                    upload=upload,
                    by=by,
                    message=message or "Registered from a folder",
                    time=self._clock.now(),
                )
        except OSError as error:
            raise _failure(error) from error
        return self.pushes.settle(project, name, by)

    def writable(self, project: str, name: str) -> Codeset:
        """The codeset, if it takes pushes. Raises `Conflict` for a mirror."""
        codeset = self.get(project, name)
        if codeset.origin is not None:
            raise Conflict(
                f"The codeset {project}/{name} is a mirror of {codeset.origin}.",
                "Push there: it comes from there by itself.",
                code="codeset.mirror",
            )
        return codeset

    def room(self, project: str, name: str) -> int:
        """Bytes that the repository may still take. Raises `ResourceExhausted` when there
        is no room."""
        left = self.max_bytes - self.repository(project, name).size()
        if left <= 0:
            raise ResourceExhausted(
                f"The codeset {project}/{name} has {self.max_bytes:,} bytes, all that it may have.",
                "Keep data in datasets and models in the registry; raise"
                " VOLANT_CODESET_BYTES if it must be larger.",
                code="codeset.full",
            )
        return left

    def describe(
        self,
        project: str,
        name: str,
        *,
        description: str | None = None,
        labels: Sequence[str] | None = None,
    ) -> Codeset:
        """Change what is told of it."""
        check_labels(tuple(labels or ()))
        return self.records.describe(project, name, description=description, labels=labels)

    # looking

    def get(self, project: str, name: str) -> Codeset:
        """Raises `NotFound` with the nearest name."""
        return self.records.get(project, name)

    def list(self, *, project: str | None = None, label: str | None = None) -> Sequence[Codeset]:
        return self.records.list(project=project, label=label)

    def url(self, project: str, name: str) -> str:
        """Where git clones it from."""
        return f"{self._url().rstrip('/')}/git/{project}/{name}.git"

    def resolve(self, project: str, name: str, version: str | None = None) -> CodesetRef:
        """A version by its commit's hash (short or full), a branch or a tag; the newest
        when None. Raises `NotFound`."""
        codeset = self.get(project, name)
        if version is None or version == codeset.head:
            found = codeset.head
        else:
            found = self.repository(project, name).resolve(version)
        if found is None:
            raise NotFound(
                f"The codeset {project}/{name} has no version {version!r}."
                if version is not None
                else f"The codeset {project}/{name} is empty: nothing was pushed to it yet.",
                f"`volant codeset versions --name {name} --project {project}` lists them."
                if version is not None
                else f"Push to it: git push {self.url(project, name)} HEAD:{codeset.branch}",
                code="codeset.no_version",
                details={"codeset": f"{project}/{name}", "version": version},
            )
        return CodesetRef(project, name, found, self.url(project, name))

    def versions(
        self, project: str, name: str, limit: int, before: str | None = None, of: str | None = None
    ) -> tuple[Sequence[Commit], str | None]:
        """The commits of a version (the newest when None), newest first."""
        skip = 0
        if before is not None:
            if not (before.isascii() and before.isdecimal() and len(before) < 10):
                raise InvalidInput(
                    f"{before!r} isn't a page's cursor.", "Give the `next` of the page before."
                )
            skip = int(before)
        if of is None and self.get(project, name).head is None:
            return [], None
        commit = self.resolve(project, name, of).version
        found = self.repository(project, name).commits(commit, limit + 1, skip)
        return found[:limit], str(skip + limit) if len(found) > limit else None

    def files(
        self, project: str, name: str, version: str | None = None, path: str = ""
    ) -> Sequence[CodesetFile]:
        """The files of a version, those below `path`."""
        ref = self.resolve(project, name, version)
        return self.repository(project, name).files(ref.version, path)

    def read(self, project: str, name: str, version: str, path: str, limit: int) -> bytes | None:
        """One file of a version, None when it isn't there; at most `limit` bytes."""
        ref = self.resolve(project, name, version)
        return self.repository(project, name).read(ref.version, path, limit)

    def tree_hash(self, project: str, name: str, version: str, path: str = "") -> str:
        """A hash of the files below `path` (or of the file) in a version: the same content
        has the same hash, whatever else changed. Raises `NotFound`."""
        full = version if HASH.fullmatch(version) else self.resolve(project, name, version).version
        return self._trees(project, name, full, path)

    def checkout(self, project: str, name: str, version: str, folder: Path) -> None:
        """The version's files as `folder`, to write in as one likes, without git's own.

        What was there before goes. Raises `NotFound`, and `InvalidInput` when a link leads
        out of the codeset.
        """
        self.get(project, name)
        full = HASH.fullmatch(version) is not None  # then the tree tells whether it is there
        commit = version if full else self.resolve(project, name, version).version
        tree = self._trees(project, name, commit, "")
        self._checkouts.lay_out(self.repository(project, name), commit, tree, folder)

    def _tree(self, project: str, name: str, commit: str, path: str) -> str:
        return self.repository(project, name).tree_of(commit, path)

    # ending

    def delete(self, project: str, name: str) -> None:
        """Forget it and remove its repository. Raises `Conflict` while a run uses it.

        Dying in between leaves a repository that the next start removes.
        """
        with self._deleting:
            self.get(project, name)
            run = self._in_use(project, name)
            if run is not None:
                raise Conflict(
                    f"The run {run} uses the codeset {project}/{name}.",
                    f"Wait for its end, or stop it: volant runs cancel {run}",
                    code="codeset.in_use",
                    details={"run": run},
                )
            repository = self.repository(project, name)
            repository.mark_deleting()
            self.records.delete(project, name, self._event(CODESET_DELETED, project, name, {}))
            crash_point("codeset.deleted")
            repository.remove()
            self.logins.forget(project, name)
            self._trees.cache_clear()

    def repository(self, project: str, name: str) -> Repository:
        """Where its commits are; checks the names, for they become a path."""
        check_names(project, name)
        return Repository(self.git, self.root / project / f"{name}.git")

    def _event(self, kind: str, project: str, name: str, data: Mapping[str, Any]) -> Event:
        told = {"project": project, "name": name, **data}
        now = self._clock.now()
        subject = f"codeset/{project}/{name}"
        return Event(self._ids.new("evt"), kind, SOURCE, subject, now, told)


def _written(file: Any, chunks: Iterable[bytes], limit: int) -> None:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise InvalidInput(
                f"The folder's archive is larger than {limit:,} bytes.",
                "Push data as a dataset, and name what to leave out in .volantignore.",
                code="codeset.too_large",
            )
        file.write(chunk)
    file.flush()


def _failure(error: OSError) -> Exception:
    what = f"The code can't be stored: {error.strerror or error}."
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ResourceExhausted(what, "Free some space, then try again.", code="disk_full")
    return Unavailable(what, "Check the permissions of the platform's home folder.")
