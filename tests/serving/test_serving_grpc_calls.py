"""gRPC calls that are late, large, many, or under way when their replica leaves."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from tests.serving.grpc_client import ROWS, asking

from volant.domain.loop import ReplicaSpec

# time, size, number


def test_serving_grpc_a_deadline_ends_the_call(echoes, connect):
    client = connect(echoes("FP32"))
    with pytest.raises(grpc.RpcError) as late:
        client.infer("echo", [("FP32", "FP32", np.full((1, 1), -3, np.float32))], timeout=0.2)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(client.infer("echo", [("FP32", "FP32", ROWS)]).outputs) == 1


def test_serving_grpc_a_cancelled_call_is_not_predicted(echoes, connect, wait_until):
    replica = echoes("FP32", deployment="cancels")
    client = connect(replica)
    request, infer = client.method("ModelInfer")
    slow = request(**asking("cancels", [("FP32", "FP32", np.full((1, 1), -1, np.float32))]))
    first = infer.future(slow, timeout=60)
    rest = [infer.future(slow, timeout=60) for _ in range(20)]
    for one in rest:
        one.cancel()
    assert first.result().model_name == "cancels"
    # Twenty seconds of work are gone: only what ran when it was cancelled was done.
    ready = client.call("ModelStatistics", name="cancels").model_stats[0]
    assert ready.inference_count <= 3


@pytest.mark.parametrize("raw", [True, False])
def test_serving_grpc_eight_mebibytes_both_ways(echoes, connect, raw):
    given = np.random.default_rng(0).normal(size=(1024, 2048)).astype(np.float32)
    answer = connect(echoes("FP32")).infer("echo", [("FP32", "FP32", given)], raw=raw)
    if raw:
        assert answer.raw_output_contents[0] == given.tobytes()
    else:
        assert np.array_equal(np.float32(answer.outputs[0].contents.fp32_contents), given.ravel())


def test_serving_grpc_a_message_too_large_is_refused(echoes, connect):
    client = connect(echoes("FP32"))
    with pytest.raises(grpc.RpcError) as large:
        client.infer("echo", [("FP32", "FP32", np.zeros((4097, 1024), np.float32))])
    assert large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "16777216" in large.value.details()
    # Packed it is small; what it unpacks to counts.
    with pytest.raises(grpc.RpcError) as packed_small:
        client.infer(
            "echo",
            [("FP32", "FP32", np.zeros((4097, 1024), np.float32))],
            compression=grpc.Compression.Gzip,
        )
    assert packed_small.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_serving_grpc_unpacks_and_packs(echoes, connect, compression):
    given = np.zeros((64, 64), np.float32)
    answer = connect(echoes("FP32")).infer(
        "echo", [("FP32", "FP32", given)], compression=compression
    )
    assert answer.raw_output_contents[0] == given.tobytes()


def test_serving_grpc_a_hundred_streams_at_once(numeric, connect):
    client = connect(numeric)
    request, infer = client.method("ModelInfer")
    futures = []
    for i in range(100):
        row = np.array([[i - 50, 0, 0, 0]], np.float32)
        futures.append(infer.future(request(**asking("numeric", [("x", "FP32", row)]), id=str(i))))
    for i, future in enumerate(futures):
        answer = future.result(timeout=60)
        assert answer.id == str(i)
        if abs(i - 50) > 2:
            label = b"high" if i > 50 else b"low"
            assert answer.raw_output_contents[0][4:] == label


def test_serving_grpc_a_stream_of_requests_goes_on_after_a_fault(numeric, connect):
    request, stream = connect(numeric).method("ModelStreamInfer")
    given = [("x", "FP32", ROWS)]
    asked = [request(**asking("numeric" if i != 2 else "nix", given), id=str(i)) for i in range(5)]
    answers = list(stream(iter(asked), timeout=60))
    assert [a.infer_response.id for a in answers] == ["0", "1", "2", "3", "4"]
    assert [bool(a.error_message) for a in answers] == [False, False, True, False, False]
    assert '"nix"' in answers[2].error_message


# coming and going


def test_serving_grpc_an_idle_stream_ends_when_its_replica_leaves(start_replica, spec_for, connect):
    replica = start_replica(spec_for("numeric"))
    request, stream = connect(replica).method("ModelStreamInfer")
    asked = request(**asking("numeric", [("x", "FP32", ROWS)]))
    leaving = threading.Event()

    def requests():
        yield asked
        leaving.wait(60)

    answers = stream(requests(), timeout=60)
    assert not next(answers).error_message
    replica.tell(type="drain", idle_s=30)
    with pytest.raises(grpc.RpcError) as ended:
        next(answers)
    leaving.set()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "leaves" in ended.value.details()
    while replica.message()["type"] != "eof":
        pass


def test_serving_grpc_a_new_version_fails_no_call(platform, models, connect, wait_until):
    platform.register("m", models("numeric"), "run-1")
    platform.register("m", models("shifted"), "run-2")
    platform.desk.deploy("m", "m", 1, key="run-1:deploy", replicas=ReplicaSpec(min=1))
    wait_until(lambda: platform.status("m")["status"] == "serving")
    port, stop = platform.port("m"), threading.Event()
    answered, failures = {"1": 0, "2": 0}, []

    def ask() -> None:
        client = connect(port)
        while not stop.is_set():
            try:
                answer = client.infer("m", [("x", "FP32", ROWS)])
                answered[answer.model_version] += 1
            except grpc.RpcError as error:
                failures.append(error)

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(ask) for _ in range(6)]
        wait_until(lambda: answered["1"] > 200)
        platform.desk.deploy("m", "m", 2, key="run-2:deploy", replicas=ReplicaSpec(min=1))
        wait_until(lambda: answered["2"] > 200)
        # The old replica ends although its clients would have stayed.
        wait_until(lambda: len(platform.status("m")["replicas"]) == 1)
        stop.set()
        for future in futures:
            future.result(timeout=60)
    assert not failures


def test_serving_grpc_a_killed_replica_fails_fast(start_replica, spec_for, connect):
    replica = start_replica(spec_for("numeric"))
    client = connect(replica)
    client.infer("numeric", [("x", "FP32", ROWS)])
    os.kill(replica.pid, signal.SIGKILL)
    replica.listening.close()
    with pytest.raises(grpc.RpcError) as gone:
        client.infer("numeric", [("x", "FP32", ROWS)], timeout=30)
    assert gone.value.code() is grpc.StatusCode.UNAVAILABLE
