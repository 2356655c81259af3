"""KServe's Python server: PORT KIND FOLDER GRPC_PORT.

`Sklearn` does what KServe's own scikit-learn server does (it isn't on PyPI, its `predict`
is these three calls); `OnnxModel` is a custom model with two outputs.
"""

import sys

from bench_models import NAMES, load
from kserve import InferOutput, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid, get_predict_input, get_predict_response

port, kind, folder, grpc_port = sys.argv[1:5]


class Sklearn(Model):
    def load(self):
        self.model = load("sklearn", folder, self.name).model
        self.ready = True
        return True

    def predict(self, payload, headers=None):
        rows = get_predict_input(payload)
        return get_predict_response(payload, self.model.predict(rows), self.name)


class OnnxModel(Model):
    def load(self):
        self.model = load("onnx", folder, self.name)
        self.ready = True
        return True

    def predict(self, payload, headers=None):
        answer = self.model(payload.inputs[0].as_numpy())
        outputs = []
        for (name, array), datatype in zip(answer.items(), ("INT64", "FP32"), strict=True):
            output = InferOutput(name, list(array.shape), datatype)
            # Raw bytes go out as they came in: over gRPC, and where the request says so.
            output.set_data_from_numpy(array, binary_data=_binary(payload))
            outputs.append(output)
        found = payload.id or generate_uuid()
        return InferResponse(found, self.name, outputs, use_binary_outputs=_binary(payload))


def _binary(payload):
    return payload.inputs[0]._raw_data is not None


if __name__ == "__main__":
    models = [(Sklearn if kind == "sklearn" else OnnxModel)(name) for name in NAMES]
    for model in models:
        model.load()
    server = ModelServer(
        http_port=int(port),
        grpc_port=int(grpc_port),
        workers=1,
        enable_latency_logging=False,
        event_loop="uvloop",
    )
    server.start(models)
