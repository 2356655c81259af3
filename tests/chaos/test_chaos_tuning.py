"""Kill −9 at each point of a search, start again: every trial is there, once."""

from __future__ import annotations

import pytest
from effects import push_until_settled, run_until_ended
from platform_process import own, table, write_csv
from searching import check_search, searching_loop

from volant.faults import CRASH_POINTS

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


@pytest.mark.parametrize("point", [name for name in CRASH_POINTS if name.startswith("tune.")])
def test_killed_at_a_point_of_a_search_every_trial_is_there_once(platforms, point):
    platform = platforms()
    crashed, wine = platform.folder / "crashed", own("wine")
    platform.start(VOLANT_CRASH_AT=point, VOLANT_CRASH_ONCE=str(crashed))
    searching_loop(platform, wine)
    file = write_csv(platform.folder / "1.csv", table(100, seed=1))
    push = push_until_settled(platform, wine, file, key="once")
    run = run_until_ended(platform, wine, push["version"])
    assert crashed.exists(), f"{point} wasn't passed"
    check_search(platform, run, wine)
    platform.down()
