"""tritonclient over HTTP, as its documentation uses it."""

import asyncio

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from samples import FACTS, array_of, home_columns, same, texts
from tritonclient.utils import InferenceServerException

BLEND, HOMES, WINE = (FACTS[name] for name in ("blend", "homes", "wine"))


def tensor(module, name, datatype, array, *, binary=True):
    given = module.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def refused(call, status, words):
    try:
        call()
    except InferenceServerException as error:
        assert (error.status() or "") == status, error
        assert words in error.message(), error
    else:
        raise AssertionError("it wasn't refused")


def blend_inputs(module):
    return [
        tensor(module, "image", "FP32", np.array(BLEND["image"], np.float32)),
        tensor(module, "scale", "FP32", np.array(BLEND["scale"], np.float32)),
    ]


# the server and the models
with triton.InferenceServerClient(BLEND["at"]) as client:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("blend")
    assert client.is_model_ready("blend", "1")
    assert not client.is_model_ready("blend", "9")
    about = client.get_server_metadata()
    assert about["name"] == "volant", about
    assert "binary_tensor_data" in about["extensions"], about
    meta = client.get_model_metadata("blend")
    assert meta["platform"] == "onnxruntime", meta
    shapes = {t["name"]: (t["datatype"], t["shape"]) for t in meta["inputs"] + meta["outputs"]}
    assert shapes == {
        "image": ("FP32", [-1, 2, 3]),
        "scale": ("FP32", [-1]),
        "sum": ("FP32", [-1]),
        "negative": ("FP32", [-1, 2, 3]),
    }, shapes
    assert client.get_model_config("blend")["name"] == "blend"
    index = client.get_model_repository_index()
    assert [(m["name"], m["version"], m["state"]) for m in index] == [("blend", "1", "READY")]

    # an N-D model: binary, JSON, requested outputs, each of them binary or not
    answer = client.infer("blend", blend_inputs(triton), request_id="one")
    assert answer.get_response()["id"] == "one"
    assert np.array_equal(answer.as_numpy("sum"), np.array(BLEND["sum"], np.float32))
    assert np.array_equal(answer.as_numpy("negative"), np.array(BLEND["negative"], np.float32))
    for binary in (True, False):
        wanted = [triton.InferRequestedOutput("negative", binary_data=binary)]
        answer = client.infer("blend", blend_inputs(triton), outputs=wanted, model_version="1")
        assert answer.as_numpy("sum") is None
        assert np.array_equal(answer.as_numpy("negative"), np.array(BLEND["negative"], np.float32))
        found = answer.get_output("negative")
        assert ("data" in found) is not binary, found
    plain = [
        tensor(triton, "image", "FP32", np.array(BLEND["image"], np.float32), binary=False),
        tensor(triton, "scale", "FP32", np.array(BLEND["scale"], np.float32), binary=False),
    ]
    answer = client.infer("blend", plain, parameters={"mine": 1})
    assert np.array_equal(answer.as_numpy("sum"), np.array(BLEND["sum"], np.float32))

    # compression, both ways as the client asks for it
    for coding in ("gzip", "deflate"):
        answer = client.infer(
            "blend",
            blend_inputs(triton),
            request_compression_algorithm=coding,
            response_compression_algorithm=coding,
        )
        assert np.array_equal(answer.as_numpy("sum"), np.array(BLEND["sum"], np.float32))

    # many at once
    with triton.InferenceServerClient(BLEND["at"], concurrency=8) as several:
        waiting = [several.async_infer("blend", blend_inputs(triton)) for _ in range(40)]
        for each in waiting:
            got = each.get_result().as_numpy("sum")
            assert np.array_equal(got, np.array(BLEND["sum"], np.float32))

    # statistics count what was asked
    stats = client.get_inference_statistics("blend")["model_stats"][0]
    assert stats["inference_stats"]["success"]["count"] >= 46, stats

    # faults are said in its own exception
    image = np.zeros((1, 2, 4), np.float32)
    wrong = [tensor(triton, "image", "FP32", image), blend_inputs(triton)[1]]
    refused(lambda: client.infer("blend", wrong), "400", "image")
    refused(lambda: client.infer("other", blend_inputs(triton)), "404", "other")
    refused(lambda: client.infer("blend", blend_inputs(triton), model_version="7"), "404", "7")
    classes = [triton.InferRequestedOutput("sum", class_count=2)]
    refused(lambda: client.infer("blend", blend_inputs(triton), outputs=classes), "400", "classif")
    refused(lambda: client.register_system_shared_memory("a", "/a", 8), "404", "address")
    refused(lambda: client.get_trace_settings("blend"), "404", "address")

    # the repository
    client.unload_model("blend")
    assert not client.is_model_ready("blend")
    (model,) = client.get_model_repository_index()
    assert model["state"] == "UNAVAILABLE", model
    refused(lambda: client.infer("blend", blend_inputs(triton)), "503", "isn't loaded")
    client.load_model("blend")
    assert client.is_model_ready("blend")
    refused(lambda: client.load_model("blend", config="{}"), "400", "no parameters")
    answer = client.infer("blend", blend_inputs(triton))
    assert np.array_equal(answer.as_numpy("sum"), np.array(BLEND["sum"], np.float32))

# every datatype
for facts, binary in ((FACTS["echo"], True), (FACTS["echo"], False), (FACTS["brains"], True)):
    with triton.InferenceServerClient(facts["at"]) as client:
        arrays = {d: array_of(d, text=not binary) for d in facts["datatypes"]}
        inputs = [tensor(triton, d, d, a, binary=binary or d == "FP16") for d, a in arrays.items()]
        wanted = [
            triton.InferRequestedOutput(f"{d}_out", binary_data=binary or d == "FP16")
            for d in arrays
        ]
        answer = client.infer(facts["name"], inputs, outputs=wanted)
        for d, sent in arrays.items():
            same(answer.as_numpy(f"{d}_out"), sent, f"{d}, binary {binary}")

# columns of several types, and a matrix
with triton.InferenceServerClient(HOMES["at"]) as client:
    for binary in (True, False):
        inputs = [tensor(triton, *column, binary=binary) for column in home_columns()]
        answer = client.infer("homes", inputs[::-1])
        assert texts(answer.as_numpy("prediction")) == HOMES["prediction"]
        near = np.allclose(answer.as_numpy("probabilities"), HOMES["probabilities"], atol=1e-4)
        assert near, answer.as_numpy("probabilities")
with triton.InferenceServerClient(WINE["at"]) as client:
    answer = client.infer("wine", [tensor(triton, "rows", "FP32", np.array(WINE["rows"], "f4"))])
    assert answer.as_numpy("prediction").tolist() == WINE["prediction"]
    assert np.allclose(answer.as_numpy("probabilities"), WINE["probabilities"], atol=1e-5)


async def asynchronously():
    async with triton_aio.InferenceServerClient(BLEND["at"]) as client:
        assert await client.is_model_ready("blend")
        asked = [client.infer("blend", blend_inputs(triton_aio)) for _ in range(20)]
        for answer in await asyncio.gather(*asked):
            assert np.array_equal(answer.as_numpy("sum"), np.array(BLEND["sum"], np.float32))
        asked = client.infer(
            "blend", blend_inputs(triton_aio), request_compression_algorithm="gzip"
        )
        assert (await asked).as_numpy("sum").tolist() == BLEND["sum"]


asyncio.run(asynchronously())
print("fine")
