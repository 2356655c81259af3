"""A deployment's own OpenAPI 3.1 document: its addresses, with schemas that follow from
the model's signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from volant import __version__
from volant.serving.datatypes import DATATYPES, FLOATS, RANGE
from volant.serving.description import OIP_TYPE, Description, Output, TensorInput

Schema = dict[str, Any]

_READ_FAULTS = (400, 401, 404, 405, 408, 413, 417, 431, 500, 503)
_POST_FAULTS = (*_READ_FAULTS, 415)
_OPERATOR_FAULTS = (*_READ_FAULTS, 403)
_WORDS = {
    400: "The request doesn't fit; the error says what was expected and what came.",
    401: "A token is due.",
    403: "The token's role may not.",
    404: "Another model, another version, or no such address.",
    405: "Another method.",
    408: "The request took too long to arrive.",
    413: "The body is too large.",
    415: "The body is of a type or coding that isn't taken.",
    417: "An expectation that isn't met.",
    431: "The headers are too large.",
    500: "The model failed.",
    503: "Too much waits already, or the replica is leaving; `Retry-After` says when.",
}


def document(names: Sequence[str], version: str, model: Description) -> Schema:
    """The document for the model under its `names`."""
    paths: Schema = {
        "/": {"get": _read("Whether the server lives, for V1 clients", _object())},
        "/v2": {"get": _read("The server", _object("name", "version", "extensions"))},
        "/v2/health/live": {"get": _read("Whether the server lives", _object("live"), open=True)},
        "/v2/health/ready": {
            "get": _read("Whether it answers predictions", _object("ready"), open=True)
        },
        "/v2/models": {"get": _read("The models", _object("models"))},
        "/v1/models": {"get": _read("The models", _object("models"))},
        "/v2/models/stats": {"get": _read("Statistics", _object("model_stats"))},
        "/v2/repository/index": {
            "post": _post(
                "The models with their versions and states",
                _optional({"ready": {"type": ["boolean", "null"]}}),
                {"type": "array", "items": _object("name", "version", "state", "reason")},
                required=False,
            )
        },
        "/openapi.json": {"get": _read("This document", _object("openapi", "info", "paths"))},
    }
    for name in names:
        paths |= _of_model(name, version)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{names[0]} {version}",
            "version": __version__,
            "description": "Open Inference Protocol V2 and V1, served by Volant.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(model),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _of_model(name: str, version: str) -> Schema:
    paths: Schema = {
        f"/v2/repository/models/{name}/load": {
            "post": _post(
                "Load the model; answered when it is ready",
                _optional({"parameters": {"type": ["object", "null"], "maxProperties": 0}}),
                _object(),
                required=False,
                faults=_OPERATOR_FAULTS,
            )
        },
        f"/v2/repository/models/{name}/unload": {
            "post": _post(
                "Unload the model until it is loaded again",
                _optional({"parameters": {}}),
                _object(),
                required=False,
                faults=_OPERATOR_FAULTS,
            )
        },
    }
    for versioned in ("", f"/versions/{version}"):
        at = f"/v2/models/{name}{versioned}"
        paths[at] = {"get": _read("The model's signature", _ref("Metadata"))}
        paths[f"{at}/ready"] = {"get": _read("Whether it is ready", _object("name", "ready"))}
        paths[f"{at}/config"] = {"get": _read("Its configuration", _object("name", "input"))}
        paths[f"{at}/stats"] = {"get": _read("Its statistics", _object("model_stats"))}
        paths[f"{at}/infer"] = {
            "post": _post("Predict (V2)", _ref("InferRequest"), _ref("InferResponse"))
        }
        old = f"/v1/models/{name}{versioned}"
        paths[old] = {"get": _read("Its status (V1)", _object("name", "model_version_status"))}
        paths[f"{old}:predict"] = {
            "post": _post("Predict (V1)", _ref("V1Request"), _ref("V1Response"))
        }
    return paths


# operations


def _read(summary: str, answer: Schema, *, open: bool = False) -> Schema:
    operation: Schema = {"summary": summary, "responses": _responses(answer, _READ_FAULTS)}
    if open:  # not ready is an answer and no error there
        operation["security"] = []
    if answer.get("required") in (["ready"], ["name", "ready"]):
        operation["responses"]["503"] = _content("It isn't ready.", {})
    return operation


def _post(
    summary: str,
    body: Schema,
    answer: Schema,
    *,
    required: bool = True,
    faults: Sequence[int] = _POST_FAULTS,
) -> Schema:
    return {
        "summary": summary,
        "requestBody": {"required": required, "content": {"application/json": {"schema": body}}},
        "responses": _responses(answer, faults),
    }


def _responses(answer: Schema, faults: Sequence[int]) -> Schema:
    return {
        "200": _content("Done.", answer),
        **{str(status): _content(_WORDS[status], _ref("Error")) for status in faults},
    }


def _content(words: str, schema: Schema) -> Schema:
    return {"description": words, "content": {"application/json": {"schema": schema}}}


def _object(*required: str) -> Schema:
    schema: Schema = {"type": "object"}
    return {**schema, "required": list(required)} if required else schema


def _optional(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


# schemas


def _schemas(model: Description) -> Schema:
    return {
        "Error": {
            "type": "object",
            "properties": {"error": {"type": "string"}},
            "required": ["error"],
        },
        "Metadata": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "versions": {"type": "array", "items": {"type": "string"}},
                "platform": {"const": model.platform},
                "inputs": {"type": "array", "items": _object("name", "datatype", "shape")},
                "outputs": {"type": "array", "items": _object("name", "datatype", "shape")},
            },
            "required": ["name", "versions", "platform", "inputs", "outputs"],
        },
        "InferRequest": _infer_request(model),
        "InferResponse": _infer_response(model),
        "V1Request": _v1_request(model),
        "V1Response": {
            "type": "object",
            "properties": {"predictions": {"type": "array"}},
            "required": ["predictions"],
        },
    }


def _infer_request(model: Description) -> Schema:
    names = [output.name for output in model.outputs]
    return {
        "type": "object",
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": {
                "type": ["object", "null"],
                "properties": {"binary_data_output": {"const": False}},
            },
            "inputs": _inputs(model),
            "outputs": {
                "type": ["array", "null"],
                "items": {
                    "type": "object",
                    "properties": {"name": {"enum": names}},
                    "required": ["name"],
                    "additionalProperties": False,
                },
            },
        },
        "required": ["inputs"],
        "additionalProperties": False,
    }


def _inputs(model: Description) -> Schema:
    """One tensor for each column or input; over columns also one for all of them."""
    if model.inputs:
        each = [_input(tensor) for tensor in model.inputs]
        return {"type": "array", "items": {"oneOf": each}, "minItems": len(each)}
    named = [
        _tensor(
            {"const": c.name},
            OIP_TYPE[c.type],
            _value(OIP_TYPE[c.type], nullable=c.nullable),
            [{"type": "integer", "minimum": 1}],
        )
        for c in model.columns
    ]
    width = len(model.columns)
    matrix = _tensor(
        {"type": "string"},
        None,
        {},
        [{"type": "integer", "minimum": 1}, {"const": width}],
    )
    least = sum(1 for column in model.columns if not column.nullable)
    by_name: Schema = {
        "title": "A tensor for each column",
        "type": "array",
        "items": {"oneOf": named},
        "minItems": max(1, least),
        "maxItems": width,
    }
    in_one: Schema = {
        "title": "One tensor for all columns, in the order of the signature",
        "type": "array",
        "items": matrix,
        "minItems": 1,
        "maxItems": 1,
    }
    return {"anyOf": [by_name, in_one]}


def _input(tensor: TensorInput) -> Schema:
    sizes: list[Schema] = [
        {"type": "integer", "minimum": 0} if size < 0 else {"const": size} for size in tensor.shape
    ]
    values = _value(tensor.datatype, nullable=tensor.datatype in FLOATS)
    return _tensor({"const": tensor.name}, tensor.datatype, values, sizes)


def _tensor(name: Schema, datatype: str | None, values: Schema, sizes: list[Schema]) -> Schema:
    """`data` is flat or nested; how much of it there is follows from `shape`, which a
    schema can't say."""
    shape: Schema = {"type": "array", "minItems": len(sizes), "maxItems": len(sizes)}
    if sizes:
        shape["prefixItems"] = sizes
    return {
        "type": "object",
        "properties": {
            "name": name,
            "datatype": {"enum": list(DATATYPES)} if datatype is None else {"const": datatype},
            "shape": shape,
            "data": {"type": "array", "items": values},
            "parameters": {"type": ["object", "null"]},
        },
        "required": ["name", "shape", "datatype", "data"],
    }


