"""A model whose files were changed after it was registered is named and never served."""

from __future__ import annotations

import re

import pytest
from platform_process import loop_file, statuses, table, wait_for, write_csv

pytestmark = pytest.mark.slow
TALL = {"height": 2.0, "weight": 0.0, "age": 0.0}
ROW = '{"height": 2, "weight": 0, "age": 0}'


@pytest.fixture(scope="module")
def altered(stranger):
    """Two versions were live in turn; then somebody changed the first one's files."""
    platform = stranger.platform
    platform.apply(loop_file("people", more="gate: {champion: false}\n"))
    files = [write_csv(stranger.folder / f"{n}.csv", table(80, n)) for n in range(2)]
    stranger.runs = [platform.turn("people", "people", file)["id"] for file in files]
    change(platform, stranger.runs[0])
    return stranger


def change(platform, run):
    for name in ("model.onnx", "model.pkl"):
        file = platform.home / "artifacts" / "models" / "people" / run / name
        if file.exists():
            file.chmod(0o644)
            file.write_bytes(file.read_bytes()[:-1] + b"!")


@pytest.mark.timeout(240)
def test_an_altered_model_is_not_deployed_and_the_champion_serves_on(altered):
    platform = altered.platform
    said = altered.types("runs", "retry", altered.runs[0], "--from", "deploy")
    ended = platform.finished(re.search(r"Started (run-\w+)", said).group(1))
    assert statuses(ended)["deploy"] == "failed"
    assert "was altered" in ended["state"]["error"]["what"]
    assert "was altered" in altered.types("why", "people")
    assert "was altered" in altered.types("deployments", "show", "people")
    assert platform.get("/deployments/people")["live_version"] == 2
    assert platform.predict("people", TALL) == "yes"


@pytest.mark.timeout(240)
def test_an_altered_champion_is_not_loaded_after_a_restart(altered):
    platform = altered.platform
    change(platform, altered.runs[1])
    platform.down()
    platform.start()
    text = altered.is_refused("predict", "people", "--row", ROW, code=6, says="was altered")
    assert "model." in text
    assert wait_for("its status", lambda: "failing" in altered.types("status"))
    # The next model takes its place, for the gate compares with no champion here.
    turn = platform.turn("people", "people", write_csv(altered.folder / "2.csv", table(80, 2)))
    assert platform.get("/deployments/people")["live_version"] == 3, turn["state"]
    assert platform.predict("people", TALL) == "yes"


@pytest.mark.timeout(240)
def test_an_altered_champion_stops_the_gate_that_compares_with_it(altered):
    platform = altered.platform
    platform.apply(loop_file("people"))
    change(platform, platform.get("/runs", loop="people")["items"][0]["id"])
    run = platform.finished(platform.post("/loops/people/runs")["id"])
    assert statuses(run)["evaluate"] == "failed"
    why = altered.types("why", "people", "--limit", "1")
    assert "was altered" in why
    assert "gate.champion" in why
