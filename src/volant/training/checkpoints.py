"""Checkpoints of a step: stored whole, proven when they are restored, the newest two kept.

Each is an artifact `checkpoints/<run>/<step>/<number>`. Which there are, with the SHA-256 of
every file, stands in the step's `Ledger`, a file of its work folder that is replaced in one
step: a checkpoint exists when its ledger says so. Files whose name begins with a dot or ends
with `.tmp` or `.partial` are drafts and never part of one.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from volant.durable import sync
from volant.errors import Conflict, NotFound, VolantError
from volant.faults import crash_point
from volant.ports.artifacts import Artifacts
from volant.training.files import disk_error, sha256_of
from volant.training.ledger import Checkpoint, Ledger, folder_of
from volant.training.writers import being_written

KEPT = 2
_DRAFTS = (".tmp", ".partial")
_ACROSS = (errno.EXDEV, errno.EPERM, errno.EMLINK)  # where a hard link can't be made

Stamp = tuple[tuple[str, int, int, int], ...]


class Unsettled(Exception):
    """A file was written, or being written, while the checkpoint was taken."""


@dataclass(frozen=True, slots=True)
class Place:
    """A step of a run, and where it works."""

    run_id: str
    step: str
    workdir: Path

    @property
    def folder(self) -> Path:
        """What the step's process knows as `VOLANT_CHECKPOINT_DIR`."""
        return self.workdir / "checkpoint"

    @property
    def control(self) -> Path:
        return folder_of(self.workdir)


@dataclass(frozen=True, slots=True)
class Restored:
    """What an attempt begins with; `damaged` are numbers of checkpoints that had to be
    passed over."""

    checkpoint: Checkpoint | None = None
    damaged: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Snapshot:
    stamps: Mapping[str, tuple[int, int]]
    links: Mapping[str, str] = field(default_factory=dict[str, str])


class Checkpoints:
    """Takes, restores and removes checkpoints. Thread-safe for different steps."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def take(self, place: Place, attempt: int, work_s: float, at: float) -> Checkpoint | None:
        """Store the folder as it is; None when it holds no file.

        Args:
            place: The step.
            attempt: The attempt that made it.
            work_s: Seconds of work in it, those of the attempts before included.
            at: Unix time.

        Raises:
            Unsettled: It was being written.
            ResourceExhausted: The disk is full; nothing is half-stored.
        """
        draft = place.control / "draft"
        try:
            shutil.rmtree(draft, ignore_errors=True)
            snapshot = _link(place.folder, draft)
            if not snapshot.stamps:
                return None
            return self._store(place, draft, snapshot, (attempt, work_s, at))
        except FileNotFoundError as error:
            raise Unsettled(str(error)) from error
        except OSError as error:
            raise disk_error(error, draft) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _store(
        self, place: Place, draft: Path, snapshot: _Snapshot, facts: tuple[int, float, float]
    ) -> Checkpoint:
        ledger = Ledger.read(place.workdir)
        number = ledger.next_number
        uri, hashes = self._put(place, number, draft)
        while uri is None:  # left by a control plane that died before its ledger knew it
            number += 1
            uri, hashes = self._put(place, number, draft)
        if _changed(draft, snapshot):
            self._artifacts.remove(uri)
            raise Unsettled("A file changed while it was copied.")
        crash_point("checkpoint.stored")
        attempt, work_s, at = facts
        size = sum(size for size, _ in snapshot.stamps.values())
        made = Checkpoint(
            number, uri, dict(hashes), dict(snapshot.links), size, attempt, work_s, at
        )
        kept = (*ledger.checkpoints, made)
        ledger = ledger.with_last(saved=number, took_s=ledger.lasted_until(at))
        replace(ledger, checkpoints=kept[-KEPT:], next_number=number + 1).write(place.workdir)
        crash_point("checkpoint.recorded")
        for old in kept[:-KEPT]:
            self._artifacts.remove(old.uri)
        return made

    def _put(self, place: Place, number: int, draft: Path) -> tuple[str | None, Mapping[str, str]]:
        try:
            return self._artifacts.put_tree(
                f"checkpoints/{place.run_id}/{place.step}/{number:06}", draft
            )
        except Conflict:
            return None, {}

    def restore(self, place: Place, before: Sequence[Path] = ()) -> Restored:
        """Lay the newest sound checkpoint into the folder, nothing else staying in it; an
        empty folder when there is none.

        Args:
            place: The step.
            before: Work folders of the same step in the runs that this one repeats,
                the newest first: looked at when the step has none of its own.
        """
        damaged: list[int] = []
        for workdir in (place.workdir, *before):
            for checkpoint in reversed(Ledger.read(workdir).checkpoints):
                if self._lay(checkpoint, place):
                    crash_point("checkpoint.restored")
                    return Restored(checkpoint, tuple(damaged))
                damaged.append(checkpoint.number)
                self._forget(checkpoint, workdir)
        _swap(None, place)
        return Restored(None, tuple(damaged))

    def _lay(self, checkpoint: Checkpoint, place: Place) -> bool:
        """Copy it beside the folder, prove the copy, and put it in the folder's place."""
        draft = place.control / "restoring"
        shutil.rmtree(draft, ignore_errors=True)
        try:
            source = self._artifacts.local_path(checkpoint.uri)
            shutil.copytree(source, draft)
            sound = checkpoint.files == {
                name: sha256_of(draft / name) for name in _files(draft, drafts=True)
            }
        except (NotFound, OSError) as error:
            shutil.rmtree(draft, ignore_errors=True)
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                full = disk_error(error, draft)
                if isinstance(full, VolantError):  # damage looks otherwise
                    raise full from error
            return False
        if not sound:
            shutil.rmtree(draft, ignore_errors=True)
            return False
        for name, target in checkpoint.links.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).symlink_to(target)
        _swap(draft, place)
        return True

    def _forget(self, checkpoint: Checkpoint, workdir: Path) -> None:
        ledger = Ledger.read(workdir)
        sound = tuple(each for each in ledger.checkpoints if each.number != checkpoint.number)
        replace(ledger, checkpoints=sound).write(workdir)
        self._artifacts.remove(checkpoint.uri)

    def clear(self, run_id: str, runs_dir: Path) -> None:
        """Remove all checkpoints of a run, the folders they were made in too. Its ledgers
        keep the attempts."""
        own = folder_of(Path())
        # An element of a step with `foreach` works in a folder of the step's.
        found = [*runs_dir.glob(f"{run_id}/*/{own}"), *runs_dir.glob(f"{run_id}/*/*/{own}")]
        for control in sorted(found):
            ledger = Ledger.read(control.parent)
            if ledger.checkpoints:
                replace(ledger, checkpoints=()).write(control.parent)
            shutil.rmtree(control.parent / "checkpoint", ignore_errors=True)
        crash_point("checkpoint.cleared")
        self._artifacts.remove(f"artifacts:/checkpoints/{run_id}")


