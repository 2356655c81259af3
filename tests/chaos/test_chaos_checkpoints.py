"""The platform dies at every point of a checkpoint's life, its machine is taken away at
random: the training ends with the same model, and nothing stays behind."""

from __future__ import annotations

import contextlib

import httpx
import pytest
from descent import Descent
from platform_process import Died, own, table, wait_for, write_csv

from volant.faults import CRASH_POINTS

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

POINTS = [point for point in CRASH_POINTS if point.startswith("checkpoint.")]


def finished(platform, loop):
    def look():
        items = platform.items("/runs", loop=loop.name)
        ended = items and items[0]["state"]["status"] in ("succeeded", "failed")
        return items[0] if ended else None

    return wait_for(f"the run of {loop.name}", look)


def revived(platform, crashed):
    """Start the platform again once it has died at its point."""
    wait_for("the crash", crashed.exists)
    wait_for("the platform's end", platform.ended)
    platform.start()


@pytest.fixture(scope="module")
def calm(platforms, tmp_path_factory):
    """The weights that nothing disturbed."""
    folder = tmp_path_factory.mktemp("calm")
    platform = platforms().start()
    loop = Descent(platform, own("calm"), pause=0.0)
    loop.apply()
    platform.turn(loop.name, loop.name, write_csv(folder / "calm.csv", table(80, seed=1)))
    platform.down()
    return loop.weights


@pytest.mark.parametrize("point", POINTS)
def test_the_platform_dies_at_a_point_of_a_checkpoints_life(platforms, calm, point, tmp_path):
    platform = platforms()
    crashed = platform.folder / "crashed"
    first = point == "checkpoint.restored"
    if first:  # passed only by an attempt that finds a checkpoint
        platform.start()
    else:
        platform.start(VOLANT_CRASH_AT=point, VOLANT_CRASH_ONCE=str(crashed))
    loop = Descent(platform, own("dies"))
    loop.apply()
    platform.push(loop.name, write_csv(tmp_path / "rows.csv", table(80, seed=1)))
    if first:
        wait_for("a checkpoint", lambda: loop.past(25))
        platform.process.kill()
        wait_for("the platform's end", platform.ended)
        with contextlib.suppress(Died, httpx.HTTPError):  # it may die while it starts
            platform.start(VOLANT_CRASH_AT=point, VOLANT_CRASH_ONCE=str(crashed))
    revived(platform, crashed)
    run = finished(platform, loop)
    assert run["state"]["status"] == "succeeded", run
    assert loop.weights == calm
    wait_for("no checkpoint", lambda: loop.stored() == [])
    platform.down()


def test_the_simulator_strikes_until_the_training_is_done(platforms, calm, tmp_path):
    platform = platforms().start(
        VOLANT_SPOT_EVERY_S="2", VOLANT_SPOT_SEED="4", VOLANT_PREEMPT_GRACE_S="0.5"
    )
    loop = Descent(platform, own("spot"), pause=0.1)
    loop.apply()
    platform.push(loop.name, write_csv(tmp_path / "rows.csv", table(80, seed=1)))
    run = finished(platform, loop)
    assert run["state"]["status"] == "succeeded", run
    assert loop.weights == calm
    (train,) = (s for s in run["state"]["steps"] if s["name"] == "train")
    told = train["outputs"]["survived"]
    assert told["preemptions"] >= 1
    assert told["spared_s"] > 0
    wait_for("no checkpoint", lambda: loop.stored() == [])
    platform.down()
