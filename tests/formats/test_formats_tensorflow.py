"""Models of TensorFlow and Keras, told by their files; nothing here needs TensorFlow."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from volant.errors import InvalidInput
from volant.formats.describe import Subject, describe
from volant.formats.detect import detect
from volant.formats.inspect import inspect
from volant.formats.pickles import pickles_in
from volant.formats.signature import Declared
from volant.registry.provenance import admit

KERAS = b"PK\x03\x04 a zip archive"
HDF5 = b"\x89HDF\r\n\x1a\n"
GRAPH = b"\x08\x01"


def _folder(path: Path, files: dict[str, bytes], flavors: dict[str, dict[str, object]]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    if flavors:
        body = {"flavors": {**flavors, "python_function": {"loader_module": "mlflow.tensorflow"}}}
        (path / "MLmodel").write_text(yaml.safe_dump(body))
    return path


@pytest.mark.parametrize(
    ("files", "flavors", "file"),
    [
        ({"net.keras": KERAS}, {}, "net.keras"),
        ({"net.h5": HDF5, "requirements.txt": b"tensorflow"}, {}, "net.h5"),
        ({"saved_model.pb": GRAPH, "variables/variables.index": b""}, {}, "."),
        # As MLflow 3 writes them
        (
            {"data/model.keras": KERAS},
            {"tensorflow": {"data": "data", "model_type": "keras", "save_format": "tf"}},
            "data/model.keras",
        ),
        (
            {"data/model.keras": KERAS},
            {"keras": {"data": "data", "keras_backend": "tensorflow"}},
            "data/model.keras",
        ),
        (
            {"tf2model/saved_model.pb": GRAPH},
            {"tensorflow": {"saved_model_dir": "tf2model", "model_type": "tf2-module"}},
            "tf2model",
        ),
        # As MLflow 1 did
        ({"data/model/saved_model.pb": GRAPH}, {"keras": {"data": "data"}}, "data/model"),
        ({"data/model.h5": HDF5}, {"keras": {"data": "data"}}, "data/model.h5"),
    ],
)
def test_what_tensorflow_serves(tmp_path: Path, files, flavors, file: str) -> None:
    found = detect(_folder(tmp_path, files, flavors))
    assert (found.format, found.kind, found.file) == ("tensorflow", "tensorflow", file)


def test_the_signature_that_mlflow_names(tmp_path: Path) -> None:
    told = {"saved_model_dir": "tfmodel", "signature_def_key": "predict", "meta_graph_tags": None}
    found = detect(_folder(tmp_path, {"tfmodel/saved_model.pb": GRAPH}, {"tensorflow": told}))
    assert found.facts["signature_key"] == "predict"


@pytest.mark.parametrize(
    ("files", "flavors"),
    [
        ({"data/model.keras": KERAS}, {"keras": {"data": "data", "keras_backend": "jax"}}),
        (
            {"data/model.keras": KERAS, "data/custom_objects.cloudpickle": b""},
            {"tensorflow": {"data": "data"}},
        ),
        ({"data/model.keras": KERAS}, {"tensorflow": {"data": "data", "code": "code"}}),
        ({"saved_model.pb": GRAPH}, {"tensorflow": {"saved_model_dir": "."}}),
        ({}, {"tensorflow": {"saved_model_dir": "../../outside"}}),
    ],
)
def test_what_is_left_to_mlflow(tmp_path: Path, files, flavors) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "saved_model.pb").write_bytes(GRAPH)
    assert detect(_folder(tmp_path / "a" / "b", files, flavors)).kind == "mlflow"


@pytest.mark.parametrize("name", ["net.keras", "net.h5", "tf_model.h5"])
def test_a_file_that_keras_didnt_write(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"isn't a model that Keras|the name that"):
        detect(_folder(tmp_path, {name: b"\x80\x05 a pickle"}, {}))


def test_a_graph_is_a_program_that_somebody_vouches_for(tmp_path: Path) -> None:
    folder = _folder(tmp_path, {"tf/saved_model.pb": GRAPH, "net.keras": KERAS}, {})
    (folder / "net.h5").write_bytes(HDF5)
    (folder / "tf_model.h5").write_bytes(HDF5)  # weights that nothing opens
    found = pickles_in(folder)
    assert list(found) == ["net.h5", "tf/saved_model.pb"]

    class Empty:
        def page(self, *_told, **_more):
            return (), None

    with pytest.raises(InvalidInput, match="may read and write files, or hold") as raised:
        admit(Empty(), found, None, "register it with --trust-pickle")  # type: ignore[arg-type]
    assert "--trust-pickle" in raised.value.fix
    vouched = admit(Empty(), found, "ada", "")  # type: ignore[arg-type]
    assert vouched == {"by": "ada", "files": found}


def test_its_environment_is_its_own_and_has_no_mlflow(tmp_path: Path) -> None:
    lines = b"mlflow==3.17.2\ncloudpickle==3.1.2\ntensorflow==2.21.0\n"
    files = {"data/model.keras": KERAS, "requirements.txt": lines}
    folder = _folder(tmp_path / "m", files, {"tensorflow": {"data": "data"}})
    told = inspect({"folder": str(folder)}, tmp_path / "work")["environment"]
    assert told["kind"] == "own"
    assert "tensorflow==2.21.0" in told["requirements"]
    assert not [line for line in told["requirements"] if line.startswith(("mlflow", "cloud"))]


def test_without_requirements_it_is_the_newest_tensorflow(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m", {"net.keras": KERAS}, {})
    told = inspect({"folder": str(folder)}, tmp_path / "work")["environment"]
    assert (told["kind"], told["reasons"]) == ("own", ["tensorflow (not installed)"])
    assert "tensorflow" in told["requirements"]


def test_names_and_shapes_are_the_models_own(tmp_path: Path) -> None:
    found = {"format": "tensorflow", "file": "tf", "facts": {"signature_key": "predict"}}
    asked: list[tuple[Path, str]] = []

    def taken(path: Path, key: str):
        asked.append((path, key))
        return [("images", "FP32", (-1, 32, 32, 3))]

    subject = Subject(tmp_path, found, Declared(), None)
    draft = describe(subject, lambda _body, _name: None, taken)
    assert asked == [(tmp_path / "tf", "predict")]
    assert [(t.name, t.datatype, t.shape) for t in draft.tensors] == [
        ("images", "FP32", (-1, 32, 32, 3))
    ]
    assert (draft.kind, draft.file, draft.discover) == ("tensorflow", "model/tf", True)
    assert draft.runtime == {"signature_key": "predict"}
