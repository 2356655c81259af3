import io
import json
import logging
import sys

import pytest

from volant.web import serverlog


@pytest.fixture
def terminal(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


@pytest.fixture
def log(tmp_path, terminal):
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for handler in handlers:  # not ours to close
        root.removeHandler(handler)
    serverlog.configure(tmp_path / "logs" / "server.log", terminal=True)
    yield tmp_path / "logs" / "server.log"
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_line_has_its_fields_its_request_and_its_time(log):
    token = serverlog.current_request.set("mine")
    logging.getLogger("volant.access").info("request", extra=serverlog.told(path="/x", status=200))
    serverlog.current_request.reset(token)
    logging.getLogger("uvicorn.error").info("Started %s", "well")
    first, second = lines(log)
    assert first | {"timestamp": ""} == {
        "event": "request",
        "path": "/x",
        "status": 200,
        "request_id": "mine",
        "level": "info",
        "logger": "volant.access",
        "timestamp": "",
    }
    assert second["event"] == "Started well"
    assert "request_id" not in second


def test_an_exception_is_told_without_its_local_variables(log, terminal):
    password = "open sesame"
    try:
        raise ValueError(len(password))
    except ValueError:
        logging.getLogger("volant.web").exception("unexpected error")
    (told,) = lines(log)
    assert "ValueError: 11" in told["exception"]
    assert "event='unexpected error'" in terminal.getvalue()


@pytest.mark.parametrize("value", ["half \ud83d a pair", sys.maxsize * 3, {1: 2}, object])
def test_whatever_a_field_holds_the_line_is_written(log, value):
    logging.getLogger("volant.web").warning("odd", extra=serverlog.told(value=value))
    (told,) = lines(log)
    assert told["event"] == "odd"
