"""The protocol's messages, from `protos/messages.pb`, in a descriptor pool of their own: a
user's model may import another library's stubs of the same protocol in this process.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SERVICE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"


def _pool() -> DescriptorPool:
    """A `FileDescriptorSet` is its files one after the other, each with a key and a size.
    Its own message class would cost more memory than all of these."""
    pool = DescriptorPool()
    data = (Path(__file__).with_name("protos") / "messages.pb").read_bytes()
    at = 0
    while at < len(data):
        size, at = _size(data, at + 1)
        pool.AddSerializedFile(data[at : at + size])
        at += size
    return pool


def _size(data: bytes, at: int) -> tuple[int, int]:
    """The varint at `at`, and where it ends."""
    size = shift = 0
    while True:
        size |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return size, at


POOL = _pool()


def message(name: str) -> Any:
    """The class of a message, by its full name."""
    return GetMessageClass(POOL.FindMessageTypeByName(name))


def filled(target: Any, about: Mapping[str, Any]) -> Any:
    """`target` with what `about` tells, REST's JSON; what it has no field for is left out."""
    fields = target.DESCRIPTOR.fields_by_name
    for name, value in about.items():
        field = fields.get(name)
        if field is None:
            continue
        if isinstance(value, Mapping):
            filled(getattr(target, name), value)
        elif field.message_type is not None:
            for one in value:
                filled(getattr(target, name).add(), one)
        elif isinstance(value, list):
            getattr(target, name).extend(value)
        elif field.enum_type is not None:
            setattr(target, name, field.enum_type.values_by_name[value].number)
        else:
            setattr(target, name, value)
    return target


def _requests(service: str) -> dict[str, Any]:
    methods = POOL.FindServiceByName(service).methods
    return {f"/{service}/{method.name}": GetMessageClass(method.input_type) for method in methods}


ModelInferRequest = message("inference.ModelInferRequest")
ModelInferResponse = message("inference.ModelInferResponse")
ModelStreamInferResponse = message("inference.ModelStreamInferResponse")

REQUESTS: dict[str, Any] = {**_requests(SERVICE), **_requests(HEALTH)}
"""The path of each method, with the class of its requests."""
