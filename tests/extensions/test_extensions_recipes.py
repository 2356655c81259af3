"""Records made from a URL; the probes of what doesn't answer, or answers something else."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volant.errors import InvalidInput, PermissionDenied, Unavailable, VolantError
from volant.extensions import probe_http
from volant.extensions.probing import Target
from volant.extensions.recipes import KINDS, Recipe


def recipe(name, **given) -> Recipe:
    return Recipe.of(name, given)


def parts(made):
    [service] = made.services
    [endpoint] = service.endpoints
    secret = service.credentials[0].configuration if service.credentials else {}
    return endpoint.url, endpoint.configuration, secret


@pytest.mark.parametrize(
    ("name", "given_", "url", "public", "secret"),
    [
        (
            "redis",
            {"url": "h", "password": "p/w"},
            "redis://h",
            {"REDIS_HOST": "h", "REDIS_PORT": "6379"},
            {"REDIS_PASSWORD": "p/w", "REDIS_URL": "redis://:p%2Fw@h"},
        ),
        (
            "redis",
            {"url": "rediss://h:7000/3"},
            "rediss://h:7000/3",
            {"REDIS_HOST": "h", "REDIS_PORT": "7000", "REDIS_URL": "rediss://h:7000/3"},
            {},
        ),
        (
            "postgres",
            {"url": "postgres://ann:s%40cret@db:6000/wine?sslmode=prefer"},
            "postgres://db:6000/wine?sslmode=prefer",
            {"PGHOST": "db", "PGPORT": "6000", "PGDATABASE": "wine", "PGUSER": "ann"},
            {
                "PGPASSWORD": "s@cret",
                "DATABASE_URL": "postgres://ann:s%40cret@db:6000/wine?sslmode=prefer",
            },
        ),
        (
            "mlflow",
            {"url": "https://m/base/", "token": "t"},
            "https://m/base",
            {"MLFLOW_TRACKING_URI": "https://m/base"},
            {"MLFLOW_TRACKING_TOKEN": "t"},
        ),
        (
            "prometheus",
            {"url": "http://p:9090"},
            "http://p:9090",
            {"PROMETHEUS_URL": "http://p:9090"},
            {},
        ),
        (
            "minio",
            {"url": "http://m:9000", "user": "id", "password": "key", "region": "eu"},
            "http://m:9000",
            {
                "AWS_ENDPOINT_URL": "http://m:9000",
                "MLFLOW_S3_ENDPOINT_URL": "http://m:9000",
                "AWS_DEFAULT_REGION": "eu",
            },
            {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"},
        ),
        (
            "kafka",
            {"url": "k", "user": "u", "password": "p"},
            "kafka://k",
            {"KAFKA_BOOTSTRAP_SERVERS": "k:9092"},
            {"KAFKA_SASL_USERNAME": "u", "KAFKA_SASL_PASSWORD": "p"},
        ),
    ],
)
def test_what_steps_are_told(name, given_, url, public, secret):
    made, found = recipe(name, **given_).record(check=False)
    assert parts(made) == (url, public, secret)
    assert (made.id, found) == (name, "not checked")
    assert made.services[0].auth_required is bool(secret)


def test_for_projects_only_and_under_another_id():
    made, _ = recipe("redis", url="h", password="p", id="cache", zone="east", project=["a"]).record(
        check=False
    )
    [held] = made.services[0].credentials
    assert (made.id, made.zone, held.projects, held.scope) == ("cache", "east", ("a",), "project")


def test_what_is_no_recipe_or_no_url():
    with pytest.raises(InvalidInput, match="no recipe 'postgers'") as error:
        recipe("postgers", url="h")
    assert error.value.fix.startswith("Did you mean postgres?")
    for name, url in (
        ("redis", "http://u:hunter2@h"),
        ("s3", "ftp://u:hunter2@h"),
        ("kafka", "kafka://u:hunter2@h:port"),
        ("mlflow", ""),
        ("mlflow", "http://u:hunter2@[::1"),
        ("postgres", "postgresql://u@h/db?password=hunter2"),
    ):
        with pytest.raises(InvalidInput, match="isn't one of a") as error:
            recipe(name, url=url)
        assert "hunter2" not in str(error.value)


@contextmanager
def server(answer):
    """Answers each connection's first bytes with `answer(bytes)`, or with bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                with peer:
                    asked = peer.recv(65536)
                    peer.sendall(answer(asked) if callable(answer) else answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize("name", KINDS)
def test_nobody_there(name):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(Unavailable, match=f"doesn't answer as {name} does"):
        recipe(name, url=f"127.0.0.1:{port}", user="u", password="hunter2").record()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("said", [b"", b"\0" * 64, b"SSH-2.0-OpenSSH_9.2\r\n" * 3, b"\xff" * 64])
def test_something_else_answers(name, said):
    with server(said) as place, pytest.raises(VolantError) as error:
        recipe(name, url=place, user="u", password="hunter2").record()
    assert error.value.error_code in ("extensions.no_answer", "extensions.not_let_in")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("name", ["redis", "kafka"])
@settings(max_examples=20)
@given(said=st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_told(name, said):
    with server(said) as place, contextlib.suppress(Unavailable, PermissionDenied):
        recipe(name, url=place).record()


def broker(asked: bytes) -> bytes:
    """What a broker answers to ApiVersions of version 0 (kafka.apache.org/protocol)."""
    size, key, version, correlation, length = struct.unpack("!ihhih", asked[:14])
    assert (size, key, version, length) == (len(asked) - 4, 18, 0, 6)
    assert asked[14:] == b"volant"
    apis = struct.pack("!hhh", 18, 0, 3) + struct.pack("!hhh", 0, 0, 9)
    body = struct.pack("!ihi", correlation, 0, 2) + apis
    return struct.pack("!i", len(body)) + body


def test_kafka():
    with server(broker) as place:
        _, found = recipe("kafka", url=place).record()
    assert found == "Kafka, 2 APIs; the login was not tried"


def http(body: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


BUCKETS = "<ListAllMyBucketsResult><Buckets><Bucket>a</Bucket></Buckets></ListAllMyBucketsResult>"
DENIED = "<Error><Code>AccessDenied</Code></Error>"


def test_s3_with_keys_and_without():
    asked = []

    def answer(request: bytes) -> bytes:
        asked.append(request)
        return http(BUCKETS) if b"authorization:" in request.lower() else http(DENIED, "403 No")

    with server(answer) as place:
        _, found = recipe("s3", url=place, user="id", password="key").record()
        assert found == "S3, 1 bucket"
        _, found = recipe("s3", url=place).record()
        assert found == "S3; no keys were tried"
    assert b"AWS4-HMAC-SHA256 Credential=id/" in asked[0]
    with server(http(DENIED, "403 No")) as place:
        with pytest.raises(PermissionDenied, match="AccessDenied"):
            recipe("s3", url=place, user="id", password="key").record()


def test_the_signature_of_amazons_own_example():
    # get-vanilla of AWS's test suite for Signature Version 4
    target = Target(
        "s3",
        "https://example.amazonaws.com",
        "https",
        "example.amazonaws.com",
        443,
        user="AKIDEXAMPLE",
        password="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    )
    at = datetime(2015, 8, 30, 12, 36, 0, tzinfo=UTC)
    found = probe_http.signed(target, "/", at, service="service")["authorization"]
    assert found == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request,"
        " SignedHeaders=host;x-amz-date,"
        " Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    )
