"""Errors are problem details, whatever goes wrong and wherever."""

from __future__ import annotations

import json

import pytest

from volant.errors import (
    Conflict,
    InvalidInput,
    MissingExtra,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    StepFailed,
    Unauthenticated,
    Unavailable,
    VolantError,
)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (InvalidInput, 400),
        (Unauthenticated, 401),
        (PermissionDenied, 403),
        (NotFound, 404),
        (Conflict, 409),
        (StepFailed, 500),
        (VolantError, 500),
        (Unavailable, 503),
        (ResourceExhausted, 507),
    ],
)
def test_each_kind_has_its_status(platform, call, kind, status):
    platform.broken = kind("It broke at 7.", "Mend it.", code="it_broke", details={"at": 7})
    answer = call("GET", "/api/v1/status")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"] == f"urn:volant:{kind.code}"
    assert body["status"] == status
    assert body["detail"] == "It broke at 7."
    assert (body["code"], body["fix"], body["details"]) == ("it_broke", "Mend it.", {"at": 7})
    assert body["request_id"] == answer.headers["x-request-id"]


def test_retry_after_when_unavailable(platform, call):
    platform.broken = Unavailable("Locked.", "Wait.")
    assert call("GET", "/api/v1/status").headers["retry-after"] == "2"


def test_a_missing_extra(platform, call):
    platform.broken = MissingExtra("feast", "feast")
    answer = call("GET", "/api/v1/status")
    assert answer.status_code == 501
    assert "pip install 'volant[feast]'" in answer.json()["fix"]


def test_an_unexpected_exception_leaks_nothing(platform, call):
    platform.broken = RuntimeError("secret inside")
    answer = call("GET", "/api/v1/status", headers={"X-Request-Id": "abc-1"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    body = answer.json()
    assert body["code"] == "internal"
    assert body["request_id"] == "abc-1"
    assert "abc-1" in body["fix"]


def test_an_unknown_path(call):
    answer = call("GET", "/api/v1/nothing")
    assert answer.status_code == 404
    assert answer.json()["code"] == "no_such_route"
    assert "/api/v1/nothing" in answer.json()["detail"]


def test_a_wrong_method(call):
    answer = call("PUT", "/api/v1/status")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET"
    assert answer.json()["code"] == "method_not_allowed"
    # Of all routes there, not of the first one only.
    answer = call("PATCH", "/api/v1/loops/wine-quality")
    assert answer.headers["allow"] == "DELETE, GET, PUT"


def test_a_wrong_field_is_named(call):
    answer = call("POST", "/api/v1/datasets/wine/pushes", json={"uploads": [], "colour": 1})
    assert answer.status_code == 400
    body = answer.json()
    assert {fault["field"] for fault in body["details"]["errors"]} == {"uploads", "colour"}
    assert "body uploads" in body["detail"]


def test_a_wrong_query_is_named(call):
    answer = call("GET", "/api/v1/events?limit=0")
    assert answer.status_code == 400
    assert "query limit" in answer.json()["detail"]
    assert call("GET", "/api/v1/events?limit=501").status_code == 400


def test_broken_json(call):
    answer = call(
        "POST",
        "/api/v1/loops/plan",
        content=b'{"source": ',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 400
    assert "is not JSON" in answer.json()["detail"]


def test_a_json_body_of_another_media_type(call):
    answer = call("POST", "/api/v1/loops/plan", content=b"name: a")
    assert answer.status_code == 400


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_too_large(call, declared):
    big = json.dumps({"uploads": ["x" * (1 << 20)]}).encode()

    async def chunks():
        for start in range(0, len(big), 1 << 16):
            yield big[start : start + (1 << 16)]

    answer = call(
        "POST",
        "/api/v1/datasets/wine/pushes",
        content=big if declared else chunks(),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"


def test_security_headers(call):
    answer = call("GET", "/api/v1/health", role=None)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8400", "127.0.0.1.evil.example"])
def test_a_foreign_host_is_refused(call, host):
    answer = call("GET", "/api/v1/health", headers={"Host": host})
    assert answer.status_code == 421
    assert answer.json()["code"] == "wrong_host"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8400", "TESTSERVER"])
def test_our_own_host_is_served(call, host):
    assert call("GET", "/api/v1/health", headers={"Host": host}).status_code == 200


def test_a_request_id_with_odd_characters_is_replaced(call):
    answer = call("GET", "/api/v1/health", headers={"X-Request-Id": "a b\tc"})
    assert answer.headers["x-request-id"] != "a b\tc"
    assert len(answer.headers["x-request-id"]) == 32


def test_openapi_tells_of_problems_and_tokens(call):
    schema = call("GET", "/api/v1/openapi.json").json()
    assert schema["info"]["title"] == "Volant"
    operation = schema["paths"]["/api/v1/datasets/{name}/pushes"]["post"]
    assert operation["operationId"] == "datasets_push"
    assert operation["security"] == [{"token": []}]
    assert set(operation["responses"]) == {"202", "default"}
    assert "application/problem+json" in operation["responses"]["default"]["content"]
    assert "security" not in schema["paths"]["/api/v1/health"]["get"]
    for operations in schema["paths"].values():
        for each in operations.values():
            assert each["summary"]
            assert "422" not in each["responses"]
