"""The two models as a peer loads them. On the module path of every peer's program.

A folder holds, for each of `forest` and `logistic`: `NAME.pkl`, the fitted scikit-learn
estimator, and `NAME.onnx`, the very file that Volant serves.
"""

import pickle
from pathlib import Path

import numpy as np

NAMES = ("forest", "logistic")


class Sklearn:
    """`predict` alone, as model servers do by default: rows [n, 30] to labels [n]."""

    def __init__(self, folder, name):
        self.model = pickle.loads(Path(folder, f"{name}.pkl").read_bytes())

    def __call__(self, rows):
        return {"prediction": self.model.predict(rows)}


class Onnx:
    """Labels [n] and probabilities [n, 2]; one thread, as in Volant's replica."""

    def __init__(self, folder, name):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        file = str(Path(folder, f"{name}.onnx"))
        self.session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def __call__(self, rows):
        feed = np.asarray(rows, dtype=np.float32)
        labels, probabilities = self.session.run(None, {self.input: feed})
        return {"prediction": labels, "probabilities": probabilities}


def load(kind, folder, name):
    """`kind`: `sklearn` or `onnx`."""
    return (Sklearn if kind == "sklearn" else Onnx)(folder, name)


def as_lists(answer):
    return {key: value.tolist() for key, value in answer.items()}
