"""A pickled scikit-learn model behind FastAPI: `python plain_server.py FOLDER PORT`."""

import pickle
import sys
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI

folder, port = sys.argv[1:]
version, model = pickle.loads(Path(folder, "model.pkl").read_bytes())
app = FastAPI()


@app.get("/")
def about():
    return {"version": version}


@app.post("/predict")
def predict(rows: list[list[float]]):
    return {"prediction": model.predict(np.array(rows)).tolist(), "version": version}


uvicorn.run(app, port=int(port), access_log=False, log_level="warning")
