"""OpenVINO's own form: told by its files, and what is made of other models compared with
them. Nothing here needs OpenVINO."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from volant.errors import InvalidInput
from volant.formats.describe import Subject, describe
from volant.formats.detect import detect
from volant.formats.inspect import inspect
from volant.formats.openvino_ir import Asked, compared, workshop
from volant.formats.signature import Declared

GRAPH = '<?xml version="1.0"?>\n<net name="Model0" version="11">\n</net>\n'
X = ("x", "FP32", (-1, 2))
MASK = ("mask", "BOOL", (-1, 2))


def _graph(folder: Path, *others: str) -> Path:
    folder.mkdir()
    (folder / "model.xml").write_text(GRAPH)
    for name in others:
        (folder / name).write_bytes(b"\0")
    return folder


def test_a_graph_with_its_weights(tmp_path: Path) -> None:
    folder = _graph(tmp_path / "m", "model.bin", "mapping.txt")
    (folder / "notes.xml").write_text("<notes/>")
    told = inspect({"folder": str(folder)}, tmp_path / "work")
    assert (told["format"], told["kind"], told["file"]) == ("openvino", "openvino", "model.xml")
    assert told["pickles"] == {}
    environment = told["environment"]
    assert (environment["kind"], environment["reasons"]) == ("own", ["openvino (not installed)"])
    assert {"openvino", "numpy", "orjson"} <= set(environment["requirements"])


def test_a_graph_without_its_weights(tmp_path: Path) -> None:
    folder = _graph(tmp_path / "m")
    with pytest.raises(InvalidInput, match=r"its folder lacks model\.bin"):
        detect(folder)
    (folder / "model.bin").write_bytes(b"")
    (folder / "other.xml").write_text(GRAPH)
    with pytest.raises(InvalidInput, match=r"its folder has model\.xml, other\.xml"):
        detect(folder)


def test_it_is_served_by_the_release_that_made_it(tmp_path: Path) -> None:
    folder = _graph(tmp_path / "m", "model.bin")
    (folder / "requirements.txt").write_text("openvino==2026.2.0\n")
    told = inspect({"folder": str(folder)}, tmp_path / "work")["environment"]["requirements"]
    assert [line for line in told if line.startswith("openvino")] == ["openvino==2026.2.0"]


def test_names_and_shapes_are_the_graphs_own(tmp_path: Path) -> None:
    found = {"format": "openvino", "file": "model.xml", "facts": {}}
    draft = describe(Subject(tmp_path, found, Declared(), None), lambda *_: None, lambda *_: [X])
    assert [(t.name, t.datatype, t.shape) for t in draft.tensors] == [X]
    assert (draft.kind, draft.file, draft.discover) == ("openvino", "model/model.xml", True)


def test_it_is_made_beside_the_library_that_reads_the_model() -> None:
    own = {"kind": "own", "requirements": ["keras==3.15.0", "numpy==2.9.9", "tensorflow==2.21.0"]}
    made = workshop({"format": "tensorflow", "kind": "tensorflow", "environment": own})
    lines = made["requirements"]
    assert {"keras==3.15.0", "openvino", "tensorflow==2.21.0"} <= set(lines)
    assert "numpy" in lines  # of no release: OpenVINO has its own wishes
    assert made["profile"] == f"serve-tensorflow@{made['key']}"
    made = workshop({"format": "onnx", "kind": "onnx", "environment": {"kind": "volant"}})
    assert {"onnxruntime", "openvino"} <= set(made["requirements"])


def _sum(feeds):
    x, mask = feeds
    return {"sum": (x * mask).sum(axis=1), "any": mask.any(axis=1)}


def test_models_that_answer_the_same() -> None:
    # Inputs in another order, outputs of other names.
    def other(feeds):
        mask, x = feeds
        told = _sum((x, mask))
        return {"Result_1": told["sum"] + np.float32(1e-6), "Result_2": told["any"]}

    told = compared(Asked([X, MASK], _sum), Asked([MASK, X], other))
    assert told["compared_rows"] == 9
    assert 0 < told["max_abs_diff"] < 1e-5


def test_values_that_the_model_doesnt_take_are_tried_in_other_sizes() -> None:
    def only_32(feeds):
        assert feeds[0].shape[1:] == (32, 32, 3)
        return {"y": feeds[0].mean(axis=(1, 2, 3))}

    image = Asked([("image", "FP32", (-1, -1, -1, 3))], only_32)
    assert compared(image, image)["compared_rows"] == 9

    def nothing(_feeds):
        raise ValueError("no")

    refusing = Asked([X], nothing)
    assert compared(refusing, refusing) == {"max_abs_diff": 0.0, "compared_rows": 0}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (Asked([X, MASK], lambda f: {**_sum(f), "sum": _sum(f)["sum"] + 0.01}), "of 0.01"),
        (Asked([X, MASK], lambda f: {**_sum(f), "any": ~_sum(f)["any"]}), "of inf"),
        (Asked([X, MASK], lambda f: {**_sum(f), "sum": np.full(len(f[0]), np.nan)}), "of inf"),
        (Asked([X, MASK], lambda f: {**_sum(f), "sum": _sum(f)["sum"][:1]}), "of shape"),
        (Asked([X, MASK], lambda f: {"sum": _sum(f)["sum"]}), "answers sum, and the"),
        (Asked([X], lambda _: {}), r"takes x FP32 \[-1, 2\], and the model"),
        (Asked([("x", "FP64", (-1, 2)), MASK], _sum), "takes x FP64"),
    ],
)  # fmt: skip
def test_models_that_dont(made: Asked, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        compared(Asked([X, MASK], _sum), made)
