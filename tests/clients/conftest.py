"""Environments of clients that others wrote, and a real platform with models to ask.

Each environment is made by uv from its `pins/NAME.txt` and kept in `.clients/` (or in
`VOLANT_CLIENTS_CACHE`) until the pins change. Their programs run as subprocesses: what
they assert is in `programs/`, and the models' own answers come with them in a file.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from onnx import TensorProto, helper
from platform_process import Platform, loop_file, wait_for
from sklearn.datasets import load_wine

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CACHE = Path(os.environ.get("VOLANT_CLIENTS_CACHE") or ROOT / ".clients")
SHOWN = 4000  # characters of a program's output in a failure

ECHO = """
class Model:
    def predict(self, inputs):
        return {f"{name}_out": value for name, value in inputs.items()}
"""
DATATYPES = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
             "FP16", "FP32", "FP64", "BYTES")  # fmt: skip


# environments


def _environment(name: str) -> Path:
    """The interpreter of `name`'s environment; one process makes it, others wait."""
    pins = HERE / "pins" / f"{name}.txt"
    wanted = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = CACHE / f"{name}-{wanted}"
    python, done = folder / "bin" / "python", folder / "made"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return python
        for old in CACHE.glob(f"{name}-*"):
            shutil.rmtree(old, ignore_errors=True)
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        assert uv is not None, "uv makes these environments; it comes with `make test-slow`"
        for arguments in (
            ("venv", "--python", sys.executable, str(folder)),
            ("pip", "install", "--python", str(python), "-r", str(pins)),
        ):
            told = subprocess.run(
                [uv, *arguments, "--quiet"],
                capture_output=True,
                text=True,
                timeout=900,
                check=False,
            )
            assert told.returncode == 0, told.stderr[-SHOWN:]
        done.touch()
    return python


@pytest.fixture(scope="session")
def environment() -> Callable[[str], Path]:
    """`environment("triton")` → the interpreter of that environment."""
    return _environment


def run(command: list[Any], *, timeout_s: float = 240, code: int | None = 0) -> str:
    """What the command printed, both ways; it must end with `code`."""
    kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    told = subprocess.run(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**kept, "PYTHONWARNINGS": "ignore"},
    )
    assert code is None or told.returncode == code, told.stdout[-SHOWN:]
    return told.stdout


@pytest.fixture(scope="session")
def command() -> Callable[..., str]:
    return run


# models and their own answers


