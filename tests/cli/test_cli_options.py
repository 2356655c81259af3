"""The options of every command: other names, waits and forms, and commands with their own."""

from __future__ import annotations

import socket
import threading

import pytest
import typer

from volant.cli.client import find_server
from volant.cli.lazy import new_app
from volant.cli.options import Format, Options, add_global_options


@pytest.mark.parametrize("flag", ["--server-url", "--url", "-u"])
def test_the_server_by_each_name(volant, serving, monkeypatch, flag):
    monkeypatch.setenv("VOLANT_SERVER_URL", "http://127.0.0.1:1")
    assert volant("data", "list", flag, serving.url).code == 0
    assert volant(flag, serving.url, "data", "list").code == 0
    assert volant("data", "list").code == 6


def test_fusemls_variable_names_the_server_and_ours_wins(monkeypatch, tmp_path):
    monkeypatch.setenv("VOLANT_TOKEN", "vol_x")
    monkeypatch.setenv("FUSEML_SERVER_URL", "https://theirs.example/")
    assert find_server(Options()) == ("https://theirs.example", "vol_x")
    monkeypatch.setenv("VOLANT_SERVER_URL", "https://ours.example")
    assert find_server(Options())[0] == "https://ours.example"
    assert find_server(Options(server_url="https://given.example"))[0] == "https://given.example"


def test_a_server_that_never_answers_is_waited_for_as_long_as_asked(bare, monkeypatch):
    monkeypatch.setenv("VOLANT_TOKEN", "vol_x")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        held = []
        threading.Thread(target=lambda: held.append(silent.accept()), daemon=True).start()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = bare("data", "list", "-u", url, "--timeout", "0.2")
    assert done.code == 6
    assert "no answer in 0.2 s" in done.err
    assert "--timeout" in done.err


@pytest.mark.parametrize("given", ["0", "-1", "inf", "nan", "soon"])
def test_times_that_are_none(bare, given):
    done = bare("data", "list", "--timeout", given)
    assert done.code == 2
    assert "--timeout" in done.err


def command_with(*names, **option):
    app = new_app()

    @app.command()
    def one(own: str = typer.Option(None, *names, **option)) -> None:
        pass

    command = typer.main.get_command(app)
    add_global_options(command)
    return {name: param.name for param in command.params for name in param.opts}


def test_a_commands_own_option_keeps_its_name_and_leaves_the_others():
    names = command_with("--url")
    assert names["--url"] == "own"
    assert names["-u"] == names["--server-url"] == "server_url"
    assert command_with("--timeout")["--timeout"] == "own"
    every = command_with("--server-url", "--url", "-u")
    assert "server_url" not in every.values()
    # What one command has taken, another still has.
    assert command_with("--other")["--url"] == "server_url"


def test_every_form_is_offered():
    assert [form.value for form in Format] == ["table", "json", "yaml", "csv"]
