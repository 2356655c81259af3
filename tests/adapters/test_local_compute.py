from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from volant.adapters.local.compute import LocalCompute
from volant.adapters.local.zygote import ZygoteLauncher
from volant.domain.job import Job, JobStatus
from volant.errors import from_dict
from volant.testing.compute_contract import ComputeContract, log_lines, texts, wait_for

ENTRIES = """
import ctypes, os, random, signal, subprocess, sys, threading, time
from pathlib import Path

def facts(inputs, context):
    fds = [fd for fd in os.listdir("/proc/self/fd") if _open(fd)]
    return {
        "pid": os.getpid(), "ppid": os.getppid(), "pgid": os.getpgid(0), "sid": os.getsid(0),
        "stdin": os.readlink("/proc/self/fd/0"),
        "oom": Path("/proc/self/oom_score_adj").read_text().strip(),
        "fds": [os.readlink(f"/proc/self/fd/{fd}") for fd in fds],
        "sigterm": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
        "sigint": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "blas": os.environ.get("OPENBLAS_NUM_THREADS"),
        "secret": os.environ.get("VOLANT_DATABASE_URL"),
        "threads": len(os.listdir("/proc/self/task")),
    }

def _open(fd):
    return os.path.lexists(f"/proc/self/fd/{fd}")  # not the listing's own, closed by now

def stubborn(inputs, context):
    signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
    (context.workdir / "started").write_text(str(os.getpid()))
    while True: time.sleep(0.05)

def gentle(inputs, context):
    def save(*_):
        (context.checkpoint_dir / "saved").touch(); sys.exit(0)
    signal.signal(signal.SIGTERM, save)
    (context.workdir / "started").touch()
    time.sleep(60)

def kill_me(inputs, context): os.kill(os.getpid(), inputs["signal"]); time.sleep(5)
def vanish(inputs, context): print("bye", flush=True); os._exit(0)
def segfault(inputs, context): ctypes.string_at(0)
def memory(inputs, context): raise MemoryError
def at_end(inputs, context):
    import atexit; atexit.register(lambda: print("at exit"))
    threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
    sys.stdout.write("no newline"); return {}
def family(inputs, context):
    child = subprocess.Popen(["sleep", "600"])
    (context.workdir / "child").write_text(str(child.pid))
    (context.workdir / "started").write_text(str(os.getpid()))
    if inputs.get("stay"): time.sleep(600)
    return {}
def escaped(inputs, context):
    subprocess.Popen(["sh", "-c", "while sleep 0.05; do echo x; done"], start_new_session=True)
    return {}
def noise(inputs, context): print("x" * 200_000); print("after"); return {}
def sleep(inputs, context):
    (context.workdir / "started").touch()
    time.sleep(inputs["s"])
    return {"slept": True}
def drawn(inputs, context): return {"r": random.random()}
def unwritable(inputs, context):
    (context.workdir / f"outputs.{context.attempt}.json").mkdir(); return {}
"""
IDS = itertools.count(1)


@pytest.fixture(scope="module")
def launcher():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOLANT_DATABASE_URL", "postgresql://user:secret@host/db")
        launcher = ZygoteLauncher({"light": ("json",)})
        yield launcher
        launcher.close()
    assert launcher.pids() == {}


@pytest.fixture(scope="module", params=["cgroup", "rlimit"])
def compute(request, launcher):
    compute = LocalCompute(launcher, grace_s=0.3, use_cgroups=request.param == "cgroup")
    yield compute
    compute.close()


@pytest.fixture
def make_job(tmp_path):
    (tmp_path / "entries.py").write_text(ENTRIES)

    def make(**changes) -> Job:
        number = next(IDS)
        workdir = tmp_path / str(number)
        fields = {
            "id": f"job-{number}",
            "step": "s",
            "run_id": f"run-{number}",
            "attempt": 1,
            "workdir": workdir,
            "log_path": workdir / "log.jsonl",
            "inputs": {},
            "profile": "light",
            "env": {"PYTHONPATH": str(tmp_path)},
        }
        return Job(**{**fields, **changes})

    return make


