"""Several revisions of one deployment at once: the real fleet, real replicas."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from dataclasses import replace

import grpc
import numpy as np
import pytest

from volant.domain.loop import LogSpec, ReplicaSpec, StickyKey
from volant.serving import log_folder
from volant.serving.desired import Desired, Other, Patience
from volant.serving.door import socket_folder
from volant.serving.fleet import Fleet
from volant.serving.grpc_messages import (
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from volant.serving.log_format import read_segment
from volant.serving.replica_handle import ServedVersion

INPUT = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [2, 0, 0, 0]}
BODY = {"inputs": [INPUT]}
ONE = ReplicaSpec(min=1, max=1)


class Stage:
    """A fleet with one deployment `m`: revision 1 (`numeric`) lives; 2 is `shifted`, 3 is
    `numeric` again, so that 1 and 2 differ in their answers, and 1 and 3 don't."""

    def __init__(self, launcher, home, models, sha256_of, wire, until):
        (home / "logs").mkdir(exist_ok=True)
        self.home, self.wire, self.until = home, wire, until
        self.told: dict[int, str | None] = {}
        self.fleet = Fleet(
            launcher,
            home / "logs",
            lambda version, problem: self.told.update({version.revision: problem}),
            Patience(idle_s=1.0, drain_s=5.0, grace_s=2.0, down_s=1.0),
            predictions=home / "predictions",
        )
        kinds = {1: "numeric", 2: "shifted", 3: "numeric"}
        self.versions = {
            n: ServedVersion("m", n, "m", n, models(kind), sha256_of(models(kind)))
            for n, kind in kinds.items()
        }
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.desired = Desired("m", "127.0.0.1", self.port, ONE, self.versions[1])
        self.fleet.start()

    def want(self, *others, wait=True, **changes):
        """`others` are (revision, percent, mode)."""
        self.desired = replace(
            self.desired,
            others=tuple(Other(self.versions[n], float(p), mode) for n, p, mode in others),
            **changes,
        )
        self.fleet.desire([self.desired], None)
        if wait:
            self.until(lambda: self.view()["status"] == "serving")
            for n, percent, _ in others:
                if percent:
                    self.until(lambda n=n: self.replicas(n, "ready"))
            self.until(self.is_told)

    def is_told(self):
        """Whether the live replica has the table: it answers for each version then."""
        numbers = [other.version.version for other in self.desired.others]
        return all(self.ask(version=n)[0] == 200 for n in numbers)

    def view(self):
        return self.fleet.view("m") or {"status": None, "replicas": [], "traffic": []}

    def route(self, revision):
        return next((r for r in self.view()["traffic"] if r["revision"] == revision), {})

    def replicas(self, revision, state=None):
        found = [r for r in self.view()["replicas"] if r["revision"] == revision]
        return [r["pid"] for r in found if state in (None, r["state"])]

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def ask(self, *headers, client=None, version=None, body=None, rest=None):
        path = "/v2/models/m/infer" if version is None else f"/v2/models/m/versions/{version}/infer"
        raw = self.wire.post(path, body or BODY, *headers)
        if client is not None:
            client.sendall(raw)
            status, got, answer = self.wire.read_answer(client, rest=rest)
        else:
            with self.connect() as client:
                status, got, answer = self.wire.http(client, raw)
        return status, got, json.loads(answer)

    def versions_of(self, requests, *headers, body=None):
        """How many answers each version gave, over one kept connection."""
        seen: Counter[str] = Counter()
        with self.connect() as client:
            for _ in range(requests):
                status, got, answer = self.ask(*headers, client=client, body=body)
                assert status == 200, answer
                assert got["x-volant-revision"] == answer["model_version"]
                seen[answer["model_version"]] += 1
        return seen


@pytest.fixture
def stage(launcher, tmp_path, models, sha256_of, wire, wait_until):
    made = Stage(launcher, tmp_path, models, sha256_of, wire, wait_until)
    yield made
    made.fleet.stop(10)


def test_serving_without_others_nothing_is_marked(stage):
    stage.want()
    status, headers, answer = stage.ask()
    assert (status, answer["model_version"]) == (200, "1")
    assert "x-volant-revision" not in headers
    assert stage.ask(version=2)[0] == 404


def test_serving_a_canary_answers_its_percentage_and_grows(stage):
    stage.want((2, 10, "canary"))
    seen = stage.versions_of(2000)
    assert 120 < seen["2"] < 280  # 200 ± 6 standard deviations
    stage.want((2, 50, "canary"))
    stage.until(lambda: stage.versions_of(40)["2"] > 8)
    assert 880 < stage.versions_of(2000)["2"] < 1120
    stage.want((2, 100, "canary"))
    stage.until(lambda: stage.versions_of(20)["2"] == 20)
    assert stage.route(2)["mode"] == "canary"
    stage.until(lambda: stage.route(2)["forwarded"] > 1000)
    # Each request is counted once, by the one that answered it.
    seen = stage.view()
    stage.until(lambda: stage.view()["requests"] >= 4000)
    assert seen["errors"] == 0


