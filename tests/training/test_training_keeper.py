"""A real process in a step's place, its checkpoints kept while it runs and when it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from volant.adapters.local.artifacts import LocalArtifacts
from volant.domain.job import JobResult, JobStatus
from volant.errors import ResourceExhausted
from volant.training.checkpoints import Checkpoints, Place
from volant.training.keeper import Keeper
from volant.training.ledger import Ledger

LOOK_S = 0.03


class Step:
    """Attempts of one step, each a Python program."""

    def __init__(self, folder: Path, **options) -> None:
        self.artifacts = LocalArtifacts(folder / "artifacts")
        self.place = Place("run-1", "train", folder / "train")
        self.place.workdir.mkdir()
        options = {"every_s": LOOK_S, "look_s": LOOK_S, **options}
        self.keeper = Keeper(Checkpoints(self.artifacts), **options)
        self.number = 0
        self.told: dict = {}
        self.said = ""

    def attempt(self, program: str, during=lambda process: None) -> int:
        """Run `program` to its end; its exit code."""
        self.number += 1
        with self.keeper.watch(self.place, self.number) as watch:
            process = subprocess.Popen(
                [sys.executable, "-u", "-c", program],
                env={
                    **os.environ,
                    **watch.environment,
                    "VOLANT_CHECKPOINT_DIR": str(self.place.folder),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            during(process)
            self.said = process.communicate(timeout=60)[0]
            code = process.returncode
            status = JobStatus.LOST if code < 0 else JobStatus.FAILED
            result = JobResult(JobStatus.SUCCEEDED if code == 0 else status, exit_code=code)
            self.told = dict(watch.ended(result))
        return code

    def checkpoints(self):
        return Ledger.read(self.place.workdir).checkpoints

    def wait(self, look):
        deadline = time.monotonic() + 60
        while not look():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def state(self) -> str:
        """What the next attempt finds."""
        self.attempt("import sys; sys.exit(1)")
        found = self.place.folder / "state"
        return found.read_text() if found.exists() else ""

    def notes(self) -> str:
        return (self.place.workdir / "log.jsonl").read_text()


@pytest.fixture
def step(tmp_path):
    return Step(tmp_path)


ASKING = """
import sys, time
from volant.training import checkpoint, checkpoint_dir
state = checkpoint_dir() / "state"
state.write_text("1")
assert checkpoint() is True
state.write_text("2")
print("ready", flush=True)
time.sleep(60)
"""


def killed(*, with_signal=signal.SIGKILL, after=lambda: True):
    def during(process):
        assert process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 60
        while not after():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(with_signal)

    return during


def test_who_asks_gets_just_what_was_asked_for(step):
    assert step.attempt(ASKING, killed()) == -signal.SIGKILL
    assert step.told["progress"] is True
    assert step.told["survived"] is None
    assert [c.number for c in step.checkpoints()] == [1]
    assert step.state() == "1"
    assert step.told["survived"]["preemptions"] == 1
    assert step.told["progress"] is False


def test_who_asks_for_nothing_is_looked_after(step):
    program = (
        "import os, time; f = os.environ['VOLANT_CHECKPOINT_DIR'] + '/state'\n"
        "open(f + '.tmp', 'w').write('1'); os.rename(f + '.tmp', f)\n"
        "print('ready'); time.sleep(60)"
    )
    step.attempt(program, killed(after=step.checkpoints))
    assert step.state() == "1"


def test_a_file_half_written_at_the_kill_is_no_checkpoint(tmp_path):
    step = Step(tmp_path, look_s=0.5, every_s=0.5)
    program = (
        "import os, time; d = os.environ['VOLANT_CHECKPOINT_DIR']; f = d + '/state'\n"
        "open(f, 'w').write('whole')\n"
        f"while not os.path.exists({str(tmp_path / 'stored')!r}): time.sleep(0.01)\n"
        "half = open(f, 'w'); half.write('ha'); half.flush()\n"
        "print('ready'); time.sleep(60)"
    )

    def during(process):
        step.wait(step.checkpoints)
        (tmp_path / "stored").touch()
        killed()(process)

    step.attempt(program, during)
    assert step.state() == "whole"


def test_the_last_state_is_stored_when_the_process_ends_by_itself(tmp_path):
    step = Step(tmp_path, every_s=1000.0)
    program = (
        "import os, sys; f = os.environ['VOLANT_CHECKPOINT_DIR'] + '/state'\n"
        "open(f, 'w').write('last'); sys.exit(3)"
    )
    step.attempt(program)
    assert step.state() == "last"
    step.attempt(program.replace("'last'", "'done'").replace("exit(3)", "exit(0)"))
    assert step.state() == "last"  # after a good end nothing is to be gone on with


def test_a_killed_process_leaves_what_was_seen_whole(tmp_path):
    step = Step(tmp_path, every_s=1000.0)
    program = (
        "import os, time; f = os.environ['VOLANT_CHECKPOINT_DIR'] + '/state'\n"
        "open(f, 'w').write('seen'); print('ready'); time.sleep(60)"
    )

    def during(process):
        assert process.stdout.readline() == "ready\n"
        time.sleep(50 * LOOK_S)  # some looks
        assert step.checkpoints() == ()
        process.kill()

    step.attempt(program, during)
    assert step.state() == "seen"


def test_on_sigterm_a_program_may_save_first(step):
    program = """
