"""A folder's files, sent as a .tar.gz, as the next commit of a branch.

The archive is a stream from outside, and it goes into `git fast-import` as one: nothing is
unpacked, so no name in it ever names a file here.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath

from volant.codesets.git import failed, stop
from volant.codesets.repository import INCOMING, Repository
from volant.errors import Conflict, InvalidInput

MAX_BYTES = 2 << 30  # unpacked
MAX_FILES = 100_000
_PIECE = 1 << 20
_ODD = re.compile(r"[<>\n\0]")


def commit_archive(
    repository: Repository,
    archive: Path,
    *,
    branch: str,
    upload: str,
    by: str,
    message: str,
    time: datetime,
) -> str:
    """The commit on `branch` that holds just the archive's files: a new one, or the present
    one when it holds them already.

    Dying in between leaves at most objects that nothing names.

    Args:
        repository: Where to.
        archive: A .tar.gz.
        branch: The branch that goes on.
        upload: The archive's id, of letters, digits and hyphens.
        by: Who sends it: the commit's author.
        message: The commit's.
        time: The commit's.

    Raises `InvalidInput` for an archive that can't be taken, `Conflict` when somebody
    pushed meanwhile.
    """
    head = repository.tip(branch)
    ref = f"{INCOMING}/{upload}"
    try:
        _fast_import(repository, archive, _head(ref, head, by, message, time))
        made = repository.resolve_ref(ref)
        if head is not None and repository.tree_of(made) == repository.tree_of(head):
            return head
        if not repository.move(branch, made, head):
            raise Conflict(
                f"Somebody pushed to {branch} while this was sent.",
                "Register it again: then it comes on top of that.",
                code="codeset.moved",
            )
        return made
    finally:
        repository.drop_ref(ref)


def _head(ref: str, parent: str | None, by: str, message: str, time: datetime) -> bytes:
    who = _ODD.sub("", by) or "volant"
    text = message.encode()
    lines = [
        "feature done",
        f"commit {ref}",
        f"committer {who} <{who.replace(' ', '.')}@volant> {int(time.timestamp())} +0000",
        f"data {len(text)}",
    ]
    tail = [*([f"from {parent}"] if parent else []), "deleteall", ""]
    return "\n".join([*lines, ""]).encode() + text + b"\n" + "\n".join(tail).encode()


def _fast_import(repository: Repository, archive: Path, head: bytes) -> None:
    with tempfile.TemporaryFile() as told:
        process = repository.git.start(
            ("fast-import", "--quiet", "--done", "--date-format=raw"),
            repo=repository.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=told,
        )
        into = process.stdin
        assert into is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended, and says why
                into.write(head)
                for piece in _files(archive):
                    into.write(piece)
                into.write(b"done\n")
                into.close()
            process.wait(600)
        finally:
            stop(process)
            with contextlib.suppress(BrokenPipeError):
                into.close()
        if process.returncode != 0:
            told.seek(0)
            text = told.read(4000).decode("utf-8", "replace")
            raise failed("fast-import", process.returncode, text)


def _files(archive: Path) -> Iterator[bytes]:
    """Each file of the archive as fast-import reads it."""
    count = total = 0
    try:
        with archive.open("rb") as source, tarfile.open(fileobj=source, mode="r|gz") as members:
            for member in members:
                name = _name(member)
                if name is None:
                    continue
                count, total = count + 1, total + member.size
                _within_bounds(count, total)
                yield from _file(members, member, name)
    except (tarfile.TarError, zlib.error, EOFError, UnicodeError) as error:
        raise _refused(f"The code isn't a .tar.gz that can be read: {error}.") from None
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise _refused(f"The code isn't a .tar.gz that can be read: {error}.") from None
    if not count:
        raise _refused("The folder has no file that could be registered.")


def _file(members: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> Iterator[bytes]:
    if member.issym():
        target = member.linkname.encode("utf-8", "surrogateescape")
        yield f"M 120000 inline {name}\ndata {len(target)}\n".encode() + target + b"\n"
        return
    mode = "100755" if member.mode & 0o100 else "100644"
    yield f"M {mode} inline {name}\ndata {member.size}\n".encode()
    content = members.extractfile(member)
    left = member.size
    while content is not None and left:
        piece = content.read(min(left, _PIECE))
        if not piece:
            raise EOFError("it ends in the middle of a file")
        left -= len(piece)
        yield piece
    yield b"\n"


def _name(member: tarfile.TarInfo) -> str | None:
    """The member's path, quoted for fast-import; None for a folder. Raises `InvalidInput`
    for what can't be a file of a repository."""
    shown = ascii(member.name[:200])
    path = PurePosixPath(member.name)
    if member.isdir():
        return None
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise _refused(f"The code's archive holds the path {shown}, which leaves its folder.")
    if any(_is_git(part) for part in path.parts):
        raise _refused(f"The code's archive holds {shown}, which is git's own.")
    if not (member.isreg() or member.issym()) or member.issparse():
        raise _refused(f"The code's archive holds {shown}, which is no plain file.")
    if member.issym() and _leaves(path, member.linkname):
        raise _refused(f"The code's archive holds the link {shown}, which leaves its folder.")
    text = path.as_posix()
    if not text.isprintable() or len(text.encode()) > 1000:
        raise _refused(f"The code's archive holds the name {shown}, which can't be a file's.")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_git(part: str) -> bool:
    """Whether some file system takes the name for `.git`."""
    name = part.rstrip(". ").lower()
    return name in (".git", "git~1") or name.startswith(".git:")


def _leaves(path: PurePosixPath, target: str) -> bool:
    depth = len(path.parts) - 1
    if target.startswith("/") or not target or "\n" in target:
        return True
    for part in target.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            return True
    return False


def _within_bounds(count: int, total: int) -> None:
    if count > MAX_FILES or total > MAX_BYTES:
        raise InvalidInput(
            f"The folder has more than {MAX_FILES:,} files or {MAX_BYTES:,} bytes.",
            "Push data as a dataset, and name what to leave out in .volantignore.",
            code="codeset.too_large",
        )


def _refused(what: str) -> InvalidInput:
    return InvalidInput(
        what, "Register the folder with volant codeset register.", code="codeset.refused"
    )
