"""A real Volant in processes of its own, as a user has it; for acceptance and chaos tests.

`Platform` starts `volant up` on a home of its own, talks to it as its clients do, knows
every process that came of it, and doesn't let one stay behind.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

MARK = "VOLANT_TEST_FAMILY"
VOLANT = [sys.executable, "-m", "volant.cli.main"]
READY_S = 120.0
PATIENCE_S = 180.0  # for what should take seconds: only a hang takes that long
TICK_S = 0.05
ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Told:
    """What one call of the command line said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Relative:
    """A process of a platform's family; `kind` is control, zygote-PROFILE, step-NAME,
    replica, or fork for one that has no name yet."""

    pid: int
    kind: str


class Died(AssertionError):
    """The control plane ended while the test waited for it."""


class Refused(AssertionError):
    """The API answered with an error that the test didn't expect."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"{answer.request.method} {answer.request.url}: {answer.text}")
        self.status = answer.status_code


def wait_for(what: str, look: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """The first true answer of `look`."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {timeout_s:g} s for {what}.")
        time.sleep(TICK_S)


class Platform:
    """One home and, between `start` and `down`, the platform on it. `program` are the words
    that call `volant`."""

    program: Sequence[str] = VOLANT

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.temp = folder / "tmp"
        self.temp.mkdir(parents=True)
        self.process: subprocess.Popen[bytes] | None = None
        self._mark = uuid.uuid4().hex
        self._http: httpx.Client | None = None
        self._extra: Mapping[str, str] = {}

    # life

    def environment(self, **extra: str) -> dict[str, str]:
        """Ours without the settings of whoever runs the tests."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("VOLANT_")}
        return {**kept, "TMPDIR": str(self.temp), MARK: self._mark, **extra}

    def start(self, *arguments: str, **extra: str) -> Platform:
        """`volant up`, and wait until it answers. `extra` is added to its environment,
        and again at every later start that gives none."""
        self._extra = extra or self._extra
        self.home.mkdir(exist_ok=True)
        with (self.folder / "up.out").open("ab") as output:
            self.process = subprocess.Popen(
                [*self.program, "up", "--home", str(self.home), "--port", "0", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment(**self._extra),
                cwd=self.folder,
            )
        self.connect(self.process.pid)
        return self

    def connect(self, pid: int | None = None) -> None:
        """Wait for the server's record (that of process `pid`) and talk to it."""

        def record() -> dict[str, Any] | None:
            if self.process is not None and self.process.poll() is not None:
                raise Died(f"volant up ended: {self.said()}")
            with contextlib.suppress(OSError, ValueError):
                found = json.loads((self.home / "server.json").read_text())
                return found if pid in (None, found["pid"]) else None
            return None

        found = wait_for("the server's record", record, READY_S)
        self.disconnect()
        token = (self.home / "token").read_text().strip()
        self._http = httpx.Client(
            base_url=found["url"],
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
            trust_env=False,
        )
        self.url = found["url"]
        assert self.get("/health")

    def disconnect(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    def said(self) -> str:
        """The end of what the server wrote."""
        return (self.folder / "up.out").read_text()[-4000:]

    def down(self) -> None:
        """`volant down`; then nothing of the platform is left. No process means no socket:
        theirs are inherited from none but their own family."""
        self.disconnect()
        told = self.cli("down")
        assert told.json["stopped"] is True
        if self.process is not None:
            assert self.process.wait(30) == 0, self.said()
            self.process = None
        assert not self.family(), self.family()
        assert not (self.home / "server.json").exists()
        assert not list(self.temp.iterdir()), list(self.temp.iterdir())

    def ports(self) -> list[int]:
        """Where it listens: its API's port and its deployments'."""
        found = [each["port"] for each in self.get("/deployments")["items"]]
        return [httpx.URL(self.url).port or 0, *found]

    def close(self) -> list[Relative]:
        """End whatever still runs; returns what there was to end."""
        self.disconnect()
        left = self.family()
        for relative in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(relative.pid, signal.SIGKILL)
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        wait_for("killed processes to be gone", lambda: not self.family(), 10)
        return left

    def ended(self) -> bool:
        """Whether the control plane died."""
        return self.process is None or self.process.poll() is not None

    def family(self) -> list[Relative]:
        """Every process that came of this platform, whoever its parent is by now."""
        return sorted(_family(self._mark), key=lambda each: each.pid)

    # clients

    def cli(self, *arguments: str | Path, code: int | None = 0) -> Told:
        """One call of `volant` on this home, answered in JSON."""
        return self.shell(*arguments, "--home", str(self.home), "--json", code=code)

    def shell(
        self,
        *arguments: str | Path,
        code: int | None = 0,
        timeout_s: float = PATIENCE_S,
        **extra: str,
    ) -> Told:
        """One call of `volant` in the platform's folder, with just these words; `extra` is
        added to its environment."""
        done = subprocess.run(
            [*self.program, *map(str, arguments)],
            capture_output=True,
            text=True,
            env=self.environment(COLUMNS="200", **extra),
            cwd=self.folder,
            timeout=timeout_s,
            check=False,
        )
        told = Told(done.returncode, done.stdout, done.stderr)
        assert code is None or told.code == code, (arguments, told)
        return told

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """One request to the API, whatever the answer."""
        assert self._http is not None
        return self._http.request(method, f"/api/v1{path}", **request)

    def _done(self, method: str, path: str, **request: Any) -> Any:
        answer = self.ask(method, path, **request)
        if answer.is_error:
            raise Refused(answer)
        return answer.json() if answer.content else None

    def get(self, path: str, **query: Any) -> Any:
        return self._done("GET", path, params=query)

    def post(self, path: str, body: Any = None) -> Any:
        return self._done("POST", path, json=body)

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """All of a list, over all its pages."""
        found: list[dict[str, Any]] = []
        before: dict[str, str] = {}
        while True:
            page = self.get(path, limit=200, **query, **before)
            found += page["items"]
            if page["next"] is None:
                return found
            before = {"before": page["next"]}

    # the loop

    def apply(self, source: str) -> Any:
        name = next(line[6:] for line in source.splitlines() if line.startswith("name: "))
        return self._done("PUT", f"/loops/{name.strip()}", json={"source": source})

    def push(self, dataset: str, file: Path, key: str | None = None) -> Any:
        """Upload a file and push it; returns at once."""
        upload = self._done(
            "POST",
            f"/datasets/{dataset}/uploads",
            params={"filename": file.name},
            content=file.read_bytes(),
        )
        return self.post(f"/datasets/{dataset}/pushes", {"uploads": [upload["id"]], "key": key})

    def pushed(self, dataset: str, file: Path, key: str | None = None) -> Any:
        """Push a file and wait for what becomes of it."""
        push = self.push(dataset, file, key)
        return self.settled(push["id"])

    def settled(self, push_id: str) -> Any:
        def look() -> Any:
            push = self.get(f"/pushes/{push_id}")
            return push if push["status"] != "received" else None

        return wait_for(f"push {push_id}", look)

    def run_for(self, loop: str, version: int) -> Any:
        """The run that a dataset's version started, once it ended."""

        def look() -> Any:
            for run in self.get("/runs", loop=loop)["items"]:
                if run["workflow"]["inputs"]["dataset_version"] == version:
                    return run["id"]
            return None

        return self.finished(wait_for(f"a run of {loop} on version {version}", look))

    def finished(self, run_id: str) -> Any:
        def look() -> Any:
            run = self.get(f"/runs/{run_id}")
            return run if run["state"]["status"] in ENDED else None

        return wait_for(f"the end of {run_id}", look)

    def turn(self, loop: str, dataset: str, file: Path) -> Any:
        """Push a file and follow the loop to its end; it must succeed."""
        push = self.pushed(dataset, file)
        assert push["status"] == "committed", push
        run = self.run_for(loop, push["version"])
        assert run["state"]["status"] == "succeeded", run["state"]
        return run

    def predict(self, name: str, row: Mapping[str, float]) -> Any:
        """One row to a deployment by plain HTTP; the prediction."""
        answer = httpx.post(
            self.get(f"/deployments/{name}")["infer_url"],
            json=question(row),
            timeout=60,
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        return prediction(answer.json())


def own(name: str) -> str:
    """A loop's name that no other test process uses. A deployment's port follows from its
    name, and one that is down for a moment could lose its port to a namesake."""
    return f"{name}-{os.getpid()}"


def question(row: Mapping[str, float]) -> dict[str, Any]:
    """One row in the Open Inference Protocol."""
    return {
        "inputs": [
            {"name": name, "shape": [1], "datatype": "FP64", "data": [value]}
            for name, value in row.items()
        ]
    }


def prediction(answer: Mapping[str, Any]) -> Any:
    return next(each["data"][0] for each in answer["outputs"] if each["name"] == "prediction")


def outputs(run: Mapping[str, Any], step: str) -> Any:
    """What a step of a run answered."""
    return next(each["outputs"] for each in run["state"]["steps"] if each["name"] == step)


def statuses(run: Mapping[str, Any]) -> dict[str, str]:
    return {each["name"]: each["status"] for each in run["state"]["steps"]}


def listening(port: int) -> bool:
    """Whether a socket of this machine listens on the port (state 0A)."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                return True
    return False


def _family(mark: str) -> Iterator[Relative]:
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if wanted not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            words = (folder / "cmdline").read_text().split("\0")
            name = (folder / "comm").read_text().strip()
            yield Relative(int(folder.name), _kind(words, name, folder))


def _kind(words: Sequence[str], name: str, folder: Path) -> str:
    if name == "volant:replica":
        return "replica"
    if name.startswith("volant:"):
        return f"step-{name.removeprefix('volant:')}"
    if any(word.endswith("zygote_main") for word in words):
        parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
        with contextlib.suppress(OSError):
            if "zygote_main" in Path(f"/proc/{parent}/cmdline").read_text():
                return "fork"
        return f"zygote-{words[words.index('--') + 1] if '--' in words else _profile(words)}"
    return "control" if "up" in words else f"other {' '.join(words)}"


def _profile(words: Sequence[str]) -> str:
    place = next(i for i, word in enumerate(words) if word.endswith("zygote_main"))
    return words[place + 2]


# data

COLUMNS = ("height", "weight", "age", "label")


def table(count: int, seed: int, *, flipped: bool = False) -> list[list[object]]:
    """Rows of three numbers and a label that follows from the first two, nearly always."""
    dice = random.Random(seed)
    rows: list[list[object]] = []
    for _ in range(count):
        height, weight, age = (round(dice.gauss(0, 1), 6) for _ in range(3))
        yes = (2 * height - weight + dice.gauss(0, 0.2) > 0) != flipped
        rows.append([height, weight, age, "yes" if yes else "no"])
    return rows


def write_csv(
    path: Path, rows: Sequence[Sequence[object]], columns: Sequence[str] = COLUMNS
) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def loop_file(name: str, dataset: str | None = None, *, more: str = "", train: str = "") -> str:
    """A volant.yaml with a second's training."""
    return f"""\
kind: Loop
name: {name}
data:
  dataset: {dataset or name}
  target: label
train:
  {train or "automl: {budget: 1s, seed: 1}"}
{more}"""


@contextlib.contextmanager
def platforms() -> Generator[Callable[[], Platform]]:
    """Makes platforms; in the end none may have left a process behind."""
    made: list[Platform] = []
    folder = Path(tempfile.mkdtemp(prefix="volant-test-"))

    def make() -> Platform:
        made.append(Platform(folder / str(len(made))))
        return made[-1]

    try:
        yield make
        with ThreadPoolExecutor(4) as pool:
            left = [each for each in made if each.process is not None and not each.ended()]
            list(pool.map(Platform.down, left))
        for platform in made:  # one that was stopped a moment ago may still be ending
            wait_for(f"the end of {platform.family()}", lambda: not platform.family(), 10)  # noqa: B023
    finally:
        for platform in made:
            platform.close()
        if os.environ.get("VOLANT_TEST_KEEP") is None:
            shutil.rmtree(folder, ignore_errors=True)
