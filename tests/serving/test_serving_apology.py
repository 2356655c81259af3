"""Clients that are told that no replica can serve, and which of them asked for something."""

from __future__ import annotations

import json
import socket

import pytest

from volant.serving.apology import APOLOGY_HEADER, Apology

POST = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


@pytest.fixture
def ask(listening):
    """Ask, be answered by `apology`, and tell what came; the client is gone then."""

    def asked(apology, request):
        with socket.create_connection(listening.getsockname(), timeout=20) as client:
            client.sendall(request)
            apology.answer(listening, "It crashed.", 2.4, 10.0)
            answer = b""
            while got := client.recv(4096):
                answer += got
        while apology.step(10.0):
            pass
        return answer

    return asked


def test_apology_tells_why_and_when_to_come_again(ask):
    head, _, body = ask(Apology(), POST).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 2" in head
    assert APOLOGY_HEADER.encode() not in head
    assert json.loads(body)["error"] == "No replica can serve now. It crashed."
    assert APOLOGY_HEADER.encode() in ask(Apology(internal=True), POST)


def test_apology_counts_predictions_and_no_checks(ask):
    apology = Apology()
    for request in (
        POST,
        POST[:30],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v2/health/ready HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"",
    ):
        ask(apology, request)
    assert apology.refused == 3


def test_apology_counts_who_asks_late_and_in_parts(listening):
    apology = Apology()
    with socket.create_connection(listening.getsockname(), timeout=20) as client:
        apology.answer(listening, "", 1.0, 10.0)
        assert apology.step(10.5)
        assert client.recv(4096).startswith(b"HTTP/1.1 503 ")
        client.sendall(POST)
        client.sendall(POST)
    while apology.step(10.6):
        pass
    assert apology.refused == 1