def test_serving_sticky_keys_stay_with_the_canary_when_it_grows(stage):
    stage.want((2, 10, "canary"), sticky=StickyKey(header="x-user"))
    users = [f"user-{i}" for i in range(150)]

    def inside():
        with stage.connect() as client:
            answers = {u: stage.ask(f"X-User: {u}", client=client)[2] for u in users}
        return {u for u, answer in answers.items() if answer["model_version"] == "2"}

    few = inside()
    assert inside() == few
    stage.want((2, 50, "canary"))
    stage.until(lambda: len(inside()) > len(few) + 20)
    assert few < inside()


def test_serving_sticky_by_a_parameter(stage):
    stage.want((2, 50, "canary"), sticky=StickyKey(parameter="user"))
    for user in ("ann", "bob", "cyd", "dan"):
        assert len(stage.versions_of(10, body={**BODY, "parameters": {"user": user}})) == 1
    assert set(stage.versions_of(60)) == {"1", "2"}


def test_serving_each_version_answers_by_its_number(stage):
    stage.want((2, 0, "held"))
    for version in ("1", "2"):
        status, headers, answer = stage.ask(version=version)
        assert (status, answer["model_version"]) == (200, version)
        assert headers["x-volant-revision"] == version
        raw = f"GET /v2/models/m/versions/{version} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        with stage.connect() as client:
            status, _, body = stage.wire.http(client, raw)
            assert (status, json.loads(body)["name"]) == (200, "m")
            head = raw.replace(b"GET", b"HEAD")
            assert stage.wire.http(client, head, body=False)[0] == 200
            assert stage.wire.http(client, raw)[0] == 200
    with stage.connect() as client:
        raw = b"GET /v2/models/m HTTP/1.1\r\nHost: x\r\n\r\n"
        assert json.loads(stage.wire.http(client, raw)[2])["versions"] == ["1", "2"]
    assert stage.versions_of(50) == {"1": 50}
    status, _, answer = stage.ask(version=3)
    assert status == 404
    assert "1 or 2" in answer["error"]
    # A refusal of the other revision comes back as it is.
    assert stage.ask(version=2, body={"inputs": []})[0] == 400


def test_serving_a_shadow_is_compared_and_never_returned(stage):
    stage.want((2, 100, "shadow"))
    assert stage.versions_of(300) == {"1": 300}
    stage.until(lambda: stage.route(2)["compared"] + stage.route(2)["dropped"] >= 300)
    counts = stage.route(2)
    assert counts["differed"] == counts["compared"] > 200
    assert counts["failed"] == counts["unreached"] == 0
    log = (stage.home / "logs/m.log").read_text()
    assert '"differs"' in log
    stage.want((3, 100, "shadow"))
    assert stage.versions_of(100) == {"1": 100}
    stage.until(lambda: stage.route(3)["compared"] + stage.route(3)["dropped"] >= 100)
    assert stage.route(3)["differed"] == 0
    assert stage.route(3)["compared"] > 50


def test_serving_a_killed_canary_costs_no_request(stage):
    stage.want((2, 50, "canary"))
    seen: Counter[str] = Counter()
    with stage.connect() as client:
        for i in range(600):
            if i in (100, 300):
                stage.until(lambda: stage.replicas(2, "ready"))
                os.kill(stage.replicas(2)[0], signal.SIGKILL)
            status, _, answer = stage.ask(client=client)
            assert status == 200, answer
            seen[answer["model_version"]] += 1
    assert seen["1"] > 200
    assert seen["2"] > 150
    stage.until(lambda: stage.replicas(2, "ready"))


def test_serving_a_canary_that_cannot_start_is_answered_for(stage, tmp_path):
    broken = replace(stage.versions[2], files={"volant.json": "0" * 64})
    stage.versions[2] = broken
    stage.want((2, 50, "canary"), wait=False)
    stage.until(lambda: stage.view()["status"] == "serving")
    stage.until(lambda: "was altered" in (stage.route(2).get("reason") or ""))
    assert stage.versions_of(40) == {"1": 40}
    stage.until(lambda: stage.route(2)["unreached"] > 0)
    status, headers, answer = stage.ask(version=2)
    assert (status, headers["retry-after"]) == (503, "1")
    assert "Version 2 can't answer" in answer["error"]


