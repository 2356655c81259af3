"""Semantic versions and constraints on them (https://semver.org, 2.0.0).

The constraints are those of npm and of Go's Masterminds/semver, which FuseML's manifests
use: `>=1.2, <2`, `^1.4`, `~1.4`, `1.x`, `1.2 - 2.3`, `!=1.5`, with `||` between
alternatives. PEP 440's specifiers (`packaging`) know neither of `^`, `||`, `x`, mean another
thing by `~=`, and order pre-releases differently, so they can't stand in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import total_ordering

_VERSION = re.compile(
    r"[vV]?(0|[1-9]\d{0,17})(?:\.(0|[1-9]\d{0,17}))?(?:\.(0|[1-9]\d{0,17}))?"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
_PARTIAL = re.compile(
    r"[vV]?(\*|[xX]|\d{1,18})(?:\.(\*|[xX]|\d{1,18}))?(?:\.(\*|[xX]|\d{1,18}))?"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-.]+)?",
    re.ASCII,
)
_TERM = re.compile(r"(>=|=>|<=|=<|!=|~>|==|[=><~^])?\s*([^\s<>=!~^|]+)")
_TERMS = re.compile(rf"\s*(?:{_TERM.pattern}(?:\s+|$))+")
_HYPHEN = re.compile(r"(\S+)\s+-\s+(\S+)")
_MOST = 500  # characters
_SAME = {"=>": ">=", "=<": "<=", "~>": "~", "==": "=", "": "="}


@total_ordering
@dataclass(frozen=True, slots=True, eq=True)
class Version:
    """One version. What comes after `+` doesn't matter and isn't kept."""

    major: int
    minor: int = 0
    patch: int = 0
    pre: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Version | None:
        """`v1.2.3-rc.1+build`, of which only the first number must be there; None for
        anything else."""
        found = _VERSION.fullmatch(text.strip())
        if found is None:
            return None
        major, minor, patch, pre = found.groups()
        parts = tuple(pre.split(".")) if pre else ()
        if any(len(part) > 1 and part[0] == "0" and _number(part) for part in parts):
            return None  # the specification allows no leading zeros
        return cls(int(major), int(minor or 0), int(patch or 0), parts)

    @property
    def core(self) -> tuple[int, int, int]:
        return self.major, self.minor, self.patch

    def __lt__(self, other: Version) -> bool:
        return self._order() < other._order()

    def _order(self) -> tuple[object, ...]:
        # A release comes after all of its pre-releases; numbers before words.
        words = [(0, int(p), "") if _number(p) else (1, 0, p) for p in self.pre]
        return (self.core, not self.pre, words)

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        return f"{text}-{'.'.join(self.pre)}" if self.pre else text


@dataclass(frozen=True, slots=True)
class _Bound:
    """`op` is one of >= > < <= and !=, which excludes all that has the first `given`
    numbers of `version`."""

    op: str
    version: Version
    given: int = 3

    def holds(self, version: Version) -> bool:
        if self.op == ">=":
            return version >= self.version
        if self.op == ">":
            return version > self.version
        if self.op == "<":
            return version < self.version
        if self.op == "<=":
            return version <= self.version
        same = version.core[: self.given] == self.version.core[: self.given]
        return not same or (self.given == 3 and version.pre != self.version.pre)


@dataclass(frozen=True, slots=True)
class Constraint:
    """Alternatives, each of bounds that must all hold."""

    alternatives: tuple[tuple[_Bound, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Raises `ValueError`, which names the part that isn't one."""
        if len(text) > _MOST:
            raise ValueError(f"{text[:40]!r}… is longer than a constraint needs")
        return cls(tuple(_bounds(part) for part in text.split("||")))

    def allows(self, version: Version) -> bool:
        """Whether one alternative holds. A pre-release does so only where a bound of the
        same number names one (npm's rule): who asks for `>=1.2` means releases."""
        return any(
            all(bound.holds(version) for bound in bounds)
            and (not version.pre or any(_names(bound, version) for bound in bounds))
            for bounds in self.alternatives
        )


