"""KServe's Python inference clients: REST with V2 and V1, and gRPC."""

import asyncio

import httpx
import numpy as np
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)
from kserve.protocol.infer_type import RequestedOutput
from samples import FACTS, array_of, home_columns, same, texts

ECHO, BLEND, HOMES, WINE = (FACTS[name] for name in ("echo", "blend", "homes", "wine"))


def given(name, datatype, array, *, binary=True):
    made = InferInput(name=name, shape=list(array.shape), datatype=datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def blend_request(*, binary=True, **more):
    image, scale = (np.array(BLEND[n], np.float32) for n in ("image", "scale"))
    inputs = [
        given("image", "FP32", image, binary=binary),
        given("scale", "FP32", scale, binary=binary),
    ]
    return InferRequest(model_name="blend", infer_inputs=inputs, **more)


def right(answer):
    found = {output.name: output.as_numpy() for output in answer.outputs}
    assert found["sum"].tolist() == BLEND["sum"], found
    assert found["negative"].tolist() == BLEND["negative"], found


def homes_right(answer):
    found = {output.name: output.as_numpy() for output in answer.outputs}
    assert texts(found["prediction"]) == HOMES["prediction"], found
    assert np.allclose(found["probabilities"], HOMES["probabilities"], atol=1e-4), found


async def rest():
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        assert await client.is_server_live(BLEND["url"])
        assert await client.is_server_ready(BLEND["url"])
        assert await client.is_model_ready(BLEND["url"], "blend")
        assert not await client.is_model_ready(BLEND["url"], "other")
        for binary in (True, False):
            request = blend_request(binary=binary, request_id="one")
            answer = await client.infer(BLEND["url"], request, model_name="blend")
            right(answer)
            assert answer.id == "one"
        wanted = [RequestedOutput("sum", parameters={"binary_data": True})]
        request = blend_request(request_outputs=wanted)
        answer = await client.infer(BLEND["url"], request, model_name="blend")
        assert [output.name for output in answer.outputs] == ["sum"]
        assert answer.outputs[0].as_numpy().tolist() == BLEND["sum"]
        for binary in (True, False):
            inputs = [given(*column, binary=binary) for column in home_columns()]
            request = InferRequest(model_name="homes", infer_inputs=inputs)
            homes_right(await client.infer(HOMES["url"], request, model_name="homes"))
        try:
            await client.infer(BLEND["url"], {"inputs": []}, model_name="blend")
        except httpx.HTTPStatusError as error:
            assert error.response.status_code == 400
            assert "expected a list of tensors" in str(error)
        else:
            raise AssertionError("it wasn't refused")

    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        assert await client.is_server_live(HOMES["url"])
        assert await client.is_model_ready(HOMES["url"], "homes")
        answer = await client.infer(HOMES["url"], {"instances": HOMES["rows"]}, model_name="homes")
        assert answer["predictions"] == HOMES["prediction"], answer
        rows = [dict(zip(HOMES["columns"], row, strict=True)) for row in HOMES["rows"]]
        answer = await client.infer(HOMES["url"], {"instances": rows}, model_name="homes")
        assert answer["predictions"] == HOMES["prediction"], answer
        answer = await client.infer(WINE["url"], {"instances": WINE["rows"]}, model_name="wine")
        assert answer["predictions"] == WINE["prediction"], answer


async def echo(send, *, binary, text, asked):
    """Every datatype that the client knows; `asked` are those that it can read."""
    arrays = {d: array_of(d, text=text) for d in ECHO["datatypes"]}
    inputs = [given(d, d, a, binary=binary or d == "FP16") for d, a in arrays.items()]
    parameters = {"binary_data": True} if binary else None
    wanted = [RequestedOutput(f"{d}_out", parameters=parameters) for d in asked]
    request = InferRequest(model_name="echo", infer_inputs=inputs, request_outputs=wanted)
    answer = await send(request)
    found = {output.name: output for output in answer.outputs}
    assert len(found) == len(asked), found.keys()
    for d in asked:
        same(found[f"{d}_out"].as_numpy(), arrays[d], d)


async def grpc():
    client = InferenceGRPCClient(BLEND["at"])
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("blend")
    for binary in (True, False):
        right(await client.infer(blend_request(binary=binary, request_id="one")))
    await client.close()
    client = InferenceGRPCClient(HOMES["at"])
    request = InferRequest(model_name="homes", infer_inputs=[given(*c) for c in home_columns()])
    homes_right(await client.infer(request))
    await client.close()
    client = InferenceGRPCClient(ECHO["at"])
    # Of its answers in the typed fields it knows no FP16.
    asked = [d for d in ECHO["datatypes"] if d != "FP16"]
    await echo(client.infer, binary=True, text=False, asked=asked)
    await client.close()


async def main():
    await rest()
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        for binary in (True, False):
            # It turns an answer's BYTES into text, whatever they are.
            await echo(
                lambda request: client.infer(ECHO["url"], request, model_name="echo"),
                binary=binary,
                text=True,
                asked=ECHO["datatypes"],
            )
    await grpc()


asyncio.run(main())
print("fine")
