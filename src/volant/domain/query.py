"""The search language of MLflow: comparisons joined by AND, and orders.

The language: https://mlflow.org/docs/latest/ml/search/search-runs/. A filter becomes
comparisons, never SQL text: whatever a client writes can only ever be a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from volant.errors import InvalidInput
from volant.yamltext.problems import nearest

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^']|'')*')
    | (?P<name>(?:[^\W\d]\w*)(?:\.(?:`[^`]*`|"[^"]*"|[\w.\-/]+))?
              |`[^`]*`(?:\.(?:`[^`]*`|"[^"]*"|[\w.]+))?)
    | (?P<quoted>"[^"]*")
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<sign><=|>=|!=|<>|=|<|>)
    | (?P<mark>[(),])
    )""",
    re.VERBOSE,
)
_SIGNS = frozenset({"=", "!=", "<", "<=", ">", ">="})
_EQUAL = frozenset({"=", "!="})
_TEXT = _EQUAL | {"LIKE", "ILIKE"}
_LISTS = frozenset({"IN", "NOT IN"})
_NULLS = frozenset({"IS NULL", "IS NOT NULL"})
_MOST = 20_000  # characters of a filter
_MOST_COMPARISONS = 200

Value = str | int | float | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """`entity.key op value`; `op` in upper case, `value` a tuple for IN and NOT IN."""

    entity: str
    key: str
    op: str
    value: Value


@dataclass(frozen=True, slots=True)
class MeasuredOn:
    """The dataset of a metric, by its name and its digest."""

    name: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """`on`: only what was measured on it counts, where the entity is a metric; of None in it,
    on any."""

    entity: str
    key: str
    descending: bool = False
    on: MeasuredOn = MeasuredOn()


