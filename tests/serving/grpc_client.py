"""A gRPC client that others wrote (grpcio), and what to ask with it."""

from __future__ import annotations

import grpc
import numpy as np

from volant.serving.grpc_messages import POOL
from volant.serving.grpc_messages import message as message_class

SERVICE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class Client:
    """A channel of its own, and the methods by name."""

    def __init__(self, port: int, **options) -> None:
        pairs = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        pairs += [(f"grpc.{name}", value) for name, value in options.items()]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=pairs)

    def method(self, name: str, service: str = SERVICE):
        described = POOL.FindServiceByName(service).FindMethodByName(name)
        request = message_class(described.input_type.full_name)
        answer = message_class(described.output_type.full_name)
        make = self.channel.stream_stream if "Stream" in name else self.channel.unary_unary
        return request, make(
            f"/{service}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )

    def call(self, name: str, /, *, timeout: float = 30, **fields):
        request, method = self.method(name)
        extra = {k: fields.pop(k) for k in ("metadata", "compression") if k in fields}
        return method(request(**fields), timeout=timeout, **extra)

    def infer(self, model: str, inputs, /, *, raw: bool = True, **more):
        """`inputs`: name, datatype, array."""
        return self.call("ModelInfer", **{**asking(model, inputs, raw=raw), **more})


def asking(model: str, inputs, *, raw: bool = True) -> dict:
    tensors, contents = [], []
    for name, datatype, array in inputs:
        tensor = {"name": name, "datatype": datatype, "shape": array.shape}
        if raw:
            contents.append(packed(array))
        else:
            tensor["contents"] = {FIELDS[datatype]: array.ravel().tolist()}
        tensors.append(tensor)
    return {"model_name": model, "inputs": tensors, "raw_input_contents": contents}


def packed(array) -> bytes:
    if array.dtype != object:
        return array.tobytes()
    return b"".join(len(v).to_bytes(4, "little") + v for v in array.ravel().tolist())


ROWS = np.array([[2, 0, 0, 0], [-2, 0, 0, 0]], dtype=np.float32)


def samples(datatype: str):
    if datatype == "BYTES":
        return np.array([[b"", "zwölf".encode()], [b"\xff\x00", b"x" * 300]], dtype=object)
    if datatype == "BOOL":
        return np.array([[True, False], [False, True]])
    if datatype == "BF16":  # 1.0, -2.0, 3.140625, a NaN
        return np.array([[0x3F80, 0xC000], [0x4049, 0x7FC1]], dtype="<u2")
    kind = {"F": "f", "I": "i", "U": "u"}[datatype[0]]
    bits = int(datatype.lstrip("FPUINT"))
    dtype = np.dtype(f"<{kind}{bits // 8}")
    ends = np.finfo(dtype) if kind == "f" else np.iinfo(dtype)
    return np.array([[ends.max, 0], [1, ends.min if kind != "f" else 0.5]], dtype=dtype)
