"""Starts that can't be: each ends at once, says why, and spoils nothing."""

from __future__ import annotations

import signal
import socket
import subprocess

import httpx
import pytest
from platform_process import VOLANT, Platform, loop_file, table, wait_for, write_csv


@pytest.fixture(scope="module")
def homes(platforms):
    return platforms


def refused(platform, *words, code, says, fix, **environment):
    told = platform.shell(
        "up", "--home", str(platform.home), *words, code=code, timeout_s=60, **environment
    )
    what, _, remedy = told.err.partition("Fix: ")
    assert told.out == ""
    assert "Traceback" not in told.err
    for part in says:
        assert part in what, told.err
    assert fix in remedy, told.err


def test_a_second_platform_on_the_same_home(platform):
    pid = str(platform.process.pid)
    for words in ([], ["--detach"]):
        refused(
            platform,
            *words,
            "--port",
            "0",
            code=4,
            says=[str(platform.home), pid, platform.url],
            fix="volant down",
        )
    assert platform.get("/health")


def test_a_port_that_something_else_holds(homes):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        says = [f"Port {port}", "another program"]
        refused(homes(), "--detach", "--port", port, code=4, says=says, fix="--port N")


def test_a_port_that_another_volant_holds(homes, platform):
    port = str(httpx.URL(platform.url).port)
    refused(homes(), "--port", port, code=4, says=[f"Port {port}", "another Volant"], fix="--port")


def test_a_home_that_cannot_be_one(homes):
    wrong = homes()
    wrong.home.write_text("a file")
    refused(wrong, "--port", "0", code=6, says=[str(wrong.home)], fix="--home")
    assert wrong.home.read_text() == "a file"


def as_nobody(*command, **options):
    """Run a command as a user who owns nothing."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
        user=65534,
        group=65534,
        extra_groups=[],
        **options,
    )
    return done.returncode, done.stderr


def test_a_home_that_may_not_be_written(homes):
    closed = homes()
    try:
        as_nobody(*VOLANT, "--version")
    except PermissionError:
        pytest.skip("needs to become a user who may run this Python")
    closed.home.mkdir(mode=0o555)
    up = [*VOLANT, "up", "--home", str(closed.home), "--port", "0"]
    code, said = as_nobody(*up, env=closed.environment())
    assert code == 6, said
    assert f"{closed.home} can't be" in said
    assert "--home" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["volant.db", "runs.db"])
def test_a_database_that_is_none(homes, name):
    broken = homes()
    broken.home.mkdir()
    garbage = b"no database " * 500
    (broken.home / name).write_bytes(garbage)
    says = ["database", "not a database"]
    refused(broken, "--port", "0", code=6, says=says, fix="backup")
    assert (broken.home / name).read_bytes() == garbage


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("VOLANT_PORT", "many", 2),
        ("VOLANT_WORKERS", "0", 2),
        ("VOLANT_DATABASE_URL", "foo", 2),
        ("VOLANT_ENGINE", "steam", 3),
    ],
)
def test_a_setting_that_cannot_be(homes, name, value, code):
    refused(homes(), code=code, says=[repr(value)], fix="", **{name: value})


def test_an_open_address_wants_tls(homes):
    words = ("--host", "0.0.0.0", "--port", "0")
    refused(homes(), *words, code=2, says=["0.0.0.0"], fix="--tls-cert")


def test_a_platform_that_is_not_there(homes):
    absent: Platform = homes()
    told = absent.shell("status", "--home", str(absent.home), code=6)
    assert f"not running on {absent.home}" in told.err
    assert "volant up" in told.err
    assert "No Volant is running" in absent.shell("down", "--home", str(absent.home)).out


@pytest.mark.timeout(240)
def test_a_stop_in_the_middle_of_a_run_loses_nothing(homes):
    platform = homes().start()
    platform.apply(loop_file("people", train="automl: {budget: 6s, seed: 1}"))
    push = platform.pushed("people", write_csv(platform.folder / "a.csv", table(80, 1)))

    def run():
        found = platform.get("/runs", loop="people")["items"]
        at_work = [each["name"] for each in found[0]["state"]["steps"]] if found else []
        return "train" in at_work and found[0]["id"]

    under_way = wait_for("the training", run)
    follower = subprocess.Popen(
        [*VOLANT, "logs", "-f", under_way, "--home", str(platform.home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=platform.environment(),
        text=True,
    )
    assert follower.stdout.readline().startswith("split")
    follower.send_signal(signal.SIGINT)
    said, _ = follower.communicate(timeout=30)
    assert follower.returncode == 130, said
    assert "Traceback" not in said

    platform.process.send_signal(signal.SIGTERM)
    assert platform.process.wait(60) == 0
    assert "Traceback" not in platform.said()
    platform.start()
    ended = platform.run_for("people", push["version"])
    assert ended["state"]["status"] == "succeeded"
    assert ended["id"] == under_way
    assert len(platform.items("/models/people/versions")) == 1
    assert platform.predict("people", {"height": 2.0, "weight": 0.0, "age": 0.0}) == "yes"
