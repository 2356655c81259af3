"""A user's folder as a small, repeatable .tar.gz."""

from __future__ import annotations

import fnmatch
import gzip
import io
import os
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from volant.cli.text import size
from volant.errors import InvalidInput

MAX_FILE = 5_000_000  # bytes; anything larger is data, which is pushed and not packed
MAX_TOTAL = 30_000_000
MAX_FILES = 2000
IGNORE_FILE = ".volantignore"
_HOME_SIGN = "server.lock"
_SKIPPED = (
    ".git",
    ".hg",
    ".svn",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
    "*.pyc",
    ".*_cache",
    ".ipynb_checkpoints",
    ".DS_Store",
    "*.egg-info",
    ".env",
)


def pack(folder: Path) -> bytes:
    """The folder's files as a .tar.gz; the same files give the same bytes.

    Left out: version control, environments, caches, `.env`, files over 5 MB, links that
    lead out of the folder, a Volant's home with its token, and what the patterns in
    `.volantignore` name (one a line, as in a shell; `#` begins a comment; a trailing `/`
    is ignored).

    Raises `InvalidInput` when what is left is too much, or can't be read.
    """
    patterns = (*_SKIPPED, *_ignored(folder))
    files = sorted(_files(folder, folder, patterns, MAX_FILE))
    if len(files) > MAX_FILES:
        raise _too_much(folder, f"{len(files)} files")
    total = sum(file.stat().st_size for file in files)
    if total > MAX_TOTAL:
        raise _too_much(folder, size(total))
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            try:
                _add(archive, file, file.relative_to(folder).as_posix())
            except OSError as error:
                raise InvalidInput(
                    f"{file} can't be read: {error.strerror}.",
                    f"Mend its permissions, or name it in {IGNORE_FILE}.",
                ) from error
    return gzip.compress(raw.getvalue(), compresslevel=6, mtime=0)


def chosen(folder: Path) -> list[Path]:
    """All files that a codeset takes of a folder: as `pack`, but of any size, and links
    that stay in the folder are among them."""
    return sorted(_files(folder, folder, (*_SKIPPED, *_ignored(folder)), None))


def pack_into(folder: Path, files: Iterable[Path], target: Path) -> None:
    """`files` of `folder` as a .tar.gz; the same files give the same bytes."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in files:
            try:
                _stream(archive, file, file.relative_to(folder).as_posix())
            except OSError as error:
                raise InvalidInput(
                    f"{file} can't be read: {error.strerror}.",
                    f"Mend its permissions, or name it in {IGNORE_FILE}.",
                ) from error


def _stream(archive: tarfile.TarFile, file: Path, name: str) -> None:
    entry = tarfile.TarInfo(name)
    if file.is_symlink():
        entry.type, entry.linkname = tarfile.SYMTYPE, str(file.readlink())
        archive.addfile(entry)
        return
    with file.open("rb") as content:
        entry.size = os.fstat(content.fileno()).st_size
        entry.mode = 0o755 if os.access(file, os.X_OK) else 0o644
        archive.addfile(entry, content)


def _ignored(folder: Path) -> list[str]:
    try:
        lines = (folder / IGNORE_FILE).read_text().splitlines()
    except FileNotFoundError:
        return []
    stripped = (line.strip().rstrip("/") for line in lines)
    return [line for line in stripped if line and not line.startswith("#")]


def _files(
    folder: Path, root: Path, patterns: tuple[str, ...], max_file: int | None
) -> Iterator[Path]:
    """Those to pack; without a bound on their size, links to files are links."""
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        path = Path(entry.path)
        if _matches(path.relative_to(root).as_posix(), patterns):
            continue
        if entry.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
            continue
        if entry.is_dir(follow_symlinks=False):
            if (path / _HOME_SIGN).exists():
                continue
            yield from _files(path, root, patterns, max_file)
        elif _wanted(entry, max_file):
            yield path


def _wanted(entry: os.DirEntry[str], max_file: int | None) -> bool:
    if max_file is None and entry.is_symlink():
        return True
    return entry.is_file() and (max_file is None or entry.stat().st_size <= max_file)


def _matches(relative: str, patterns: tuple[str, ...]) -> bool:
    name = relative.rpartition("/")[2]
    return any(
        fnmatch.fnmatchcase(relative if "/" in pattern else name, pattern.lstrip("/"))
        for pattern in patterns
    )


def _add(archive: tarfile.TarFile, file: Path, name: str) -> None:
    """Only name, content and whether it may run: no time, no owner, no machine."""
    content = file.read_bytes()
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o755 if os.access(file, os.X_OK) else 0o644
    archive.addfile(entry, io.BytesIO(content))


def _too_much(folder: Path, amount: str) -> InvalidInput:
    return InvalidInput(
        f"{folder} holds {amount}: too much to send as code.",
        f"Put volant.yaml beside the code alone, or name what to leave out in {IGNORE_FILE}.",
        code="code_too_large",
    )
