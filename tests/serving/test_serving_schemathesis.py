"""Each deployment's own OpenAPI document, held against what the deployment answers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi import checks

ECHO = """
class Model:
    def predict(self, inputs):
        return {f"{name}_out": value for name, value in inputs.items()}
"""
DATATYPES = ("FP32", "INT8", "UINT64", "BOOL", "BYTES")
CONFORMS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
]


def tensor_model(folder: Path) -> Path:
    """Answers each input as it came; `word` is of two words exactly."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "model.py").write_text(ECHO)
    tensors = [{"name": d.lower(), "datatype": d, "shape": [-1, 2]} for d in DATATYPES]
    outputs = [{**t, "name": f"{t['name']}_out"} for t in tensors]
    body = {
        "format": 1,
        "task": "custom",
        "signature": {"kind": "tensors", "inputs": tensors, "outputs": outputs},
        "runtime": {"kind": "code", "file": "code"},
    }
    (folder / "volant.json").write_text(json.dumps(body))
    return folder


class Api:
    """A replica, its document, and one session to ask it."""

    def __init__(self, replica) -> None:
        self.replica = replica
        self.url = f"http://127.0.0.1:{replica.port}"
        self.session = requests.Session()
        self.session.trust_env = False
        self.document = self.session.get(f"{self.url}/openapi.json").json()
        self.schema = schemathesis.openapi.from_dict(self.document)
        self.schema.config.update(base_url=self.url)


@pytest.fixture(scope="module")
def columns_api(start_replica, spec_for):
    return Api(start_replica(spec_for("mixed"))).schema

columns = schemathesis.pytest.from_fixture("columns_api")

@columns.parametrize()
@settings(max_examples=20, deadline=None)
def test_serving_a_model_over_columns_answers_as_its_document_says(case):
    case.call_and_validate(checks=CONFORMS, timeout=20)
