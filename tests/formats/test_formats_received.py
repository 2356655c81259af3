"""What of a folder from another Volant runs code, whatever the files are called."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from volant.errors import InvalidInput
from volant.formats.received import received


def folder_of(tmp_path: Path, kind: str, file: str, **files: bytes | str) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    body = {"runtime": {"kind": kind, "file": file}}
    if kind == "native":
        body = {"runtime": {"kind": kind}, "native": {"file": file}}
    (folder / "volant.json").write_text(json.dumps(body))
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def code(folder: Path) -> set[str]:
    return set(received(folder, {})["code"])


def test_a_graph_runs_nothing(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "onnx", "model.onnx", model_dot_onnx="x", notes_dot_txt="y")
    found = received(folder, {})
    assert found == {
        "kind": "onnx",
        "code": {},
        "environment": {"kind": "volant", "reasons": []},
        "profile": "serve",
    }


def test_a_pickle_beside_a_graph_is_told(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path, "onnx", "model.onnx", model_dot_onnx="x", weights_dot_bin=pickle.dumps([1])
    )
    assert code(folder) == {"weights.bin"}


def test_a_pickle_that_looks_like_text_is_told_where_it_is_loaded(tmp_path: Path) -> None:
    hidden = b"cos\nsystem\n(S'true'\ntR."  # protocol 0: no mark in front
    folder = folder_of(tmp_path, "native", "weights.bin", weights_dot_bin=hidden)
    assert code(folder) == {"weights.bin"}


def test_modules_that_would_be_imported_are_told(tmp_path: Path) -> None:
    files = {"model__model_dot_py": "class Model: ...", "model__help_dot_py": "", "a_dot_txt": ""}
    folder = folder_of(tmp_path, "code", "model", **files)
    assert code(folder) == {"model/model.py", "model/help.py"}
    (tmp_path / "other").mkdir()
    native = folder_of(tmp_path / "other", "native", "m", m="x", code__own_dot_py="")
    assert code(native) == {"m", "code/own.py"}


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{}", '{"runtime": {}}', '{"runtime": {"kind": "shell"}}',
                '{"runtime": {"kind": 1}}', "[" * 100_000, '{"native": 1, "runtime": []}'],
)  # fmt: skip
def test_a_description_that_cant_be_read_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "volant.json").write_text(content)
    with pytest.raises(InvalidInput) as caught:
        received(tmp_path, {})
    assert caught.value.error_code in ("model.export_broken", "model.runtime_unknown")


@pytest.mark.parametrize(
    "line", ["--index-url http://evil", "numpy @ http://evil/x.whl", "-e .", "../x", "a b"]
)
def test_requirements_are_read_as_an_uploads_are(tmp_path: Path, line: str) -> None:
    folder = folder_of(tmp_path, "onnx", "model.onnx", model_dot_onnx="x")
    with pytest.raises(InvalidInput):
        received(folder, {"kind": "own", "requirements": [line]})
    with pytest.raises(InvalidInput):
        received(folder, {"kind": "own", "requirements": line})
    found = received(folder, {"kind": "own", "requirements": ["Numpy==2.0"], "key": "../x"})
    assert found["environment"]["requirements"][-1] != line
    assert "numpy==2.0" in found["environment"]["requirements"]
    assert found["profile"] == f"serve@{found['environment']['key']}"
    assert found["environment"]["key"].isalnum()
