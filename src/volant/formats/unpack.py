"""An upload as a folder: the file itself, or what a tar archive holds.

An archive is input from outside: only regular files with relative names get out of it,
within bounds on their number and on the bytes that they unfold to.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from volant.errors import Conflict, InvalidInput

MAX_FILES = 10_000
MAX_BYTES = 32 << 30
ARCHIVES = (".tar", ".tar.gz", ".tgz")


def unpack(upload: Path, folder: Path, most_bytes: int = MAX_BYTES) -> Path:
    """Fill the new `folder`; returns the folder in it that holds the model: an archive's
    only folder, where everything lies in one.

    Raises `InvalidInput` for an archive that can't be read, that holds links, devices or
    names which lead out of it, or that is too large.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if not upload.name.lower().endswith(ARCHIVES):
        (folder / upload.name).hardlink_to(upload)
        return folder
    try:
        with tarfile.open(upload, mode="r:*") as archive:
            _extract(archive, folder, most_bytes)
    except (tarfile.TarError, EOFError, zlib.error, OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _refused(f"{upload.name} isn't a tar archive that can be read: {error}.") from None
    entries = list(folder.iterdir())
    if not entries:
        raise _refused(f"{upload.name} holds no file.")
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


def copied(folder: str, files: Mapping[str, str], name: str, target: Path) -> Path:
    """The stored files in the new folder `target`: whatever a model's own code does there,
    the store's stay as they are. `files` is the manifest: SHA-256 by relative path.

    Raises `Conflict` when a file isn't what it was.
    """
    shutil.rmtree(target, ignore_errors=True)
    for file, sha256 in files.items():
        path = target / file
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(Path(folder) / file, path)
        except FileNotFoundError:
            raise _altered(name, file, "is missing") from None
        with path.open("rb") as copy:
            if hashlib.file_digest(copy, "sha256").hexdigest() != sha256:
                raise _altered(name, file, "was altered")
    return target


def plain_copy(source: Path, target: Path) -> Path:
    """The plain files of `source`, a folder or one file, in the new folder `target`. Links
    aren't followed: what they lead to is nobody's model.

    Raises `InvalidInput` for nothing, for a link, and for too much.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    found = [source] if source.is_file() else sorted(source.rglob("*"))
    root = source.parent if source.is_file() else source
    if not found:
        raise _refused(f"{source.name} holds no file.")
    total = 0
    for path in found:
        name = path.relative_to(root)
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise _refused(f"{str(name)[:200]!a} is a link or no plain file.")
        if path.is_dir():
            continue
        total += path.stat().st_size
        if len(found) > MAX_FILES or total > MAX_BYTES:
            raise _refused(f"There are more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB.")
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / name)
    return target


def _altered(name: str, file: str, how: str) -> Conflict:
    return Conflict(
        f"The file {file!r} of {name} {how}.",
        "Restore it from a backup, or register the model again.",
        code="artifact_altered",
    )


def _extract(archive: tarfile.TarFile, folder: Path, most_bytes: int) -> None:
    count, total = 0, 0
    for member in archive:
        name = _safe_name(member)
        if name is None:
            continue
        count += 1
        total += member.size
        if count > MAX_FILES or total > most_bytes:
            raise _refused(
                f"The archive holds more than {MAX_FILES} files or {most_bytes >> 20} MiB."
            )
        target = folder / name
        source = archive.extractfile(member)
        if source is None or target.exists():
            raise _refused(f"The archive holds {member.name[:200]!a} twice.")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise _refused(
                f"The archive holds a part of {member.name[:200]!a} as a file and a folder."
            ) from None
        with source, target.open("xb") as out:
            shutil.copyfileobj(source, out, 1 << 20)


def _safe_name(member: tarfile.TarInfo) -> str | None:
    """The member's normal name; None for a folder."""
    shown = ascii(member.name[:200])
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\0" in member.name:
        raise _refused(f"The archive holds the path {shown}, which leaves its folder.")
    if member.isdir():
        return None
    if not member.isreg() or member.issparse() or member.size < 0:
        raise _refused(f"The archive holds {shown}, which is a link or no plain file.")
    odd = not path.parts or any(len(part.encode()) > 255 for part in path.parts)
    if odd or not member.name.isprintable() or "\\" in member.name or len(path.parts) > 40:
        raise _refused(f"The archive holds the name {shown}, which can't be a file's.")
    return path.as_posix()


def _refused(what: str) -> InvalidInput:
    return InvalidInput(
        what,
        "Send a tar of the model's plain files; `volant models register` makes it rightly.",
        code="model.upload_refused",
    )
