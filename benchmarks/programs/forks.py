"""The floor of forked steps: a process of the same size forks and waits, and tells how long.

    python forks.py FORKS ROUNDS MODULE…

One line a round: seconds for FORKS children, one after the other, that end at once.
"""

import importlib
import os
import sys
import time

forks, rounds, *modules = sys.argv[1:]
for module in modules:
    importlib.import_module(module)
for _ in range(int(rounds)):
    began = time.perf_counter()
    for _ in range(int(forks)):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    print(time.perf_counter() - began, flush=True)
