from __future__ import annotations

import csv
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from volant.adapters.container.arguments import container_name, creation
from volant.adapters.container.client import facts_of
from volant.adapters.container.compute import ContainerCompute
from volant.adapters.container.engine import (
    Abilities,
    engine_words,
    find_engine,
    of_docker,
    of_podman,
)
from volant.adapters.container.usage import Usage, group_folders
from volant.domain.job import Job, JobStatus
from volant.errors import InvalidInput, Unavailable

ABLE = Abilities(podman=True, user=("--user", "1000:1000"))
IDS = f"{os.getuid()}:{os.getgid()}"


@pytest.fixture
def job(tmp_path):
    return Job(
        id="r:train:2",
        step="train",
        run_id="r",
        attempt=2,
        workdir=tmp_path / "runs" / "train",
        log_path=tmp_path / "log.jsonl",
        inputs={"alpha": 0.5},
        image="registry.example.com/train:1",
    )


def words_of(job, able=ABLE):
    return list(creation(job, able, "me", pid_file=job.workdir / "pid").words)


def option(words, name):
    return [words[at + 1] for at, word in enumerate(words) if word == name]


def mounts_of(words):
    found = {}
    for (fields,) in (list(csv.reader([text])) for text in option(words, "--mount")):
        pairs = dict(field.split("=", 1) for field in fields if "=" in field)
        found[pairs["target"]] = pairs["source"]
    return found


def test_the_images_own_command(job):
    words = words_of(job)
    assert words[-3:] == ["--entrypoint", "run", job.image]
    assert "--init" not in words  # it would hide that there is no such command
    assert option(words, "--name") == ["volant-r-train-2"] == [container_name(job)]
    assert option(words, "--label") == [
        "volant.home=me",
        "volant.run=r",
        "volant.step=train",
        "volant.attempt=2",
    ]


def test_a_command(job):
    words = words_of(replace(job, command="echo $A; exit 1"))
    assert words[-4:] == ["/bin/sh", job.image, "-c", "echo $A; exit 1"]
    assert "--init" in words
    assert "--init" not in words_of(replace(job, command="x"), replace(ABLE, init=False))


def test_an_element_of_a_step_has_a_name_of_its_own(job):
    assert container_name(replace(job, step="train/3")) == "volant-r-train.3-2"


def test_its_own_folder_and_the_results(job):
    words = words_of(job)
    assert mounts_of(words) == {
        str(job.workdir): str(job.workdir),
        "/tekton/results": str(job.workdir / "results"),
    }
    assert option(words, "--workdir") == [str(job.workdir)]
    told = words_of(replace(job, env={"VOLANT_RESULTS_DIR": "/elsewhere/results"}))
    assert mounts_of(told)["/elsewhere/results"] == "/elsewhere/results"
    assert mounts_of(told)["/tekton/results"] == "/elsewhere/results"


@pytest.mark.parametrize(
    ("cwd", "inside"),
    [
        ("runs/train/code", "/project"),
        ("runs/train/code/deep", "/project/deep"),
        ("runs/train/other", "runs/train/other"),
        ("outside", "outside"),
    ],
)
def test_where_the_command_begins(job, tmp_path, cwd, inside):
    job = replace(job, mounts={"/project": job.workdir / "code"}, cwd=tmp_path / cwd)
    words = words_of(job)
    expected = inside if inside.startswith("/") else str(tmp_path / inside)
    assert option(words, "--workdir") == [expected]
    outside = str(tmp_path / "outside")
    assert (outside in mounts_of(words)) == (cwd == "outside")
    direct = replace(job, cwd=Path("/project"))
    assert option(words_of(direct), "--workdir") == ["/project"]


def test_a_path_with_commas_and_quotes(job):
    odd = Path('/a "b", c')
    assert mounts_of(words_of(replace(job, mounts={"/x": odd})))["/x"] == str(odd)
    with pytest.raises(InvalidInput, match="no path in a container"):
        words_of(replace(job, mounts={"x": odd}))


def test_values_are_not_on_the_command_line(job):
    job = replace(job, env={"TOKEN": "s3cret", "HTTPS_PROXY": "http://p", "PATH": "/x"})
    made = creation(job, ABLE, "me", pid_file=Path("/pid"))
    assert not any("s3cret" in word for word in made.words)
    assert made.environ["TOKEN"] == "s3cret"
    assert made.environ["VOLANT_INPUT_ALPHA"] == "0.5"
    named = option(list(made.words), "--env")
    assert {"TOKEN", "HTTPS_PROXY=http://p", "PATH=/x"} <= set(named)
    assert not {"PATH", "HTTPS_PROXY", "HOME"} & made.environ.keys()


def test_a_user_without_a_home_gets_one(job):
    assert f"HOME={job.workdir}" in option(words_of(job), "--env")
    assert "HOME=/mine" in option(words_of(replace(job, env={"HOME": "/mine"})), "--env")
    root = replace(ABLE, user=("--user", "0:0"))
    assert not any(word.startswith("HOME") for word in option(words_of(job, root), "--env"))


