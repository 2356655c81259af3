"""Machines that are taken away: by the simulator, and by hand."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time

import pytest

from volant.adapters.local.compute import LocalCompute
from volant.adapters.local.spot import Spot
from volant.adapters.local.zygote import ZygoteLauncher
from volant.domain.job import Job, JobStatus
from volant.testing.compute_contract import texts

ENTRIES = """
import os, signal, sys, time
def saves(inputs, context):
    def save(*_):
        (context.workdir / "saved").touch(); sys.exit(0)
    signal.signal(signal.SIGTERM, save)
    (context.workdir / "started").write_text(str(os.getpid()))
    while True: time.sleep(0.01)
def stubborn(inputs, context):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (context.workdir / "started").write_text(str(os.getpid()))
    while True: time.sleep(0.01)
def short(inputs, context): return {"done": True}
"""


@pytest.fixture(scope="module")
def launcher():
    launcher = ZygoteLauncher({"light": ("json",)})
    yield launcher
    launcher.close()


@pytest.fixture
def job(tmp_path):
    (tmp_path / "entries.py").write_text(ENTRIES)

    def make(entry: str | None = None, **changes) -> Job:
        work = tmp_path / "work"
        fields = {
            "id": "j", "step": "s", "run_id": "r", "attempt": 1, "workdir": work,
            "log_path": work / "log.jsonl", "inputs": {}, "profile": "light",
            "entry": entry and f"entries:{entry}", "env": {"PYTHONPATH": str(tmp_path)},
            "preemptible": True,
        }  # fmt: skip
        return Job(**{**fields, **changes})

    return make


def until(look):
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def during(compute, job, act):
    """Run the job; once it has started, `act`."""
    started = job.workdir / "started"

    def then():
        until(lambda: started.exists() and started.read_text().strip())
        act(int(started.read_text()))

    thread = threading.Thread(target=then, daemon=True)
    thread.start()
    result = compute.run(job)
    thread.join()
    return result


def test_the_simulator_strikes_what_may_be_struck(launcher, job):
    compute = LocalCompute(launcher, spot=Spot(0.05))
    result = compute.run(job("saves"))
    assert result.status is JobStatus.LOST
    assert "its machine was taken away" in result.error["what"]
    assert compute.run(job("short", preemptible=False)).outputs == {"done": True}
    compute.close()


def test_strikes_are_drawn_by_the_seed(job):
    first = [Spot(20.0, 1).strikes_after(job(attempt=n)) for n in range(2000)]
    assert first == [Spot(20.0, 1).strikes_after(job(attempt=n, id="x")) for n in range(2000)]
    assert first != [Spot(20.0, 2).strikes_after(job(attempt=n)) for n in range(2000)]
    # Exponential: mean and standard deviation are the same, 20 s; 2000 draws err by 0.45.
    assert statistics.mean(first) == pytest.approx(20.0, abs=2.0)
    assert statistics.stdev(first) == pytest.approx(20.0, abs=3.0)


def test_a_preempted_job_has_its_grace_and_not_more(launcher, job):
    compute = LocalCompute(launcher, preempt_grace_s=0.3)
    result = during(compute, job("saves"), lambda _pid: compute.preempt("r"))
    assert result.status is JobStatus.LOST
    assert (job().workdir / "saved").exists()
    (job().workdir / "started").unlink()
    result = during(compute, job("stubborn"), lambda _pid: compute.preempt("r"))
    assert (result.status, result.exit_code) == (JobStatus.LOST, -signal.SIGKILL)
    log = texts(job(), "volant")
    assert "The machine is taken away: SIGTERM, and SIGKILL in 0.3 s." in log
    compute.close()


def test_a_cancellation_doesnt_wait_for_the_grace(launcher, job):
    compute = LocalCompute(launcher, grace_s=0.1, preempt_grace_s=600.0)

    def both(_pid):
        compute.preempt("r")
        until(lambda: any("taken away" in text for text in texts(job(), "volant")))
        compute.cancel("r")

    assert during(compute, job("stubborn"), both).status is JobStatus.CANCELLED
    compute.close()


@pytest.mark.parametrize("command", ["trap 'exit 143' TERM", "true"])
def test_a_command_that_was_told_to_end_is_lost_not_failed(launcher, job, command):
    compute = LocalCompute(launcher)
    script = f"{command}; echo $$ > started; while :; do sleep 0.05; done"
    result = during(compute, job(command=script), lambda pid: os.kill(pid, signal.SIGTERM))
    assert result.status is JobStatus.LOST, result
    compute.close()
