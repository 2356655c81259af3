"""Whose what is: asked for once where it can't change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from volant.domain.tracking import Noun
from volant.tracking import owners
from volant.tracking.owners import OwnerDesk


class Records:
    def __init__(self) -> None:
        self.stored = {"r1": "a", "r2": "b"}
        self.asked: list[list[str]] = []

    def projects(self, noun: Noun, ids: Iterable[str]) -> Mapping[str, str]:
        self.asked.append(list(ids))
        return {one: self.stored[one] for one in self.asked[-1] if one in self.stored}


def test_what_is_known_isnt_asked_again() -> None:
    records = Records()
    desk = OwnerDesk(records)
    assert desk.projects(Noun.RUN, ["r1", "no"]) == {"r1": "a"}
    assert desk.projects(Noun.RUN, ["r1", "r2", "no"]) == {"r1": "a", "r2": "b"}
    assert desk.projects(Noun.RUN, ["r1", "r2"]) == {"r1": "a", "r2": "b"}
    assert records.asked == [["r1", "no"], ["r2", "no"]]


def test_an_id_of_another_noun_is_another() -> None:
    records = Records()
    desk = OwnerDesk(records)
    desk.projects(Noun.RUN, ["r1"])
    desk.projects(Noun.EXPERIMENT, ["r1"])
    assert len(records.asked) == 2


def test_a_models_name_may_be_anothers_by_now() -> None:
    records = Records()
    desk = OwnerDesk(records)
    assert desk.projects(Noun.MODEL, ["r1"]) == {"r1": "a"}
    records.stored["r1"] = "b"
    assert desk.projects(Noun.MODEL, ["r1"]) == {"r1": "b"}


def test_not_everything_is_remembered(monkeypatch) -> None:
    monkeypatch.setattr(owners, "_MOST", 3)
    records = Records()
    records.stored = {str(n): "a" for n in range(10)}
    desk = OwnerDesk(records)
    for n in range(10):
        assert desk.projects(Noun.RUN, [str(n)]) == {str(n): "a"}
    assert len(desk._known) <= 3
