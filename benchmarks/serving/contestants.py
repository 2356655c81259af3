"""Who is measured beside Volant, how each is started, and how it is asked."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving import environments, servers, wires
from benchmarks.serving.data import NAMES, Asked
from benchmarks.serving.servers import NotServing
from benchmarks.serving.wires import Wire
from benchmarks.wait import free_port

PROGRAMS = Path(__file__).parent / "peers"
KINDS = ("sklearn", "onnx")


@dataclass(frozen=True)
class Peer:
    """A model server of other people. `name` is its program's and its pins'; `title` tells
    a variant; `alone` if one process holds one model; `binary` kinds take binary tensors;
    `grpc` if it speaks the protocol's gRPC on a port of its own; `default` unless it batches
    because it was told to."""

    name: str
    title: str
    wire: Wire
    kinds: tuple[str, ...] = KINDS
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    alone: bool = False
    binary: tuple[str, ...] = ()
    grpc: bool = False
    default: bool = True


_BENTO = {"BENTOML_DO_NOT_TRACK": "True"}
_RAY = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_USAGE_STATS_ENABLED": "0"}
_DEFAULT = ("sklearn",)  # batching the ONNX model's 20 µs slowed each of them down

PEERS = (
    Peer("fastapi", "FastAPI", wires.NAMED),
    Peer("mlserver", "MLServer", wires.OIP, grpc=True),
    Peer("kserve", "KServe", wires.OIP, binary=("onnx",), grpc=True),
    Peer("bentoml", "BentoML", wires.BENTO, env=_BENTO),
    Peer("litserve", "LitServe", wires.NAMED),
    Peer("ray", "Ray Serve", wires.NAMED, env=_RAY),
    Peer(
        "mlflow",
        "mlflow models serve",
        wires.MLFLOW,
        env={"MLFLOW_DISABLE_TELEMETRY": "true"},
        alone=True,
    ),
    Peer(
        "mlserver",
        "MLServer, batching",
        wires.OIP,
        env={"MLSERVER_BATCH": "64"},
        default=False,
    ),
    Peer(
        "bentoml",
        "BentoML, batching",
        wires.BENTO,
        _DEFAULT,
        env={**_BENTO, "BENTO_BATCH": "1"},
        default=False,
    ),
    Peer(
        "litserve",
        "LitServe, batching",
        wires.NAMED,
        _DEFAULT,
        env={"LIT_BATCH": "16"},
        default=False,
    ),
    Peer(
        "ray",
        "Ray Serve, batching",
        wires.NAMED,
        _DEFAULT,
        env={**_RAY, "RAY_BATCH": "64"},
        default=False,
    ),
)


@dataclass(frozen=True)
class Running:
    """A peer that answers rightly."""

    peer: Peer
    port: int
    grpc_port: int
    pid: int


@contextmanager
def running(
    peer: Peer, kind: str, model: str, folder: Path, work: Path, asked: Mapping[str, Asked]
) -> Generator[Running]:
    """The peer with the models in `folder`; `model` matters to those that hold one only.

    Raises `NotInstalled`; `NotServing` when an answer differs from scikit-learn's."""
    python = environments.python_of(peer.name)
    port, grpc_port = free_port(), free_port()
    command = [str(python), "-P", str(PROGRAMS / f"{peer.name}.py"), str(port), kind, str(folder)]
    if peer.alone:
        command.append(model)
    elif peer.name in ("mlserver", "kserve"):
        command.append(str(grpc_port))
    env = servers.environment(
        PYTHONPATH=str(PROGRAMS / "parts"),
        PATH=f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
        **peer.env,
    )
    log = work / f"{peer.title.replace(' ', '-').replace(',', '')}-{kind}-{model}.log"
    with servers.child(command, env, log, work) as process:
        held = (model,) if peer.alone else NAMES
        for name in held:
            question = peer.wire.ask(name, asked[name].rows[:1])
            servers.until_answers(process, port, question, log)
            prove(port, peer.wire, name, asked[name])
            if kind in peer.binary:
                prove(port, wires.OIP_BINARY, name, asked[name])
        yield Running(peer, port, grpc_port, process.pid)


def prove(port: int, wire: Wire, model: str, asked: Asked) -> None:
    """Ask one row and 64 rows; raises `NotServing` unless the labels are scikit-learn's."""
    for part in (asked.first(1), asked):
        status, body, headers = servers.ask(port, wire.ask(model, part.rows))
        if status != 200:
            raise NotServing(f"{model}, {len(part.rows)} rows: {status} {body[:200]!r}")
        try:
            got = wire.labels(body, headers)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise NotServing(f"{model}: unreadable answer {body[:200]!r}: {error}") from error
        if list(got) != list(part.labels):
            wrong = sum(a != b for a, b in zip(got, part.labels, strict=False))
            raise NotServing(f"{model}: {wrong} of {len(part.rows)} labels differ")
