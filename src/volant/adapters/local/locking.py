"""What a codeset wants, resolved to exact versions by uv; where something can't be had, to
the nearest that can, each change told.

Only wheels are taken where there are any: an old release without one for this interpreter
would be compiled, if it still can be, with compilers that the machine may not have.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from volant.adapters.local.environments import CODESET, READY, build, locked, places, uv
from volant.durable import write_whole
from volant.errors import InvalidInput, Unavailable
from volant.faults import crash_point

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:\[[^\]]*\])?")
_PIN = re.compile(r"===?\s*([A-Za-z0-9+!_-]+(?:\.[A-Za-z0-9+!_-]+)*)")
_FORM = 2  # of what is stored; another form is locked anew
_PKG_RESOURCES = "setuptools<81"  # later ones don't have it
_TIMEOUT_S = 600.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Lock:
    """`lines` are `name==version`, all of them; `changes` tell what was asked for and isn't
    so, each `was → is: why`."""

    key: str
    lines: tuple[str, ...]
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """`python` is a specifier such as `==3.6.*`; `conda` are those of `lines` that may be
    left out where no index has them; `changes` were made already."""

    python: str | None
    lines: tuple[str, ...]
    conda: frozenset[str] = frozenset()
    changes: tuple[str, ...] = ()


def prepare(
    root: Path, asked: Asked, *, strict: bool, tell: Tell, fresh: bool = False
) -> tuple[Lock, bool]:
    """The locked environment, built under `root/<key>`; whether it was there already. What
    was locked once stays so until it is asked for `fresh`.

    Raises `InvalidInput` for what no index can give, and when `strict` allows no change;
    `Unavailable` without uv or without an index that answers.
    """
    root.mkdir(parents=True, exist_ok=True)
    stored = root / f"{_digest(asked)}.lock.json"
    with locked(root / f".{stored.stem}.lock"):
        lock = None if fresh else _read(stored)
        if lock is None:
            lock = _locked(asked, tell)
            told = {"key": lock.key, "lines": lock.lines, "changes": lock.changes}
            write_whole(stored, json.dumps(told))
            crash_point("environment.locked")
    if strict and lock.changes:
        raise InvalidInput(
            f"The environment can't be had as it is asked for: {'; '.join(lock.changes)}.",
            "Correct the codeset's file, or leave out `strict` to take what is nearest.",
            code="environment.strict",
            details={"changes": list(lock.changes)},
        )
    known = (root / lock.key / READY).is_file()
    if not known:
        tell(f"installing {len(lock.lines)} packages")
        build(root, lock.key, lock.lines, CODESET)
        crash_point("environment.built")
    return lock, known


def _digest(asked: Asked) -> str:
    facts = [
        *(_FORM, platform.python_version(), platform.machine()),
        *(asked.python, sorted(asked.lines), sorted(asked.conda)),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _read(path: Path) -> Lock | None:
    try:
        told: Any = json.loads(path.read_text())
        return Lock(str(told["key"]), tuple(told["lines"]), tuple(told["changes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _locked(asked: Asked, tell: Tell) -> Lock:
    changes = list(asked.changes)
    if asked.python is not None and not fits(asked.python, platform.python_version()):
        told = re.sub(r"==(.*)\.\*", r"=\1", asked.python)
        changes.append(
            f"python{told} → {platform.python_version()}: what is trained has to be opened by"
            " the Python that serves it"
        )
    lines, more = _Resolver(tell).resolve(asked.lines, asked.conda) if asked.lines else ((), ())
    text = "\n".join(("codeset", platform.python_version(), platform.machine(), *lines))
    key = hashlib.sha256(text.encode()).hexdigest()[:24]
    return Lock(key, lines, (*changes, *more))


def fits(spec: str, python: str) -> bool:
    """Whether an interpreter of version `python` is what `spec` asks for, such as
    `>=3.8,<3.12` or `==3.6.*`; what can't be understood isn't."""
    here = _numbers(python)
    for part in spec.split(","):
        match = re.fullmatch(r"([<>=!~]+)\s*([0-9][0-9.]*?)(\.\*)?", part.strip())
        if match is None:
            return False
        wanted = _numbers(match[2])
        begins = here[: len(wanted)] == wanted
        same = begins if match[3] else here == (*wanted, *(0,) * (len(here) - len(wanted)))
        verdicts = {
            "==": same,
            "===": same,
            "!=": not same,
            ">=": here >= wanted,
            ">": here > wanted and not begins,
            "<=": here <= wanted or begins,
            "<": here < wanted,
            "~=": here >= wanted and here[: len(wanted) - 1] == wanted[:-1],
        }
        if not verdicts.get(match[1], False):
            return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", text)[:3])


@dataclass(frozen=True, slots=True)
class _Way:
    """How one requirement is asked for, and why not as it was."""

    line: str
    why: str = ""
    source: bool = False  # no release of it has a wheel


class _Resolver:
    def __init__(self, tell: Tell) -> None:
        found = uv()
        if found is None:
            raise Unavailable(
                "uv isn't installed; it locks the environments of codesets.",
                "pip install uv",
                code="environment.no_uv",
            )
        self._uv = found
        self._tell = tell
        self._said = ""

    def resolve(
        self, lines: Sequence[str], conda: Collection[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Exact versions of `lines` and all that they need; and what was changed."""
        found = self._whole(lines)
        if found is not None:
            return found, ()
        self._tell("not everything can be had as it is written; looking for what is nearest")
        self._reached()
        ways = [self._way(line, line in conda) for line in lines]
        source = any(way.source for way in ways)
        for weaken in (lambda way: way, _open_ended, _any_version):
            tried = [weaken(way) for way in ways]
            wanted = [way.line for way in tried if way.line]
            found = self._whole(wanted, source=source)
            if found is not None:
                return found, tuple(_changes(lines, tried, found))
        raise InvalidInput(
            f"The packages can't be had together: {self._said}",
            "Correct the codeset's file; `details` has uv's whole answer.",
            code="environment.unsolvable",
            details={"uv": self._said, "lines": list(lines)},
        )

    def _whole(self, lines: Sequence[str], *, source: bool = False) -> tuple[str, ...] | None:
        """As `_compile`; where setuptools comes along unasked, one that still has the
        pkg_resources that old releases import: MLflow 1, TensorBoard until 2.13."""
        found = self._compile(lines, source=source)
        named = {_canonical(_name(line)) for line in lines}
        brought = found is not None and any(line.startswith("setuptools==") for line in found)
        if not brought or "setuptools" in named:
            return found
        return self._compile([*lines, _PKG_RESOURCES], source=source) or found

    def _way(self, line: str, conda: bool) -> _Way:
        """The nearest that can be had of one requirement, alone."""
        if self._compile([line], deps=False) is not None:
            return _Way(line)
        name = _name(line)
        newest = self._compile([name], deps=False)
        if newest is None:
            return self._without_wheel(line, name, conda)
        pin = _PIN.search(line)
        own = _own(name)
        why = f"there is no wheel of that for Python {platform.python_version()}"
        if pin is None:
            return _Way(newest[0], why)
        later = f"{name}>={pin[1]}"
        if own is not None and self._compile([f"{name}=={own}", later], deps=False):
            # A model is opened by the library that serves it: the same is best.
            return _Way(f"{name}=={own}", why)
        nearest = self._compile([later], deps=False, lowest=True)
        return _Way((nearest or newest)[0], why)

    def _without_wheel(self, line: str, name: str, conda: bool) -> _Way:
        if self._compile([line], deps=False, source=True) is not None:
            return _Way(line, source=True)
        if self._compile([name], deps=False, source=True) is not None:
            return _Way(name, "that version can't be had", source=True)
        if conda:
            return _Way("", "conda alone has it, and no index")
        raise InvalidInput(
            f"No index has {name!r}.",
            "Correct its name in the codeset's file.",
            code="environment.unknown_package",
            details={"line": line, "uv": self._said},
        )

    def _reached(self) -> None:
        """Raises `Unavailable` when it is the index that failed."""
        if re.search(
            r"(?i)failed to fetch|error sending request|network|dns|timed out", self._said
        ):
            raise Unavailable(
                f"No package index answers: {self._said[:400]}",
                "Look at the machine's network and PIP_INDEX_URL, then run the step again.",
                code="environment.no_index",
            )

    def _compile(
        self,
        lines: Sequence[str],
        *,
        deps: bool = True,
        source: bool = False,
        lowest: bool = False,
    ) -> tuple[str, ...] | None:
        """`name==version` of everything; None where there is no answer."""
        command = [
            *(self._uv, "pip", "compile", "-", "--quiet", "--no-header", "--no-annotate"),
            *("--python", sys.executable, "--no-progress", "--no-config"),
            *(() if deps else ("--no-deps",)),
            *(() if source else ("--only-binary", ":all:")),
            *(("--resolution", "lowest") if lowest else ()),
        ]
        done = subprocess.run(
            command,
            input="\n".join([*lines, ""]),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            env={**places(), **os.environ},
            cwd="/",  # no pyproject.toml or uv.toml of anybody's
            check=False,
        )
        if done.returncode != 0:
            self._said = done.stderr.strip()[-4000:]
            return None
        told = (line.partition(";")[0].strip() for line in done.stdout.splitlines())
        return tuple(sorted(line for line in told if line and not line.startswith(("#", "-"))))


