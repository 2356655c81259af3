"""Real models on disk, and replicas as real processes."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import pickle
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tests.serving.echoes import SLEEPY, echo_model

from volant.adapters.local.zygote import ZygoteLauncher
from volant.ports.replicas import ReplicaOrder
from volant.serving.fleet import ENTRY
from volant.serving.served import Patience


def hashes(folder: Path) -> dict[str, str]:
    return {
        f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(folder.rglob("*"))
        if f.is_file()
    }


def describe(folder: Path, *, task, inputs, classes, runtime) -> None:
    kind = {bool: "boolean", str: "string"}[type(classes[0])] if classes else "number"
    outputs = [{"name": "prediction", "type": kind, "nullable": False}]
    if classes:
        outputs.append({"name": "probabilities", "type": "number", "nullable": False})
    body = {
        "format": 1,
        "task": task,
        "signature": {"inputs": inputs, "outputs": outputs, "classes": classes},
        "runtime": runtime,
        "native": {"file": "model.pkl"},
    }
    (folder / "volant.json").write_text(json.dumps(body))


def columns(names, kind="number", nullable=False):
    return [{"name": n, "type": kind, "nullable": nullable} for n in names]


def numeric_model(folder: Path, *, shift: float = 0.0) -> Path:
    """Iris-like: 4 numbers → one of 3 names; `shift` moves the data, to tell versions apart."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 4)) + shift
    y = np.array(["low", "mid", "high"])[np.digitize(x[:, 0] - shift, [-0.4, 0.4])]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    folder.mkdir(parents=True, exist_ok=True)
    onnx = to_onnx(model, x[:1].astype(np.float32), options={"zipmap": False})
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())
    names = ["a", "b", "c", "d"]
    describe(
        folder,
        task="classification",
        inputs=columns(names, nullable=True),
        classes=[str(c) for c in model.classes_],
        runtime={
            "kind": "onnx",
            "file": "model.onnx",
            "inputs": [{"tensor": "X", "columns": names, "dtype": "float32"}],
            "outputs": {"label": "label", "probabilities": "probabilities"},
        },
    )
    return folder


def mixed_model(folder: Path) -> Path:
    """A colour (text) and a size (number) → a price."""
    colour = np.array(["red", "blue"] * 20, dtype=object)
    size = np.linspace(0, 1, 40)
    y = size * 10 + (colour == "red") * 5
    frame = pd.DataFrame({"colour": colour, "size": size})
    encode = ColumnTransformer(
        [("c", OneHotEncoder(handle_unknown="ignore"), ["colour"]), ("s", "passthrough", ["size"])]
    )
    model = make_pipeline(encode, RandomForestRegressor(5, random_state=0)).fit(frame, y)
    folder.mkdir(parents=True, exist_ok=True)
    onnx = to_onnx(
        model,
        initial_types=[
            ("colour", StringTensorType([None, 1])),
            ("size", FloatTensorType([None, 1])),
        ],
    )
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())
    describe(
        folder,
        task="regression",
        inputs=columns(["colour"], "string") + columns(["size"]),
        classes=None,
        runtime={
            "kind": "onnx",
            "file": "model.onnx",
            "inputs": [
                {"tensor": "colour", "columns": ["colour"], "dtype": "string"},
                {"tensor": "size", "columns": ["size"], "dtype": "float32"},
            ],
            "outputs": {"label": "variable", "probabilities": None},
        },
    )
    return folder


