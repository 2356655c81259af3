"""A user's own training code that raises, hangs, eats, prints or kills itself: the run
fails in words, and the platform goes on."""

from __future__ import annotations

import re

import pytest
from platform_process import statuses, table, wait_for, write_csv

CODE = """
import os, sys, time

def raises(data):
    raise ValueError("the moon is wrong")

def leaves(data):
    sys.exit(3)

def quits(data):
    os._exit(5)

def kills(data):
    os.kill(os.getpid(), 9)

def hangs(data):
    time.sleep(600)

def eats(data):
    held = []
    while True:
        held.append(bytearray(10_000_000))

def prints(data):
    for _ in range(50_000):
        print("x" * 60)
    raise ValueError("after 3 MB")

def nothing(data):
    return None

def wants(moon):
    return moon

class Stranger:
    def predict(self, X):
        return ["maybe"] * len(X)

def guesses(X, y):
    return Stranger()
"""

SOURCE = """\
kind: Loop
name: {name}
data: {{dataset: own, target: label}}
train: {{call: "own_code:{name}", budget: 1s{more}}}
triggers: [cron: "0 0 29 2 *"]
"""

FAILS = {
    "raises": ("", ["ValueError", "the moon is wrong", "traceback is in the step's log"]),
    "leaves": ("", ["'own_code:leaves'", "SystemExit", "3"]),
    "quits": ("", ["Step train", "exit code 5", "volant logs"]),
    "hangs": (", timeout: 2s", ["longer than its timeout of 2 s", "train.timeout"]),
    "eats": (", memory: 500MB", ["more memory than it is allowed", "train.memory"]),
    "prints": ("", ["after 3 MB"]),
    "nothing": ("", ["'own_code:nothing'", "NoneType", "no predict", "Return the fitted"]),
    "wants": ("", ["'moon'", "X, y, target"]),
    "guesses": ("", ["'maybe'", "no class of 'label'", "'no', 'yes'"]),
}


@pytest.fixture(scope="module")
def coder(stranger):
    """A stranger with a dataset and a folder of code that goes wrong."""
    stranger.file("own_code.py", CODE)
    push = stranger.platform.pushed("own", write_csv(stranger.folder / "own.csv", table(80, 1)))
    assert push["status"] == "committed"
    return stranger


def applied(coder, name, more=""):
    coder.types("apply", coder.file("volant.yaml", SOURCE.format(name=name, more=more)))


def started(coder, name):
    return re.search(r"run-\w+", coder.types("run", name)).group()


@pytest.fixture(scope="module")
def failed(coder):
    """The runs of all that fail, once they ended: by the name of their loop."""
    runs = {}
    for name, (more, _) in FAILS.items():
        applied(coder, name, more)
        runs[name] = coder.platform.post(f"/loops/{name}/runs")["id"]
    return {name: coder.platform.finished(run) for name, run in runs.items()}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", FAILS)
def test_a_step_that_goes_wrong_fails_its_run_in_words(coder, failed, name):
    run, says = failed[name], FAILS[name][1]
    assert run["state"]["status"] == "failed"
    assert statuses(run)["train"] == "failed"
    assert set(statuses(run).values()) == {"succeeded", "failed", "skipped"}
    why = coder.types("why", name)
    shown = coder.types("runs", "show", run["id"])
    for part in says:
        assert part in why
        assert part in shown
    assert "failed in its step train" in why
    assert f"volant logs {run['id']}" in shown
    assert coder.platform.get("/models")["items"] == []


@pytest.mark.timeout(400)
def test_the_status_names_the_failure_too(coder, failed):
    said = coder.types("status")
    assert "the moon is wrong" in said
    assert f"{failed['hangs']['loop']}: The run failed" in said


@pytest.mark.timeout(400)
def test_all_that_it_wrote_and_its_traceback_are_in_the_log(coder, failed):
    told = coder.platform.shell("logs", failed["prints"]["id"], "--home", coder.platform.home)
    lines = told.out.splitlines()
    assert sum("x" * 60 in line for line in lines) == 50_000
    assert any("ValueError: after 3 MB" in line for line in lines)


@pytest.mark.timeout(400)
def test_the_platform_goes_on_after_all_that(coder, failed):
    push = coder.platform.pushed("own", write_csv(coder.folder / "more.csv", table(40, 2)))
    assert push["status"] == "committed"
    retried = coder.platform.post(f"/runs/{failed['raises']['id']}/retry")
    again = coder.platform.finished(retried["id"])
    assert "the moon is wrong" in again["state"]["error"]["what"]


@pytest.mark.parametrize(
    ("call", "says", "fix"),
    [
        ("owncode:raises", "owncode.py isn't in the folder", "own_code:raises"),
        ("own_code:raisse", "defines no raisse", "raises"),
    ],
)
def test_code_that_is_not_there_is_refused_at_once(coder, call, says, fix):
    source = SOURCE.format(name="typo", more="").replace("own_code:typo", call)
    file = coder.file("typo.yaml", source)
    coder.is_refused("apply", file, code=2, says=[repr(call), says], fix=fix)


@pytest.mark.timeout(400)
def test_a_step_that_is_killed_again_and_again_is_given_up(coder):
    applied(coder, "kills")
    run = started(coder, "kills")

    def attempts():
        view = coder.platform.get(f"/runs/{run}")
        train = next(each for each in view["state"]["steps"] if each["name"] == "train")
        return train["attempt"] > 1 and coder.types("runs", "show", run)

    assert "SIGKILL" in wait_for("a second attempt", attempts)
    assert f"Cancelled {run}" in coder.types("runs", "cancel", run)
    assert coder.platform.finished(run)["state"]["status"] == "cancelled"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_in_the_end_a_killed_step_fails_and_says_how_often(coder):
    applied(coder, "kills")
    ended = coder.platform.finished(started(coder, "kills"))
    assert ended["state"]["status"] == "failed"
    why = coder.types("why", "kills")
    assert "SIGKILL" in why
    assert "times in a row" in why
