"""Tables fit any terminal, and nothing is cut where no terminal is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from volant.cli.tables import cells, table_lines

ROWS = [
    ["run-8d4f0e3646ebcd367d57d9e8", "succeeded", "a long sentence of a reason " * 3],
    ["run-2", "failed", "short"],
]


def lines(width, color=False):
    return list(table_lines(("run", "status", "reason"), ROWS, width, color))


def test_without_a_terminal_nothing_is_cut():
    found = lines(None)
    assert found[0].split() == ["RUN", "STATUS", "REASON"]
    assert found[1].endswith("sentence of a reason")
    assert found[1].index("succeeded") == found[2].index("failed") == found[0].index("STATUS")


def test_the_widest_column_gives_way_and_the_first_never():
    found = lines(60)
    assert max(map(cells, found)) <= 60
    assert found[1].startswith(ROWS[0][0] + "  succeeded  a long")
    assert found[1].endswith("…")


def test_a_terminal_too_narrow_for_columns():
    assert lines(30)[:3] == [
        "RUN     run-8d4f0e3646ebcd367d57d9e8",
        "STATUS  succeeded",
        "REASON  " + ROWS[0][2].rstrip(),
    ]


def test_colors_are_no_width():
    assert "\x1b[32msucceeded\x1b[0m" in lines(100, color=True)[1]


def test_wide_characters():
    found = list(table_lines(("a", "b"), [["葡萄酒", "x"], ["e\u0301", "y"]], 40, False))
    assert [cells(line) for line in found] == [9, 9, 9]


@given(
    st.lists(
        st.tuples(*[st.text(st.characters(exclude_categories=["C", "Z"]), max_size=30)] * 3),
        min_size=1,
        max_size=5,
    ),
    st.integers(min_value=20, max_value=120),
)
def test_lines_fit_or_become_blocks(rows, width):
    found = list(table_lines(("one", "two", "three"), rows, width, False))
    if "TWO" not in found[0]:
        return
    assert all(cells(line) <= width for line in found)