def native_model(folder: Path) -> Path:
    """A pickled forest: three numbers → true or false."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(100, 3))
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, x[:, 0] > 0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.pkl").write_bytes(pickle.dumps(model))
    describe(
        folder,
        task="classification",
        inputs=columns(["u", "v", "w"]),
        classes=[False, True],
        runtime={"kind": "native", "reason": "a test", "inputs": [], "outputs": {}},
    )
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Callable[[str], Path]:
    """`models("numeric")`, `("shifted")`, `("mixed")`, `("native")` → the folder, made once."""
    root = tmp_path_factory.mktemp("models")
    makers = {
        "numeric": numeric_model,
        "shifted": lambda folder: numeric_model(folder, shift=5.0),
        "mixed": mixed_model,
        "native": native_model,
    }

    def get(kind: str) -> Path:
        folder = root / kind
        return folder if folder.exists() else makers[kind](folder)

    return get


@pytest.fixture(scope="session")
def sha256_of():
    return hashes


class RunningReplica:
    """A replica from the real zygote, with its listening socket and its control channel."""

    def __init__(self, launcher, spec: dict, log_path: Path) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listening.getsockname()[1]
        self.log_path = log_path
        self.control, theirs = socket.socketpair()
        order = ReplicaOrder(
            spec["deployment"], spec["revision"], ENTRY, spec, log_path=str(log_path)
        )
        with theirs:
            self.pid = launcher.launch(order, self.listening.fileno(), theirs.fileno())
        self.control.settimeout(30)
        self._rest = b""

    def message(self) -> dict:
        while b"\n" not in self._rest:
            data = self.control.recv(65536)
            if not data:
                return {"type": "eof"}
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        return json.loads(line)

    def tell(self, **message) -> None:
        self.control.sendall(json.dumps(message).encode() + b"\n")

    def oblige(self) -> None:
        """From now on do as a control plane that does whatever is asked of it."""

        def answer() -> None:
            with contextlib.suppress(OSError):
                while (message := self.message())["type"] != "eof":
                    if message["type"] in ("load", "unload"):
                        self.tell(type="answer", id=message["id"], error=None)

        self.control.settimeout(None)
        threading.Thread(target=answer, daemon=True).start()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def close(self) -> None:
        self.control.close()
        self.listening.close()


@pytest.fixture(scope="session")
def spec_for(models):
    def spec(kind: str, **more) -> dict:
        folder = models(kind)
        return {
            "deployment": kind,
            "revision": 1,
            "version": "3",
            "model_dir": str(folder),
            "files": hashes(folder),
            "token_sha256": None,
            "max_queue_rows": 4096,
            "max_batch_rows": 256,
            **more,
        }

    return spec


@pytest.fixture(scope="module")
def start_replica(launcher, tmp_path_factory) -> Iterator[Callable[..., RunningReplica]]:
    started: list[RunningReplica] = []

    def start(spec: dict, *, accept: bool = True) -> RunningReplica:
        log_path = tmp_path_factory.mktemp("log") / "replica.log"
        replica = RunningReplica(launcher, spec, log_path)
        started.append(replica)
        if accept:
            assert replica.message() == {"type": "ready"}
            replica.tell(type="accept")
        return replica

    yield start
    for replica in started:
        replica.close()


@pytest.fixture(scope="module")
def numeric(start_replica, spec_for):
    """A replica of the numeric model, one for all tests of a module."""
    return start_replica(spec_for("numeric"))


@pytest.fixture(scope="module")
def echoes(tmp_path_factory, start_replica):
    """`echoes("FP32", …)` → a replica that answers tensors of these as they came."""
    found: dict = {}

    def get(*datatypes: str, code: str = SLEEPY, **more):
        key = (datatypes, code, tuple(more))
        if key not in found:
            folder = tmp_path_factory.mktemp("echo") / "model"
            spec = {
                "deployment": "echo",
                "revision": 1,
                "version": "1",
                "model_dir": str(echo_model(folder, list(datatypes), code)),
                "files": hashes(folder),
                "token_sha256": None,
                **more,
            }
            found[key] = start_replica(spec)
        return found[key]

    return get


@pytest.fixture
def connect():
    """`connect(replica or port, **channel options)` → a gRPC client."""
    from tests.serving.grpc_client import Client  # grpcio takes a while to import

    made = []

    def to(replica, **options) -> Client:
        port = replica if isinstance(replica, int) else replica.port
        made.append(Client(port, **options))
        return made[-1]

    yield to
    for client in made:
        client.channel.close()


def http(client: socket.socket, raw: bytes, *, body: bool = True) -> tuple[int, dict, bytes]:
    """Send `raw`, read one answer: status, headers (lower case), body."""
    client.sendall(raw)
    return read_answer(client, body=body)


def read_answer(client: socket.socket, *, body: bool = True, rest: bytearray | None = None):
    data = rest if rest is not None else bytearray()
    while b"\r\n\r\n" not in data:
        got = client.recv(65536)
        if not got:
            raise ConnectionError(f"closed after {bytes(data)!r}")
        data += got
    head, _, tail = bytes(data).partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
    length = int(headers.get("content-length", 0)) if body else 0
    while len(tail) < length:
        got = client.recv(65536)
        if not got:
            raise ConnectionError("closed inside a body")
        tail += got
    if rest is not None:
        rest[:] = tail[length:]
    return int(lines[0].split(" ")[1]), headers, tail[:length]


def post(path: str, payload, *headers: str) -> bytes:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    extra = "".join(f"{h}\r\n" for h in headers)
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{extra}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@pytest.fixture(scope="session")
def wire():
    """The plain-socket HTTP client: `wire.http`, `wire.post`, `wire.read_answer`."""

    class Wire:
        pass

    Wire.http = staticmethod(http)
    Wire.post = staticmethod(post)
    Wire.read_answer = staticmethod(read_answer)
    return Wire


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        select.select([], [], [], 0.02)


@pytest.fixture(scope="session")
def wait_until():
    return until


# the control plane's side: real store, real zygote


here = Path(__file__).with_name("serving_process.py")
loaded = importlib.util.spec_from_file_location("serving_process", here)
serving_process = importlib.util.module_from_spec(loaded)
loaded.loader.exec_module(serving_process)
Platform = serving_process.Platform


@pytest.fixture(scope="session")
def launcher():
    """The real zygote, warmed once."""
    zygote = ZygoteLauncher(
        {"serve": ("numpy", "onnxruntime", "httptools", "uvloop", "volant.serving.replica")}
    )
    zygote.warm("serve")
    yield zygote
    zygote.close()


@pytest.fixture
def platform(tmp_path, launcher) -> Iterator[Platform]:
    made = Platform(tmp_path, launcher, Patience(idle_s=1.0, drain_s=5.0, grace_s=2.0))
    made.begin()
    yield made
    made.end()
    made.store.close()


BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}]}


class Load:
    """Keep-alive clients in threads of their own; counts answers by version, and failures."""

    def __init__(self, port: int, model: str, clients: int) -> None:
        self.answers: dict[str, int] = {}
        self.failures: list[str] = []
        self._request = post(f"/v2/models/{model}/infer", BODY)
        self._port = port
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._client) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _client(self) -> None:
        while not self._stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=30) as client:
                    rest = bytearray()
                    while not self._stop.is_set():
                        client.sendall(self._request)
                        status, headers, body = read_answer(client, rest=rest)
                        if status != 200:
                            raise ConnectionError(f"{status} {body!r}")
                        version = json.loads(body)["model_version"]
                        with self._lock:
                            self.answers[version] = self.answers.get(version, 0) + 1
                        if headers.get("connection") == "close":
                            break
            except OSError as error:
                self.failures.append(repr(error))

    def total(self) -> int:
        return sum(self.answers.values())

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def load() -> Iterator[Callable[..., Load]]:
    started: list[Load] = []

    def start(port: int, model: str, clients: int = 16) -> Load:
        started.append(Load(port, model, clients))
        return started[-1]

    yield start
    for one in started:
        one.stop()