@dataclass(frozen=True, slots=True)
class Search:
    """One page of a search: `limit` rows after `offset`, of those whose lifecycle is one
    of `lifecycles` and whose project is `project` (where the noun has one; None: any).
    `datasets`: only metrics that were measured on one of them count, and there must be one;
    a digest of None is that of a dataset that was logged without one."""

    where: tuple[Comparison, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int = 1000
    offset: int = 0
    lifecycles: tuple[str, ...] = ("active",)
    project: str | None = None
    datasets: tuple[MeasuredOn, ...] = ()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What may be searched. `entities` maps every spelling to its entity; `texts` and
    `numbers` are the attributes; keys of the entities in `free` are the users' own.
    `aliases` are other spellings of attributes."""

    entities: Mapping[str, str]
    texts: frozenset[str]
    numbers: frozenset[str]
    free: Mapping[str, str] = field(
        default_factory=lambda: {"metric": "number", "param": "text", "tag": "text"}
    )
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    fixed: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])

    def resolve(self, written: str) -> tuple[str, str, str]:
        """entity, key and kind (text or number) of a name as it was written."""
        head, dot, tail = _bare_split(written)
        if not dot:
            entity, key = "attribute", head
        else:
            found = self.entities.get(head)
            if found is None:
                raise _wrong(
                    f"Invalid entity type {head!r} in the search.", head, list(self.entities)
                )
            entity, key = found, tail
        if entity in self.free:
            return entity, key, self.free[entity]
        key = self.aliases.get(key, key)
        if entity in self.fixed:
            if key not in self.fixed[entity]:
                raise _wrong(f"Invalid {entity} key {key!r}.", key, sorted(self.fixed[entity]))
            return entity, key, "text"
        if key in self.numbers:
            return entity, key, "number"
        if key in self.texts:
            return entity, key, "text"
        raise _wrong(f"Invalid attribute key {key!r}.", key, sorted(self.texts | self.numbers))


def _bare_split(written: str) -> tuple[str, str, str]:
    head, dot, tail = written.partition(".")
    if re.match(r"""(?s)([`"]).*\1""", written):
        end = written.index(written[0], 1)
        head, rest = written[1:end], written[end + 1 :]
        dot, tail = rest[:1], rest[1:]
    return head, dot, _unquoted(tail)


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "`\"'" else text


def parse_filter(text: str | None, words: Vocabulary) -> tuple[Comparison, ...]:
    """The comparisons of a filter, all of which must hold.

    Raises:
        InvalidInput: what can't be read, with the place and the nearest name.
    """
    if text is None or not text.strip():
        return ()
    if len(text) > _MOST:
        raise InvalidInput(
            f"The filter has {len(text)} characters.",
            f"Write at most {_MOST}.",
            code="search_filter",
        )
    return _Reader(text, words).comparisons()


def parse_order(items: list[str] | None, words: Vocabulary) -> tuple[Order, ...]:
    """The orders of a search: `metrics.rmse DESC`, `start_time`, …"""
    if len(items or ()) > _MOST_COMPARISONS or any(len(item) > _MOST for item in items or ()):
        raise InvalidInput(
            "The order_by has too many clauses, or one that is too long.",
            f"Write at most {_MOST_COMPARISONS}, of at most {_MOST} characters.",
            code="search_order",
        )
    return tuple(_order(item, words) for item in items or ())


def named_order(
    name: str, words: Vocabulary, *, descending: bool = False, on: MeasuredOn | None = None
) -> Order:
    """The order by a name that stands alone: it may have spaces in it without quotes."""
    if len(name) > _MOST:
        raise InvalidInput(
            f"The order's name has {len(name)} characters.",
            f"Write at most {_MOST}.",
            code="search_order",
        )
    entity, key, _ = words.resolve(name)
    return Order(entity, key, descending, on or MeasuredOn())


def _order(item: str, words: Vocabulary) -> Order:
    text, descending = item.strip(), False
    found = re.fullmatch(r"(?s)(.*\S)\s+(asc|desc)", text, re.IGNORECASE)
    if found is not None:
        text, descending = found[1], found[2].lower() == "desc"
    tokens = [m for m in _tokens(text) if m[0] != "end"]
    if len(tokens) != 1 or tokens[0][0] not in ("name", "quoted"):
        raise InvalidInput(
            f"Invalid order_by clause {_cut(repr(item))}.",
            "Write `metrics.rmse DESC`, `params.depth`, `attributes.start_time ASC`…",
            code="search_order",
        )
    entity, key, _ = words.resolve(tokens[0][1])
    return Order(entity, key, descending)


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.end() == at:
            raise InvalidInput(
                f"Invalid filter: {text[at : at + 40].strip()!r} can't be read.",
                "Write comparisons such as metrics.rmse < 0.7 and params.depth = '3'; "
                "put unusual names in backticks.",
                code="search_filter",
            )
        found.append((str(match.lastgroup), match.group(str(match.lastgroup))))
        at = match.end()
    found.append(("end", ""))
    return found


class _Reader:
    """A filter's tokens, read from left to right."""

    def __init__(self, text: str, words: Vocabulary) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._words = words

    def comparisons(self) -> tuple[Comparison, ...]:
        found = [self._comparison()]
        while self._tokens[self._at][0] != "end":
            self._word("AND", "a comparison can only be joined by AND")
            found.append(self._comparison())
            if len(found) > _MOST_COMPARISONS:
                raise self._bad(f"more than {_MOST_COMPARISONS} comparisons")
        return tuple(found)

    def _next(self) -> tuple[str, str]:
        token = self._tokens[self._at]
        self._at += token[0] != "end"
        return token

    def _word(self, wanted: str, why: str) -> None:
        kind, text = self._next()
        if kind != "name" or text.upper() != wanted:
            raise self._bad(f"expected {wanted}, got {text or 'the end'!r}: {why}")

    def _bad(self, what: str) -> InvalidInput:
        return InvalidInput(
            f"Invalid filter: {_cut(what)}.",
            "Write comparisons such as metrics.rmse < 0.7 AND params.depth = '3'.",
            code="search_filter",
        )

    def _comparison(self) -> Comparison:
        kind, text = self._next()
        if kind not in ("name", "quoted"):
            raise self._bad(f"expected a name such as metrics.rmse, got {text or 'the end'!r}")
        entity, key, sort = self._words.resolve(text)
        op = self._operator()
        if op in _NULLS:
            if entity not in ("param", "tag"):
                raise self._bad(f"{op} is for params and tags, not for {text}")
            return Comparison(entity, key, op, None)
        if op in _LISTS:
            return Comparison(entity, key, op, self._list(text, sort, op))
        if op not in (_SIGNS if sort == "number" else _TEXT):
            allowed = ", ".join(sorted(_SIGNS if sort == "number" else _TEXT))
            raise self._bad(f"{op} doesn't go with {text}; one of {allowed} does")
        return Comparison(entity, key, op, self._value(text, sort))

    def _operator(self) -> str:
        kind, text = self._next()
        if kind == "sign":
            return "!=" if text == "<>" else text
        word = text.upper()
        if kind == "name" and word in ("LIKE", "ILIKE", "IN"):
            return word
        if kind == "name" and word == "NOT":
            self._word("IN", "NOT goes with IN")
            return "NOT IN"
        if kind == "name" and word == "IS":
            if self._tokens[self._at][1].upper() == "NOT":
                self._next()
                self._word("NULL", "IS NOT goes with NULL")
                return "IS NOT NULL"
            self._word("NULL", "IS goes with NULL")
            return "IS NULL"
        raise self._bad(f"expected a comparison operator, got {text or 'the end'!r}")

    def _value(self, name: str, sort: str) -> str | int | float:
        kind, text = self._next()
        if sort == "number":
            if kind != "number":
                raise self._bad(f"expected a number for {name}, got {text or 'the end'}")
            whole = re.fullmatch(r"[+-]?\d{1,18}", text)  # no store compares more exactly
            return int(text) if whole else float(text)
        return self._text(kind, text, name)

    def _text(self, kind: str, text: str, name: str) -> str:
        if kind == "string":
            return text[1:-1].replace("''", "'")
        if kind == "quoted":
            return text[1:-1]
        raise self._bad(f"expected a quoted string for {name} (e.g. 'my-value'), got {text!r}")

    def _list(self, name: str, sort: str, op: str) -> tuple[str, ...]:
        if sort == "number":
            raise self._bad(f"{op} doesn't go with {name}")
        if self._next()[1] != "(":
            raise self._bad(f"expected a list after {op}, as in {name} {op} ('a', 'b')")
        found = [self._text(*self._next(), name)]
        while (mark := self._next()[1]) == ",":
            found.append(self._text(*self._next(), name))
        if mark != ")":
            raise self._bad(f"the list of {name} isn't closed")
        return tuple(found)


def _wrong(what: str, name: str, known: list[str]) -> InvalidInput:
    near = nearest(name, known)
    hint = f"Did you mean {near}? " if near else ""
    return InvalidInput(_cut(what), f"{hint}Valid are: {', '.join(known)}.", code="search_filter")


def _cut(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}…"
