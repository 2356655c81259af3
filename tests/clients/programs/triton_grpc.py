"""tritonclient over gRPC: blocking, with callbacks, in a stream, and on asyncio."""

import asyncio
import queue

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from samples import FACTS, array_of, home_columns, same, texts
from tritonclient.utils import InferenceServerException

BLEND, HOMES, WINE = (FACTS[name] for name in ("blend", "homes", "wine"))
WAIT_S = 60


def tensor(name, datatype, array):
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


def refused(call, status, words):
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == f"StatusCode.{status}", error
        assert words in error.message(), error
    else:
        raise AssertionError("it wasn't refused")


def blend_inputs(rows=3):
    return [
        tensor("image", "FP32", np.array(BLEND["image"][:rows], np.float32)),
        tensor("scale", "FP32", np.array(BLEND["scale"][:rows], np.float32)),
    ]


def right(answer, rows=3):
    assert answer.as_numpy("sum").tolist() == BLEND["sum"][:rows], answer.as_numpy("sum")
    assert answer.as_numpy("negative").tolist() == BLEND["negative"][:rows]


with triton.InferenceServerClient(BLEND["at"]) as client:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("blend")
    assert client.is_model_ready("blend", "1")
    assert client.get_server_metadata().name == "volant"
    meta = client.get_model_metadata("blend", as_json=True)
    assert meta["platform"] == "onnxruntime", meta
    assert meta["inputs"][0] == {"name": "image", "datatype": "FP32", "shape": ["-1", "2", "3"]}
    assert client.get_model_config("blend").config.name == "blend"
    (model,) = client.get_model_repository_index().models
    assert (model.name, model.version, model.state) == ("blend", "1", "READY")

    right(client.infer("blend", blend_inputs(), request_id="one"))
    answer = client.infer("blend", blend_inputs(), request_id="two", parameters={"mine": 1})
    assert answer.get_response().id == "two"
    wanted = [triton.InferRequestedOutput("negative")]
    answer = client.infer("blend", blend_inputs(), model_version="1", outputs=wanted)
    assert answer.as_numpy("sum") is None
    assert answer.as_numpy("negative").tolist() == BLEND["negative"]
    for coding in ("gzip", "deflate"):
        right(client.infer("blend", blend_inputs(), compression_algorithm=coding))

    found = queue.Queue()
    for _ in range(40):
        client.async_infer(
            "blend", blend_inputs(), lambda result, error: found.put((result, error))
        )
    for _ in range(40):
        result, error = found.get(timeout=WAIT_S)
        assert error is None, error
        right(result)

    # one stream of requests: in their order, and a fault doesn't end it
    client.start_stream(lambda result, error: found.put((result, error)))
    for rows in (1, 2, 3):
        client.async_stream_infer("blend", blend_inputs(rows), request_id=str(rows))
        right(found.get(timeout=WAIT_S)[0], rows)
    client.async_stream_infer("blend", blend_inputs()[:1])
    result, error = found.get(timeout=WAIT_S)
    assert result is None, result
    assert "scale" in error.message(), error
    client.async_stream_infer("blend", blend_inputs())
    right(found.get(timeout=WAIT_S)[0])
    client.stop_stream()

    stats = client.get_inference_statistics("blend").model_stats[0]
    assert stats.inference_stats.success.count >= 40, stats

    wrong = [tensor("image", "FP32", np.zeros((1, 2, 4), np.float32)), blend_inputs()[1]]
    refused(lambda: client.infer("blend", wrong), "INVALID_ARGUMENT", "image")
    refused(lambda: client.infer("other", blend_inputs()), "NOT_FOUND", "other")
    refused(lambda: client.infer("blend", blend_inputs(), model_version="7"), "NOT_FOUND", "7")
    refused(lambda: client.register_system_shared_memory("a", "/a", 8), "UNIMPLEMENTED", "")
    refused(lambda: client.get_trace_settings("blend"), "UNIMPLEMENTED", "")
    refused(client.get_log_settings, "UNIMPLEMENTED", "")

    client.unload_model("blend")
    assert not client.is_model_ready("blend")
    refused(lambda: client.infer("blend", blend_inputs()), "UNAVAILABLE", "isn't loaded")
    client.load_model("blend")
    assert client.is_model_ready("blend")
    right(client.infer("blend", blend_inputs()))

for facts in (FACTS["echo"], FACTS["brains"]):
    with triton.InferenceServerClient(facts["at"]) as client:
        arrays = {d: array_of(d) for d in facts["datatypes"]}
        inputs = [tensor(d, d, a) for d, a in arrays.items()]
        answer = client.infer(facts["name"], inputs)
        for d, sent in arrays.items():
            same(answer.as_numpy(f"{d}_out"), sent, d)

with triton.InferenceServerClient(HOMES["at"]) as client:
    answer = client.infer("homes", [tensor(*column) for column in home_columns()[::-1]])
    assert texts(answer.as_numpy("prediction")) == HOMES["prediction"]
    assert np.allclose(answer.as_numpy("probabilities"), HOMES["probabilities"], atol=1e-4)
with triton.InferenceServerClient(WINE["at"]) as client:
    answer = client.infer("wine", [tensor("rows", "FP32", np.array(WINE["rows"], np.float32))])
    assert answer.as_numpy("prediction").tolist() == WINE["prediction"]
    assert np.allclose(answer.as_numpy("probabilities"), WINE["probabilities"], atol=1e-5)


async def asynchronously():
    async with triton_aio.InferenceServerClient(BLEND["at"]) as client:
        assert await client.is_model_ready("blend")
        asked = [client.infer("blend", blend_inputs()) for _ in range(20)]
        for answer in await asyncio.gather(*asked):
            right(answer)

        async def requests():
            for rows in (1, 2, 3):
                yield {"model_name": "blend", "inputs": blend_inputs(rows)}

        rows = 0
        async for result, error in client.stream_infer(requests()):
            rows += 1
            assert error is None, error
            right(result, rows)
        assert rows == 3


asyncio.run(asynchronously())
print("fine")
