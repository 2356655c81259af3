"""The user's own code: checked, and kept once per content.

A tarball is input from outside: only regular files with relative names get in, within
bounds on their count and on the bytes that they unfold to.
"""

from __future__ import annotations

import ast
import errno
import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from volant.durable import sync
from volant.errors import InvalidInput, ResourceExhausted, Unavailable
from volant.yamltext.problems import nearest

MAX_BYTES = 64 * 2**20  # unpacked
MAX_FILES = 5_000


def _within_bounds(files: int, size: int) -> None:
    if files > MAX_FILES or size > MAX_BYTES:
        raise InvalidInput(
            f"The code has {files:,} files and {size:,} bytes; at most {MAX_FILES:,} files and "
            f"{MAX_BYTES:,} bytes are taken.",
            "Move volant.yaml and the training code into a folder of their own.",
            code="loop.code_too_large",
            details={"files": files, "bytes": size},
        )


def read_archive(code: bytes) -> dict[str, bytes]:
    """The regular files of a .tar.gz by their relative names. Raises `InvalidInput`."""
    found: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(_unzipped(code)), mode="r:") as archive:
            for member in archive:
                name = _safe_name(member)
                if name is None:
                    continue
                total += member.size
                _within_bounds(len(found) + 1, total)
                if name in found:
                    raise _refused(f"The code's archive holds {name} twice.")
                content = archive.extractfile(member)
                found[name] = content.read() if content else b""
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, UnicodeError) as error:
        raise _refused(f"The code isn't a .tar.gz that can be read: {error}.") from None
    _refuse_files_as_folders(found)
    return found


def _unzipped(code: bytes) -> bytes:
    """All of the archive, which may unfold to the bound and its headers, no further."""
    limit = MAX_BYTES + 4096 * MAX_FILES
    with gzip.GzipFile(fileobj=io.BytesIO(code)) as packed:
        content = packed.read(limit + 1)
    if len(content) > limit:
        _within_bounds(0, len(content))
    return content


def _safe_name(member: tarfile.TarInfo) -> str | None:
    """The member's normal name; None for a folder. Raises for anything that isn't a
    regular file with a relative name below the folder."""
    shown = ascii(member.name[:200])
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\0" in member.name:
        raise _refused(f"The code's archive holds the path {shown}, which leaves its folder.")
    if member.isdir():
        return None
    if not member.isreg() or member.issparse():
        raise _refused(f"The code's archive holds {shown}, which is a link or no plain file.")
    if not path.parts or not path.name.isprintable() or len(member.name.encode()) > 1000:
        raise _refused(f"The code's archive holds the name {shown}, which can't be a file's.")
    return path.as_posix()


def _refuse_files_as_folders(files: Mapping[str, bytes]) -> None:
    for name in files:
        for parent in PurePosixPath(name).parents:
            if parent.as_posix() in files:
                what = f"The code's archive holds {parent.as_posix()} as a file and as a folder."
                raise _refused(what)


def _refused(what: str) -> InvalidInput:
    return InvalidInput(
        what,
        "Run volant apply from the folder that holds the module; it packs it rightly.",
        code="loop.code_refused",
    )


def content_hash(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents: the same code has the same hash, however packed."""
    digest = hashlib.sha256()
    for name in sorted(files):
        head = f"{len(name.encode())} {len(files[name])} {name}\n"
        digest.update(head.encode())
        digest.update(files[name])
    return digest.hexdigest()


def check_callable(call: str, files: Mapping[str, bytes]) -> None:
    """Raises `InvalidInput` unless the module of `call` is among `files`, is Python, and
    seems to define the name. Nothing is executed."""
    module, _, function = call.partition(":")
    stem = module.replace(".", "/")
    path = next((p for p in (f"{stem}.py", f"{stem}/__init__.py") if p in files), None)
    if path is None:
        modules = [_module_of(name) for name in files if name.endswith(".py")]
        guess = nearest(module, modules)
        hint = f" Did you mean {guess}:{function}?" if guess and guess != module else ""
        raise InvalidInput(
            f"train.call is {call!r}, but {stem}.py isn't in the folder that was sent.",
            f"Run volant apply from the folder that holds {stem}.py.{hint}",
            code="loop.code_missing",
            details={"call": call, "modules": sorted(modules)[:50]},
        )
    names = _defined(path, files[path])
    if function not in names and "*" not in names:
        guess = nearest(function, names)
        raise InvalidInput(
            f"train.call is {call!r}, but {path} defines no {function}.",
            f"Did you mean {module}:{guess}?" if guess else f"Define {function} in {path}.",
            code="loop.code_missing",
            details={"call": call, "defined": sorted(names)[:50]},
        )


def _module_of(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _defined(path: str, source: bytes) -> set[str]:
    """Names bound anywhere in the module's text; `*` when a star import hides some."""
    try:
        tree = ast.parse(source, path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        raise InvalidInput(
            f"{path} isn't Python that can be read: {getattr(error, 'msg', error)}"
            f"{f' (line {line})' if line else ''}.",
            f"Correct {path}, then apply again.",
            code="loop.code_broken",
            details={"file": path, "line": line},
        ) from None
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def store(files: Mapping[str, bytes], folder: Path) -> None:
    """Write `files` as `folder`, whole or not at all; a folder that is there is right
    already, for its name is its content's hash."""
    if folder.is_dir():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
        try:
            _write(files, draft)
            _rename(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise _unwritten(folder, error) from None


def _write(files: Mapping[str, bytes], draft: Path) -> None:
    for name, content in files.items():
        path = draft / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
    draft.chmod(0o755)


def _rename(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError as error:
        # Another apply of the same code was faster.
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        return
    sync(folder.parent)


def _unwritten(folder: Path, error: OSError) -> Exception:
    what = f"The loop's code can't be written to {folder}: {error.strerror or error}."
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ResourceExhausted(what, "Free some space there, then apply again.")
    return Unavailable(what, "Make the folder writable for the server, then apply again.")
