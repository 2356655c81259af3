"""What a predictor's step makes of its inputs, before anything is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from volant.app.converter import _check as _check_conversion
from volant.app.predictor import _app_name, _changes, _check_engine
from volant.app.step_place import CodesetInput, Place
from volant.domain.run import StepRequest, StepSpecRef
from volant.errors import InvalidInput


def _place(tmp_path: Path, codeset: str = "mlflow-test", **inputs: Any) -> Place:
    code = CodesetInput("c", "mlflow-project-01", codeset, "1", "", "/project", tmp_path)
    return Place(tmp_path, tmp_path, inputs, {}, (code,))


def _request(tmp_path: Path, workflow: str = "mlflow-e2e") -> StepRequest:
    return StepRequest("run-1", StepSpecRef("it"), {}, 1, tmp_path, workflow=workflow)


def test_an_applications_name(tmp_path: Path) -> None:
    request = _request(tmp_path)
    made = _app_name(request, _place(tmp_path))
    assert made == "mlflow-project-01-mlflow-test-mlflow-e2e"
    assert _app_name(request, _place(tmp_path, app_name="Mine")) == "mine"
    assert _app_name(request, _place(tmp_path, codeset="A.b c")) == (
        "mlflow-project-01-a-b-c-mlflow-e2e"
    )
    with pytest.raises(InvalidInput, match="characters"):
        _app_name(request, _place(tmp_path, codeset="x" * 60))


@pytest.mark.parametrize(
    ("engine", "flavors", "fits"),
    [
        ("auto", "sklearn", True),
        ("sklearn", "sklearn", True),
        ("triton", "onnx", True),
        ("tensorflow", "keras", True),
        ("tensorflow", "sklearn", False),
        ("triton", "sklearn", False),
        ("mlflow", "sklearn", True),
        ("openvino", "keras", False),
    ],
)
def test_the_flavor_and_the_engine(tmp_path: Path, engine: str, flavors: str, fits: bool) -> None:
    (tmp_path / "MLmodel").write_text(f"flavors: {{{flavors}: {{}}, python_function: {{}}}}")
    if fits:
        _check_engine(tmp_path, engine)
        return
    with pytest.raises(InvalidInput, match=rf"flavor {flavors}; predictor {engine}") as raised:
        _check_engine(tmp_path, engine)
    assert f"auto or {'tensorflow' if flavors == 'keras' else flavors}" in raised.value.fix


@pytest.mark.parametrize(
    ("engine", "fits"), [("openvino", True), ("triton", True), ("onnx", False)]
)
def test_the_engine_of_a_converted_model(tmp_path: Path, engine: str, fits: bool) -> None:
    (tmp_path / "model.xml").write_text('<?xml version="1.0"?>\n<net name="m" version="11"/>')
    (tmp_path / "model.bin").write_bytes(b"")
    if fits:
        _check_engine(tmp_path, engine)
        return
    with pytest.raises(InvalidInput, match="flavor openvino; predictor onnx"):
        _check_engine(tmp_path, engine)


@pytest.mark.parametrize("name", ["scale", "mean_values", "reverse_input_channels"])
def test_what_a_converter_cant_do(tmp_path: Path, name: str) -> None:
    _check_conversion(_place(tmp_path, reverse_input_channels="false"))
    with pytest.raises(InvalidInput, match=name):
        _check_conversion(_place(tmp_path, **{name: "true"}))


def test_limits_of_its_replicas(tmp_path: Path) -> None:
    told: list[str] = []
    limits = "{cpu: 1500m, memory: 2Gi, nvidia.com/gpu: 1}"
    found = _changes(_place(tmp_path, resources_limits=limits, min_replicas="2"), told.append)
    assert found == {"cpu": 1.5, "memory_bytes": 2 << 30, "min": 2, "max": 2}
    assert len(told) == 1
    assert "nvidia.com/gpu" in told[0]


@pytest.mark.parametrize("limits", ["[1]", "{cpu: much}", "{", "{memory: -1Gi}"])
def test_limits_that_cant_be_read(tmp_path: Path, limits: str) -> None:
    with pytest.raises(InvalidInput, match="resources_limits"):
        _changes(_place(tmp_path, resources_limits=limits), print)