class TestContract(ComputeContract):
    pass


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def open_fds(pid) -> list[str]:
    return sorted(fd.name for fd in Path(f"/proc/{pid}/fd").iterdir())


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline, f"{pid} still lives"
        time.sleep(0.01)


def start(compute, job):
    results = []
    thread = threading.Thread(target=lambda: results.append(compute.run(job)))
    thread.start()
    return thread, results


def test_process_stands_alone(compute, make_job, launcher):
    out = compute.run(make_job(entry="entries:facts")).outputs
    assert out["pid"] == out["pgid"] == out["sid"]
    assert out["ppid"] == launcher.pids()["light"]
    assert out["stdin"] == "/dev/null"
    assert out["oom"] == "600"
    assert out["sigterm"]
    assert out["sigint"]
    assert out["blas"] == os.environ.get("OPENBLAS_NUM_THREADS")
    assert out["secret"] is None
    assert out["threads"] == 1


def test_inherits_no_descriptor_of_ours(compute, make_job):
    thread, _ = start(compute, slow := make_job(entry="entries:sleep", inputs={"s": 60}))
    wait_for(slow.workdir / "started")
    fds = compute.run(make_job(entry="entries:facts")).outputs["fds"]
    compute.cancel(slow.run_id)
    thread.join(10)
    assert [fd for fd in fds if fd.startswith("socket:")] == []
    # stdin, stdout, stderr, and the file for the outcome
    assert len([fd for fd in fds if fd.startswith("pipe:")]) == 2
    assert len([fd for fd in fds if "memfd:" in fd]) == 1
    assert len(fds) == 4


def test_stubborn_process_is_killed(compute, make_job):
    job = make_job(entry="entries:stubborn", timeout_s=0.3)
    result = compute.run(job)
    assert (result.status, result.exit_code) == (JobStatus.TIMEOUT, -signal.SIGKILL)
    assert "no" in texts(job, "stdout")
    assert not alive(int((job.workdir / "started").read_text()))
    notes = texts(job, "volant")
    assert notes[0] == "The timeout of 0.3 s is over: SIGTERM, and SIGKILL in 0.3 s."


def test_cancelled_process_may_save_first(compute, make_job):
    job = make_job(entry="entries:gentle")
    thread, results = start(compute, job)
    wait_for(job.workdir / "started")
    compute.cancel(job.run_id)
    thread.join(10)
    assert results[0].status is JobStatus.CANCELLED
    assert (job.workdir / "checkpoint" / "saved").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_from_outside_is_lost(compute, make_job, number):
    result = compute.run(make_job(entry="entries:kill_me", inputs={"signal": number}))
    assert result.status is JobStatus.LOST
    assert signal.Signals(number).name in result.error["what"]


def test_crash_of_native_code(compute, make_job):
    job = make_job(entry="entries:segfault")
    result = compute.run(job)
    assert (result.status, result.exit_code) == (JobStatus.FAILED, -signal.SIGSEGV)
    assert "SIGSEGV" in result.error["what"]
    assert any("Fatal Python error" in text for text in texts(job, "stderr"))


def test_vanishing_is_not_success(compute, make_job):
    job = make_job(entry="entries:vanish")
    result = compute.run(job)
    assert result.status is JobStatus.FAILED
    assert texts(job, "stdout") == ["bye"]


def test_memory_error_without_limit(compute, make_job):
    result = compute.run(make_job(entry="entries:memory"))
    assert result.status is JobStatus.OUT_OF_MEMORY


def test_end_of_the_process_is_python_s(compute, make_job):
    job = make_job(entry="entries:at_end")
    assert compute.run(job).status is JobStatus.SUCCEEDED
    assert texts(job, "stdout") == ["no newlinethread", "at exit"]


def test_nothing_stays_behind(compute, make_job):
    job = make_job(entry="entries:family")
    assert compute.run(job).status is JobStatus.SUCCEEDED
    wait_gone(int((job.workdir / "child").read_text()))
    command = make_job(command="sleep 600 & echo $! > child; exit 0")
    assert compute.run(command).status is JobStatus.SUCCEEDED
    wait_gone(int((command.workdir / "child").read_text()))


