"""Each command against a real server over a plain platform."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from dataclasses import replace

import pytest

from volant.domain.codec import to_plain
from volant.domain.dataset import PushStatus
from volant.domain.model import Field
from volant.testing import samples

SOURCE = "kind: Loop\nname: wine-quality\ndata: {dataset: wine, target: y}\n"


@pytest.fixture
def loop_file(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "volant.yaml").write_text(SOURCE)
    return folder / "volant.yaml"


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("x,y\n1,a\n")
    return file


def test_status(volant):
    done = volant("status")
    assert done.code == 0
    assert "Volant 0.1.0 at http://127.0.0.1" in done.out
    assert "tumours" in done.out
    assert volant("status", "--json").json["loops"][0]["name"] == "tumours"
    by_hand = next(line for line in done.out.splitlines() if line.startswith("wine-quality"))
    assert by_hand.split()[1:4] == ["serving", "wine-quality", "1"]
    (told,) = volant("status", "--json").json["deployments"]
    assert told["name"] == "wine-quality"
    assert volant("--format", "json", "status").json["version"] == "0.1.0"


def test_plan_and_apply(platform, volant, loop_file):
    plan = volant("plan")
    assert plan.code == 0
    assert plan.out.splitlines() == [
        "+ loop wine-quality",
        "  ~ train.automl.budget: 30s → 60s",
        '  + gate.champion: {"better_by": 0}',
        "  - deploy.replicas.max: 4",
    ]
    assert "Warning: The dataset has no rows yet." in plan.err
    applied = volant("apply", loop_file)
    assert "Loop wine-quality created (generation 1)." in applied.out
    assert platform.loops.code is None
    assert "No changes" in volant("plan").out
    assert volant("apply", "--json").json["name"] == "wine-quality"
    assert volant("loops").out.splitlines()[1].split()[:3] == ["wine-quality", "wine", "y"]
    assert volant("loops", "show", "wine-quality").out == SOURCE
    assert volant("loops", "delete", "wine-quality").code == 0
    assert volant("loops", "show", "wine-quality").code == 3


def test_apply_sends_the_code_of_a_callable(platform, volant, loop_file):
    loop_file.write_text(SOURCE + 'train:\n  call: "train:fit"\n')
    (loop_file.parent / "train.py").write_text("def fit(): ...\n")
    assert volant("apply").code == 0
    with tarfile.open(fileobj=io.BytesIO(platform.loops.code)) as archive:
        assert archive.getnames() == ["train.py", "volant.yaml"]


def test_a_missing_loop_file(volant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = volant("apply")
    assert done.code == 2
    assert "There is no file volant.yaml" in done.err
    assert "volant init" in done.err


def test_a_fault_in_the_loop_file(volant, loop_file):
    loop_file.write_text("name: a\nnonsense: 1\n")
    done = volant("plan")
    assert done.code == 2
    assert "line 2: unknown key `nonsense`" in done.err
    loop_file.write_bytes(b"name: \xff\n")
    assert "not UTF-8 at byte 6" in volant("plan").err


def test_push_waits_and_tells(platform, volant, rows):
    platform.runs.add("run-2", outputs={"reasons": {"x: above 5": 2}, "warnings": ["Odd quotes."]})
    done = volant("data", "push", "wine", rows, "--delimiter", ";", "--encoding", "latin-1")
    assert done.code == 0
    assert "Committed 98 rows to wine as version 1." in done.out
    assert "2 rows are in quarantine:" in done.out
    assert "     2  x: above 5" in done.out
    assert "Warning: Odd quotes." in done.err
    assert platform.data.options == {"delimiter": ";", "encoding": "latin-1"}


def test_push_in_json_is_one_document(platform, volant, rows):
    platform.runs.add("run-2", outputs={"reasons": {"x: above 5": 2}})
    done = volant("data", "push", "wine", rows, rows, "--json")
    assert done.json["status"] == "committed"
    assert done.json["files"] == ["rows.csv", "rows.csv"]
    assert done.json["reasons"] == {"x: above 5": 2}


def test_a_rejected_push_exits_1(platform, volant, rows):
    platform.data.verdict = PushStatus.REJECTED
    platform.runs.add("run-2")
    done = volant("data", "push", "wine", rows)
    assert done.code == 1
    assert "Rejected: every row broke the contract" in done.out
    assert volant("data", "push", "wine", rows, "--no-wait").code == 0


def test_a_push_whose_run_fails(platform, volant, rows):
    platform.data.verdict = PushStatus.RECEIVED
    platform.runs.add("run-2")
    platform.runs.failing.add("run-2")
    done = volant("data", "push", "wine", rows)
    assert done.code == 1
    assert "was not ingested: run run-2 failed" in done.err
    assert "ValueError: no such column" in done.err
    assert "volant runs resume run-2" in done.err


@pytest.mark.parametrize(
    ("name", "told"), [("none.csv", "no file"), ("empty.csv", "is empty"), (".", "is a folder")]
)
def test_files_that_cannot_be_pushed(platform, volant, tmp_path, rows, name, told):
    (tmp_path / "empty.csv").touch()
    done = volant("data", "push", "wine", rows, tmp_path / name)
    assert done.code == 2
    assert told in done.err
    assert platform.data.uploads == {}


def test_looking_at_data(platform, volant, rows):
    platform.runs.add("run-2")
    volant("data", "push", "wine", rows)
    assert volant("data", "list").out.splitlines()[1].split()[:4] == ["wine", "1", "98", "2"]
    shown = volant("data", "show", "wine").out
    assert "Contract (inferred)" in shown
    assert "0 to 5" in shown
    assert "1.5" in shown
    assert volant("data", "show", "wine", "--json").json["sample"]["columns"] == ["x", "y"]
    assert volant("data", "versions", "wine").out.splitlines()[1].split()[0] == "5"
    held = volant("data", "quarantine", "wine")
    assert "[bold]oops[/bold]" in held.out
    assert "bad.csv:7" in held.out
    released = volant("data", "release", "wine", "--row", "q-1", "--force")
    assert released.code == 0
    assert platform.data.released == (None, ["q-1"], True)
    assert volant("data", "show", "beer").code == 3


def test_a_run_is_started_and_watched(platform, volant, loop_file):
    volant("apply")
    started = volant("run", "wine-quality")
    assert "volant runs show run-1 --watch" in started.out
    done = volant("run", "wine-quality", "--wait")
    assert done.code == 0
    lines = [line.split()[:3] for line in done.out.splitlines()]
    assert lines == [
        ["✓", "split", "succeeded"],
        ["●", "train", "running"],
        ["✓", "train", "succeeded"],
        ["●", "evaluate", "running"],
        ["✓", "evaluate", "succeeded"],
        ["run-2", "wine-quality", "succeeded"],
    ]
    assert volant("run", "nothing").code == 3


def test_a_failed_run_exits_1(platform, volant):
    platform.runs.add("run-1")
    platform.runs.failing.add("run-1")
    done = volant("runs", "show", "run-1", "--watch")
    assert done.code == 1
    assert "ValueError: no such column" in done.err
    assert "Fix: Mend train.py." in done.err
    shown = volant("runs", "show", "run-1")
    assert shown.code == 0
    assert "✗ train" in shown.out
    assert "volant logs run-1" in shown.err


def test_a_refused_gate_exits_1(platform, volant):
    platform.runs.add("run-1")
    platform.runs.refusing.add("run-1")
    done = volant("runs", "show", "run-1", "--watch", "--json")
    assert done.code == 1
    assert done.json["state"]["status"] == "succeeded"


def test_runs(platform, volant):
    assert "No run yet." in volant("runs").err
    platform.runs.add("run-1", trigger="data")
    listed = volant("runs", "--loop", "wine-quality")
    assert listed.out.splitlines()[0].split() == ["RUN", "OF", "STATUS", "STEP", "STARTED", "TOOK"]
    assert listed.out.splitlines()[1].split()[:3] == ["run-1", "wine-quality", "running"]
    assert volant("runs", "--json").json["items"][0]["id"] == "run-1"
    assert volant("runs", "cancel", "run-1").out == "Cancelled run-1.\n"
    assert volant("runs", "cancel", "run-1").code == 4
    assert volant("runs", "resume", "run-1").code == 0
    assert "run-1-again" in volant("runs", "retry", "run-1", "--from", "train").out
    assert volant("runs", "show", "run-9").code == 3


def test_logs(platform, volant):
    platform.runs.add("run-1")
    done = volant("logs", "-f", "run-1")
    assert done.out.splitlines() == [
        "split      | 80 rows to train on",
        "train      | [red]not markup[/red]",
        "train      | done",
    ]
    assert volant("logs", "run-1", "--step", "train").out.splitlines()[1] == "done"
    assert volant("logs", "run-1", "-t").out.startswith("2026-03-01 12:00:00 ")
    assert len(volant("logs", "-f", "run-1", "--json").json["lines"]) == 3
    assert volant("logs", "run-9").code == 3


def test_why(platform, volant):
    platform.loops.loops["wine-quality"] = None
    done = volant("why", "wine-quality")
    assert done.code == 0
    told = done.out.splitlines()
    assert told[0] == "2026-03-01 12:00:00  gate refused  model/wine-quality"
    assert told[2] == "  ✗ failed  thresholds: rmse 0.91 is above 0.75"
    assert "value 0.91, max 0.75" in told[3]
    assert "gain 0.01235" in done.out
    assert "run run-1  decision dec-2" in done.out
    assert volant("why", "wine-quality", "--limit", 1, "--json").json["items"][0]["id"] == "dec-2"
    assert volant("why", "nothing").code == 3


def test_models(volant):
    assert volant("models").out.splitlines()[1].split()[:3] == ["wine-quality", "2", "refused"]
    shown = volant("models", "show", "wine-quality")
    assert "version 1 (champion)" in shown.out
    assert "accuracy  0.91" in shown.out
    assert volant("models", "show", "wine-quality", "2", "--json").json["stage"] == "refused"
    assert volant("models", "show", "wine-quality", "--json").json["statistics"] is None
    assert volant("models", "--model", "nothing").code == 0


def test_models_show_the_training_data(volant, platform):
    found = samples.training_statistics(left_out=3)
    platform.registry.recorded = {1: found}
    shown = volant("models", "show", "wine-quality").out
    rows = [line.split() for line in shown.partition("Training data (10 rows)")[2].splitlines()]
    assert rows[2:5] == [
        ["x", "1", "1", "4", "9", "-"],
        ["color", "0", "-", "-", "-", "white", "(7),", "red", "(3)"],
        ["quality", "0", "-", "-", "-", "good", "(6),", "bad", "(4)"],
    ]
    assert "3 more columns" in shown
    told = volant("models", "show", "wine-quality", "--format", "json").json["statistics"]
    assert told == to_plain(found)
    assert "x,1,1,4,9,-" in volant("models", "show", "wine-quality", "--format", "csv").out


def test_deployments(volant):
    listed = volant("deployments").out.splitlines()[1].split()
    assert listed[:4] == ["wine-quality", "serving", "wine-quality", "1"]
    shown = volant("deployments", "show", "wine-quality").out
    assert "infer at http://127.0.0.1:9/v2/models/wine-quality/infer" in shown
    assert "4242" in shown
    assert volant("deployments", "delete", "nothing").code == 3


def test_events(volant):
    assert "volant.dataset.committed" in volant("events").out
    assert "No event yet." in volant("events", "--subject", "loop/none").err


def test_tokens(volant):
    made = volant("tokens", "create", "eva", "--role", "operator")
    assert made.out.startswith("vol_secret")
    assert "eva" in volant("tokens", "list").out
    token_id = volant("tokens", "create", "bob", "--json").json["id"]
    assert volant("tokens", "revoke", token_id).out == f"Revoked {token_id}.\n"
    assert volant("tokens", "revoke", token_id).code == 3


def test_predict_rows(volant, endpoint):
    done = volant(
        "predict", "wine-quality", "--row", '{"x": 1.5, "color": "red"}', "--row", '{"color": "w"}'
    )
    assert done.code == 0
    path, body, authorization = endpoint.requests[0]
    assert path == "/v2/models/wine-quality/infer"
    assert authorization is None
    assert body["inputs"] == [
        {"name": "x", "shape": [2], "datatype": "FP64", "data": [1.5, None]},
        {"name": "color", "shape": [2], "datatype": "BYTES", "data": ["red", "w"]},
    ]
    assert [line.split()[0] for line in done.out.splitlines()] == ["PREDICTION", "1.5", "-"]
    assert "0.25, 0.75" in done.out


def test_predict_a_file_in_chunks(volant, endpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("volant.cli.predict.CHUNK_ROWS", 2)
    file = tmp_path / "rows.csv"
    file.write_text("color,x\nred,1\nwhite,\nred,3\n")
    done = volant("predict", "wine-quality", "--file", file, "--json")
    assert [each["prediction"] for each in done.json["predictions"]] == [1.0, None, 3.0]
    assert done.json["predictions"][0]["probabilities"] == [0.25, 0.75]
    assert [len(body["inputs"][0]["data"]) for _, body, _ in endpoint.requests] == [2, 1]
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"color": "red", "x": 2}\n\n{"color": "red"}\n')
    assert (
        len(volant("predict", "wine-quality", "--file", lines, "--json").json["predictions"]) == 2
    )


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('{"x": 1, "colour": "red"}', "lacks the column color. It has colour"),
        ("{", "is not JSON"),
        ("[1]", "is not a JSON object"),
        ('{"x": "abc", "color": "red"}', "column x is 'abc', not of type number"),
    ],
)
def test_predict_refuses_what_the_model_cannot_take(volant, endpoint, row, told):
    done = volant("predict", "wine-quality", "--row", row)
    assert done.code == 2
    assert told in done.err
    assert endpoint.requests == []


def test_predict_names_the_line_of_a_file(volant, endpoint, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("color,x\nred,1\nred,one\n")
    assert "rows.csv:3: column x is 'one'" in volant("predict", "wine-quality", "--file", file).err
    file.write_text("color,x\nred\n")
    assert (
        "rows.csv:2 has not the 2 values" in volant("predict", "wine-quality", "--file", file).err
    )


def test_predict_refuses_a_row_with_none_of_the_columns(volant, platform, endpoint):
    signature = replace(
        platform.models.versions[0].signature, inputs=(Field("x", "number", nullable=True),)
    )
    platform.models.versions = [
        replace(each, signature=signature) for each in platform.models.versions
    ]
    done = volant("predict", "wine-quality", "--row", '{"y": 1}')
    assert done.code == 2
    assert "--row lacks the column x. It has y" in done.err
    assert not endpoint.requests


def test_predict_tells_the_endpoints_refusal(volant, endpoint):
    endpoint.refusal = "Expected at least one row, got none."
    done = volant("predict", "wine-quality", "--row", '{"color": "red"}')
    assert done.code == 2
    assert "Expected at least one row" in done.err


def test_predict_without_an_endpoint(volant):
    done = volant("predict", "wine-quality", "--row", '{"color": "red"}')
    assert done.code == 6
    assert "gave no answer" in done.err
    assert volant("predict", "nothing", "--row", "{}").code == 3
    assert volant("predict", "wine-quality").code == 2


def test_every_list_is_one_json_document(platform, volant):
    platform.loops.loops.clear()
    for args in (
        ["loops"],
        ["runs"],
        ["models"],
        ["deployments"],
        ["events"],
        ["tokens", "list"],
        ["data", "list"],
    ):
        done = volant(*args, "--json")
        assert isinstance(json.loads(done.out)["items"], list)
        assert done.err == ""


def test_base64_of_code_is_plain(platform, volant, loop_file):
    loop_file.write_text(SOURCE + "train: {call: 'train:fit'}\n")
    volant("plan")
    volant("apply")
    assert base64.b64encode(platform.loops.code)[:4] == b"H4sI"


def test_why_tells_of_a_deployment_without_a_loop(volant, platform):
    assert "rmse 0.91" in volant("why", "wine-quality").out