def _name(line: str) -> str:
    match = _NAME.match(line)
    return match[0] if match else line


def _own(name: str) -> str | None:
    try:
        return version(name.partition("[")[0])
    except PackageNotFoundError:
        return None


def _open_ended(way: _Way) -> _Way:
    """Later versions are good too."""
    pin = _PIN.search(way.line)
    if pin is None:
        return way
    return replace(way, line=f"{_name(way.line)}>={pin[1]}", why=way.why or _TOGETHER)


def _any_version(way: _Way) -> _Way:
    line = _name(way.line) if way.line else ""
    return replace(way, line=line, why=way.why or (_TOGETHER if line != way.line else ""))


_TOGETHER = "it can't be had together with the others"


def _changes(lines: Sequence[str], ways: Sequence[_Way], found: Sequence[str]) -> list[str]:
    """What differs from what was asked for."""
    by_name = {_canonical(_name(line)): line.partition("==")[2] for line in found}
    told: list[str] = []
    for line, way in zip(lines, ways, strict=True):
        got = by_name.get(_canonical(_name(line).partition("[")[0]))
        if not way.line:
            told.append(f"{line} → nothing: {way.why}")
        elif way.why and got is not None and not _is_pinned(line, got):
            told.append(f"{line} → {got}: {way.why}")
    return told


def _is_pinned(line: str, got: str) -> bool:
    pin = _PIN.search(line)
    return pin is not None and pin[1] == got


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
