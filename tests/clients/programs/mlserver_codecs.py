"""Requests made by MLServer's codecs and types, answers read by them; over REST and gRPC."""

import grpc
import httpx
import numpy as np
import pandas as pd
from mlserver.codecs import (
    Base64Codec,
    NumpyCodec,
    NumpyRequestCodec,
    PandasCodec,
    StringCodec,
    StringRequestCodec,
)
from mlserver.grpc import converters
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
    RepositoryIndexRequest,
    RepositoryIndexResponse,
    RequestOutput,
)
from samples import FACTS, array_of

ECHO, BLEND, HOMES, WINE = (FACTS[name] for name in ("echo", "blend", "homes", "wine"))
HTTP = httpx.Client(trust_env=False, timeout=60)


def over_rest(facts, request: InferenceRequest) -> InferenceResponse:
    body = request.model_dump_json(exclude_none=True)
    answer = HTTP.post(
        f"{facts['url']}/v2/models/{facts['name']}/infer",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 200, answer.text
    return InferenceResponse.model_validate_json(answer.content)


def over_grpc(facts, request: InferenceRequest) -> InferenceResponse:
    asked = converters.ModelInferRequestConverter.from_types(
        request, model_name=facts["name"], model_version=None, use_raw=False
    )
    with grpc.insecure_channel(facts["at"]) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(asked, timeout=60)
    return converters.ModelInferResponseConverter.to_types(answer)


def array(response, name):
    (output,) = [o for o in response.outputs if o.name == name]
    return NumpyCodec.decode_output(output)


def text(response, name):
    (output,) = [o for o in response.outputs if o.name == name]
    return StringCodec.decode_output(output)


# what it is, in MLServer's own types
about = HTTP.get(f"{HOMES['url']}/v2").text
assert MetadataServerResponse.model_validate_json(about).name == "volant"
meta = MetadataModelResponse.model_validate_json(HTTP.get(f"{HOMES['url']}/v2/models/homes").text)
assert [(c.name, c.datatype) for c in meta.inputs] == list(
    zip(HOMES["columns"], HOMES["types"], strict=True)
)
index = HTTP.post(
    f"{HOMES['url']}/v2/repository/index",
    content=RepositoryIndexRequest(ready=True).model_dump_json(),
)
(listed,) = RepositoryIndexResponse.model_validate_json(index.text).root
assert (listed.name, listed.state) == ("homes", "READY")

# a frame of columns
frame = pd.DataFrame(HOMES["rows"], columns=HOMES["columns"])
for ask, use_bytes in ((over_rest, False), (over_grpc, True)):
    response = ask(HOMES, PandasCodec.encode_request(frame, use_bytes=use_bytes))
    assert text(response, "prediction") == HOMES["prediction"], response
    assert np.allclose(array(response, "probabilities"), HOMES["probabilities"], atol=1e-4)
asked = PandasCodec.encode_request(frame, use_bytes=False)
asked.outputs = [RequestOutput(name="prediction")]
asked.id = "one"
response = over_rest(HOMES, asked)
assert response.id == "one"
decoded = PandasCodec.decode_response(response)
assert decoded["prediction"].tolist() == HOMES["prediction"], decoded

# a matrix, as the scikit-learn runtime's users send it
rows = np.array(WINE["rows"])
for ask in (over_rest, over_grpc):
    response = ask(WINE, NumpyRequestCodec.encode_request(rows))
    assert array(response, "prediction").ravel().tolist() == WINE["prediction"]
    assert np.allclose(array(response, "probabilities"), WINE["probabilities"], atol=1e-5)

# tensors of three dimensions
for ask in (over_rest, over_grpc):
    inputs = [
        NumpyCodec.encode_input("image", np.array(BLEND["image"], np.float32)),
        NumpyCodec.encode_input("scale", np.array(BLEND["scale"], np.float32)),
    ]
    inputs[1].shape = [3]  # the codec says [3, 1], which is another tensor
    response = ask(BLEND, InferenceRequest(inputs=inputs))
    assert array(response, "sum").ravel().tolist() == BLEND["sum"]
    assert array(response, "negative").tolist() == BLEND["negative"]

# each datatype; texts by their codec, bytes as base64
for ask, words in ((over_rest, StringCodec), (over_grpc, StringCodec), (over_rest, Base64Codec)):
    arrays = {
        d: array_of(d)
        for d in ECHO["datatypes"]
        if d != "BYTES" and (ask is over_rest or d != "FP16")
    }
    inputs = [NumpyCodec.encode_input(d, a) for d, a in arrays.items()]
    strings = ["zwölf", ""] if words is StringCodec else [b"\xff\x00", b"b"]
    payload = words.encode_input("BYTES", strings, use_bytes=ask is over_grpc)
    payload.shape = [2, 1]
    inputs.append(payload)
    if ask is over_grpc:  # FP16 has no typed field
        inputs.append(NumpyCodec.encode_input("FP16", array_of("FP16")))
        request = InferenceRequest(inputs=inputs)
        asked = converters.ModelInferRequestConverter.from_types(
            request, model_name="echo", model_version=None, use_raw=True
        )
        with grpc.insecure_channel(ECHO["at"]) as channel:
            answer = GRPCInferenceServiceStub(channel).ModelInfer(asked, timeout=60)
        response = converters.ModelInferResponseConverter.to_types(answer)
    else:
        response = ask(ECHO, InferenceRequest(inputs=inputs))
    for d, sent in arrays.items():
        got = array(response, f"{d}_out").reshape(2, 2)
        assert got.astype(sent.dtype).tolist() == sent.tolist(), (d, got)
    (output,) = [o for o in response.outputs if o.name == "BYTES_out"]
    got = words.decode_output(output)
    assert [v if isinstance(v, type(strings[0])) else v.decode() for v in got] == strings, output

# a single text for each row
response = over_grpc(
    HOMES,
    PandasCodec.encode_request(frame.iloc[:1], use_bytes=True),
)
assert text(response, "prediction") == HOMES["prediction"][:1]
assert StringRequestCodec.encode_request(["a"]).inputs[0].datatype == "BYTES"

# the repository, by its generated client
with grpc.insecure_channel(WINE["at"]) as channel:
    stub = GRPCInferenceServiceStub(channel)
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=60).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="wine"), timeout=60).ready
    (model,) = stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=60).models
    assert (model.name, model.state) == ("wine", "READY"), model
    stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="wine"), timeout=60)
print("fine")
