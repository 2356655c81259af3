"""One bare repository: its branch, its commits and their files."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from volant.codesets.git import Git, GitFailed
from volant.codesets.names import HASH, check_version, safe_path
from volant.domain.codeset import CodesetFile, Commit
from volant.errors import InvalidInput, NotFound, ResourceExhausted, Unavailable

KEPT = "refs/volant/kept"  # every head that ever was, so that no version a run used is lost
INCOMING = "refs/volant/incoming"
ZERO = "0" * 40
MAX_FILES = 20_000  # told of one commit
_FIELDS = ("%H", "%an", "%ae", "%ct", "%s", "%B")
_SHORT = re.compile(r"[0-9a-f]{4,64}")
_MARK = "volant-deleting"
STALE_S = 3600.0  # longer than any git program runs


class Repository:
    """The repository at `path`. Making one of these touches nothing."""

    def __init__(self, git: Git, path: Path) -> None:
        self.git = git
        self.path = path

    # life

    @property
    def exists(self) -> bool:
        return (self.path / "HEAD").is_file()

    def create(self) -> None:
        """Make it, empty, all at once; one that is there stays as it is."""
        if self.exists:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".new-", dir=self.path.parent))
        except OSError as error:
            raise _unwritten(self.path, error) from error
        try:
            self.git.run("init", "--quiet", "--bare", "--template=", "-b", "main", str(draft))
            draft.rename(self.path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # somebody was faster
                raise _unwritten(self.path, error) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def mark_deleting(self) -> None:
        """Say that it goes as soon as nothing names it any more."""
        if self.exists:
            (self.path / _MARK).touch()

    @property
    def deleting(self) -> bool:
        return (self.path / _MARK).exists()

    def spare(self) -> None:
        """Take `mark_deleting` back."""
        (self.path / _MARK).unlink(missing_ok=True)

    def remove(self) -> None:
        """Its files; out of its place first, so that another one may be made there."""
        if self.path.exists():
            gone = Path(tempfile.mkdtemp(prefix=".gone-", dir=self.path.parent))
            self.path.rename(gone / "repository")
            shutil.rmtree(gone, ignore_errors=True)

    def unlock(self, age_s: float = STALE_S) -> None:
        """Remove locks and half-received objects of git programs that died: those that are
        older than `age_s`."""
        oldest = time.time() - age_s
        for stale in (
            *self.path.glob("*.lock"),
            *self.path.glob("refs/**/*.lock"),
            *self.path.glob(".index-*"),
            *self.path.glob("objects/tmp_objdir-*"),
            *self.path.glob("objects/pack/tmp_*"),
        ):
            with contextlib.suppress(FileNotFoundError):
                if stale.lstat().st_mtime > oldest:
                    continue
                if stale.is_dir():
                    shutil.rmtree(stale, ignore_errors=True)
                else:
                    stale.unlink()

    def size(self) -> int:
        """Bytes on the disk."""
        return sum(_walked(self.path))

    # branches

    def tip(self, branch: str) -> str | None:
        """The branch's commit, read from the files: no process is started."""
        return self._ref(f"refs/heads/{branch}")

    def _ref(self, ref: str) -> str | None:
        try:
            text = (self.path / ref).read_text().strip()
            if HASH.fullmatch(text):
                return text
        except (OSError, UnicodeDecodeError):
            pass
        try:
            packed = (self.path / "packed-refs").read_text().splitlines()
        except OSError:
            return None
        return next((line.partition(" ")[0] for line in packed if line.endswith(f" {ref}")), None)

    def branches(self) -> Sequence[str]:
        words = ("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads")
        out = self.git.run(*words, repo=self.path)
        return out.decode().splitlines()

    def make_default(self, branch: str) -> None:
        self.git.run("symbolic-ref", "HEAD", f"refs/heads/{branch}", repo=self.path)

    def keep(self, commit: str) -> None:
        """Hold on to a commit, whatever happens to the branches."""
        if self._ref(f"{KEPT}/{commit}") is None:
            self.git.run("update-ref", f"{KEPT}/{commit}", commit, repo=self.path)

    def move(self, branch: str, to: str, from_: str | None) -> bool:
        """Guarded by what the branch is now; False when it is another commit."""
        try:
            self.git.run("update-ref", f"refs/heads/{branch}", to, from_ or ZERO, repo=self.path)
        except GitFailed:
            if self.tip(branch) == from_:
                raise
            return False
        return True

    def resolve_ref(self, ref: str) -> str:
        """The commit of a ref that is there."""
        words = ("rev-parse", "--verify", f"{ref}^{{commit}}")
        return self.git.run(*words, repo=self.path).decode().strip()

    def drop_ref(self, ref: str) -> None:
        """Forget it; nothing happens when it isn't there."""
        if self.exists:
            self.git.run("update-ref", "-d", ref, repo=self.path)

    # versions

    def resolve(self, version: str) -> str | None:
        """The full hash of a commit by its hash, in short or in full, a branch or a tag."""
        check_version(version)
        names = [version] if HASH.fullmatch(version) else []
        names += [f"refs/heads/{version}", f"refs/tags/{version}"]
        if _SHORT.fullmatch(version) and version not in names:
            names.append(version)
        for name in names:
            found = self._parse(f"{name}^{{commit}}")
            if found is not None:
                return found
        return None

    def _parse(self, revision: str) -> str | None:
        try:
            out = self.git.run(
                "rev-parse", "--verify", "--quiet", "--end-of-options", revision, repo=self.path
            )
        except GitFailed:
            return None
        return out.decode().strip()

    def tree_of(self, commit: str, path: str = "") -> str:
        """The hash of what lies at `path`: the same content has the same one. Raises
        `NotFound`."""
        inside = safe_path(path)
        found = self._parse(f"{commit}:{inside}")
        if found is None:
            raise NotFound(
                f"There is nothing at {inside or '.'!r} in {commit[:12]}.",
                "`volant codeset files` shows what is there.",
                code="codeset.no_path",
                details={"path": inside, "version": commit},
            )
        return found

    def commits(self, commit: str, limit: int, skip: int = 0) -> Sequence[Commit]:
        """`commit` and what came before it, newest first."""
        form = f"--format=tformat:{'%x00'.join(_FIELDS)}"
        bounds = (f"--max-count={limit}", f"--skip={skip}")
        out = self.git.run("log", "-z", form, *bounds, commit, "--", repo=self.path)
        told = out.decode("utf-8", "replace").split("\0")
        size = len(_FIELDS)
        return [_commit(told[at : at + size]) for at in range(0, len(told) - size + 1, size)]

    def files(self, commit: str, path: str = "") -> Sequence[CodesetFile]:
        """All files at a commit below `path`, by their paths."""
        inside = safe_path(path)
        what = [inside] if inside else []
        out = self.git.run(
            "--literal-pathspecs",
            "ls-tree",
            "-r",
            "-z",
            "-l",
            "--full-tree",
            commit,
            "--",
            *what,
            repo=self.path,
        )
        lines = [line for line in out.split(b"\0") if line]
        if len(lines) > MAX_FILES:
            raise InvalidInput(
                f"{commit[:12]} has {len(lines):,} files there; at most {MAX_FILES:,} are listed.",
                "Ask for a folder in it.",
                code="codeset.too_many_files",
            )
        return [_file(line) for line in lines]

    def read(self, commit: str, path: str, limit: int) -> bytes | None:
        """A file's bytes, None when it isn't there. Raises `InvalidInput` when it is larger
        than `limit`."""
        found = [each for each in self.files(commit, path) if each.path == safe_path(path)]
        if not found or found[0].bytes is None:
            return None
        if found[0].bytes > limit:
            raise InvalidInput(
                f"{path} has {found[0].bytes:,} bytes; at most {limit:,} are read.",
                "Make it smaller.",
                code="codeset.file_too_large",
            )
        return self.git.run("cat-file", "blob", found[0].sha, repo=self.path)

    def lay_out(self, commit: str, folder: Path) -> None:
        """The commit's files in `folder`, which must be empty and on the same machine."""
        with tempfile.TemporaryDirectory(prefix=".index-", dir=self.path) as scratch:
            env = self.git.environment(more={"GIT_INDEX_FILE": f"{scratch}/index"})
            tree = (f"--work-tree={folder}",)
            self.git.run(*tree, "read-tree", commit, repo=self.path, env=env)
            self.git.run(
                *tree, "checkout-index", "--all", "--force", repo=self.path, env=env, timeout_s=600
            )

    def tidy(self) -> None:
        """Join what many pushes left, where there is a lot of it."""
        config = {"gc.auto": "2000", "gc.autoPackLimit": "40", "gc.autoDetach": "false"}
        env = self.git.environment(config)
        self.git.run("gc", "--auto", "--quiet", repo=self.path, env=env, timeout_s=1800)


def _commit(told: Sequence[str]) -> Commit:
    version, author, email, seconds, subject, message = told
    time = datetime.fromtimestamp(int(seconds), UTC)
    return Commit(version, author, email, time, subject, message.strip())


def _file(line: bytes) -> CodesetFile:
    head, _, path = line.partition(b"\t")
    mode, kind, sha, size = head.split()
    return CodesetFile(
        path=path.decode("utf-8", "backslashreplace"),
        bytes=int(size) if kind == b"blob" else None,
        sha=sha.decode(),
        executable=mode == b"100755",
        link=mode == b"120000",
    )


def _walked(folder: Path) -> Iterator[int]:
    """The sizes of all files below; what goes meanwhile counts nothing."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walked(Path(entry.path))
                continue
            with contextlib.suppress(FileNotFoundError):
                yield entry.stat(follow_symlinks=False).st_size


def _unwritten(path: Path, error: OSError) -> Exception:
    what = f"The repository {path} can't be written: {error.strerror or error}."
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ResourceExhausted(what, "Free some space there, then try again.", code="disk_full")
    return Unavailable(what, "Make the folder writable for the server, then try again.")
