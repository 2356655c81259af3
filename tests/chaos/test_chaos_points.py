"""Kill −9 at every named crash point, start again: every effect is there, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from effects import check, push_until_settled, run_until_ended
from platform_process import loop_file, own, table, write_csv

from volant.faults import CRASH_POINTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

BROKEN = [["tall", 0.5, 0.5, "yes"], [0.5, 0.5, 0.5, ""]]


# A loop without a rollout, questions, batches, checkpoints or a search passes none of those;
# tests/serving, test_chaos_checkpoints.py, test_chaos_tuning.py, test_chaos_steps.py,
# tests/registry and tests/acceptance have them.
ELSEWHERE = (
    "rollout.",
    "predictions.",
    "batch.",
    "checkpoint.",
    "tune.",
    "artifact.",
    "prepare.",
    "application.",
    "delete.",
    "export.",
    "extensions.",
    "import.",
    "codeset.",
    "workflow.",
    "foreach.",
    "cache.",
    "runs.",
    "step.",
    "environment.",
    "trainer.",
    "predictor.",
)
POINTS = [point for point in CRASH_POINTS if not point.startswith(ELSEWHERE)]


# Several in one life: each is one crash more on the way of the same two turns.
GROUPS = [POINTS[start::5] for start in range(5)]


@pytest.mark.parametrize("points", GROUPS, ids=" ".join)
def test_killed_at_crash_points_every_effect_is_there_once(platforms, points):
    platform = platforms()
    crashed, wine = platform.folder / "crashed", own("wine")
    platform.start(VOLANT_CRASH_AT=",".join(points), VOLANT_CRASH_ONCE=str(crashed))
    # Every model is accepted, so that the second turn replaces the first one's.
    platform.apply(loop_file(wine, more="gate: {champion: false}\n"))
    for turn in (1, 2):
        file = write_csv(platform.folder / f"{turn}.csv", [*table(100, seed=turn), *BROKEN])
        push = push_until_settled(platform, wine, file, key=f"turn {turn}")
        run_until_ended(platform, wine, push["version"])
        for point in points:
            assert Path(f"{crashed}.{point}").exists(), f"{point} wasn't passed"
        check(platform, wine, turn, rows=100 * turn, broken=2 * turn)
    platform.down()