def _value(datatype: str, *, nullable: bool = False) -> Schema:
    schema: Schema
    if datatype == "BYTES":
        schema = {"type": "string"}
    elif datatype == "BOOL":
        schema = {"type": "boolean"}
    elif datatype in FLOATS:
        schema = {"type": "number"}
    else:
        low, high = RANGE[datatype]
        schema = {"type": "integer", "minimum": low, "maximum": high}
    return {"anyOf": [schema, {"type": "null"}]} if nullable else schema


def _infer_response(model: Description) -> Schema:
    return {
        "type": "object",
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {
                "type": "array",
                "items": {"oneOf": [_output(output) for output in model.outputs]},
            },
        },
        "required": ["model_name", "model_version", "outputs"],
    }


def _output(output: Output) -> Schema:
    nullable = output.datatype in FLOATS  # NaN
    return {
        "type": "object",
        "properties": {
            "name": {"const": output.name},
            "datatype": {"const": output.datatype},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "data": {"type": "array", "items": _value(output.datatype, nullable=nullable)},
            "parameters": {"type": "object"},
        },
        "required": ["name", "datatype", "shape", "data"],
    }


def _v1_request(model: Description) -> Schema:
    signatures = ["serving_default", "predict"]
    if model.columns and any(output.name == "probabilities" for output in model.outputs):
        signatures.append("predict_proba")
    rows: list[Schema]
    if model.inputs:
        rows = [{}]
    else:
        values = [_value(OIP_TYPE[c.type], nullable=c.nullable) for c in model.columns]
        rows = [
            {
                "type": "array",
                "prefixItems": values,
                "minItems": len(values),
                "maxItems": len(values),
            },
            {
                "type": "object",
                "properties": {c.name: v for c, v in zip(model.columns, values, strict=True)},
                "required": [c.name for c in model.columns if not c.nullable],
                "additionalProperties": False,
            },
        ]
    return {
        "type": "object",
        "properties": {
            "instances": {
                "anyOf": [{"type": "array", "items": row, "minItems": 1} for row in rows]
            },
            "signature_name": {"enum": [*signatures, None]},
        },
        "required": ["instances"],
    }
