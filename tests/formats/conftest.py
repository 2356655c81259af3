"""Models as other people's libraries write them."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

X, Y = load_wine(return_X_y=True)
X = X.astype(np.float32)

CODE = """
import numpy as np
import words

class Model:
    def load(self, folder):
        self.factor = float((folder / "factor.txt").read_text())

    def preprocess(self, inputs):
        return {name: values * self.factor for name, values in inputs.items()}

    def predict(self, inputs):
        return {"sum": inputs["a"] + inputs["b"], "word": [words.of(v) for v in inputs["a"]]}

    def postprocess(self, outputs):
        return {**outputs, "sum": outputs["sum"] + 1}
"""


@pytest.fixture(scope="session")
def pipeline():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X, Y)


@pytest.fixture(scope="session")
def made(tmp_path_factory, pipeline):
    """A folder with `wine.onnx`, `wine.txt` (LightGBM), and `code/` (a class of one's own)."""
    folder = tmp_path_factory.mktemp("made")
    onnx = to_onnx(pipeline, X[:1], options={"zipmap": False})
    (folder / "wine.onnx").write_bytes(onnx.SerializeToString())
    settings = {"objective": "multiclass", "num_class": 3, "verbosity": -1, "num_threads": 1}
    lgb.train(settings, lgb.Dataset(X, Y), 8).save_model(str(folder / "wine.txt"))
    code = folder / "code"
    code.mkdir()
    (code / "model.py").write_text(CODE)
    (code / "words.py").write_text("def of(value):\n    return f'w{value:g}'\n")
    (code / "factor.txt").write_text("2")
    return folder