def test_escaped_writer_holds_nobody_up(compute, make_job):
    assert compute.run(make_job(entry="entries:escaped")).status is JobStatus.SUCCEEDED


def test_long_line_is_cut(compute, make_job):
    job = make_job(entry="entries:noise")
    compute.run(job)
    long, after = texts(job, "stdout")
    assert long == "x" * 65536 + "… (134464 bytes more)"
    assert after == "after"


def test_disk_full_while_writing_outputs(compute, make_job):
    result = compute.run(make_job(entry="entries:unwritable"))
    assert result.status is JobStatus.FAILED
    assert result.error["kind"] == "resource_exhausted"


def test_workdir_that_cannot_be(compute, make_job, tmp_path):
    (tmp_path / "file").touch()
    result = compute.run(make_job(command="true", workdir=tmp_path / "file" / "w"))
    assert result.status is JobStatus.FAILED
    assert result.error["kind"] == "unavailable"
    assert "Not a directory" in result.error["what"]


@pytest.mark.parametrize(
    "changes",
    [
        {"entry": "entries:facts", "command": "true"},
        {},
        {"entry": "entries:facts", "profile": "nope"},
        {"entry": "entries:facts", "inputs": {"x": {1}}},
        {"command": "true", "inputs": {"x": "a\0b"}},
        {"command": "true", "inputs": {"x": "a" * 200_000}},
    ],
)
def test_impossible_jobs(compute, make_job, changes):
    job = make_job(**changes)
    result = compute.run(job)
    assert result.status is JobStatus.FAILED
    assert result.error["kind"] == "invalid_input"
    assert from_dict(result.error).fix
    assert result.error["what"] in log_lines(job)[-1]["text"]


def test_long_inputs_reach_an_entry(compute, make_job):
    job = make_job(
        entry="volant.testing.compute_contract:echo", inputs={"x": "a" * 3_000_000, "z": "\0"}
    )
    assert compute.run(job).outputs["inputs"] == job.inputs


def test_too_much_environment_for_a_command(compute, make_job):
    inputs = {f"x{number}": "a" * 100_000 for number in range(40)}
    result = compute.run(make_job(command="true", inputs=inputs))
    assert result.status is JobStatus.FAILED
    assert "it and its environment have 4," in result.error["what"]
    assert "2 MiB" in result.error["fix"]


@pytest.mark.parametrize(
    ("command", "env", "told"),
    [
        (f"true {'a' * 200_000}", {}, "it has 200,006 bytes"),
        ("true", {"LONG": "a" * 200_000}, "its variable LONG has 200,006 bytes"),
    ],
)
def test_one_text_that_is_too_long_for_a_command(compute, make_job, command, env, told):
    result = compute.run(make_job(command=command, env=env))
    assert result.status is JobStatus.FAILED
    assert told in result.error["what"]
    assert "fit into 128 KiB" in result.error["fix"]


@pytest.mark.parametrize(
    ("doing", "told"),
    [
        ({"command": "echo a\0b"}, "The command of step"),
        ({"command": "true", "env": {"WHO": "a\0b"}}, "The variable WHO of step"),
        ({"entry": "volant.testing.compute_contract:echo", "env": {"WHO": "\0"}}, "WHO of step"),
    ],
)
def test_a_zero_byte_that_no_process_can_be_given(compute, make_job, doing, told):
    result = compute.run(make_job(**doing))
    assert result.status is JobStatus.FAILED
    assert told in result.error["what"]
    assert "holds a zero byte" in result.error["what"]
    assert "element of foreach" in result.error["fix"]


def test_log_is_bounded(launcher, make_job):
    compute = LocalCompute(launcher, log_bytes=5000)
    job = make_job(command="seq 1 1000")
    assert compute.run(job).status is JobStatus.SUCCEEDED
    assert job.log_path.stat().st_size < 5200
    assert log_lines(job)[-1]["text"] == "The log is full; later lines were dropped."
    again = make_job(command="echo more", log_path=job.log_path)
    compute.run(again)
    assert log_lines(job)[-1]["text"] == "more"


