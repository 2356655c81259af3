"""Where a registered workflow's step works: files, environment, outputs."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from volant.app.step_place import (
    OwnAccess,
    Place,
    collected,
    forget_inputs,
    input_files,
    lay_out,
    with_environment,
)
from volant.domain.run import INPUT_FILES, StepRequest, StepSpecRef
from volant.domain.workflow import ExtensionBinding
from volant.errors import InvalidInput, StepFailed


def _request(workdir: Path, inputs: dict[str, Any], **step: Any) -> StepRequest:
    return StepRequest(
        "run-1", StepSpecRef("it", **step), inputs, 1, workdir, workflow="flow", project="one"
    )


def _checkout(project: str, name: str, version: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "told").write_text(f"{project}/{name}@{version}")


def _reveal(text: str) -> str:
    return text.replace("secret://volant/mlflow-tracking/step/T", "s3cr3t")


def _code(name: str = "code", path: str = "/project") -> dict[str, str]:
    return {"project": "one", "name": name, "version": "c0ffee", "url": "u", "path": path}


def test_files_environment_and_working_directory(tmp_path: Path) -> None:
    request = _request(
        tmp_path, {"code": _code(), "more": _code("two", "/opt/two"), "al-pha": 0.5, "flag": "no"}
    )
    place = lay_out(request, _checkout, _reveal)
    assert place.cwd == tmp_path / "code" / "project"
    assert (place.cwd / "told").read_text() == "one/code@c0ffee"
    assert place.mounts == {
        "/project": place.cwd,
        "/opt/two": tmp_path / "code" / "opt" / "two",
    }
    assert place.inputs == {"al-pha": 0.5, "flag": "no"}
    assert place.env["FUSEML_AL-PHA"] == place.env["FUSEML_AL_PHA"] == "0.5"
    assert place.env["FUSEML_ENV_WORKFLOW_NAME"] == "flow"
    assert place.env["FUSEML_ENV_WORKFLOW_NAMESPACE"] == "volant"
    assert "FUSEML_CODE" not in place.env
    assert "TASK_RESULT" not in place.env


def test_the_later_setting_wins_and_secrets_are_revealed(tmp_path: Path) -> None:
    secret = "secret://volant/mlflow-tracking/step/T"
    binding = ExtensionBinding(
        "volant",
        "tracking",
        cfg={"MLFLOW_TRACKING_URI": "http://old:1", "TOKEN": secret, "A": "1", "B": "1"},
    )
    request = _request(
        tmp_path,
        {"b": "input", "text": f"<{secret}>"},
        env={"B": "env"},
        extensions={"tracking": binding},
        outputs=("first", "second"),
    )
    place = lay_out(request, _checkout, _reveal, OwnAccess("http://now:2", "s3cr3t"))
    assert place.env["A"] == "1"
    assert place.env["B"] == "env"
    assert place.env["TOKEN"] == "s3cr3t"
    assert place.env["MLFLOW_TRACKING_URI"] == "http://now:2"
    assert place.env["TASK_RESULT"] == "first"
    assert place.inputs["text"] == "<s3cr3t>"


def test_what_an_earlier_attempt_left_is_gone(tmp_path: Path) -> None:
    request = _request(tmp_path, {"code": _code()}, outputs=("it",))
    place = lay_out(request, _checkout, _reveal)
    (place.cwd / "mine").touch()
    (place.results / "it").write_text("old")
    again = lay_out(request, _checkout, _reveal)
    assert not (again.cwd / "mine").exists()
    with pytest.raises(StepFailed, match="didn't write its output it"):
        collected(request, again, {})


def _written(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "token").write_text("hush")
    return folder


@pytest.mark.parametrize("raised", [None, StepFailed("no", "yes"), KeyboardInterrupt()])
def test_files_of_inputs_are_gone_when_the_work_ends(
    tmp_path: Path, raised: BaseException | None
) -> None:
    folder = _written(tmp_path / INPUT_FILES)  # of an attempt that was killed
    with contextlib.suppress(StepFailed, KeyboardInterrupt), input_files(_request(tmp_path, {})):
        assert not folder.exists()
        _written(folder)
        if raised is not None:
            raise raised
    assert not folder.exists()


def test_an_attempt_that_ends_late_leaves_its_successor_s_files(tmp_path: Path) -> None:
    request, folder = _request(tmp_path, {}), tmp_path / INPUT_FILES
    late, after = input_files(request), input_files(request)
    late.__enter__()
    _written(folder)
    after.__enter__()
    assert not folder.exists()
    _written(folder)
    late.__exit__(None, None, None)
    assert (folder / "token").exists()
    after.__exit__(None, None, None)
    assert not folder.exists()


def test_what_an_attempt_writes_after_its_successor_s_end_is_gone_too(tmp_path: Path) -> None:
    request, folder = _request(tmp_path, {}), tmp_path / INPUT_FILES
    with input_files(request):
        with input_files(request):
            pass
        _written(folder)
    assert not folder.exists()


def test_a_codeset_may_be_named_like_the_folder_of_input_files(tmp_path: Path) -> None:
    path = f"/{INPUT_FILES}"
    place = lay_out(_request(tmp_path / "it", {"code": _code(path=path)}), _checkout, _reveal)
    forget_inputs(tmp_path)
    assert (place.cwd / "told").exists()


def test_a_run_that_ends_leaves_no_files_of_inputs(tmp_path: Path) -> None:
    left = [_written(tmp_path / step / INPUT_FILES) for step in ("killed", "many/0", "many/1")]
    (tmp_path / "killed" / "log.jsonl").touch()
    forget_inputs(tmp_path)
    assert not any(folder.exists() for folder in left)
    assert (tmp_path / "killed" / "log.jsonl").exists()
    forget_inputs(tmp_path / "never-began")


@pytest.mark.parametrize("path", ["/", "/../up", "a/../../b", "/a\0b"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(InvalidInput, match="can't be laid out"):
        lay_out(_request(tmp_path, {"code": _code(path=path)}), _checkout, _reveal)


def _place(tmp_path: Path, **more: Any) -> Place:
    results = tmp_path / "results"
    results.mkdir()
    return Place(tmp_path, results, {}, {}, (), **more)


def test_outputs_from_files_and_json(tmp_path: Path) -> None:
    place = _place(tmp_path, mask=("hush",))
    (place.results / "url").write_text("http://x/hush\n")
    outside = tmp_path / "outside"
    outside.write_text("no")
    (place.results / "link").symlink_to(outside)
    request = _request(tmp_path, {}, outputs=("url", "number"))
    assert collected(request, place, {"number": 1, "url": "json"}) == {
        "url": "http://x/***",
        "number": 1,
    }


@pytest.mark.parametrize(
    ("content", "told"), [(b"x" * ((1 << 20) + 1), "more than 1 MiB"), (b"\xff\xfe", "isn't text")]
)
def test_outputs_that_cant_be(tmp_path: Path, content: bytes, told: str) -> None:
    place = _place(tmp_path)
    (place.results / "it").write_bytes(content)
    with pytest.raises(StepFailed, match=told):
        collected(_request(tmp_path, {}), place, {})


@pytest.mark.parametrize("left", ["nothing", "a file"])
def test_a_step_that_takes_its_folder_of_results_away(tmp_path: Path, left: str) -> None:
    place = _place(tmp_path)
    place.results.rmdir()
    if left == "a file":
        place.results.touch()
    with pytest.raises(StepFailed, match="didn't write its output it"):
        collected(_request(tmp_path, {}, outputs=("it",)), place, {})
    assert collected(_request(tmp_path, {}), place, {"told": 1}) == {"told": 1}


def test_an_environments_programs_come_first(tmp_path: Path) -> None:
    env = with_environment({"PATH": "/mine"}, tmp_path)
    assert env["PATH"] == f"{tmp_path}/bin:/mine"
    assert env["VIRTUAL_ENV"] == str(tmp_path)
    assert with_environment({"A": "1"}, None) == {"A": "1"}
