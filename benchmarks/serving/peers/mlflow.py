"""`mlflow models serve`: PORT KIND FOLDER NAME. One model a process, so it is told which.

The models are saved by MLflow's own flavours, scikit-learn and ONNX, with a signature.
"""

import os
import pickle
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    port, kind, folder, name = sys.argv[1:5]
    saved = Path(folder, f"mlflow-{kind}-{name}")
    if not saved.exists():
        from mlflow.models import infer_signature

        rows = np.zeros((2, 30))
        if kind == "sklearn":
            import mlflow.sklearn

            model = pickle.loads(Path(folder, f"{name}.pkl").read_bytes())
            signature = infer_signature(rows, model.predict(rows))
            mlflow.sklearn.save_model(
                model, saved, signature=signature, serialization_format="pickle"
            )
        else:
            import mlflow.onnx
            import onnx

            signature = infer_signature(rows.astype(np.float32))
            threads = {"intra_op_num_threads": 1, "inter_op_num_threads": 1}
            mlflow.onnx.save_model(
                onnx.load(str(Path(folder, f"{name}.onnx"))),
                saved,
                signature=signature,
                onnx_session_options=threads,
            )
    command = [str(Path(sys.executable).with_name("mlflow")), "models", "serve"]
    command += ["-m", str(saved), "-p", port, "-h", "127.0.0.1", "--env-manager", "local"]
    command += ["--workers", "1"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.execv(command[0], command)
