"""Artifacts in a folder of this machine.

A tree is copied into `.incoming/`, synced to the disk file by file, and then renamed to
its key in one step: a reader sees all of it or nothing, whenever the process dies. URIs
are `artifacts:/<key>`, so they stay true when the home folder moves.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

from volant.durable import sync
from volant.errors import Conflict, InvalidInput, NotFound, ResourceExhausted, Unavailable

_SCHEME = "artifacts:/"
_INCOMING = ".incoming"
_CHUNK_BYTES = 1 << 20
_TRIES = 100  # against a `remove` beside a `put_tree`
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class LocalArtifacts:
    """`Artifacts` under the folder `root`. Threads and processes may share it."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._kept: set[Path] = set()  # folders whose names are synced

    def put_tree(self, key: str, source: Path) -> tuple[str, Mapping[str, str]]:
        parts = _parts(key)
        target = self._root.joinpath(*parts)
        uri = _SCHEME + quote("/".join(parts))
        names = _files_of(source)
        if not names:
            raise InvalidInput(
                f"{source} has no files to store as {key!r}.", "Give a folder with files in it."
            )
        with self._told(source):
            self._refuse_inside_another(key, target)
            if target.exists():
                return uri, self._same_or_conflict(key, target, source, names)
            with self._incoming() as incoming:
                hashes = {name: _copy(source / name, incoming / name) for name in names}
                _sync_folders(incoming)
                if not self._rename(incoming, target):
                    return uri, self._same_or_conflict(key, target, source, names)
        return uri, hashes

    def local_path(self, uri: str) -> Path:
        path = self._path(uri)
        if not path.is_dir():
            raise NotFound(
                f"There are no artifacts at {uri!r}.",
                f"Restore them under {self._root}, or train the model again.",
                details={"uri": uri},
            )
        return path

    def verify(self, uri: str, files: Mapping[str, str]) -> None:
        root = self.local_path(uri)
        present = set(_files_of(root))
        for name in sorted(present | set(files)):
            if name not in present:
                raise _altered(uri, name, "is missing")
            if name not in files:
                raise _altered(uri, name, "was added")
            if _sha256(root / name) != files[name]:
                raise _altered(uri, name, "was altered")

    def check(self, uri: str, files: Mapping[str, str]) -> Mapping[str, str]:
        root = self._path(uri)
        present = set(_files_of(root)) if root.is_dir() else set[str]()
        found: dict[str, str] = {}
        for name in sorted(present | set(files)):
            if name not in present:
                found[name] = "missing"
            elif name not in files:
                found[name] = "added"
            else:
                found[name] = "right" if _sha256(root / name) == files[name] else "changed"
        return found

    def remove(self, uri: str) -> None:
        """Renamed away in one step, then deleted: who dies between leaves what the next
        `put_tree` sweeps. Folders above it that are empty now go, too."""
        path = self._path(uri)
        try:
            if not any(entry.is_file() for entry in path.rglob("*")):
                return
        except FileNotFoundError:
            return  # somebody was first
        somebody_was_first = contextlib.suppress(FileNotFoundError)
        with self._told(path), self._incoming() as incoming, somebody_was_first:
            path.rename(incoming / "removed")
            sync(path.parent)  # gone, if who removed the last tree beside it took it away
            self._tidy(path.parent)

    def _tidy(self, folder: Path) -> None:
        """Remove empty folders upwards. Those right under the root stay."""
        while self._root in folder.parents and folder.parent != self._root:
            try:
                folder.rmdir()
            except OSError:  # something is in it, or somebody was first
                return
            folder = folder.parent

    def _path(self, uri: str) -> Path:
        if not uri.startswith(_SCHEME):
            raise InvalidInput(
                f"{uri!r} isn't an artifact's URI.", f"It starts with {_SCHEME}, like its key."
            )
        path = self._root.joinpath(*_parts(unquote(uri.removeprefix(_SCHEME))))
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise InvalidInput(
                f"{uri!r} leads out of the artifact store through a link.",
                f"Remove the link under {self._root}.",
            )
        return path

    def _refuse_inside_another(self, key: str, target: Path) -> None:
        """A key under another key's files would add to what was stored there."""
        folder = target.parent
        while folder != self._root:
            # One question each: `remove` may take the folder away between two.
            if folder.is_symlink() or folder.is_file():
                raise InvalidInput(f"{key!r} leads through {folder}.", "Choose another key.")
            if folder.is_dir() and _has_files(folder):
                inside = folder.relative_to(self._root).as_posix()
                raise Conflict(
                    f"{key!r} lies inside the stored artifacts {inside!r}.", "Choose another key."
                )
            folder = folder.parent
        if target.is_symlink():
            raise InvalidInput(f"{key!r} is a link, not a folder.", f"Remove {target}.")

    def _same_or_conflict(
        self, key: str, target: Path, source: Path, names: list[str]
    ) -> Mapping[str, str]:
        stored = {name: _sha256(target / name) for name in _files_of(target)}
        if stored != {name: _sha256(source / name) for name in names}:
            raise Conflict(
                f"Other artifacts are stored as {key!r} already.",
                "Stored artifacts never change: choose another key.",
                details={"key": key},
            )
        return stored

    @contextmanager
    def _incoming(self) -> Generator[Path]:
        """An empty folder beside the artifacts, locked while it lives, removed if it wasn't
        renamed. What dead processes left there is removed first."""
        parent = self._root / _INCOMING
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        folder, lock = _make_locked(parent)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)

    def _rename(self, incoming: Path, target: Path) -> bool:
        """Whether the rename happened; False when somebody was first."""
        for _ in range(_TRIES):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except (FileNotFoundError, FileExistsError):
                continue  # `remove` took one of the folders away midway
            try:
                incoming.rename(target)
                break
            except FileNotFoundError:
                continue  # `remove` took the empty folder away between the two
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return False
                raise
        else:
            raise Unavailable(f"{target.parent} doesn't stay.", "Try again.")
        with contextlib.suppress(FileNotFoundError):  # somebody removed it all again
            self._sync_names(target.parent)
        return True

    def _sync_names(self, folder: Path) -> None:
        sync(folder)
        # The names of the folders above it. Nobody takes a folder right under the root away, so
        # the disk is told of it once.
        while folder != self._root and folder not in self._kept:
            sync(folder.parent)
            if folder.parent == self._root:
                self._kept.add(folder)
            folder = folder.parent

    @contextmanager
    def _told(self, source: Path) -> Generator[None]:
        """The operating system's refusals in our own words."""
        try:
            yield
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise ResourceExhausted(
                    f"No space is left for artifacts under {self._root}.",
                    "Free some space on that disk and try again; nothing was half-written.",
                    code="disk_full",
                ) from error
            raise Unavailable(
                f"{error.filename or source} can't be stored under {self._root}:"
                f" {error.strerror or error}.",
                "Check that the files are there and that their folder may be written.",
            ) from error