@pytest.mark.parametrize("name", ["", "A=B", "A\0"])
def test_names_that_no_environment_has(job, name):
    with pytest.raises(InvalidInput, match="no process can be given"):
        words_of(replace(job, env={name: "x"}))


def test_limits(job):
    job = replace(job, memory_bytes=1 << 20, cpu=1.5)
    words = words_of(job)
    assert option(words, "--memory") == option(words, "--memory-swap") == ["1048576"]
    assert option(words, "--cpus") == ["1.5"]
    unable = replace(ABLE, memory=False, cpu=False, why_not="rootless podman")
    made = creation(job, unable, "me", pid_file=Path("/pid"))
    assert not {"--memory", "--cpus"} & set(made.words)
    assert len(made.notes) == 2
    assert all("rootless podman" in note for note in made.notes)


@pytest.mark.parametrize("change", [{"image": None}, {"entry": "a:b"}])
def test_what_cant_be_a_container(job, change):
    with pytest.raises(InvalidInput, match="can't run in a container"):
        words_of(replace(job, **change))


# the engine


def test_podman_as_root_and_rootless():
    host = {
        "security": {"rootless": False},
        "cgroupVersion": "v1",
        "cgroupControllers": ["memory", "cpu"],
    }
    able = of_podman({"host": host})
    assert (able.memory, able.cpu, able.user) == (True, True, ("--user", IDS))
    rootless = of_podman({"host": {**host, "security": {"rootless": True}}})
    assert (rootless.memory, rootless.cpu) == (False, False)
    assert rootless.user == ("--userns", "keep-id", "--user", IDS)
    assert "rootless" in rootless.why_not
    new = {"security": {"rootless": True}, "cgroupVersion": "v2", "cgroupControllers": ["memory"]}
    able = of_podman({"host": new})
    assert (able.memory, able.cpu) == (True, False)


def test_docker():
    info = {"MemoryLimit": True, "CpuCfsQuota": False, "SecurityOptions": ["name=seccomp"]}
    able = of_docker(info)
    assert (able.memory, able.cpu, able.user) == (True, False, ("--user", IDS))
    assert of_docker({"SecurityOptions": ["name=rootless"]}).user == ("--user", "0:0")


def test_no_engine_says_what_to_install(job, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidInput, match="nor docker") as caught:
        find_engine(None)
    assert "apt install podman" in caught.value.fix
    with pytest.raises(InvalidInput, match="'nerdctl' isn't on PATH"):
        find_engine("nerdctl")
    result = ContainerCompute(tmp_path / "home").run(job)
    assert result.status is JobStatus.FAILED
    assert result.error is not None
    assert result.error["code"] == "container.no_engine"
    assert "apt install podman" in job.log_path.read_text()


def test_an_engine_that_doesnt_work(tmp_path):
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(Unavailable, match="Cannot connect to the Docker daemon"):
        find_engine(None, path=str(tmp_path)).abilities()


def test_nothing_left_calls_no_engine(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    ContainerCompute(tmp_path / "home").recover()
    assert not (tmp_path / "home").exists()


def test_what_an_engine_said():
    assert engine_words(["Trying to pull x", "Error: no such", "", "Error: host"]) == (
        "Error: no such Error: host"
    )
    assert engine_words(["a", "b "]) == "b"
    assert engine_words([]) == ""


# the end


def state(**changes):
    return {"Status": "exited", "Running": False, "StartedAt": "2026-01-01T00:00:00Z", **changes}


def test_how_it_ended():
    assert facts_of(None, Usage()).exit_code is None
    assert facts_of(state(ExitCode=3), Usage()).exit_code == 3
    assert facts_of(state(ExitCode=137), Usage()).exit_code == -9
    assert facts_of(state(ExitCode=255), Usage()).exit_code == 255
    assert facts_of(state(ExitCode=0, Running=True), Usage()).exit_code is None
    never = facts_of(state(StartedAt="0001-01-01T00:00:00Z", ExitCode=127), Usage())
    assert (never.exit_code, never.started) == (None, False)
    assert facts_of(state(ExitCode=137, OOMKilled=True), Usage()).out_of_memory
    assert facts_of(state(ExitCode=1), Usage(oom_kills=1)).out_of_memory


def test_control_groups_of_both_versions():
    old = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n" + "".join(
        f"cgroup /sys/fs/cgroup/{name} cgroup rw,{name} 0 0\n" for name in ("memory", "cpu,cpuacct")
    )
    found = group_folders("5:memory:/libpod/x\n2:cpu,cpuacct:/libpod/x\n0::/\n", old)
    assert {name: str(path) for name, path in found.items()} == {
        "memory": "/sys/fs/cgroup/memory/libpod/x",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/libpod/x",
    }
    new = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"
    found = group_folders("0::/user.slice/libpod-x.scope\n", new)
    assert [str(path) for path in found.values()] == ["/sys/fs/cgroup/user.slice/libpod-x.scope"]
    assert not group_folders("0::/\n", new)
    joined = Usage(1.0, 5, 0).joined(Usage(0.0, 7, 1))
    assert joined == Usage(1.0, 7, 1)
