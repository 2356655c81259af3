"""Answers to bytes: JSON, or JSON with binary tensors behind it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from volant.serving.binary import of_one_type, pack
from volant.serving.datatypes import DTYPE, Array
from volant.serving.description import Description, Output
from volant.serving.query import Answer, Query

_DUMP = orjson.OPT_SERIALIZE_NUMPY


_SHAPES = 256  # of which an output's openings are kept: most answers have the same few


class _Form:
    """How one output goes out."""

    __slots__ = ("_openings", "_tail", "datatype", "dtype", "name", "parameters")

    def __init__(self, output: Output) -> None:
        self.name = output.name
        self.datatype = output.datatype
        self.dtype = None if output.datatype == "BF16" else DTYPE[output.datatype]
        self.parameters = dict(output.parameters)
        self._tail = b'],"data":'
        if self.parameters:
            self._tail = b'],"parameters":%s,"data":' % orjson.dumps(self.parameters)
        self._openings: dict[tuple[int, ...], tuple[bytes, bytes]] = {}

    def opening(self, shape: tuple[int, ...], *, first: bool) -> bytes:
        """The JSON before an array's data: as the first output, or as another one."""
        found = self._openings.get(shape)
        if found is None:
            named = orjson.dumps({"name": self.name, "datatype": self.datatype})[:-1]
            leading = b'%s,"shape":[%s%s' % (named, ",".join(map(str, shape)).encode(), self._tail)
            found = leading, b"}," + leading
            if len(self._openings) < _SHAPES:
                self._openings[shape] = found
        return found[0] if first else found[1]

    def json(self, array: Array) -> dict[str, Any]:
        """The output as JSON has it, its array flat, bytes that are no text as base64."""
        array = of_one_type(array, self.datatype)
        parameters, data = self.parameters, array.ravel()
        values: Any = data
        if self.datatype == "BYTES":
            values = data.tolist()
            if any(type(value) is bytes for value in values):
                parameters = {**parameters, "content_type": "base64"}
                values = [base64.b64encode(_raw(value)).decode() for value in values]
        one: dict[str, Any] = {"name": self.name, "datatype": self.datatype, "shape": array.shape}
        if parameters:
            one["parameters"] = parameters
        return {**one, "data": values}

    def binary(self, array: Array, size: int) -> dict[str, Any]:
        """The output as JSON has it when its `size` bytes follow as a binary tensor."""
        return {
            "name": self.name,
            "datatype": self.datatype,
            "shape": array.shape,
            "parameters": {**self.parameters, "binary_data_size": size},
        }


def _raw(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


class Formatter:
    """The answers of one model version."""

    def __init__(self, name: str, version: str, model: Description) -> None:
        self._head = b'{"model_name":%s,"model_version":%s,' % (
            orjson.dumps(name),
            orjson.dumps(version),
        )
        self._plain = self._head + b'"outputs":['
        self._forms = tuple(_Form(output) for output in model.outputs)
        self._places = {form.name: i for i, form in enumerate(self._forms)}

    def body(self, query: Query, answer: Answer) -> bytes:
        """The response body as JSON; NaN becomes null."""
        parts = [self._start(query)]
        try:
            for form, given in self._chosen(query, answer.outputs):
                array = given if given.dtype is form.dtype else of_one_type(given, form.datatype)
                data = array.ravel()
                parts.append(form.opening(array.shape, first=len(parts) == 1))
                parts.append(
                    orjson.dumps(data.tolist() if form.datatype == "BYTES" else data, option=_DUMP)
                )
        except TypeError:  # bytes that are no text
            chosen = self._chosen(query, answer.outputs)
            outputs = orjson.dumps([form.json(array) for form, array in chosen], option=_DUMP)
            return b"%s%s}" % (self._start(query)[:-1], outputs)
        parts.append(b"}]}")
        return b"".join(parts)

    def frame(self, query: Query, answer: Answer) -> tuple[bytes, int]:
        """The response body with the outputs of `query.binary_outputs` as binary tensors,
        and the length of its JSON part."""
        outputs: list[dict[str, Any]] = []
        tensors: list[bytes] = []
        for form, array in self._chosen(query, answer.outputs):
            if form.name in query.binary_outputs:
                tensors.append(pack(array, form.datatype))
                outputs.append(form.binary(array, len(tensors[-1])))
            else:
                outputs.append(form.json(array))
        text = b"%s%s}" % (self._start(query)[:-1], orjson.dumps(outputs, option=_DUMP))
        return b"".join((text, *tensors)), len(text)

    def _chosen(self, query: Query, arrays: Sequence[Array]) -> Iterable[tuple[_Form, Array]]:
        """What was asked for, in the order in which it was."""
        if query.outputs is None:
            return zip(self._forms, arrays, strict=True)
        places = [self._places[name] for name in query.outputs]
        return [(self._forms[i], arrays[i]) for i in places]

    def _start(self, query: Query) -> bytes:
        """All before the first output."""
        if query.id is None:
            return self._plain
        return b'%s"id":%s,"outputs":[' % (self._head, orjson.dumps(query.id))
