"""Files of loops, names, rows and addresses that can't be what was meant."""

from __future__ import annotations

import contextlib
import socket
import textwrap
import threading

import httpx
import pytest
from platform_process import loop_file, table, write_csv

HEAD = "kind: Loop\nname: x\ndata: {dataset: people, target: label}\n"


@pytest.fixture(scope="module")
def served(stranger):
    """A stranger to a platform that serves the model `people`."""
    platform = stranger.platform
    platform.apply(loop_file("people"))
    run = platform.turn("people", "people", write_csv(stranger.folder / "a.csv", table(80, 1)))
    stranger.run = run["id"]
    return stranger


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (HEAD + "wat: 1\n", ["bad.yaml:4:1", "wat"]),
        (HEAD + "train: {automl: {budgt: 5s}}\n", ["bad.yaml:4:18", "train.automl.budgt"]),
        (HEAD + "train: {automl: {budget: 5 parsecs}}\n", ["bad.yaml:4:26", "'5 parsecs'"]),
        (HEAD + "name: y\n", ["bad.yaml:4:1", "name stands here twice", "line 2"]),
        ("kind: Loop\nname: x\ndata:\n\tdataset: x\n", ["bad.yaml:4:1", "'\\t'"]),
        (HEAD.replace("Loop", "Lop"), ["bad.yaml:1:7", "'Lop'"]),
        ("", ["bad.yaml:1:1", "is empty"]),
        ("[1, 2]\n", ["bad.yaml:1:1", "mapping"]),
        (HEAD.replace("dataset: people", "dataset: ../x"), ["bad.yaml:3:17", "'../x'"]),
        (HEAD.replace("target: label", "target: 5"), ["bad.yaml:3:33", "the number 5"]),
        (b"kind: Loop\nname: \xff\n", ["bad.yaml", "UTF-8", "byte 17"]),
    ],
)
def test_what_is_wrong_in_a_loops_file_is_named_by_line_and_key(stranger, source, says):
    file = stranger.file("bad.yaml", source)
    stranger.is_refused("apply", file, code=2, says=says)


def test_all_that_is_wrong_in_a_loops_file_is_told_at_once(stranger):
    source = textwrap.dedent("""\
        kind: Loop
        name: Bad Name
        data: {dataset: people, target: label, holdout: lots}
        train: {memory: lots, timeout: -5s}
        gate: {thresholds: {acc: {min: 0.5}}}
        deploy: {replicas: {min: -1, idle: 5}}
        triggers: [data, {cron: "61 * * * *"}, foo]
        """)
    text = stranger.types("apply", stranger.file("many.yaml", source), code=2)
    assert "has 9 problems" in text
    lines = [line for line in text.splitlines() if line.startswith("  ")]
    assert [line.split(":")[1] for line in lines] == list("234456677")


def test_a_loops_file_that_is_not_there(stranger):
    stranger.is_refused("apply", "gone.yaml", code=2, says="gone.yaml", fix="volant init")


def test_a_target_and_a_dataset_that_are_not_there(served):
    typo = HEAD.replace("target: label", "target: labl")
    served.is_refused("plan", served.file("t.yaml", typo), code=2, says="'labl'", fix="label")
    typo = HEAD.replace("people", "peple")
    said = served.types("plan", served.file("d.yaml", typo))
    assert "Warning: There is no dataset peple yet, but there is people" in said


@pytest.mark.parametrize(
    ("words", "says", "fix"),
    [
        (["why", "peple"], "loop 'peple'", "people"),
        (["run", "peple"], "loop 'peple'", "people"),
        (["runs", "--loop", "peple"], "loop 'peple'", "people"),
        (["data", "show", "peple"], "dataset 'peple'", "people"),
        (["data", "release", "peple"], "dataset 'peple'", "people"),
        (["models", "show", "peple"], "model 'peple'", "people"),
        (["predict", "peple", "--row", "{}"], "deployment 'peple'", "people"),
        (["deployments", "show", "peple"], "deployment 'peple'", "people"),
        (["runs", "show", "run-nope"], "run 'run-nope'", "volant runs"),
        (["logs", "run-nope"], "run 'run-nope'", "volant runs"),
        (["runs", "cancel", "run-nope"], "run 'run-nope'", "volant runs"),
        (["data", "show", "people", "--version", "99"], "99", "volant data versions"),
        (["models", "show", "people", "99"], "99", ""),
    ],
)
def test_a_name_that_is_not_known_is_told_with_the_nearest(served, words, says, fix):
    text = served.is_refused(*words, code=3, says=says, fix=fix)
    assert len(text) < 600, "a stranger reads this"


def test_what_has_ended_is_not_cancelled(served):
    served.is_refused("runs", "cancel", served.run, code=4, says=[served.run, "succeeded"])


def test_a_retry_begins_at_a_step_that_there_is(served):
    words = ("runs", "retry", served.run, "--from-step", "trian")
    served.is_refused(*words, code=3, says="no step 'trian'", fix="train")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"height": 1, "weight": 2}', "lacks the column age"),
        ('{"hight": 1, "weight": 2, "age": 3}', ["lacks the column height", "hight"]),
        ('{"height": "tall", "weight": 2, "age": 3}', ["height", "'tall'", "number"]),
        ("{bad", "not JSON"),
        ("[1, 2]", "not a JSON object"),
    ],
)
def test_a_row_that_the_model_cannot_take(served, row, says):
    served.is_refused("predict", "people", "--row", row, code=2, says=says)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{bad", "JSON"),
        (b"{}", "inputs"),
        (b'{"inputs": [{"name": "age", "shape": [1], "datatype": "FP64", "data": [1]}]}', "height"),
        (
            b'{"inputs": [{"name": "hight", "shape": [1], "datatype": "FP64", "data": [1]}]}',
            "hight",
        ),
    ],
)
def test_a_request_that_the_model_cannot_take(served, body, says):
    url = served.platform.get("/deployments/people")["infer_url"]
    answer = httpx.post(url, content=body, timeout=60, trust_env=False)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


@pytest.mark.parametrize(
    ("url", "token", "code", "says", "fix"),
    [
        ("http://127.0.0.1:1", "x", 6, "not running on http://127.0.0.1:1", "volant up"),
        ("http://127.0.0.1:1", "", 5, "no token", "VOLANT_TOKEN"),
        ("{url}", "wrong", 5, "token", "VOLANT_TOKEN"),
        ("nonsense", "x", 2, "'nonsense'", "http://"),
    ],
)
def test_a_server_that_is_not_there_or_not_ones_own(stranger, url, token, code, says, fix):
    platform = stranger.platform
    told = platform.shell(
        "status",
        code=code,
        VOLANT_SERVER_URL=url.format(url=platform.url),
        VOLANT_TOKEN=token,
        VOLANT_HOME=str(platform.folder / "nowhere"),
    )
    what, _, remedy = told.err.partition("Fix: ")
    assert says in what
    assert fix in remedy
    assert "Traceback" not in told.err


def test_something_else_at_the_servers_address(stranger):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def hang_up():
            with contextlib.suppress(OSError), other.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        told = stranger.platform.shell("status", VOLANT_SERVER_URL=url, VOLANT_TOKEN="x", code=6)
        thread.join()
    assert "not as Volant does" in told.err