def test_log_is_live(compute, make_job):
    job = make_job(command="echo first; sleep 60")
    thread, _ = start(compute, job)
    deadline = time.monotonic() + 10
    while not (job.log_path.exists() and job.log_path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert texts(job, "stdout") == ["first"]
    compute.cancel(job.run_id)
    thread.join(10)


def test_close_loses_what_runs(launcher, make_job):
    compute = LocalCompute(launcher, grace_s=0.2)
    job = make_job(entry="entries:sleep", inputs={"s": 60})
    thread, results = start(compute, job)
    wait_for(job.workdir / "started")
    compute.close()
    thread.join(10)
    assert results[0].status is JobStatus.LOST
    assert compute.run(make_job(command="true")).status is JobStatus.LOST


def test_no_leaks(compute, make_job, launcher):
    compute.run(make_job(command="true"))
    compute.run(make_job(entry="entries:drawn"))
    before = open_fds("self")
    threads = threading.active_count()
    zygote_fds = {pid: open_fds(pid) for pid in launcher.pids().values()}
    draws = set()
    for _ in range(10):
        compute.run(make_job(command="false"))
        draws.add(compute.run(make_job(entry="entries:drawn")).outputs["r"])
        compute.run(make_job(entry="entries:memory", memory_bytes=64 << 20))
    assert open_fds("self") == before
    assert threading.active_count() == threads
    assert len(draws) == 10
    for pid, fds in zygote_fds.items():
        deadline = time.monotonic() + 10
        while len(open_fds(pid)) > len(fds):  # it lets go after it told us
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert Path(f"/proc/{pid}/task/{pid}/children").read_text() == ""


def test_many_at_once(compute, make_job):
    jobs = [make_job(entry="entries:sleep", inputs={"s": 0.1}) for _ in range(24)]
    runs = [start(compute, job) for job in jobs]
    for thread, _ in runs:
        thread.join(30)
    assert all(results[0].outputs == {"slept": True} for _, results in runs)


def test_zygote_killed_under_jobs(launcher, make_job):
    compute = LocalCompute(launcher, grace_s=0.3)
    job = make_job(entry="entries:family", inputs={"stay": True})
    thread, results = start(compute, job)
    wait_for(job.workdir / "started")
    os.kill(launcher.pids()["light"], signal.SIGKILL)
    thread.join(10)
    assert results[0].status is JobStatus.LOST
    wait_gone(int((job.workdir / "started").read_text()))
    wait_gone(int((job.workdir / "child").read_text()))
    assert compute.run(make_job(entry="entries:drawn")).status is JobStatus.SUCCEEDED


CONTROL_PLANE = """
import sys
from pathlib import Path
from volant.adapters.local.compute import LocalCompute
from volant.adapters.local.zygote import ZygoteLauncher
from volant.domain.job import Job
home = Path(sys.argv[1])
launcher = ZygoteLauncher({"light": ()})
print(json.dumps(launcher._zygote("light").ready() or launcher.pids()), flush=True)
LocalCompute(launcher).run(Job(id="j", step="s", run_id="r", attempt=1, workdir=home / "w",
    log_path=home / "w" / "log", inputs={"stay": True}, entry="entries:family", profile="light",
    env={"PYTHONPATH": str(home)}))
"""


def test_control_plane_killed(tmp_path):
    (tmp_path / "entries.py").write_text(ENTRIES)
    process = subprocess.Popen(
        [sys.executable, "-c", "import json\n" + CONTROL_PLANE, str(tmp_path)],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process, process.stdout:
        pids = json.loads(process.stdout.readline())
        wait_for(tmp_path / "w" / "started")
        process.kill()
    wait_gone(pids["light"])
    wait_gone(int((tmp_path / "w" / "started").read_text()))
    wait_gone(int((tmp_path / "w" / "child").read_text()))
