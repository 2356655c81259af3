from __future__ import annotations

import hashlib
import json

import pytest
from oci_registry import Registry, running

from volant.oci.artifact import Bundle
from volant.oci.client import Client
from volant.oci.reference import parse_reference
from volant.oci.session import Access

FILES = {
    "model.onnx": b"weights " * 400,
    "volant.json": b'{"format": 1}',
    "model/words.txt": "größer\n".encode(),
    "model/empty": b"",
}


@pytest.fixture
def start():
    """Starts registries; they end with the test."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda *words, **more: stack.enter_context(running(Registry(*words, **more)))


@pytest.fixture
def registry(start):
    return start()


@pytest.fixture
def connect(tmp_path):
    """A client of `REPO:TAG` in a registry; nobody sleeps, and no credentials are found but
    those that are given."""
    clients = []

    def make(registry, name="models/rent:1", environ=None, **more):
        empty = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
        access = Access(environ={**empty, **(environ or {})}, sleep=lambda _s: None)
        client = Client(parse_reference(f"{registry.host}/{name}"), access, **more)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.__exit__()


@pytest.fixture
def bundle(tmp_path):
    return bundle_of(tmp_path / "version", FILES)


def bundle_of(folder, contents, **more):
    """A version as its export tells it."""
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    record = {
        "model": "rent",
        "version": 3,
        "created_at": "2026-03-01T10:00:00Z",
        "runtime": {"kind": "onnx", "libraries": {"numpy": "2.4.6"}},
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in contents.items()
        },
        **more,
    }
    return Bundle(json.dumps(record, sort_keys=True).encode(), folder)