def test_serving_from_zero_with_a_canary_loses_nobody(stage):
    zero = ReplicaSpec(min=0, max=1, idle_s=0.3)
    stage.want((2, 50, "canary"), replicas=zero, wait=False)
    stage.until(lambda: stage.route(2).get("percent") == 50)
    stage.until(lambda: not stage.view()["replicas"])
    answers: list[tuple[int, str]] = []

    def client():
        status, _, answer = stage.ask()
        answers.append((status, answer.get("model_version", "")))

    threads = [threading.Thread(target=client) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {status for status, _ in answers} == {200}
    assert {version for _, version in answers} == {"1", "2"}
    stage.until(lambda: not stage.view()["replicas"])
    assert list(socket_folder(stage.home / "run").glob("*.sock"))
    stage.want(wait=False)
    stage.until(lambda: not list(socket_folder(stage.home / "run").glob("*.sock")))


def test_serving_a_candidate_becomes_canary_and_then_lives_with_its_process(stage):
    stage.want()
    stage.fleet.prepare(stage.versions[2])
    stage.until(lambda: 2 in stage.told)
    assert stage.told[2] is None
    stage.until(lambda: stage.replicas(2, "spare"))
    (pid,) = stage.replicas(2)
    stage.want((2, 30, "canary"))
    assert set(stage.versions_of(100)) == {"1", "2"}
    assert stage.replicas(2) == [pid]
    stage.fleet.switch("m", 2)
    stage.want(live=stage.versions[2])
    stage.until(lambda: stage.replicas(1) == [])
    assert stage.replicas(2) == [pid]
    assert stage.ask()[2]["model_version"] == "2"


def test_serving_changes_of_the_table_fail_no_request(stage, load):
    stage.want()
    traffic = load(stage.port, "m", 8)

    def more():
        before = traffic.total()
        stage.until(lambda: traffic.total() > before + 150)

    more()
    for others in ([(2, 20, "canary")], [(2, 100, "canary")], [(2, 100, "shadow")], []):
        stage.want(*others)
        more()
    stage.want((2, 50, "canary"))
    more()
    stage.want(live=stage.versions[2])  # promoted
    more()
    stage.want((1, 0, "held"))
    more()
    stage.want(live=stage.versions[1])  # and back
    more()
    stage.until(lambda: stage.replicas(2) == [])
    traffic.stop()
    assert traffic.failures == []
    assert set(traffic.answers) == {"1", "2"}


@pytest.mark.slow
def test_serving_promotes_again_and_again_under_load(stage, load):
    stage.want(replicas=ReplicaSpec(min=2, max=3))
    traffic = load(stage.port, "m", 32)
    live, other = 1, 2
    for _ in range(10):
        stage.want((other, 10, "canary"))
        for percent in (10, 50, 100):
            before = traffic.total()
            stage.want((other, percent, "canary"))
            stage.until(lambda before=before: traffic.total() > before + 300)
        stage.want(live=stage.versions[other])
        before = traffic.total()
        stage.until(lambda before=before: traffic.total() > before + 300)
        live, other = other, live
    traffic.stop()
    assert traffic.total() > 10_000
    assert traffic.failures == []


# scale


def test_serving_a_spare_answers_at_once_and_is_replaced(stage):
    spec = ReplicaSpec(min=0, max=1, idle_s=0.5, spares=1)
    stage.want(replicas=spec, wait=False)
    stage.until(lambda: stage.replicas(1, "spare"))
    (spare,) = stage.replicas(1)
    assert stage.view()["status"] == "idle"
    assert stage.ask()[0] == 200
    stage.until(lambda: len(stage.replicas(1)) == 2)
    assert stage.replicas(1, "ready") in ([spare], [])
    stage.until(lambda: spare not in stage.replicas(1) and stage.replicas(1, "spare"))
    assert len(stage.replicas(1)) == 1


def test_serving_scales_out_by_the_target_and_in_again(stage, load):
    stage.want(replicas=ReplicaSpec(min=1, max=3, target=2))
    traffic = load(stage.port, "m", 12)
    stage.until(lambda: len(stage.replicas(1, "ready")) == 3)
    traffic.stop()
    assert traffic.failures == []
    stage.until(lambda: len(stage.replicas(1)) == 1)


def test_serving_one_of_several_killed_is_replaced(stage, load):
    stage.want(replicas=ReplicaSpec(min=3, max=3))
    stage.until(lambda: len(stage.replicas(1, "ready")) == 3)
    traffic = load(stage.port, "m", 8)
    before = stage.replicas(1)
    os.kill(before[0], signal.SIGKILL)
    killed = time.monotonic()
    stage.until(lambda: before[0] not in stage.replicas(1))
    stage.until(lambda: len(stage.replicas(1, "ready")) == 3)
    assert time.monotonic() - killed < 30
    traffic.stop()
    # A client has one request under way: more can't be lost.
    assert len(traffic.failures) <= 8


def test_serving_a_crash_loop_of_several_backs_off_and_is_told(stage, tmp_path, models):
    files = dict(stage.versions[1].files)
    files["model.onnx"] = "0" * 64
    broken = replace(stage.versions[1], files=files)
    stage.want(replicas=ReplicaSpec(min=2, max=2), live=broken, wait=False)
    stage.until(lambda: "times in a row" in (stage.view().get("reason") or ""))
    stage.until(lambda: stage.view()["status"] == "failing")
    assert "model.onnx was altered" in stage.view()["reason"]


def test_serving_split_of_grpc_calls(stage):
    """A call goes to the version that it names; of the others the canary gets its share."""
    path = "/inference.GRPCInferenceService/"
    stage.want((2, 0, "held"), (3, 100, "canary"))
    with grpc.insecure_channel(f"127.0.0.1:{stage.port}") as channel:

        def infer(version: str = "", model: str = "m"):
            request = grpc_request("7", model=model, version=version)
            answer, call = channel.unary_unary(path + "ModelInfer").with_call(request, timeout=30)
            return ModelInferResponse.FromString(answer), dict(call.trailing_metadata())

        for asked, answers in (("", "3"), ("1", "1"), ("2", "2"), ("3", "3")):
            answer, trailers = infer(asked)
            assert (answer.model_version, answer.id) == (answers, "7")
            assert trailers["x-volant-revision"] == answers
        with pytest.raises(grpc.RpcError) as unknown:
            infer("9")
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        assert "1 or 2 or 3" in unknown.value.details()
        # A refusal of the one that it was passed on to comes back as it was.
        with pytest.raises(grpc.RpcError) as other:
            infer("2", model="nix")
        assert other.value.code() is grpc.StatusCode.NOT_FOUND
        assert '"nix"' in other.value.details()
    with stage.connect() as client:
        raw = stage.wire.post("/_volant/grpc/ModelInfer", b"")
        assert stage.wire.http(client, raw)[0] == 404


def grpc_request(request_id, *, model="m", version="", raw=True):
    request = ModelInferRequest(model_name=model, model_version=version, id=request_id)
    values = [2.0, 0.0, 0.0, 0.0]
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    if raw:
        request.raw_input_contents.append(np.array(values, np.float32).tobytes())
    else:
        request.inputs[0].contents.fp32_contents.extend(values)
    return request.SerializeToString()


def test_serving_a_shadow_of_grpc_calls_is_compared_and_never_returned(stage):
    """Raw and typed, single calls and streams; and the prediction log has the calls once."""
    path = "/inference.GRPCInferenceService/"
    log = LogSpec()
    sent: list[str] = []

    def ask(channel, count, *, differs, shadow):
        before = dict(stage.route(shadow))
        first = len(sent)
        sent.extend(f"{shadow}-{n}" for n in range(count))
        requests = [grpc_request(i, raw=n % 2 == 0) for n, i in enumerate(sent[first:])]
        half = count // 2
        single = channel.unary_unary(path + "ModelInfer")
        answers = [ModelInferResponse.FromString(single(r, timeout=30)) for r in requests[:half]]
        stream = channel.stream_stream(path + "ModelStreamInfer")(iter(requests[half:]), timeout=30)
        answers += [ModelStreamInferResponse.FromString(each).infer_response for each in stream]
        assert [a.id for a in answers] == sent[first:]
        assert {a.model_version for a in answers} == {"1"}

        def since(name):
            return stage.route(shadow).get(name, 0) - before.get(name, 0)

        stage.until(lambda: since("compared") + since("dropped") == count)
        assert since("compared") > half  # of the single calls each had room; of the stream some
        assert since("differed") == (since("compared") if differs else 0)
        assert since("failed") == since("unreached") == 0

    with grpc.insecure_channel(f"127.0.0.1:{stage.port}") as channel:
        stage.want((2, 100, "shadow"), log=log)
        ask(channel, 40, differs=True, shadow=2)
        stage.want((3, 100, "shadow"), log=log)
        ask(channel, 40, differs=False, shadow=3)
    folder = stage.home / "predictions" / "m"

    def logged():
        found = []
        for segment in (*log_folder.sealed(folder), *log_folder.live(folder)):
            about, batches = read_segment(segment.read_bytes())
            found += [(about["version"], i) for batch in batches for i in batch.ids]
        return [(version, i) for version, i in found if i in sent]

    assert sorted(logged()) == sorted(("1", i) for i in sent)
