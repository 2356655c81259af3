"""The files of commits, laid out once for each content and copied for each step.

A copy, not a link: a step writes among its files as it likes. Where the file system can
share blocks between files, the copy shares them until somebody writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

from volant.codesets.repository import Repository
from volant.errors import InvalidInput, ResourceExhausted, Unavailable, VolantError

MAX_BYTES = 2 << 30
_YOUNG_S = 600.0  # what was used so lately isn't thrown out
_FICLONE = 0x40049409  # linux/fs.h: the target shares the source's blocks


class Checkouts:
    """Trees under `root`, each in a folder that its hash names.

    Args:
        root: Nothing else lies there.
        max_bytes: What is kept at most, the trees used last; a single one may be larger.
    """

    def __init__(self, root: Path, max_bytes: int = MAX_BYTES) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._made = time.time()
        self._shares = True

    def lay_out(self, repository: Repository, commit: str, tree: str, folder: Path) -> None:
        """The commit's files as `folder`, whole or not at all; what was there before goes.
        `tree` is the hash of all of them.

        Raises `InvalidInput` for links that lead out of it, `ResourceExhausted` on a full
        disk.
        """
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".checkout-", dir=folder.parent))
            try:
                self._copy(repository, commit, tree, draft / "files")
                shutil.rmtree(folder, ignore_errors=True)
                (draft / "files").rename(folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        except OSError as error:
            raise _unwritten(folder, error) from error

    def _copy(self, repository: Repository, commit: str, tree: str, target: Path) -> None:
        for _ in range(3):
            source = self._pristine(repository, commit, tree)
            with contextlib.suppress(FileNotFoundError, shutil.Error):  # thrown out: once more
                shutil.copytree(source, target, symlinks=True, copy_function=self._copy_file)
                return
            shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        repository.lay_out(commit, target)

    def _pristine(self, repository: Repository, commit: str, tree: str) -> Path:
        place = self._root / tree
        if place.is_dir():
            with contextlib.suppress(OSError):
                os.utime(place)
            return place
        self._root.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=self._root))
        try:
            files = draft / "files"
            files.mkdir()
            repository.lay_out(commit, files)
            _refuse_leaving(files)
            with contextlib.suppress(OSError):  # somebody was faster
                files.rename(place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        self._bound()
        return place

    def _bound(self) -> None:
        """Throw out what was used longest ago, until the rest is small enough."""
        with self._lock:
            kept = 0
            now = time.time()
            found = [each for each in self._root.iterdir() if not each.name.startswith(".")]
            used = {each: each.stat().st_mtime for each in found}
            for place in sorted(found, key=lambda each: -used[each]):
                kept += _size(place)
                if kept > self._max_bytes and now - used[place] > _YOUNG_S:
                    shutil.rmtree(place, ignore_errors=True)

    def _copy_file(self, source: str, target: str) -> str:
        """`shutil.copy`, with shared blocks where that can be. Where it can't be once, it
        isn't tried again."""
        if self._shares:
            try:
                with Path(source).open("rb") as old, Path(target).open("wb") as new:
                    fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
                shutil.copymode(source, target)
            except OSError:
                self._shares = False
            else:
                return target
        return shutil.copy(source, target)

    def sweep(self) -> None:
        """Remove what a process that died had begun."""
        if self._root.is_dir():
            for draft in self._root.glob(".draft-*"):
                with contextlib.suppress(FileNotFoundError):
                    if draft.stat().st_mtime < self._made:  # a step of ours may be at work
                        shutil.rmtree(draft, ignore_errors=True)


def _refuse_leaving(folder: Path) -> None:
    root = folder.resolve()
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(where) / name
            if path.is_symlink() and not _stays(path, root):
                raise InvalidInput(
                    f"The link {path.relative_to(folder)} leads out of the codeset.",
                    "Replace it by what it links to, commit and push.",
                    code="codeset.link_leaves",
                )


def _stays(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # it leads to itself
        return False


def _size(folder: Path) -> int:
    found = (Path(where) / name for where, _, files in os.walk(folder) for name in files)
    return sum(each.lstat().st_size for each in found)


def _unwritten(folder: Path, error: OSError) -> VolantError:
    what = f"The code can't be laid out in {folder}: {error.strerror or error}."
    if error.errno in {28, 122}:  # no space left; quota exceeded
        return ResourceExhausted(what, "Free some space there, then try again.", code="disk_full")
    return Unavailable(what, "Make the folder writable for the server, then try again.")
