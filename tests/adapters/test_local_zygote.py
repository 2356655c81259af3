from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from volant.adapters.local.compute import LocalCompute
from volant.adapters.local.zygote import ZygoteLauncher
from volant.domain.job import Job, JobStatus
from volant.errors import InvalidInput, Unavailable
from volant.ports.replicas import ReplicaOrder

MODULES = """
import os, socket, sys, threading, time

def serve(spec, listen_fd, control_fd):
    control = socket.socket(fileno=control_fd)
    listening = socket.socket(fileno=listen_fd)
    print("replica", spec["name"], flush=True)
    control.sendall(f"{os.getpid()} {os.getppid()} {listening.getsockname()[1]}\\n".encode())
    while control.recv(100):
        pass
    control.close()

def broken(spec, listen_fd, control_fd): raise RuntimeError("no model")
def nap(inputs, context): time.sleep(inputs["s"]); return {"ok": True}
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    (tmp_path / "replicas.py").write_text(MODULES)
    (tmp_path / "failing.py").write_text("raise RuntimeError('half a library')\n")
    (tmp_path / "needy.py").write_text("import no_such_library\n")
    (tmp_path / "dying.py").write_text(
        "import os, sys; sys.stderr.write('oh no\\n'); os._exit(9)\n"
    )
    (tmp_path / "slow.py").write_text("import time; time.sleep(60)\n")
    (tmp_path / "threaded.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True, name='bg').start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def make(modules):
    launchers: list[ZygoteLauncher] = []

    def make(profiles=None, **options) -> ZygoteLauncher:
        launchers.append(ZygoteLauncher(profiles or {"serve": ("replicas",)}, **options))
        return launchers[-1]

    yield make
    for launcher in launchers:
        launcher.close()


class Replica:
    def __init__(self, launcher: ZygoteLauncher, log: Path | None = None, entry="replicas:serve"):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.control, theirs = socket.socketpair()
        self.control.settimeout(20)
        order = ReplicaOrder(
            "d", 1, entry, {"name": "wine"}, log_path=None if log is None else str(log)
        )
        with theirs:
            try:
                self.pid = launcher.launch(order, self.listening.fileno(), theirs.fileno())
            except BaseException:
                self.close()
                raise

    def said(self) -> bytes:
        return self.control.recv(1000)

    def close(self) -> None:
        self.control.close()
        self.listening.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(true) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_replica_lives_by_its_control_socket(make, tmp_path):
    launcher = make()
    replica = Replica(launcher, tmp_path / "logs" / "d.log")
    zygote = launcher.pids()["serve"]
    port = replica.listening.getsockname()[1]
    assert replica.said() == f"{replica.pid} {zygote} {port}\n".encode()
    assert (tmp_path / "logs" / "d.log").read_text() == "replica wine\n"
    os.kill(zygote, signal.SIGKILL)
    wait_until(lambda: not alive(zygote))
    assert alive(replica.pid)
    replica.close()
    wait_until(lambda: not alive(replica.pid))


def test_replica_survives_a_closed_launcher_until_its_owner_leaves(make):
    launcher = make()
    replica = Replica(launcher)
    replica.said()
    launcher.close()
    assert alive(replica.pid)
    replica.close()
    wait_until(lambda: not alive(replica.pid))


def test_end_of_a_replica_is_seen_at_its_socket(make, tmp_path):
    launcher = make()
    replica = Replica(launcher, tmp_path / "log", entry="replicas:broken")
    assert replica.said() == b""
    assert "RuntimeError: no model" in (tmp_path / "log").read_text()
    replica.close()


def test_dead_zygote_is_replaced(make):
    launcher = make()
    first = Replica(launcher)
    old = launcher.pids()["serve"]
    os.kill(old, signal.SIGKILL)
    second = Replica(launcher)  # at once: its death may not be known yet
    assert second.said().split()[0] == str(second.pid).encode()
    assert launcher.pids()["serve"] != old
    first.close()
    second.close()


def test_stopped_zygote_is_ended_with_the_launcher(make):
    launcher = make({"light": ()})
    launcher.warm("light")
    wait_until(lambda: launcher.greetings()["light"])
    pid = launcher.pids()["light"]
    os.kill(pid, signal.SIGSTOP)
    launcher.close()
    assert not alive(pid)


def test_idle_zygote_ends_and_comes_back(make):
    launcher = make({"light": (), "serve": ()}, idle_s=0.2)
    for profile in ("light", "serve"):
        launcher.warm(profile)
    wait_until(lambda: len(launcher.pids()) == 2)
    wait_until(lambda: list(launcher.pids()) == ["serve"])
    replica = Replica(launcher, entry="os:abort")
    assert replica.said() == b""
    replica.close()
    launcher.warm("light")
    wait_until(lambda: "light" in launcher.pids())


def test_zygote_with_a_child_isnt_idle(make, tmp_path):
    launcher = make({"light": ("replicas",)}, idle_s=0.1)
    job = Job(
        "j", "s", "r", 1, tmp_path / "w", tmp_path / "log", {"s": 0.6}, "replicas:nap", "light"
    )
    assert LocalCompute(launcher).run(job).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("module", "code", "says"),
    [
        ("no_such_module", "profile_import_failed", "no_such_module"),
        ("needy", "profile_import_failed", "no_such_library"),
        ("failing", "profile_import_failed", "half a library"),
        ("dying", "zygote_died", "oh no"),
        ("threaded", "profile_has_threads", "'bg'"),
    ],
)
def test_profile_that_cannot_start(make, tmp_path, module, code, says):
    launcher = make({"serve": ("json", module)})
    launcher.warm("serve")
    with pytest.raises(Unavailable) as caught:
        Replica(launcher)
    assert caught.value.error_code == code
    assert says in caught.value.what
    assert caught.value.fix
    job = Job("j", "s", "r", 1, tmp_path / "w", tmp_path / "log", {}, "replicas:nap", "serve")
    result = LocalCompute(launcher).run(job)
    assert result.status is (JobStatus.LOST if code == "zygote_died" else JobStatus.FAILED)
    assert result.error is not None
    assert result.error["code"] == code
    wait_until(lambda: not launcher.pids())


def test_import_that_hangs(make):
    launcher = make({"serve": ("slow",)}, start_s=0.3)
    with pytest.raises(Unavailable):
        Replica(launcher)


def test_close_while_importing(make):
    launcher = make({"serve": ("slow",)})
    launcher.warm("serve")
    wait_until(launcher.pids)
    pid = launcher.pids()["serve"]
    launcher.close()
    assert not alive(pid)
    with pytest.raises(Unavailable):
        Replica(launcher)


def test_unknown_profile(make):
    launcher = make()
    launcher.warm("nope")  # a hint never fails
    with pytest.raises(InvalidInput, match="'nope'"):
        launcher.launch(ReplicaOrder("d", 1, "a:b", {}, profile="nope"), 0, 0)


def test_own_session_so_that_ctrl_c_passes_by(make):
    launcher = make()
    replica = Replica(launcher)
    sessions = {os.getsid(launcher.pids()["serve"]), os.getsid(replica.pid), os.getsid(0)}
    assert len(sessions) == 3
    replica.close()


def test_memory_is_told(make):
    launcher = make()
    replica = Replica(launcher)
    assert launcher.pss_bytes() > 1 << 20
    assert launcher.greetings()["serve"]["threads"] == []
    replica.close()


def test_stopped_zygote_hangs_no_job(make, tmp_path, monkeypatch):
    monkeypatch.setattr("volant.adapters.local.attempt._REAP_S", 0.1)
    launcher = make({"light": ("replicas",)})
    job = Job(
        "j", "s", "r", 1, tmp_path / "w", tmp_path / "log",
        {"s": 60}, "replicas:nap", "light", timeout_s=0.4,
    )  # fmt: skip
    launcher.warm("light")
    wait_until(lambda: launcher.greetings()["light"])
    zygote = launcher.pids()["light"]
    results = []
    compute = LocalCompute(launcher, grace_s=0.1)
    thread = threading.Thread(target=lambda: results.append(compute.run(job)))
    thread.start()
    wait_until(lambda: children(zygote))
    child = children(zygote)[0]
    os.kill(zygote, signal.SIGSTOP)
    thread.join(20)
    assert [result.status for result in results] == [JobStatus.TIMEOUT]
    wait_until(lambda: not alive(child))


HEAVY = {
    "numpy",
    "pyarrow",
    "pyarrow.parquet",
    "deltalake",
    "sklearn.ensemble",
    "lightgbm",
    "onnxruntime",
}


LIBRARIES = """
import numpy as np

