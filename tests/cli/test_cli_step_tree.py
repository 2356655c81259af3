"""The tree of a run's steps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from volant.cli.step_tree import tree


def specs(**needs):
    return [{"name": name, "needs": list(needed)} for name, needed in needs.items()]


def drawn(found):
    return [left + name for left, name in tree(found)]


def test_a_chain_is_a_list():
    assert drawn(specs(a="", b="a", c="b")) == ["a", "b", "c"]


def test_branches_and_what_joins_them():
    assert drawn(specs(a="", b="a", c="a", d="bc", e="d")) == ["a", "├─ b", "└─ c", "d", "e"]


def test_a_branch_that_goes_on_and_one_that_splits():
    assert drawn(specs(a="", b="a", c="b", d="a", e="d", f="d", g="ef")) == [
        *("a", "├─ b", "│  c", "└─ d", "   ├─ e", "   └─ f", "   g")
    ]


def test_several_roots():
    assert drawn(specs(a="", b="", c="ab")) == ["├─ a", "└─ b", "c"]


def test_what_an_expression_refers_to_is_needed_too():
    found = specs(a="", b="")
    found[1]["inputs"] = {"x": "{{ steps.a.outputs.o }}"}
    found[1]["after"] = ["gone"]
    assert drawn(found) == ["a", "b"]


def test_nothing():
    assert tree([]) == []


@given(st.lists(st.sets(st.integers(0, 11)), max_size=12))
def test_every_step_comes_once_and_after_what_it_needs(wanted):
    found = specs(**{f"s{n}": [f"s{m}" for m in needs if m < n] for n, needs in enumerate(wanted)})
    order = [name for _, name in tree(found)]
    assert sorted(order) == sorted(spec["name"] for spec in found)
    for spec in found:
        assert all(order.index(need) < order.index(spec["name"]) for need in spec["needs"])


@given(st.lists(st.sets(st.integers(0, 5)), max_size=6))
def test_even_a_circle_is_drawn(wanted):
    found = specs(**{f"s{n}": [f"s{m}" for m in needs] for n, needs in enumerate(wanted)})
    assert len(tree(found)) <= len(found)