# what lies in a checkpoint's folder


def stamp(folder: Path) -> Stamp:
    """What tells whether anything in the folder has changed: each file's name, inode, size
    and time of change. Cheap: nothing is read."""
    found: list[tuple[str, int, int, int]] = []
    for name in _files(folder):
        try:
            stat = (folder / name).stat()
        except FileNotFoundError:
            continue
        found.append((name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def settled(folder: Path) -> bool:
    """Whether no file of the folder is open for writing."""
    return not any(being_written(folder / name) for name in _files(folder))


def _files(folder: Path, *, drafts: bool = False) -> Iterator[str]:
    """Relative paths of the plain files, drafts and links left out, in order."""
    for here, folders, files in os.walk(folder):
        if not drafts:
            folders[:] = [name for name in folders if not is_draft(name)]
        folders.sort()
        for name in sorted(files):
            path = Path(here, name)
            if (drafts or not is_draft(name)) and path.is_file() and not path.is_symlink():
                yield path.relative_to(folder).as_posix()


def is_draft(name: str) -> bool:
    """Whether a file or folder of this name is never part of a checkpoint."""
    return name.startswith(".") or name.endswith(_DRAFTS)


def _link(folder: Path, draft: Path) -> _Snapshot:
    """Hard links to all files: what is renamed or removed in the folder from now on doesn't
    touch them, and what is written into them shows in their stamps."""
    draft.mkdir(parents=True)
    stamps: dict[str, tuple[int, int]] = {}
    for name in _files(folder):
        if being_written(folder / name):
            raise Unsettled(f"{name} is being written.")
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        stat = (folder / name).stat()
        try:
            os.link(folder / name, draft / name)
        except OSError as error:
            if error.errno not in _ACROSS:
                raise
            shutil.copy2(folder / name, draft / name)
        stamps[name] = (stat.st_size, stat.st_mtime_ns)
    return _Snapshot(stamps, _links(folder))


def _changed(draft: Path, snapshot: _Snapshot) -> bool:
    for name, before in snapshot.stamps.items():
        stat = (draft / name).stat()
        if (stat.st_size, stat.st_mtime_ns) != before or being_written(draft / name):
            return True
    return False


def _links(folder: Path) -> dict[str, str]:
    """Relative links that stay inside, such as `latest`."""
    root = folder.resolve()
    found: dict[str, str] = {}
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(here, name)
            if not path.is_symlink() or is_draft(name):
                continue
            target = path.readlink()
            if not target.is_absolute() and path.resolve().is_relative_to(root):
                found[path.relative_to(folder).as_posix()] = str(target)
    return found


def _swap(draft: Path | None, place: Place) -> None:
    """The draft, or nothing, in the place of what the folder holds."""
    place.control.mkdir(parents=True, exist_ok=True)
    old = place.control / "replaced"
    shutil.rmtree(old, ignore_errors=True)
    if place.folder.exists():
        place.folder.rename(old)
    if draft is None:
        place.folder.mkdir(parents=True)
    else:
        draft.rename(place.folder)
    sync(place.workdir)
    shutil.rmtree(old, ignore_errors=True)
