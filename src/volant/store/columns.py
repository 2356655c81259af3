"""What every table is made of: the metadata and the kinds of columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from volant.domain.project import DEFAULT_PROJECT
from volant.store.types import Member, Sequence64, Stored, Utc

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

JSON_OBJECT = Mapping[str, Any]
CASCADE = "CASCADE"


def seq() -> sa.Column[int]:
    return sa.Column("seq", Sequence64, primary_key=True, autoincrement=True)


def text(name: str, *args: Any, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, *args, nullable=options.pop("nullable", False), **options)


def project() -> sa.Column[str]:
    """Of which project it is. The default one has no row of its own, so nothing points at it:
    whoever inserts looks whether it is there, and its deletion looks whether anything is in it."""
    return text("project", server_default=sa.text(f"'{DEFAULT_PROJECT}'"))


def maybe(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text)


def count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def time(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, Utc, nullable=nullable)


def json(
    name: str, kind: Any = JSON_OBJECT, *, nullable: bool = False, ordered: bool = False
) -> sa.Column[Any]:
    return sa.Column(name, Stored(kind, ordered=ordered), nullable=nullable)


def member(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, Member(kind), nullable=False)
