"""Each deployment's own OpenAPI document, held against what its replica answers."""

from __future__ import annotations

import json

import pytest
from openapi_run import disagreements
from tests.serving.echoes import ECHO


@pytest.fixture(
    scope="module", params=["columns", "tensors", pytest.param("text", marks=pytest.mark.slow)]
)
def replica(request, start_replica, spec_for, echoes):
    if request.param == "tensors":
        found = echoes("FP32", "INT8", "UINT64", "BOOL", "BYTES", code=ECHO)
    else:
        found = start_replica(spec_for({"columns": "numeric", "text": "mixed"}[request.param]))
    found.oblige()
    return found


def document_url(replica) -> str:
    return f"http://127.0.0.1:{replica.port}/openapi.json"


def is_well(replica, wire) -> None:
    """No trace of a fault in its log, and it still answers."""
    log = [json.loads(line) for line in replica.log_path.read_text().splitlines()]
    assert not [entry for entry in log if entry.get("status", 0) >= 500 or "error" in entry]
    with replica.connect() as client:
        ready = b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n"
        assert wire.http(client, ready)[0] == 200


def test_serving_answers_as_its_document_says(replica, wire, tmp_path):
    url = document_url(replica)
    found = disagreements(url, tmp_path, "--phases=coverage", examples=1, timeout_s=100)
    assert not found, found
    is_well(replica, wire)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_serving_answers_as_its_document_says_whatever_comes(replica, wire, tmp_path):
    url = document_url(replica)
    found = disagreements(url, tmp_path, "--phases=fuzzing", examples=15, timeout_s=170)
    assert not found, found
    is_well(replica, wire)
