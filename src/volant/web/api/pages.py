"""Lists: one shape for all, newest first, with a cursor to go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

T = TypeVar("T")

MAX_LIMIT = 500


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: str | None = Field(description="Give it as `before` for the next page; null at the end.")


def page(found: tuple[Sequence[T], str | None]) -> Page[T]:
    """What a room's `page` verb returned."""
    items, cursor = found
    return Page[T](items=list(items), next=cursor)


def whole(items: Sequence[T]) -> Page[T]:
    """A list that is short enough to be one page."""
    return Page[T](items=list(items), next=None)


Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="At most so many items.")]
Before = Annotated[
    str | None, Query(max_length=200, description="The `next` cursor of the page before.")
]
