"""A control plane's serving half as a process of its own, for tests that kill it.

python serving_process.py HOME MODEL_DIR: registers the model unless it is there,
deploys it with the key `run-1:deploy`, prints the port and waits for end of file.
"""

import importlib.util
import sys
from pathlib import Path

from volant.adapters.local.zygote import ZygoteLauncher
from volant.domain.loop import ReplicaSpec
from volant.serving.served import Patience

here = Path(__file__).with_name("conftest.py")
loader = importlib.util.spec_from_file_location("serving_conftest", here)
assert loader
assert loader.loader
conftest = importlib.util.module_from_spec(loader)
loader.loader.exec_module(conftest)

if __name__ == "__main__":
    home, folder = map(Path, sys.argv[1:])
    zygote = ZygoteLauncher({"serve": ("volant.serving.replica",)})
    platform = conftest.Platform(home, zygote, Patience())
    platform.register("m", folder, "run-1")
    platform.begin()
    platform.desk.deploy("m", "m", 1, key="run-1:deploy", replicas=ReplicaSpec())
    print(platform.port("m"), flush=True)
    sys.stdin.read()
    platform.end()
    zygote.close()
