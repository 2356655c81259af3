"""Finding the server, and errors that cross the network as themselves."""

from __future__ import annotations

import json
import socket

import pytest

from volant.cli.client import Client, find_server
from volant.cli.options import Options
from volant.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    StepFailed,
    Unauthenticated,
    Unavailable,
)


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def running(home, url="http://127.0.0.1:8400", token="vol_home"):
    (home / "server.json").write_text(json.dumps({"pid": 1, "url": url}))
    (home / "token").write_text(token + "\n")


def test_the_home_tells_both(home):
    running(home)
    assert find_server(Options()) == ("http://127.0.0.1:8400", "vol_home")


def test_the_environment_wins_over_the_default_home(home, monkeypatch):
    running(home)
    monkeypatch.setenv("VOLANT_SERVER_URL", "https://far.example/")
    monkeypatch.setenv("VOLANT_TOKEN", "vol_far")
    assert find_server(Options()) == ("https://far.example", "vol_far")


def test_a_home_given_by_hand_wins_over_the_environment(home, monkeypatch):
    running(home)
    monkeypatch.setenv("VOLANT_SERVER_URL", "https://far.example")
    monkeypatch.setenv("VOLANT_TOKEN", "vol_far")
    assert find_server(Options(home=home)) == ("http://127.0.0.1:8400", "vol_home")


def test_the_home_token_is_never_sent_elsewhere(home):
    running(home)
    with pytest.raises(Unauthenticated, match="VOLANT_TOKEN"):
        find_server(Options(server_url="https://far.example"))
    assert find_server(Options(server_url="http://127.0.0.1:8400/"))[1] == "vol_home"


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"pid": 1}'])
def test_nothing_runs(home, content, bare):
    if content is not None:
        (home / "server.json").write_text(content)
    done = bare("status")
    assert done.code == 6
    assert done.out == ""
    assert done.err == f"Error: Volant is not running on {home}.\nFix: Start it: volant up\n"


def test_a_record_of_a_dead_server(home, bare):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    running(home, f"http://127.0.0.1:{port}")
    done = bare("status")
    assert done.code == 6
    assert "is not running" in done.err
    assert "volant up" in done.err


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://[::1"])
def test_a_url_that_is_none(bare, monkeypatch, url):
    monkeypatch.setenv("VOLANT_TOKEN", "t")
    done = bare("status", "--server-url", url)
    assert done.code == 2
    assert "is not a server's URL" in done.err


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (InvalidInput, 2),
        (NotFound, 3),
        (Conflict, 4),
        (Unauthenticated, 5),
        (PermissionDenied, 5),
        (Unavailable, 6),
        (ResourceExhausted, 1),
        (StepFailed, 1),
    ],
)
def test_errors_arrive_as_they_were_raised(platform, volant, serving, kind, code):
    platform.broken = kind("It [bold]broke[/bold].", "Mend it.", code="it_broke", details={"n": 7})
    with Client(serving.url, "vol_admin") as client, pytest.raises(kind) as caught:
        client.get("/status")
    assert caught.value.error_code == "it_broke"
    assert caught.value.details["n"] == 7
    done = volant("status")
    assert done.code == code
    assert done.err == "Error: It [bold]broke[/bold].\nFix: Mend it.\n"


def test_an_error_in_json(platform, volant):
    platform.broken = Conflict("Two at once.", "Wait.")
    done = volant("status", "--json")
    assert done.code == 4
    assert done.json["error"]["what"] == "Two at once."
    assert "Error: Two at once." in done.err


def test_control_characters_do_not_reach_the_terminal(platform, volant):
    platform.broken = NotFound("No \x1b[31mred\x1b]0;title\x07.", "Look.")
    assert "\x1b" not in volant("status").err
    assert "\x07" not in volant("status").err


def test_verbose_tells_the_code_and_the_request(platform, volant):
    platform.broken = NotFound("None.", "Look.", code="no_such")
    err = volant("status", "-v").err
    assert "Code: no_such" in err
    assert "request_id:" in err


def test_a_wrong_token(volant, monkeypatch):
    monkeypatch.setenv("VOLANT_TOKEN", "wrong")
    assert volant("status").code == 5


def test_something_else_answers(endpoint, bare, monkeypatch):
    monkeypatch.setenv("VOLANT_TOKEN", "t")
    done = bare("status", "--server-url", endpoint.url)
    assert done.code == 6
    assert "not as Volant does" in done.err


def test_lists_over_several_pages(platform, serving):
    platform.data.datasets["wine"] = None
    with Client(serving.url, "vol_admin") as client:
        found = client.pages("/datasets/wine/versions", 4)
        assert [item["version"] for item in found["items"]] == [5, 4, 3, 2]
        assert client.pages("/datasets/wine/versions", 9)["next"] is None
