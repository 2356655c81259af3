"""Texts on their way to a classifier of texts."""

from __future__ import annotations

import pytest

from volant.serving.refusal import Refusal

pytest.importorskip("tokenizers")


def test_serving_bytes_that_are_no_text_are_the_clients_fault():
    from volant.serving.runtimes.onnx_text import _text

    assert _text("ü") == "ü"
    with pytest.raises(Refusal, match="UTF-8") as caught:
        _text(b"\xff\xfe")
    assert caught.value.status == 400