def use(inputs, context):
    rows = np.random.default_rng(inputs["seed"]).normal(size=(2000, 8)).astype("float32")
    target = rows[:, 0] > 0
    return {"delta": _delta(context.workdir, rows), "models": _models(rows, target),
            "onnx": _onnx(rows), "drawn": float(np.random.rand())}

def _delta(folder, rows):
    import pyarrow as pa, pyarrow.parquet as pq
    from deltalake import DeltaTable, write_deltalake
    table = pa.table({"a": rows[:, 0]})
    pq.write_table(table, folder / "a.parquet")
    for _ in range(2):
        write_deltalake(folder / "delta", pq.read_table(folder / "a.parquet"), mode="append")
    return DeltaTable(folder / "delta").to_pyarrow_table().num_rows

def _models(rows, target):
    from lightgbm import LGBMClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    models = [LGBMClassifier(n_estimators=5, verbose=-1), RandomForestClassifier(10, n_jobs=2),
              HistGradientBoostingClassifier(max_iter=5)]
    return [float(model.fit(rows, target).score(rows, target)) > 0.9 for model in models]

def _onnx(rows):
    import onnxruntime
    from onnx import TensorProto, helper
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [tensor("x", TensorProto.FLOAT, [None, 8])], [tensor("y", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("w", TensorProto.FLOAT, [8, 1], [1.0] * 8)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return bool(np.allclose(session.run(None, {"x": rows})[0][:, 0], rows.sum(axis=1), atol=1e-4))
"""


def test_libraries_leave_no_thread_and_work_in_forks(make, modules):
    (modules / "libraries.py").write_text(LIBRARIES)
    launcher = make({"train": tuple(sorted(HEAVY))})
    compute = LocalCompute(launcher)

    def use(seed: int):
        folder = modules / f"w{seed}"
        inputs = {"seed": seed}
        job = Job("j", "s", "r", 1, folder, folder / "log", inputs, "libraries:use", "train")
        return compute.run(job)

    launcher.warm("train")
    results = [use(seed) for seed in (1, 2)]
    assert launcher.greetings()["train"]["threads"] == []
    assert [result.error for result in results] == [None, None]
    for result in results:
        assert result.outputs["delta"] == 4000
        assert result.outputs["models"] == [True, True, True]
        assert result.outputs["onnx"] is True
    # NumPy's own generator is seeded anew in each fork.
    assert results[0].outputs["drawn"] != results[1].outputs["drawn"]


def test_control_plane_imports_nothing_heavy():
    code = (
        "import sys, volant.adapters.local.compute, volant.adapters.local.zygote_main\n"
        f"assert not {HEAVY!r} & set(sys.modules), sorted({HEAVY!r} & set(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


SERVING = """
import json, socket, sys, time
from volant.adapters.local.zygote import ZygoteLauncher
from volant.ports.replicas import ReplicaOrder
launcher = ZygoteLauncher({"serve": ("replicas",)})
listening = socket.create_server(("127.0.0.1", 0))
control, theirs = socket.socketpair()
order = ReplicaOrder("d", 1, "replicas:serve", {"name": "x"})
pid = launcher.launch(order, listening.fileno(), theirs.fileno())
theirs.close()
print(json.dumps([pid, launcher.pids()["serve"]]), flush=True)
time.sleep(60)
"""


def test_killed_control_plane_takes_replicas_and_zygotes_along(modules):
    with subprocess.Popen([sys.executable, "-c", SERVING], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pids = json.loads(process.stdout.readline())
        process.kill()
    for pid in pids:
        wait_until(lambda pid=pid: not alive(pid))


def test_chaos(make, tmp_path):
    """Thirty times SIGKILL of a zygote or a job, at random, under a stream of jobs."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    launcher = make({"light": ("replicas",)})
    compute = LocalCompute(launcher, grace_s=0.2)
    results: list[JobStatus] = []
    done = threading.Event()

    def stream(worker: int) -> None:
        number = 0
        while not done.is_set():
            number += 1
            workdir = tmp_path / f"{worker}-{number}"
            entry, command = ("replicas:nap", None) if number % 3 else (None, "sleep 0.02")
            job = Job(
                f"{worker}-{number}", "s", f"r{worker}", 1, workdir, workdir / "log",
                {"s": 0.02}, entry, "light", command,
            )  # fmt: skip
            results.append(compute.run(job).status)

    threads = [threading.Thread(target=stream, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    killed = 0
    while killed < 30:
        time.sleep(chance.uniform(0, 0.12))
        zygotes = list(launcher.pids().values())
        pids = [*zygotes, *(child for pid in zygotes for child in children(pid))]
        if pids:
            try:
                os.kill(chance.choice(pids), signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass
    done.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert set(results) <= {JobStatus.SUCCEEDED, JobStatus.LOST}
    assert not compute._running._jobs
    for entry, command in (("replicas:nap", None), (None, "true")):
        job = Job(
            "last", "s", "r", 1, tmp_path / "w", tmp_path / "w" / "log",
            {"s": 0}, entry, "light", command,
        )  # fmt: skip
        # The last kill may be noticed only now; who asked then asks again.
        last = [compute.run(job).status for _ in range(2)]
        assert last[-1] is JobStatus.SUCCEEDED


def children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in text.split()]
