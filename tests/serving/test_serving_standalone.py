"""A model in a process of its own without a control plane, as a container runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack

import httpx
import pytest
from tests.serving.echoes import SLEEPY, echo_model

ROW = {
    "inputs": [
        {"name": name, "shape": [1], "datatype": "FP64", "data": [0.9]}
        for name in ("a", "b", "c", "d")
    ]
}


class Alone:
    """One such process; `url` is where it says that it serves."""

    def __init__(self, *words, **environ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "volant.serving.standalone", *map(str, words)],
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": "/usr/bin:/bin", **environ},
        )

    def line(self) -> dict:
        assert self.process.stderr is not None
        return json.loads(self.process.stderr.readline())

    def ready(self) -> str:
        told = self.line()
        return f"http://127.0.0.1:{told['at'][1]}"

    def ask(self, method, path, **more) -> httpx.Response:
        return httpx.request(method, self.url + path, trust_env=False, timeout=30, **more)

    def end(self, number=signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def alone(sha256_of, tmp_path):
    """Starts one for a folder, with a record beside it."""
    with ExitStack() as stack:

        def start(folder, *words, wait=True, files=None, **environ):
            files = {n: {"sha256": s} for n, s in (files or sha256_of(folder)).items()}
            record = tmp_path / "record.json"
            record.write_text(json.dumps({"model": "rent", "version": 3, "files": files}))
            one = Alone(folder, "--record", record, *words, **environ)
            stack.callback(one.process.wait)
            stack.callback(one.process.kill)
            if wait:
                one.url = one.ready()
            return one

        yield start


def waiting(one) -> int:
    """How many requests wait for their answer."""
    for line in one.ask("GET", "/metrics").text.splitlines():
        if line.startswith("volant_requests_in_flight"):
            return int(line.rpartition(" ")[2])
    return 0


def test_it_answers_as_a_deployment_does(alone, models):
    one = alone(models("numeric"), "--host", "127.0.0.1", "--port", "0")
    assert one.ask("GET", "/v2/health/live").json() == {"live": True}
    assert one.ask("GET", "/v2/health/ready").json() == {"ready": True}
    assert one.ask("GET", "/v2/models/rent").json()["versions"] == ["3"]
    answer = one.ask("POST", "/v2/models/rent/versions/3/infer", json=ROW)
    assert answer.json()["outputs"][0]["data"][0] in ("low", "mid", "high")
    assert "volant_" in one.ask("GET", "/metrics").text
    assert one.end() == 0


def test_the_environment_names_the_port_and_nothing_is_written(alone, models, tmp_path):
    (tmp_path / "tmp").mkdir()
    one = alone(models("numeric"), PORT="0", TMPDIR=str(tmp_path / "tmp"))
    assert one.ask("GET", "/v2/health/ready").status_code == 200
    # ONNX Runtime's telemetry would leave a file there, and report over the network.
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_under_way_is_answered_before_it_leaves(alone, wait_until, tmp_path, number):
    one = alone(echo_model(tmp_path / "echo", ["FP32"], SLEEPY), "--port", "0")
    slow = {"inputs": [{"name": "FP32", "datatype": "FP32", "shape": [1, 1], "data": [-1.5]}]}
    answers: list[httpx.Response] = []

    def ask():
        answers.append(one.ask("POST", "/v2/models/rent/infer", json=slow))

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(lambda: waiting(one) == 2)  # the one that asks is one of them
    assert one.end(number) == 0
    asking.join(30)
    assert answers[0].status_code == 200
    assert answers[0].json()["outputs"][0]["data"] == [-1.5]


def test_a_token_is_asked_for_where_one_is_set(alone, models):
    one = alone(models("numeric"), "--port", "0", VOLANT_TOKEN="secret")
    path = "/v2/models/rent/infer"
    assert one.ask("POST", path, json=ROW).status_code == 401
    headers = {"Authorization": "Bearer secret"}
    assert one.ask("POST", path, json=ROW, headers=headers).status_code == 200
    assert one.ask("GET", "/v2/health/ready").status_code == 200


def test_nobody_unloads_its_model(alone, models):
    one = alone(models("numeric"), "--port", "0")
    answer = one.ask("POST", "/v2/repository/models/rent/unload")
    assert answer.status_code == 400
    assert "no control plane" in answer.json()["error"]
    assert one.ask("POST", "/v2/models/rent/infer", json=ROW).status_code == 200


def test_an_altered_file_isnt_served(alone, models, sha256_of):
    files = {**sha256_of(models("numeric")), "model.onnx": "0" * 64}
    one = alone(models("numeric"), "--port", "0", wait=False, files=files)
    assert "altered" in one.line()["error"]
    assert one.process.wait(30) == 1


def test_a_check_loads_it_and_ends(alone, models):
    one = alone(models("numeric"), "--check", wait=False)
    assert one.line() == {"checked": "rent", "version": "3", "kind": "onnx"}
    assert one.process.wait(30) == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("/nowhere",), "isn't the record"),
        (("/nowhere", "--port", "http"), "isn't the record"),
    ],
)
def test_what_cant_be_served_is_told(words, says):
    one = Alone(*words)
    told = one.line()
    assert says in told["error"]
    assert told["fix"]
    assert one.process.wait(30) == 1


def test_a_port_in_use_and_a_word_that_is_none(alone, models):
    first = alone(models("numeric"), "--host", "127.0.0.1", "--port", "0")
    port = httpx.URL(first.url).port
    second = alone(models("numeric"), "--host", "127.0.0.1", "--port", str(port), wait=False)
    assert "can't be listened on" in second.line()["error"]
    third = alone(models("numeric"), "--port", "http", wait=False)
    assert "no port" in third.line()["error"]
