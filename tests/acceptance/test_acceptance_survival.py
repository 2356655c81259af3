"""Trainings that lose their machine: killed, told to end, struck by the simulator."""

from __future__ import annotations

import itertools
import os
import signal

import pytest
from descent import Descent
from platform_process import own, table, wait_for, write_csv

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def platform(platforms):
    started = platforms().start(VOLANT_PRICE_PER_HOUR="3600", VOLANT_CHECKPOINT_EVERY_S="0.2")
    yield started
    started.down()


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def newest(platform, loop):
    """The loop's newest run, once it has ended."""
    return platform.finished(platform.items("/runs", loop=loop.name)[0]["id"])


def restarts(taken):
    """(last step of a process, first of the next) at each restart."""
    return [(a[1], b[1]) for a, b in itertools.pairwise(taken) if a[0] != b[0]]


def test_a_killed_training_goes_on_from_its_checkpoint_to_the_same_model(platform, tmp_path):
    file = write_csv(tmp_path / "rows.csv", table(80, seed=1))
    calm = Descent(platform, own("calm"), pause=0.0)
    calm.apply()
    platform.turn(calm.name, calm.name, file)
    loop = Descent(platform, own("killed"), holds=[17, 38])
    loop.apply()
    platform.push(loop.name, file)
    for number, step in ((signal.SIGKILL, 17), (signal.SIGTERM, 38)):
        wait_for(f"step {step}", lambda step=step: loop.past(step - 1))
        pid = loop.taken[-1][0]
        os.kill(pid, number)
        wait_for("its end", lambda pid=pid: not lives(pid))
        loop.let(step)
    run = newest(platform, loop)
    assert run["state"]["status"] == "succeeded", run
    assert loop.weights == calm.weights  # to the last bit
    assert restarts(loop.taken) == [(17, 11), (38, 31)]  # (last, first of the next)
    (train,) = (s for s in run["state"]["steps"] if s["name"] == "train")
    told = train["outputs"]["survived"]
    assert [a["ended"] for a in told["attempts"]] == ["preempted", "preempted", "succeeded"]
    assert told["preemptions"] == 2
    assert told["spared_cost"] == pytest.approx(told["spared_s"], abs=0.01)  # 1 a second
    assert told["spared_s"] > 0.3
    assert (
        "Step train took 3 attempts and lost its machine 2 times"
        in platform.cli("why", loop.name).out
    )
    assert "Resumed from checkpoint" in platform.cli("logs", run["id"], "--step", "train").out
    wait_for("no checkpoint", lambda: loop.stored() == [])


def test_a_retry_of_a_failed_run_goes_on_from_its_checkpoint(platform, tmp_path):
    file = write_csv(tmp_path / "rows.csv", table(80, seed=2))
    loop = Descent(platform, own("failed"), asks=False)
    broken = loop.folder / "train.py"
    flag = tmp_path / "mended"
    told = (
        f"            if step == 45 and not Path({str(flag)!r}).exists(): raise OSError('gone')\n"
    )
    text = broken.read_text()
    broken.write_text(text.replace("            step += 1\n", "            step += 1\n" + told))
    loop.apply()
    platform.push(loop.name, file)
    wait_for("the run", lambda: platform.items("/runs", loop=loop.name))
    run = newest(platform, loop)
    assert run["state"]["status"] == "failed"
    flag.touch()
    again = platform.finished(platform.post(f"/runs/{run['id']}/retry")["id"])
    assert again["state"]["status"] == "succeeded", again
    ((last, first),) = restarts(loop.taken)
    assert (last, first) == (44, 41)
    wait_for("no checkpoint", lambda: loop.stored() == [])