import time
from volant.training import checkpoint_dir, on_preempt
on_preempt(lambda: 1 / 0)
on_preempt(lambda: (checkpoint_dir() / "state").write_text("saved"))
print("ready", flush=True)
while True: time.sleep(0.01)
"""
    assert step.attempt(program, killed(with_signal=signal.SIGTERM)) == -signal.SIGTERM
    assert "ZeroDivisionError" in step.said
    assert step.told["progress"] is True
    assert step.state() == "saved"


def test_a_loop_may_look_by_itself(step):
    program = """
import time
from volant.training import checkpoint_dir, leave, preempted
assert not preempted()
print("ready", flush=True)
while not preempted(): time.sleep(0.01)
(checkpoint_dir() / "state").write_text("between two steps")
leave()
"""
    assert step.attempt(program, killed(with_signal=signal.SIGTERM)) == -signal.SIGTERM
    assert step.state() == "between two steps"


def test_a_forked_worker_doesnt_save(step):
    program = """
import os, time
from volant.training import checkpoint_dir, on_preempt
on_preempt(lambda: (checkpoint_dir() / str(os.getpid())).touch())
child = os.fork()
if child == 0:
    while True: time.sleep(0.01)
time.sleep(0.3)
os.kill(child, 15)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -15
assert list(checkpoint_dir().iterdir()) == []
"""
    assert step.attempt(program) == 0, step.said


def test_only_the_main_thread_is_told(step):
    program = """
import threading
from volant.errors import InvalidInput
from volant.training import preempted
def ask():
    try: preempted()
    except InvalidInput: print("refused")
thread = threading.Thread(target=ask); thread.start(); thread.join()
"""
    step.attempt(program)
    assert step.said == "refused\n"


def test_a_checkpoint_that_cant_be_stored_ends_nothing(step, monkeypatch):
    def full(*_):
        raise ResourceExhausted("The disk is full.", "Free some space.")

    monkeypatch.setattr(step.artifacts, "put_tree", full)
    program = (
        "from volant.training import checkpoint, checkpoint_dir\n"
        "assert checkpoint() is False  # nothing there\n"
        "(checkpoint_dir() / 'state').touch(); assert checkpoint() is False"
    )
    assert step.attempt(program) == 0, step.said
    assert "There is no file in the checkpoint folder." in step.said
    assert "The disk is full. Free some space." in step.said
    assert "The disk is full" in step.notes()


def test_outside_of_a_step_a_script_runs_as_well(tmp_path):
    program = (
        "from volant.training import checkpoint, checkpoint_dir, preempted\n"
        "(checkpoint_dir() / 'state').touch(); print(checkpoint(), preempted())"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VOLANT_")}
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=kept, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout == "False False\n"
    assert (tmp_path / "checkpoint" / "state").exists()


def test_the_users_side_needs_the_standard_library_only():
    heavy = "numpy pyarrow sklearn lightgbm onnx pandas yaml pydantic"
    program = f"import sys, volant.training; print(set({heavy.split()!r}) & set(sys.modules))"
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout == "set()\n", told.stderr


def test_work_adds_up_over_attempts(tmp_path):
    step = Step(tmp_path, every_s=1000.0)
    program = """
import sys, time
from volant.training import checkpoint, checkpoint_dir
state = checkpoint_dir() / "state"
state.write_text((state.read_text() if state.exists() else "") + "x")
time.sleep(0.2)
assert checkpoint()
sys.exit(1)
"""
    for _ in range(3):
        step.attempt(program)
    first, second, third = Ledger.read(step.place.workdir).attempts
    assert [a.resumed_from for a in (first, second, third)] == [None, 1, 2]
    assert (first.spared_s, first.saved) == (0.0, 1)
    assert second.spared_s >= 0.2
    assert third.spared_s >= second.spared_s + 0.2
    assert (step.place.folder / "state").read_text() == "xxx"
    assert "Resumed from checkpoint 2" in step.notes()
    assert json.loads(step.notes().splitlines()[0])["stream"] == "volant"
