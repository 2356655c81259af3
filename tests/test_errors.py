from __future__ import annotations

import json

import pytest

from volant.errors import KINDS, MissingExtra, VolantError, from_dict

MADE = [kind("What.", "Do.", details={"n": 1}) for kind in KINDS.values() if kind != MissingExtra]


def subclasses(kind: type[VolantError]) -> set[type[VolantError]]:
    return {kind}.union(*(subclasses(each) for each in kind.__subclasses__()))


@pytest.mark.parametrize("error", [*MADE, MissingExtra("torch", "torch")], ids=lambda e: e.code)
def test_every_kind_crosses_a_border_as_it_is(error: VolantError) -> None:
    back = from_dict(json.loads(json.dumps(error.to_dict())))
    assert type(back) is type(error)
    assert back.to_dict() == error.to_dict()


def test_every_kind_of_the_tree_is_known() -> None:
    own = {kind for kind in subclasses(VolantError) if kind.__module__ == "volant.errors"}
    assert own == set(KINDS.values())
