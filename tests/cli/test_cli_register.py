"""What `volant models register` refuses before anything is sent."""

from __future__ import annotations

from typing import Any, cast

import pytest

from volant.cli.register import Env, register, wishes_of
from volant.errors import InvalidInput


@pytest.mark.parametrize("text", ["rmse=nan", "rmse=inf", "rmse=-inf", "rmse=", "=1", "rmse"])
def test_a_metric_is_a_name_and_a_finite_number(text):
    with pytest.raises(InvalidInput, match="isn't NAME=NUMBER"):
        wishes_of(None, None, None, [text], Env.auto)


def test_metrics_are_read():
    assert wishes_of(None, None, None, ["rmse=1e-3"], Env.auto)["metrics"] == {"rmse": 0.001}


def test_an_empty_model_is_refused_in_a_models_words(tmp_path):
    path = tmp_path / "m.onnx"
    path.touch()
    nobody = cast("Any", None)
    with pytest.raises(InvalidInput, match="the model's whole file"):
        register(nobody, nobody, path, "m", {})
