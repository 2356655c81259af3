"""Ray Serve: PORT KIND FOLDER. One proxy, one replica for each model.

`RAY_SERVE_THROUGHPUT_OPTIMIZED` is set by the caller, as Ray's performance guide says.
`RAY_BATCH` in the environment turns on `serve.batch` with that many requests at most.
"""

import os
import signal
import sys
from threading import Event

import numpy as np
import ray
from bench_models import NAMES, as_lists, load
from ray import serve
from starlette.requests import Request

port, kind, folder = sys.argv[1:4]
batch = int(os.environ.get("RAY_BATCH", "1"))


@serve.deployment(num_replicas=1, max_ongoing_requests=100, ray_actor_options={"num_cpus": 0.1})
class Predictor:
    def __init__(self, name):
        self.model = load(kind, folder, name)

    async def __call__(self, request: Request):
        rows = np.asarray((await request.json())["rows"])
        return as_lists(await self.together(rows) if batch > 1 else self.model(rows))

    @serve.batch(max_batch_size=max(batch, 1), batch_wait_timeout_s=0.001)
    async def together(self, many):
        answer = self.model(np.concatenate(many))
        ends = np.cumsum([len(rows) for rows in many])[:-1]
        parts = {key: np.split(value, ends) for key, value in answer.items()}
        return [{key: parts[key][i] for key in parts} for i in range(len(many))]


if __name__ == "__main__":
    done = Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    quiet = {"enable_access_log": False, "log_level": "ERROR"}
    for name in NAMES:
        serve.run(Predictor.bind(name), name=name, route_prefix=f"/{name}", logging_config=quiet)
    done.wait()
    serve.shutdown()
    ray.shutdown()
