"""A job as the words of `podman create` or `docker create`. Nothing is run here.

Of a `Job` these fields are read: `image`, `command`, `inputs`, `env`, `workdir`, `cwd`,
`mounts`, `memory_bytes`, `cpu`, and `run_id`, `step` and `attempt` for its name.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from volant.adapters.container.engine import Abilities
from volant.adapters.local.environment import job_environment
from volant.domain.job import Job
from volant.errors import InvalidInput

HOME_LABEL = "volant.home"
RESULTS = "/tekton/results"
DEFAULT_COMMAND = "run"  # what FuseML's images have
# What the engine itself reads from its environment: a job's value of these goes by another way.
_ENGINES_OWN = re.compile(
    r"(PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|LANG|TERM|NOTIFY_SOCKET|SSL_.*|XDG_.*|LD_.*|GO[A-Z]*"
    r"|_?CONTAINERS?_.*|CONTAINER|DOCKER_.*|PODMAN_.*|BUILDAH_.*|STORAGE_.*|REGISTRY_.*|DBUS_.*"
    r"|LISTEN_.*|LC_.*|.*_PROXY)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Creation:
    """The words after the program's name, the environment that they name, and what the
    job's log is told first."""

    words: tuple[str, ...]
    environ: Mapping[str, str]
    notes: tuple[str, ...]


def container_name(job: Job) -> str:
    """The same for the same attempt, whoever asks. An element of a step is `step/index`."""
    return "volant-" + re.sub(r"[^A-Za-z0-9_-]", ".", f"{job.run_id}-{job.step}-{job.attempt}")


def results_dir(job: Job) -> Path:
    """Where the job's named outputs are written, on this machine."""
    told = job.env.get("VOLANT_RESULTS_DIR")
    return Path(told) if told else job.workdir / "results"


def creation(job: Job, able: Abilities, home: str, *, pid_file: Path) -> Creation:
    """How the job's container is made. Raises `InvalidInput` for what can't be one."""
    if not job.image or job.entry is not None:
        raise InvalidInput(
            f"Step {job.step} can't run in a container: "
            + ("it has no image." if not job.image else "it is a Python function."),
            "Give it `image:`, alone or with the command `run:`.",
        )
    mounts = _mounts(job)
    environ = dict(job_environment(job))
    environ["VOLANT_RESULTS_DIR"] = str(results_dir(job))
    _check_names(job, environ)
    limits, notes = _limits(job, able)
    words = ["create", "--name", container_name(job), "--pull", "missing"]
    words += _labels(job, home)
    # As a step that is a process here: this machine's network, who calls' own files.
    words += ["--network", "host", "--security-opt", "label=disable", *able.user]
    words += ["--log-driver", "none", "--workdir", _workdir(job, mounts), *limits]
    if able.init and job.command is not None:
        words.append("--init")  # a shell that is process 1 would not hear SIGTERM
    if able.podman:
        words += ["--pidfile", str(pid_file)]
    for target, source in mounts.items():
        words += ["--mount", _mount(target, source)]
    if "--user" in able.user and able.user[-1].partition(":")[0] != "0":
        # Its image knows no such user, and would give it / for a home.
        environ.setdefault("HOME", str(job.workdir))
    for name, value in environ.items():
        # By name alone, so that no list of processes shows a value.
        words += ["--env", f"{name}={value}" if _ENGINES_OWN.fullmatch(name) else name]
    if job.command is None:
        words += ["--entrypoint", DEFAULT_COMMAND, job.image]
    else:
        words += ["--entrypoint", "/bin/sh", job.image, "-c", job.command]
    handed = {name: text for name, text in environ.items() if not _ENGINES_OWN.fullmatch(name)}
    return Creation(tuple(words), handed, notes)


def _labels(job: Job, home: str) -> list[str]:
    labels = {
        HOME_LABEL: home,
        "volant.run": job.run_id,
        "volant.step": job.step,
        "volant.attempt": str(job.attempt),
    }
    return [word for key, text in labels.items() for word in ("--label", f"{key}={text}")]


def _mounts(job: Job) -> dict[str, Path]:
    """Folders of this machine by their path inside. The job's own folder has its own path,
    so that every path that the job is told is true on both sides."""
    results = results_dir(job)
    mounts = {str(job.workdir): job.workdir, **job.mounts, RESULTS: results}
    seen = [results] if job.cwd is None else [results, job.cwd]
    for folder in seen:
        if _inside(folder, mounts, but=RESULTS) is None:
            mounts[str(folder)] = folder
    return mounts


def _workdir(job: Job, mounts: Mapping[str, Path]) -> str:
    where = job.cwd or job.workdir
    return _inside(where, mounts, but=RESULTS) or str(where)


def _inside(path: Path, mounts: Mapping[str, Path], *, but: str) -> str | None:
    """`path` as the container has it: the mount that lies nearest to it counts, so that code
    which was checked out in the job's folder is found where the codeset's path is."""
    if str(path) in mounts:
        exact = mounts[str(path)]
        if exact != path:
            return str(path)  # a path of the container's own
    found: tuple[int, str] | None = None
    for target, source in mounts.items():
        if target != but and path.is_relative_to(source):
            depth = len(source.parts)
            if found is None or depth >= found[0]:
                found = (depth, str(PurePosixPath(target) / path.relative_to(source)))
    return None if found is None else found[1]


def _mount(target: str, source: Path) -> str:
    """In the CSV that both engines read, so that a path may hold a comma."""
    if not PurePosixPath(target).is_absolute():
        raise InvalidInput(
            f"{target!r} is no path in a container.", "Let the codeset's path begin with /."
        )
    text = io.StringIO()
    fields = ["type=bind", f"source={source}", f"target={target}"]
    csv.writer(text, lineterminator="").writerow(fields)
    return text.getvalue()


def _limits(job: Job, able: Abilities) -> tuple[list[str], tuple[str, ...]]:
    words: list[str] = []
    notes: list[str] = []
    if job.memory_bytes is not None:
        if able.memory:
            size = str(job.memory_bytes)
            words += ["--memory", size, "--memory-swap", size]  # both the same: no swap
        else:
            notes.append(f"The memory limit isn't kept: {able.why_not} can't bound memory.")
    if job.cpu is not None:
        if able.cpu:
            words += ["--cpus", f"{job.cpu:g}"]
        else:
            notes.append(f"The limit of cores isn't kept: {able.why_not} can't bound CPU time.")
    return words, tuple(notes)


def _check_names(job: Job, environ: Mapping[str, str]) -> None:
    for name, value in environ.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise InvalidInput(
                f"The environment of step {job.step} has {name!r}, which no process can be given.",
                "A name has no '=' and isn't empty; neither it nor its value has a zero byte.",
                details={"name": name},
            )
