"""The container compute against a real podman, with an image made of this machine's shell."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from volant.adapters.container.arguments import container_name
from volant.adapters.container.compute import ContainerCompute
from volant.domain.job import Job, JobStatus
from volant.testing.compute_contract import CommandContract, texts, wait_for

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(
        not shutil.which("podman") or os.geteuid() != 0, reason="no podman, or not root"
    ),
]
IDS = itertools.count(1)
IMAGE = "localhost/volant-test:1"
PROGRAMS = ("sh", "cat", "head", "sort", "sleep", "id", "touch", "tail", "env", "stat")


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """podman with storage of its own; what it made is gone in the end."""
    folder = tmp_path_factory.mktemp("podman")
    runtime = "runc" if shutil.which("runc") else "crun"
    (folder / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=16384:16384", "nproc=4096:4096"]\n'
        f'[engine]\nruntime = "{runtime}"\ncgroup_manager = "cgroupfs"\n'
        'events_logger = "file"\n'
    )
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_CONF", str(folder / "containers.conf"))
        patch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        root = folder / "image"
        for name in PROGRAMS:
            copy_program(root, Path(shutil.which(name) or name).resolve(), name)
        # As FuseML's images: a command `run`, and an entrypoint that must not be used.
        (root / "bin" / "run").write_text(
            '#!/bin/sh\necho "run in $PWD"\nprintf "%s" "$FUSEML_greeting" > '
            "/tekton/results/$TASK_RESULT\ncat code.txt 2>/dev/null\n"
        )
        (root / "bin" / "run").chmod(0o755)
        (root / "tmp").mkdir(mode=0o777)
        tar = folder / "image.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(tar), "."], check=True)
        podman("import", "--quiet", "--change", 'ENTRYPOINT ["/bin/false"]', str(tar), IMAGE)
        yield
        podman("rm", "--all", "--force", "--time", "0")
        podman("rmi", "--all", "--force")


def copy_program(root: Path, program: Path, name: str) -> None:
    (root / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(program, root / "bin" / name)
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    for word in listed.stdout.split():
        if word.startswith("/"):
            target = root / word.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, target)


def podman(*words: str) -> str:
    done = subprocess.run(
        ["podman", *words], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def compute(storage, home):
    made = ContainerCompute(home, grace_s=3.0)
    yield made
    made.close()
    assert left(home) == []


def left(home: Path) -> list[str]:
    assert list((home / "run" / "containers").iterdir()) == []
    return podman("ps", "--all", "--quiet").split()


@pytest.fixture
def make_job(tmp_path):
    def make(**changes) -> Job:
        number = next(IDS)
        workdir = changes.pop("workdir", tmp_path / f"work {number}, step")
        return Job(
            **{
                "id": f"run-{number}:step:1",
                "step": "step",
                "run_id": f"run-{number}",
                "attempt": 1,
                "workdir": workdir,
                "log_path": workdir / "log.jsonl",
                "inputs": {},
                "image": IMAGE,
                **changes,
            }
        )

    return make


class TestContainerContract(CommandContract):
    pass


def test_the_images_own_command_in_a_codeset(compute, make_job, tmp_path):
    code = tmp_path / "checkout"
    code.mkdir()
    (code / "code.txt").write_text("my code\n")
    job = make_job(
        mounts={"/project": code},
        cwd=code,
        env={"FUSEML_greeting": "good day", "TASK_RESULT": "model"},
    )
    result = compute.run(job)
    assert result.error is None
    assert texts(job, "stdout") == ["run in /project", "my code"]
    assert (job.workdir / "results" / "model").read_text() == "good day"
    assert not list(job.workdir.glob("*.json"))


def test_results_where_the_step_is_told(compute, make_job, tmp_path):
    folder = tmp_path / "results"
    job = make_job(
        command="echo 1 > $VOLANT_RESULTS_DIR/a; echo 2 > /tekton/results/b; id -u; stat -c %u .",
        env={"VOLANT_RESULTS_DIR": str(folder)},
    )
    assert compute.run(job).status is JobStatus.SUCCEEDED
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "1\n", "b": "2\n"}
    assert texts(job, "stdout") == [str(os.getuid())] * 2


def test_any_environment(compute, make_job):
    values = {
        "LINES": "one\ntwo\n",
        "PATH": "/bin:/mine",
        "CONTAINERS_CONF": "/no/such/file",  # the engine's own must not be touched
        "FUSEML_my-name": "é = \"x\" 'y' $HOME",
        "EMPTY": "",
    }
    # Of process 1, since a shell drops names that it couldn't write itself.
    job = make_job(command="cat /proc/1/environ > environ", env=values)
    result = compute.run(job)
    assert result.error is None
    found = dict(
        entry.split("=", 1) for entry in (job.workdir / "environ").read_text().split("\0") if entry
    )
    assert {name: found[name] for name in values} == values


def test_memory(compute, make_job):
    result = compute.run(make_job(command="tail /dev/zero", memory_bytes=64 << 20))
    assert result.status is JobStatus.OUT_OF_MEMORY
    assert "64 MiB" in result.error["what"]
    # Another process than the first is killed, and the first says so.
    job = make_job(command="tail /dev/zero; exit 9", memory_bytes=64 << 20, cpu=0.5)
    assert compute.run(job).status is JobStatus.OUT_OF_MEMORY


def test_measures_of_a_longer_job(compute, make_job):
    job = make_job(command="head -c 40000000 /dev/zero | sort > sorted; sleep 0.3")
    result = compute.run(job)
    assert result.cpu_s > 0
    assert 30 << 20 < result.peak_bytes < 4 << 30


def test_an_image_that_cant_be_had(compute, make_job):
    job = make_job(image="localhost/no-such-image:7", command="true")
    result = compute.run(job)
    assert (result.status, result.error["kind"]) == (JobStatus.FAILED, "invalid_input")
    assert result.error["code"] == "container.no_image"
    assert "localhost/no-such-image:7" in result.error["what"]
    assert "podman pull localhost/no-such-image:7" in result.error["fix"]
    assert any("rror" in line for line in texts(job, "stderr"))


def test_a_command_that_isnt_there(compute, make_job, storage, tmp_path):
    empty = tmp_path / "empty.tar"
    (tmp_path / "nothing").mkdir()
    subprocess.run(["tar", "-C", str(tmp_path / "nothing"), "-cf", str(empty), "."], check=True)
    podman("import", "--quiet", str(empty), "localhost/volant-empty:1")
    bare = compute.run(make_job(image="localhost/volant-empty:1"))
    assert (bare.status, bare.error["code"]) == (JobStatus.FAILED, "container.not_started")
    assert "`run`" in bare.error["fix"]
    shell = compute.run(make_job(image="localhost/volant-empty:1", command="true"))
    assert shell.status is JobStatus.FAILED


def test_killed_from_outside_is_lost(compute, make_job):
    job = make_job(command="touch started; while :; do sleep 0.05; done")
    results = []
    thread = threading.Thread(target=lambda: results.append(compute.run(job)))
    thread.start()
    wait_for(job.workdir / "started")
    podman("kill", "--signal", "KILL", container_name(job))
    thread.join(30)
    assert [result.status for result in results] == [JobStatus.LOST]


def test_cancelled_before_its_image_came(compute, make_job):
    """A registry that takes the connection and never answers."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}/a/b:1"
        job = make_job(image=where, command="true")
        results = []
        thread = threading.Thread(target=lambda: results.append(compute.run(job)))
        thread.start()
        silent.settimeout(30)
        connection, _ = silent.accept()
        compute.cancel(job.run_id)
        thread.join(30)
        connection.close()
    assert [result.status for result in results] == [JobStatus.CANCELLED]


