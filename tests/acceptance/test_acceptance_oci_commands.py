"""`volant models push` and `pull` on a real platform, over the small registry of the
tests. A real one, and images, are in test_acceptance_oci.py."""

from __future__ import annotations

import json

import lightgbm as lgb
import numpy as np
import pytest
from oci_registry import PASSWORD, USER, Registry, running

ADA = {"VOLANT_REGISTRY_USERNAME": USER, "VOLANT_REGISTRY_PASSWORD": PASSWORD}


@pytest.fixture(scope="module")
def platform(platforms):
    """With one version of a model that was made elsewhere."""
    made = platforms().start()
    x = np.random.default_rng(1).uniform(20, 120, (200, 2))
    data = lgb.Dataset(x, 9 * x[:, 0], feature_name=["area", "rooms"])
    booster = lgb.train({"objective": "regression", "verbosity": -1, "num_threads": 1}, data, 5)
    booster.save_model(made.folder / "rent.txt")
    made.cli("models", "register", "rent.txt", "--name", "rent", "--metric", "rmse=3")
    return made


@pytest.fixture
def registry():
    with running(Registry("bearer")) as one:
        yield one


@pytest.fixture
def volant(platform, tmp_path):
    """Types a command as somebody who is logged in nowhere but by `environ`."""

    def types(*words, code=0, **environ):
        nobody = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
        told = platform.shell(
            "models", *words, "--home", platform.home, "--json", code=code, **nobody, **environ
        )
        return json.loads(told.out) if code == 0 else told.err

    return types


def test_a_version_goes_and_comes_back(platform, registry, volant):
    where = f"{registry.host}/models/rent:1"
    first = volant("push", "rent@1", where, **ADA)
    assert (first["model"], first["version"]) == ("rent", 1)
    assert first["sent_bytes"] == first["bytes"] > 0
    assert volant("push", "rent@latest", where, **ADA)["sent_bytes"] == 0

    taken = volant("pull", where, "--name", "taken")  # nobody may read
    assert (taken["version"], taken["known"], taken["digest"]) == (1, False, first["digest"])
    assert taken["metrics"] == {"rmse": 3.0}
    assert volant("pull", where, "--name", "taken")["known"] is True
    assert volant("pull", where, "--name", "rent")["version"] == 1  # where it was made
    versions = platform.get("/models")["items"]
    assert sorted((v["model"], v["version"]) for v in versions) == [("rent", 1), ("taken", 1)]


def test_what_fails_is_told_and_registers_nothing(platform, registry, volant):
    where = f"{registry.host}/models/rent:1"
    assert "podman login" in volant("push", "rent@1", where, code=5)
    assert "Fix: " in volant("push", "rent", where, code=3, **ADA)  # no champion yet
    volant("push", "rent@1", where, **ADA)
    held = registry.blobs["models/rent"]
    for digest, content in list(held.items()):
        held[digest] = content[:-1] + b"?"
    assert "digest" in volant("pull", where, "--name", "broken", code=4)
    registry.once("GET", "blobs", lambda handler: handler.hang_up(), times=99)
    assert "broke" in volant("pull", where, "--name", "broken", code=6)
    assert platform.ask("GET", "/models/broken/versions").status_code == 404
