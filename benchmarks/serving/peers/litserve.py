"""LitServe: PORT KIND FOLDER. One inference worker and one API server for each model.

`LIT_BATCH` in the environment sets `max_batch_size`; LitServe batches nothing by default.
`fast_queue`, its queue over ZeroMQ, was the quicker one here.
"""

import os
import sys

import litserve as ls
import numpy as np
from bench_models import NAMES, load

port, kind, folder = sys.argv[1:4]
batch = int(os.environ.get("LIT_BATCH", "1"))


class Predictor(ls.LitAPI):
    def __init__(self, name, **options):
        self.name = name
        super().__init__(api_path=f"/{name}", **options)

    def setup(self, device):
        self.model = load(kind, folder, self.name)

    def decode_request(self, request):
        return np.asarray(request["rows"])

    def predict(self, x):
        return self._together(x) if batch > 1 else self.model(x)

    def _together(self, x):
        sizes = np.cumsum([len(rows) for rows in x])[:-1]
        answer = self.model(np.concatenate(list(x)))
        parts = {key: np.split(value, sizes) for key, value in answer.items()}
        return [{key: parts[key][i] for key in parts} for i in range(len(x))]

    def batch(self, inputs):
        return list(inputs)

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {key: value.tolist() for key, value in output.items()}


if __name__ == "__main__":
    options = {"max_batch_size": batch, "batch_timeout": 0.001} if batch > 1 else {}
    server = ls.LitServer(
        [Predictor(name, **options) for name in NAMES],
        accelerator="cpu",
        workers_per_device=1,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=int(port),
        num_api_servers=1,
        log_level="error",
        generate_client_file=False,
        access_log=False,
    )