ORPHAN = """
import sys
from pathlib import Path
from volant.adapters.container.compute import ContainerCompute
from volant.domain.job import Job
home, work, image = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
job = Job("run-x:step:1", "step", "run-x", 1, work, work / "log.jsonl", {}, image=image,
          command="touch started; while :; do sleep 0.05; done")
ContainerCompute(home).run(job)
"""


def test_what_a_dead_control_plane_left_is_removed(storage, make_job, tmp_path):
    home, work = tmp_path / "home", tmp_path / "work"
    child = subprocess.Popen([sys.executable, "-c", ORPHAN, str(home), str(work), IMAGE])
    try:
        wait_for(work / "started", 30)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    name = "volant-run-x-step-1"
    assert podman("inspect", "--format", "{{.State.Running}}", name) == "true"
    ContainerCompute(tmp_path / "another home").recover()
    assert podman("inspect", "--format", "{{.State.Running}}", name) == "true"
    again = ContainerCompute(home)
    again.recover()
    assert name not in podman("ps", "--all", "--format", "{{.Names}}").split()
    job = make_job(command="true")
    assert again.run(job).status is JobStatus.SUCCEEDED
    again.close()
    assert left(home) == []


def test_closing_ends_them_as_lost(storage, make_job, tmp_path):
    one = ContainerCompute(tmp_path / "home")
    job = make_job(command="touch started; sleep 60")
    results = []
    thread = threading.Thread(target=lambda: results.append(one.run(job)))
    thread.start()
    wait_for(job.workdir / "started")
    begun = time.monotonic()
    one.close()
    thread.join(20)
    assert [result.status for result in results] == [JobStatus.LOST]
    assert time.monotonic() - begun < 15
    assert left(tmp_path / "home") == []
