"""Columns as they were told, and as the model that takes them calls them."""

from __future__ import annotations

import pytest

from volant.domain.model import Field
from volant.errors import InvalidInput
from volant.formats.column_names import in_order


def fields(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, "number") for name in names)


@pytest.mark.parametrize(
    "names", [(), ("Column_0", "Column_1"), ("f0", "f1"), ("x0", "x1")], ids=str
)
def test_made_up_names_are_places(names: tuple[str, ...]) -> None:
    assert in_order(names, fields("area", "rooms")) == fields("area", "rooms")


@pytest.mark.parametrize(
    "names",
    [("f1", "f2"), ("x1", "x2"), ("f1", "f0"), ("f0", "x1"), ("f00", "f01"), ("Column_1",)],
    ids=str,
)
def test_names_that_only_look_made_up_are_a_persons(names: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match="told are area, rooms"):
        in_order(names, fields("area", "rooms"))


@pytest.mark.parametrize("names", [("f0", "f1"), ("x0", "x1")], ids=str)
def test_scikit_learn_makes_no_names_up(names: tuple[str, ...]) -> None:
    told = fields("area", "rooms")
    with pytest.raises(InvalidInput, match="told are area, rooms"):
        in_order(names, told, estimator=True)
    assert in_order(("Column_0", "Column_1"), told, estimator=True) == told  # LightGBM's does
    assert in_order((), told, estimator=True) == told
