"""FastAPI on uvicorn with uvloop and httptools: PORT KIND FOLDER.

A pydantic model checks the body, as the tutorial does. `async def`, so that a prediction
doesn't pay for a thread: with one core that is the quicker way.
"""

import sys

import numpy as np
import uvicorn
from bench_models import NAMES, as_lists, load
from fastapi import FastAPI
from pydantic import BaseModel

port, kind, folder = sys.argv[1:4]
app = FastAPI()
models = {name: load(kind, folder, name) for name in NAMES}


class Rows(BaseModel):
    rows: list[list[float]]


@app.post("/{name}")
async def predict(name: str, body: Rows):
    return as_lists(models[name](np.asarray(body.rows)))


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(port),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
