"""MLServer: PORT KIND FOLDER GRPC_PORT. Writes its settings and runs `mlserver start`.

`MLSERVER_BATCH` in the environment is `max_batch_size` of its adaptive batching.
`parallel_workers` is 0: with one core its worker process only costs, and this is quicker.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

_RUNTIME = """\
from bench_models import load
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Onnx(MLModel):
    async def load(self):
        self.model = load("onnx", {folder!r}, self.name)
        return True

    async def predict(self, payload):
        rows = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        outputs = [NumpyCodec.encode_output(k, v) for k, v in self.model(rows).items()]
        return InferenceResponse(
            model_name=self.name, model_version=self.version, id=payload.id, outputs=outputs
        )
"""

if __name__ == "__main__":
    port, kind, folder, grpc_port = sys.argv[1:5]
    home = Path(tempfile.mkdtemp(prefix="mlserver-", dir=folder))
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": int(port),
        "grpc_port": int(grpc_port),
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "environments_dir": str(home / "environments"),
        "logging_settings": {
            "version": 1,
            "disable_existing_loggers": True,
            "root": {"level": "ERROR"},
        },
    }
    (home / "settings.json").write_text(json.dumps(settings))
    for name in ("forest", "logistic"):
        model = {"name": name}
        if kind == "sklearn":
            model["implementation"] = "mlserver_sklearn.SKLearnModel"
            model["parameters"] = {"uri": str(Path(folder, f"{name}.pkl"))}
        else:
            model["implementation"] = "onnx_runtime.Onnx"
        if "MLSERVER_BATCH" in os.environ:
            model["max_batch_size"] = int(os.environ["MLSERVER_BATCH"])
            model["max_batch_time"] = 0.001
        (home / name).mkdir()
        (home / name / "model-settings.json").write_text(json.dumps(model))
        (home / name / "onnx_runtime.py").write_text(_RUNTIME.format(folder=folder))
    command = [str(Path(sys.executable).with_name("mlserver")), "start", str(home)]
    os.chdir(home)
    os.execv(command[0], command)
