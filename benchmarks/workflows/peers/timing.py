"""What every peer's program does: `python PEER.py SHAPE STATE ROUNDS` runs a workflow of ten
steps that do nothing, and prints a list of seconds as the last line.

SHAPE is `chain` or `fan`, STATE `cold` (one run, timed from outside), `warm` or `cached`.
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path


def main(run):
    """`run(shape, cached)` does one workflow to its end, and raises unless it went well."""
    shape, state, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    told = os.dup(1)
    seconds = []
    # What a tool prints is left to itself, but not for us to read.
    with Path(os.devnull).open("w") as null, contextlib.redirect_stdout(null):
        os.dup2(null.fileno(), 1)
        if state != "cold":
            run(shape, state == "cached")  # warms what can be warm, fills what is cached
        for _ in range(rounds):
            began = time.perf_counter()
            run(shape, state == "cached")
            seconds.append(time.perf_counter() - began)
    os.write(told, (json.dumps(seconds) + "\n").encode())