def satisfies(version: str, wanted: str) -> bool:
    """Whether a version is the one `wanted`, or within it. What isn't semantic, of either,
    is only ever equal."""
    if version == wanted:
        return True
    parsed = Version.parse(version)
    try:
        return parsed is not None and Constraint.parse(wanted).allows(parsed)
    except ValueError:
        return False


def problem(wanted: str) -> str | None:
    """Why `wanted` can't be read, None if it can; it may be any version's text, but what
    has an operator in it must be a constraint."""
    try:
        Constraint.parse(wanted)
    except ValueError as error:
        return str(error) if set(wanted) & set("<>=~^|!,*") else None
    return None


def _number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _names(bound: _Bound, version: Version) -> bool:
    return bool(bound.version.pre) and bound.version.core == version.core


def _bounds(text: str) -> tuple[_Bound, ...]:
    body = text.strip()
    hyphen = _HYPHEN.fullmatch(body)
    if hyphen is not None:
        low, high = (_partial(each) for each in hyphen.groups())
        return (*_OPERATORS[">="](low), *_OPERATORS["<="](high))
    found: list[_Bound] = []
    for part in body.split(","):
        terms = _TERMS.fullmatch(part)
        if terms is None:
            raise ValueError(f"{part.strip()!r} is no constraint on versions")
        for term in _TERM.finditer(part):
            operator, version = str(term[1] or ""), str(term[2])
            found += _OPERATORS[_SAME.get(operator, operator)](_partial(version))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Partial:
    """A version of which the last numbers may be missing: `given` of them are there."""

    low: Version
    given: int

    def after(self, kept: int) -> Version:
        """The first release that differs in the first `kept` numbers, at least one."""
        core = [*self.low.core[:kept], 0, 0]
        core[kept - 1] += 1
        return Version(core[0], core[1], core[2])


def _partial(text: str) -> _Partial:
    match = _PARTIAL.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no version")
    *numbers, pre = match.groups()
    known = [int(number) if number and number.isdecimal() else None for number in numbers]
    given = known.index(None) if None in known else 3
    if any(number is not None for number in known[given:]) or (pre and given < 3):
        raise ValueError(f"{text!r} is no version")
    core = [number or 0 for number in known]
    return _Partial(Version(core[0], core[1], core[2], tuple(pre.split(".")) if pre else ()), given)


_NOTHING = _Bound("!=", Version(0), 0)


def _between(partial: _Partial, kept: int) -> list[_Bound]:
    """From it on, as long as the first `kept` numbers stay."""
    upto = [_Bound("<", partial.after(kept))] if kept else []
    return [_Bound(">=", partial.low), *upto]


def _equal(partial: _Partial) -> list[_Bound]:
    if partial.given == 3:
        return [_Bound(">=", partial.low), _Bound("<=", partial.low)]
    return _between(partial, partial.given)


def _above(partial: _Partial) -> list[_Bound]:
    if partial.given == 3:
        return [_Bound(">", partial.low)]
    return [_Bound(">=", partial.after(partial.given)) if partial.given else _NOTHING]


def _at_most(partial: _Partial) -> list[_Bound]:
    if partial.given == 3:
        return [_Bound("<=", partial.low)]
    return [_Bound("<", partial.after(partial.given))] if partial.given else []


def _caret(partial: _Partial) -> list[_Bound]:
    """Up to the first number that isn't zero, or the last that was given."""
    core = partial.low.core[: partial.given]
    first = next((index for index, number in enumerate(core) if number), len(core) - 1)
    return _between(partial, first + 1)


_OPERATORS: dict[str, Callable[[_Partial], list[_Bound]]] = {
    "=": _equal,
    "!=": lambda partial: [_Bound("!=", partial.low, partial.given)],
    ">": _above,
    ">=": lambda partial: [_Bound(">=", partial.low)],
    "<": lambda partial: [_Bound("<", partial.low) if partial.given else _NOTHING],
    "<=": _at_most,
    "~": lambda partial: _between(partial, min(partial.given, 2)),
    "^": _caret,
}