def _blend(folder: Path) -> Path:
    """Tensors of three dimensions: their sum by a scale, and the same with the other sign."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["image", "axes"], ["total"], keepdims=0),
            helper.make_node("Mul", ["total", "scale"], ["sum"]),
            helper.make_node("Neg", ["image"], ["negative"]),
        ],
        "blend",
        [
            info("image", TensorProto.FLOAT, ["n", 2, 3]),
            info("scale", TensorProto.FLOAT, ["n"]),
        ],
        [
            info("sum", TensorProto.FLOAT, ["n"]),
            info("negative", TensorProto.FLOAT, ["n", 2, 3]),
        ],
        [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    (folder / "blend.onnx").write_bytes(model.SerializeToString())
    return folder / "blend.onnx"


def blend(platform: Platform, folder: Path) -> dict[str, Any]:
    path = _blend(folder)
    platform.cli("models", "register", path, "--name", "blend")
    # Quarters: their sums are exact in whatever order they are added.
    image = (np.arange(-6, 12, dtype=np.float32) / 4).reshape(3, 2, 3)
    scale = np.array([1, -0.5, 2], np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    total, negative = session.run(["sum", "negative"], {"image": image, "scale": scale})
    return {
        "image": image.tolist(),
        "scale": scale.tolist(),
        "sum": np.asarray(total).tolist(),
        "negative": np.asarray(negative).tolist(),
    }


def pair(platform: Platform, folder: Path) -> dict[str, Any]:
    """Two versions that both have traffic: the number by two, the number by three."""
    for version, factor in ((1, 2), (2, 3)):
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            [helper.make_node("Mul", ["x", "factor"], ["y"])],
            "times",
            [info("x", TensorProto.DOUBLE, ["n"])],
            [info("y", TensorProto.DOUBLE, ["n"])],
            [helper.make_tensor("factor", TensorProto.DOUBLE, [1], [factor])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        (folder / "times.onnx").write_bytes(model.SerializeToString())
        platform.cli("models", "register", folder / "times.onnx", "--name", "pair")
        canary = ("--canary", "50", "--bake", "1h") if version == 2 else ()
        platform.cli("deploy", f"pair@{version}", *canary)
    return {"factors": {"1": 2, "2": 3}}


def echo(platform: Platform, folder: Path) -> dict[str, Any]:
    """Answers each of its 13 inputs as it came."""
    return _echo(platform, folder, "echo", DATATYPES)


def brains(platform: Platform, folder: Path) -> dict[str, Any]:
    """The same for BF16, which not every client knows."""
    return _echo(platform, folder, "brains", ("BF16",))


def _echo(platform: Platform, folder: Path, name: str, datatypes: Sequence[str]) -> dict[str, Any]:
    (folder / name).mkdir()
    (folder / name / "model.py").write_text(ECHO)
    inputs = [{"name": d, "datatype": d, "shape": [-1, -1]} for d in datatypes]
    outputs = [{**each, "name": f"{each['name']}_out"} for each in inputs]
    signature = folder / f"{name}.json"
    signature.write_text(json.dumps({"inputs": inputs, "outputs": outputs}))
    platform.cli("models", "register", folder / name, "--name", name, "--signature", signature)
    return {"datatypes": datatypes}


def wine(platform: Platform, folder: Path) -> dict[str, Any]:
    """Columns of numbers; LightGBM itself says what is expected."""
    x, y = load_wine(return_X_y=True)
    settings = {"objective": "multiclass", "num_class": 3, "verbosity": -1, "num_threads": 1}
    booster = lgb.train(settings, lgb.Dataset(x, y), 8)
    booster.save_model(str(folder / "wine.txt"))
    told = platform.cli("models", "register", folder / "wine.txt", "--name", "wine").json
    rows = x[::20].astype(np.float32)
    probabilities = np.asarray(booster.predict(rows))
    return {
        "columns": [field["name"] for field in told["signature"]["inputs"]],
        "rows": rows.tolist(),
        "probabilities": probabilities.tolist(),
        "prediction": probabilities.argmax(axis=1).tolist(),
    }


def homes(platform: Platform, folder: Path) -> dict[str, Any]:
    """A loop's model over columns of several types; its scikit-learn pipeline says what is
    expected."""
    dice = random.Random(5)
    rows: list[list[Any]] = []
    for _ in range(300):
        area, rooms = round(dice.uniform(25, 120), 1), dice.randint(1, 5)
        district, balcony = dice.choice(["harbour", "hill"]), dice.random() < 0.5
        dear = 9 * area + 150 * (district == "hill") + dice.gauss(0, 30) > 700
        rows.append([area, rooms, balcony, district, "yes" if dear else "no"])
    columns = ["area", "rooms", "balcony", "district"]
    with (folder / "homes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "dear"])
        writer.writerows([a, r, str(b).lower(), d, y] for a, r, b, d, y in rows)
    source = loop_file("homes").replace("target: label", "target: dear")
    platform.apply(source)
    platform.turn("homes", "homes", folder / "homes.csv")
    # what the platform made itself
    (native,) = (platform.home / "artifacts" / "models" / "homes").rglob("model.pkl")
    model = pickle.loads(native.read_bytes())
    some = pd.DataFrame([row[:4] for row in rows[:6]], columns=columns)
    facts = json.loads((native.parent / "volant.json").read_text())
    classes = facts["signature"]["classes"]
    labels = model.predict(some)
    if len(labels) and not isinstance(labels[0], str):
        labels = [classes[int(label)] for label in labels]
    return {
        "columns": columns,
        "types": ["FP64", "INT64", "BOOL", "BYTES"],
        "rows": some.values.tolist(),
        "classes": classes,
        "prediction": list(labels),
        "probabilities": np.asarray(model.predict_proba(some)).tolist(),
    }


MAKERS = {maker.__name__: maker for maker in (homes, blend, pair, echo, brains, wine)}


def deploy(platform: Platform, folder: Path, *names: str) -> dict[str, Any]:
    """These models, each deployed under its own name; what is known of each."""
    facts: dict[str, Any] = {}
    for name in names:
        known = MAKERS[name](platform, folder)
        if name not in ("homes", "pair"):  # the loop has deployed the one, `pair` itself
            platform.cli("deploy", name)
        url = wait_for(f"{name} to be deployed", lambda name=name: _url(platform, name))
        facts[name] = {"name": name, "url": url, "at": url.partition("://")[2], **known}
    return facts


@pytest.fixture
def deployed() -> Callable[..., dict[str, Any]]:
    return deploy


@dataclass
class Served:
    """A platform, what it serves and what the models answer; `facts` holds it all as JSON."""

    platform: Platform
    facts: Path

    def __getitem__(self, model: str) -> dict[str, Any]:
        return json.loads(self.facts.read_text())[model]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The models, each deployed under its own name."""
    from platform_process import platforms

    with platforms() as make:
        platform = make().start()
        folder = tmp_path_factory.mktemp("clients")
        facts = deploy(platform, folder, *MAKERS)
        path = folder / "facts.json"
        path.write_text(json.dumps(facts))
        yield Served(platform, path)


def _url(platform: Platform, name: str) -> str | None:
    answer = platform.ask("GET", f"/deployments/{name}")
    told = answer.json() if answer.status_code == 200 else {}
    return told["url"] if told.get("status") in ("serving", "idle") else None
