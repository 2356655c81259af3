"""BentoML: PORT KIND FOLDER. Writes the service beside itself's log and runs `bentoml serve`.

`BENTO_BATCH=1` in the environment turns on its adaptive batching.
"""

import os
import sys
import tempfile
from pathlib import Path

_SERVICE = """\
import bentoml
import numpy as np
from bench_models import load

KIND, FOLDER, BATCH = {kind!r}, {folder!r}, {batch!r}


@bentoml.service(
    workers=1,
    traffic={{"timeout": 30}},
    logging={{"access": {{"enabled": False}}}},
    metrics={{"enabled": False}},
)
class Models:
    def __init__(self):
        self.models = {{name: load(KIND, FOLDER, name) for name in ("forest", "logistic")}}

    def _answer(self, name, rows):
        answer = self.models[name](rows)
        if "probabilities" in answer:
            return np.column_stack([answer["prediction"], answer["probabilities"]])
        return answer["prediction"]

    @bentoml.api(batchable=BATCH)
    def forest(self, rows: np.ndarray) -> np.ndarray:
        return self._answer("forest", rows)

    @bentoml.api(batchable=BATCH)
    def logistic(self, rows: np.ndarray) -> np.ndarray:
        return self._answer("logistic", rows)
"""

if __name__ == "__main__":
    port, kind, folder = sys.argv[1:4]
    batch = os.environ.get("BENTO_BATCH") == "1"
    home = Path(tempfile.mkdtemp(prefix="bento-", dir=folder))
    (home / "service.py").write_text(_SERVICE.format(kind=kind, folder=folder, batch=batch))
    os.environ["BENTOML_HOME"] = str(home / "home")
    command = [str(Path(sys.executable).with_name("bentoml")), "serve", "service:Models"]
    command += ["--working-dir", str(home), "--host", "127.0.0.1", "--port", port, "--quiet"]
    os.execv(command[0], command)
