"""A fresh process that loads an ONNX model and predicts one row: `answer_once.py MODEL WIDTH`."""

import sys

import numpy as np
import onnxruntime

model, width = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
print(session.run(None, {name: np.zeros((1, int(width)), np.float32)})[0])
