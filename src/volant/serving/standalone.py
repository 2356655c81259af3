"""One model, one process, no control plane: what a container runs.

python -m volant.serving.standalone FOLDER [--record FILE] [--host H] [--port N] [--check]

`FOLDER` holds the model's files; the record is the manifest of an export (JSON: model,
version, files: {path: {sha256}}), FOLDER/manifest.json unless named. It answers as a
deployment does, on $PORT (8080). With `VOLANT_TOKEN` set, who predicts must show that
token. SIGTERM and Ctrl-C drain: requests under way are answered, then it exits with 0.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from volant.errors import InvalidInput, Unavailable, VolantError, from_dict
from volant.serving.board import Board
from volant.serving.door import public_socket

RECORD_FILE = "manifest.json"
_HOST, _PORT = "0.0.0.0", "8080"  # noqa: S104 - a container's own address


def main(words: Sequence[str] | None = None) -> int:
    """Serve until told to leave; returns the exit code."""
    options = _parser().parse_args(words)
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as the zygotes do
    # As a container's first process it gets no signal that it hasn't asked for.
    signal.signal(signal.SIGTERM, _leave)
    try:
        folder = options.folder
        spec = spec_of(folder, options.record or folder / RECORD_FILE, os.environ)
        if options.check:
            return _check(spec)
        return _serve(spec, options.host, _port(options.port))
    except VolantError as error:
        _say(error=error.what, fix=error.fix)
        return 1


def spec_of(folder: Path, record: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """A replica's orders for the model in `folder`; see `replica_spec.Assignment`.

    Raises `InvalidInput` when the record can't be read.
    """
    try:
        told = json.loads(record.read_text(encoding="utf-8"))
        model, version = str(told["model"]), str(int(told["version"]))
        files = {str(name): str(facts["sha256"]) for name, facts in told["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{record} isn't the record of a model version: {error!r}.",
            "Name it with --record: the manifest.json of an exported model.",
            code="standalone.record",
        ) from error
    token = environ.get("VOLANT_TOKEN")
    return {
        "deployment": model,
        "revision": 1,
        "model": model,
        "version": version,
        "model_dir": str(folder),
        "files": files,
        "token_sha256": [hashlib.sha256(token.encode()).hexdigest()] if token else None,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m volant.serving.standalone",
        description="Serve one model in the Open Inference Protocol.",
    )
    parser.add_argument("folder", type=Path, help="the model's files")
    parser.add_argument("--record", type=Path, help=f"default: FOLDER/{RECORD_FILE}")
    parser.add_argument("--host", default=_HOST)
    parser.add_argument(
        "--port", default=os.environ.get("PORT", _PORT), help="default: $PORT, 8080"
    )
    parser.add_argument("--check", action="store_true", help="only load it and predict once")
    return parser


def _port(text: str) -> int:
    if not text.isdigit() or not 0 <= int(text) < 65536:
        raise InvalidInput(
            f"{text[:40]!r} is no port.", "Give one from 1 to 65535.", code="standalone.port"
        )
    return int(text)


def _check(spec: Mapping[str, Any]) -> int:
    from volant.serving.inference import load

    model = load(Path(spec["model_dir"]), spec["files"])
    _say(checked=spec["model"], version=spec["version"], kind=model.description.kind)
    return 0


def _serve(spec: Mapping[str, Any], host: str, port: int) -> int:
    from volant.serving.replica import serve

    try:
        listening = public_socket(host, port)
    except OSError as error:
        raise Unavailable(
            f"{host}:{port} can't be listened on: {error.strerror}.",
            "Give another --host or --port.",
            code="standalone.address",
        ) from error
    board = Board()  # its own page of metrics; it lives as long as this call
    place = board.assign(spec["revision"], int(spec["version"]))
    if place is not None:
        spec = {**spec, "counters": place.message()}
    ours, theirs = socket.socketpair()
    where = listening.getsockname()[:2]
    keeper = _Keeper(ours, {"serving": spec["model"], "version": spec["version"], "at": where})
    keeper.start()
    # A fork's replica leaves Ctrl-C to its supervisor. Here there is none.
    signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    serve(spec, listening.detach(), theirs.detach())
    keeper.join(5)
    return keeper.code


class _Keeper(threading.Thread):
    """The control plane's end of the replica's control socket: lets it accept once it is
    ready, and hears why it isn't. `code` is what the process should exit with."""

    def __init__(self, control: socket.socket, words: Mapping[str, Any]) -> None:
        super().__init__(name="volant-keeper", daemon=True)
        self._control = control
        self._words = words
        self.code = 0

    def run(self) -> None:
        with self._control, self._control.makefile("rb") as lines:
            self._listen(lines)

    def _listen(self, lines: IO[bytes]) -> None:
        for line in lines:
            message = json.loads(line)
            if message["type"] == "ready":
                self._control.sendall(b'{"type":"accept"}\n')
                _say(**self._words)
            elif message["type"] == "failed":
                error = from_dict(message["error"])
                _say(error=error.what, fix=error.fix)
                self.code = 1
            elif message["type"] in ("load", "unload"):
                self._answer(message)

    def _answer(self, message: Mapping[str, Any]) -> None:
        """The model is loaded as long as the process lives."""
        refusal = InvalidInput("There is no control plane to unload it.", "Stop the process.")
        error = None if message["type"] == "load" else refusal.to_dict()
        answer = {"type": "answer", "id": message["id"], "error": error}
        self._control.sendall(json.dumps(answer).encode() + b"\n")


def _say(**fields: Any) -> None:
    """One JSON line on standard error, as the replica writes them."""
    sys.stderr.write(json.dumps(fields, ensure_ascii=False) + "\n")
    sys.stderr.flush()


def _leave(*_: object) -> None:
    """Before there is anything to drain."""
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