def _has_files(folder: Path) -> bool:
    """Asked of folders with thousands of names: their kinds come with them."""
    try:
        with os.scandir(folder) as entries:
            return any(entry.is_file() for entry in entries)
    except FileNotFoundError:  # it was empty and went meanwhile
        return False


def _parts(key: str) -> tuple[str, ...]:
    path = PurePosixPath(key)
    wrong = (
        not key
        or key != path.as_posix()
        or path.is_absolute()
        or any(part in (".", "..", "") or len(part.encode()) > 255 for part in path.parts)
        or path.parts[:1] in ((), (_INCOMING,))
        or any(character in key for character in "\\\0")
    )
    if wrong:
        raise InvalidInput(
            f"{key!r} can't be an artifact's key.",
            "Give a relative path such as models/wine/run-1, without . or .. in it.",
        )
    return path.parts


def _files_of(root: Path) -> list[str]:
    """Relative paths of all files, sorted. A link may lead to a file of the same tree."""
    if not root.is_dir():
        raise NotFound(f"The folder {root} doesn't exist.", "Give a folder with files in it.")
    inside = root.resolve()
    names: list[str] = []
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        for name in (*folders, *files):
            path = here / name
            link_out = path.is_symlink() and (
                path.is_dir() or not path.resolve().is_relative_to(inside)
            )
            if link_out or not (path.is_file() or path.is_dir()):
                raise InvalidInput(
                    f"{path} is a link out of its folder, or no plain file.",
                    "Put the file itself there.",
                )
            if path.is_file():
                names.append(path.relative_to(root).as_posix())
    return sorted(names)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(source: Path, target: Path) -> str:
    """Copy one file through to the disk; returns its SHA-256."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(_CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _sync_folders(root: Path) -> None:
    for folder, _folders, _files in os.walk(root, topdown=False):
        sync(Path(folder))


def _make_locked(parent: Path) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock. A sweep by somebody else may
    take the folder before it is locked; then another one is made."""
    while True:
        folder = parent / secrets.token_hex(8)
        folder.mkdir()
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)


def _sweep(parent: Path) -> None:
    """Remove the folders whose makers are dead: a live one holds its lock."""
    for folder in parent.iterdir():
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(lock)


def _altered(uri: str, name: str, how: str) -> Conflict:
    return Conflict(
        f"The file {name!r} of {uri} {how}.",
        "Restore it from a backup, or train the model again.",
        code="artifact_altered",
        details={"uri": uri, "file": name},
    )
