"""A replica ends with who looks after it, whatever its model does then."""

from __future__ import annotations

import os
import socket
import struct

import pytest
from tests.serving.echoes import ECHO, SLEEPY, echo_model

PATH = "/v2/models/m/infer"
ENDLESS_LOAD = """
import threading

class Model:
    def load(self, folder):
        threading.Event().wait()

    def predict(self, inputs):
        return inputs
"""


@pytest.fixture
def serving(tmp_path, start_replica, sha256_of):
    """`serving(code, accept=…, **more of its order)` → a replica of the model `m`."""

    def start(code: str, *, accept: bool = True, **more):
        folder = echo_model(tmp_path / "model", ["FP32"], code)
        about = {"deployment": "m", "revision": 1, "version": "1", "model_dir": str(folder)}
        return start_replica({**about, "files": sha256_of(folder), **more}, accept=accept)

    return start


def asking(value: float) -> dict:
    return {"inputs": [{"name": "FP32", "datatype": "FP32", "shape": [1, 1], "data": [value]}]}


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("warm", [0, 12], ids=["in the thread", "on the loop"])
def test_serving_a_stuck_prediction_ends_with_the_control_plane(serving, wire, wait_until, warm):
    replica = serving(SLEEPY, leave_s=0.5)
    with replica.connect() as client:
        for _ in range(warm):  # so that the next one is expected to be short
            assert wire.http(client, wire.post(PATH, asking(1)))[0] == 200
        client.sendall(wire.post(PATH, asking(-1000)))
        if not warm:  # on the loop it says nothing any more
            wait_until(lambda: replica.message().get("in_flight") == 1)
        replica.control.close()
        wait_until(lambda: gone(replica.pid))
    assert "volant/serving/batching.py" in replica.log_path.read_text()  # where it stood


def test_serving_a_prediction_that_nobody_waits_for_keeps_no_process(serving, wire, wait_until):
    replica = serving(SLEEPY, leave_s=0.5)
    with replica.connect() as client:
        client.sendall(wire.post(PATH, asking(-1000)))
        wait_until(lambda: replica.message().get("in_flight") == 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    replica.tell(type="drain")
    wait_until(lambda: gone(replica.pid))


def test_serving_a_drain_has_an_end_and_says_what_held_it_up(serving, wire, wait_until):
    replica = serving(SLEEPY, leave_s=0.5)
    with replica.connect() as client:
        client.sendall(wire.post(PATH, asking(-1000)))
        wait_until(lambda: replica.message().get("in_flight") == 1)
        replica.tell(type="drain")
        wait_until(lambda: gone(replica.pid))
    assert "model.py" in replica.log_path.read_text()


def test_serving_a_stuck_load_ends_with_the_control_plane(serving, wait_until):
    replica = serving(ENDLESS_LOAD, accept=False, leave_s=0.5)
    replica.control.close()
    wait_until(lambda: gone(replica.pid))


def test_serving_who_leaves_in_time_is_left_alone(serving, wire, wait_until):
    replica = serving(ECHO, leave_s=30)
    replica.control.close()
    wait_until(lambda: gone(replica.pid))
    assert "Timeout" not in replica.log_path.read_text()
