"""A Volant on a home that goes away, on the servers' core, with one loop a deployment.

Loops: `forest` and `logistic` with one replica that stays and, as with everybody else's
server here, no log of requests; `logged`, the same logistic model with its prediction log on;
`zero`, a forest that goes to zero replicas after a second; `spare`, the same with a warm spare.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.home import Home, run_volant, running
from benchmarks.serving import cores, data, wires
from benchmarks.serving.contestants import prove
from benchmarks.serving.data import Asked
from benchmarks.wait import until

PROGRAM = Path(__file__).parent / "programs" / "train.py"
DATASET = "breast-cancer"

_STAYS = "{min: 1, max: 1}"
_LEAVES = "{min: 0, max: 1, idle: 1s}"
_LOOP = """\
kind: Loop
name: {name}
data: {{dataset: breast-cancer, target: benign}}
train:
  call: "train:fit"
  task: classification
  params: {{kind: {kind}, keep: "{keep}"}}
gate: {{champion: false}}
deploy:
{deploy}
"""


@dataclass(frozen=True)
class Ours:
    """A platform whose deployments answer. `models` is the folder with what the peers load;
    `missing` says why a deployment isn't there."""

    home: Home
    models: Path
    asked: Mapping[str, Asked]
    missing: Mapping[str, str]

    def deployment(self, name: str) -> Mapping[str, Any]:
        return self.home.client.get(f"/deployments/{name}")

    def port(self, name: str) -> int:
        return int(urlsplit(self.deployment(name)["infer_url"]).port or 0)

    def url(self, name: str) -> str:
        return self.deployment(name)["infer_url"]

    def path(self, name: str) -> str:
        return urlsplit(self.url(name)).path

    def package(self, name: str) -> Path:
        """The folder of the first version, as a replica loads it."""
        return _package(self.home, name)

    def push(self, table: Path) -> None:
        """Push rows; every loop trains and deploys a new version."""
        self.home.volant("data", "push", DATASET, str(table))


@contextmanager
def started(work: Path) -> Generator[Ours]:
    """Start, apply, push, and wait until all deployments answer rightly."""
    models = work / "models"
    models.mkdir(parents=True)
    with cores.on(cores.SERVER):
        context = running(work / "home")
        home = context.__enter__()
    try:
        ours = _prepared(home, work, models)
        yield ours
    finally:
        context.__exit__(None, None, None)


def _prepared(home: Home, work: Path, models: Path) -> Ours:
    missing: dict[str, str] = {}
    wanted = ["forest", "logistic", "zero"]
    for name in wanted:
        _apply(home, work, name, models)
    for name in ("spare", "logged"):
        try:
            _apply(home, work, name, models)
            wanted.append(name)
        except RuntimeError as error:
            missing[name] = _last(str(error))
    home.volant("data", "push", DATASET, str(data.write(work / "rows.csv")))
    for name in wanted:
        until(lambda name=name: _live(home, name), f"deployment {name}", 180, every_s=0.05)
    for name in data.NAMES:
        shutil.copy(_package(home, name) / "model.onnx", models / f"{name}.onnx")
    ours = Ours(home, models, data.asked(models), missing)
    for name in data.NAMES:
        prove(ours.port(name), wires.OIP, name, ours.asked[name])
    return ours


def _package(home: Home, name: str) -> Path:
    wanted = home.client.get(f"/models/{name}/versions/1")["files"]["model.onnx"]
    found = (home.folder / "artifacts").rglob("model.onnx")
    return next(file.parent for file in found if _sha256(file) == wanted)


def _apply(home: Home, work: Path, name: str, models: Path) -> None:
    folder = work / f"loop-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(PROGRAM, folder)
    kind = "logistic" if name in ("logistic", "logged") else "forest"
    keep = models / f"{name}.pkl"
    text = _LOOP.format(name=name, kind=kind, keep=keep, deploy=_deploy(name))
    (folder / "volant.yaml").write_text(text)
    run_volant(home.folder, ("apply", str(folder / "volant.yaml")))


def _deploy(name: str) -> str:
    replicas = _LEAVES if name in ("zero", "spare") else _STAYS
    if name == "spare":
        replicas = replicas.replace("}", ", spares: 1}")
    # The log is on by default; `logged` and `logistic` differ in it alone.
    log = "{sample: 1.0, max: 1GB}" if name == "logged" else "off"
    return f"  replicas: {replicas}\n  log: {log}"


def _live(home: Home, name: str) -> bool:
    for run in home.client.get("/runs", limit=20)["items"]:
        state = run.get("state") or run
        if state.get("status") == "failed":
            raise RuntimeError(f"the run {run['id']} failed: {run}")
    found = home.client.get("/deployments")["items"]
    return any(item["name"] == name and item["live_version"] for item in found)


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "log" in line or "spare" in line), lines[-1])[:160]
