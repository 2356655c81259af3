"""The plain script that the loop is measured against: read, fit, store, restart the server.

    python plain_loop.py FOLDER PORT VERSION FILE…

It reads the CSV files, fits them with the very `train:fit` of the loop, pickles the model
into FOLDER, ends the server that an earlier call left, starts a new one on PORT and ends
when that one answers. Prints the seconds that the fit took. No contract, no quarantine, no
holdout, no record, and requests that come meanwhile fail.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from train import fit

folder, port, version, *files = sys.argv[1:]
folder = Path(folder)
metrics = {}

import pyarrow as pa  # noqa: E402 - below the arguments, as scripts have it
import pyarrow.csv  # noqa: E402

rows = pa.concat_tables([pyarrow.csv.read_csv(file) for file in files])
model = fit(rows.drop(["label"]), rows["label"], 0, metrics.__setitem__)
(folder / "model.pkl").write_bytes(pickle.dumps((int(version), model)))

pid_file = folder / "server.pid"
if pid_file.exists():
    old = int(pid_file.read_text())
    os.kill(old, signal.SIGTERM)
    while Path(f"/proc/{old}").exists() and " Z " not in Path(f"/proc/{old}/stat").read_text():
        time.sleep(0.01)
server = subprocess.Popen(
    [sys.executable, str(Path(__file__).with_name("plain_server.py")), str(folder), port],
    stdout=subprocess.DEVNULL,
    start_new_session=True,
)
pid_file.write_text(str(server.pid))
while True:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            if json.load(answer)["version"] == int(version):
                break
    except OSError:
        time.sleep(0.01)
print(metrics["fit_s"])
