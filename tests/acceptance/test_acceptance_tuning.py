"""A search on a real platform: seen while it goes on, killed, cancelled, in vain."""

from __future__ import annotations

import os
import signal

import pytest
from platform_process import Platform, outputs, statuses, table, wait_for, write_csv
from searching import TRAIN, TRIALS, TUNE, check_search, searching_loop

WORKFLOW = """\
name: search
inputs: [{name: loop}]
outputs: [{name: run}, {name: tuned}]
steps:
  - name: turn
    uses: loop
    inputs: {loop: "{{ inputs.loop }}"}
  - name: tell
    inputs:
      model: "{{ steps.turn.outputs.model }}"
      version: "{{ steps.turn.outputs.version }}"
    outputs: [tuned]
    run: printf '%s %s' "$FUSEML_MODEL" "$FUSEML_VERSION" > "$VOLANT_RESULTS_DIR/tuned"
"""

pytestmark = pytest.mark.timeout(400)  # for a busy machine: alone, each takes seconds


@pytest.fixture(scope="module")
def platform(platforms) -> Platform:
    return platforms().start()


def begun(platform, name):
    """The run of a loop that has just got its data, once a trial of its search has ended."""
    file = write_csv(platform.folder / f"{name}.csv", table(100, seed=1))
    platform.pushed(name, file)
    (run,) = wait_for("the run", lambda: platform.items("/runs", loop=name))

    def look():
        answer = platform.ask("GET", f"/runs/{run['id']}/search")
        return answer.status_code == 200 and answer.json().get("complete", 0) >= 1

    wait_for("a trial's end", look)
    return run["id"]


def test_a_search_is_seen_and_goes_on_after_a_kill(platform):
    go_on = platform.folder / "go on"
    wait = f"while params['depth'] > 2 and not __import__('os').path.exists({str(go_on)!r}): "
    train = TRAIN.replace("        time.sleep(0.05)", f"        {wait}time.sleep(0.02)")
    searching_loop(platform, "wine", train)
    run_id = begun(platform, "wine")
    told = platform.shell("runs", "show", run_id, "--home", str(platform.home)).out
    assert f" of {TRIALS} trials" in told
    assert "best val_loss" in told
    seen = platform.get(f"/runs/{run_id}/search")
    assert 1 <= seen["complete"] < TRIALS
    assert platform.process is not None
    os.kill(platform.process.pid, signal.SIGKILL)
    platform.process.wait()
    folder = platform.home / "runs" / run_id / "tune" / "trials"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    ended = {name for name, body in before.items() if b'"ended"' in body}
    assert ended
    assert len(ended) < TRIALS
    go_on.touch()
    platform.start()
    check_search(platform, platform.finished(run_id), "wine")
    for name in ended:  # what was done stays done
        assert (folder / name).read_bytes() == before[name]
    lines = platform.cli("logs", run_id, "--step", "tune").json["lines"]
    assert any(line["text"].startswith("trial 5: val_loss 0.166667; depth 6") for line in lines)
    assert "Trial 5 has the best val_loss" in platform.cli("why", "wine").out


@pytest.mark.slow
def test_a_cancelled_search_stops_and_can_be_resumed(platform):
    train = TRAIN.replace("time.sleep(0.05)", "time.sleep(0.2)")
    searching_loop(platform, "rose", train)
    run_id = begun(platform, "rose")
    platform.post(f"/runs/{run_id}/cancel")
    run = platform.finished(run_id)
    assert statuses(run)["tune"] == "cancelled"

    def stopped():
        return platform.get(f"/runs/{run_id}/search")["status"] == "KILLED"

    wait_for("the search's end", stopped)
    experiment = platform.get("/experiments", name="rose")["items"][0]
    assert experiment["active"] == 0
    platform.post(f"/runs/{run_id}/resume")
    check_search(platform, platform.finished(run_id), "rose")


def test_a_workflow_searches_by_a_turn_of_a_loop_that_does(platform):
    """Beside a step of its own, and with what the search found in its outputs."""
    searching_loop(platform, "keg")
    file = platform.folder / "keg-project" / "volant.yaml"
    file.write_text(file.read_text() + "triggers: []\n")
    platform.cli("apply", file)
    platform.pushed("keg", write_csv(platform.folder / "keg.csv", table(100, seed=1)))
    manifest = platform.folder / "search.yaml"
    manifest.write_text(WORKFLOW)
    platform.cli("workflow", "create", manifest)
    told = platform.cli("workflow", "run", "search", "--input", "loop=keg", "--wait").json
    assert statuses(told) == {"turn": "succeeded", "tell": "succeeded"}
    assert told["outputs"]["tuned"] == "keg 1"
    check_search(platform, platform.finished(told["outputs"]["run"]), "keg")


def test_a_function_that_always_fails_ends_the_search_early(platform):
    train = "def fit(X, y, params):\n    raise ValueError('no wine')\n"
    searching_loop(platform, "cork", train)
    platform.pushed("cork", write_csv(platform.folder / "cork.csv", table(100, seed=1)))
    (run,) = wait_for("the run", lambda: platform.items("/runs", loop="cork"))
    run = platform.finished(run["id"])
    assert run["state"]["status"] == "failed"
    (error,) = (step["error"] for step in run["state"]["steps"] if step["name"] == "tune")
    assert "raised ValueError while it ran: no wine" in error["what"]
    assert platform.get(f"/runs/{run['id']}/search")["failed"] in (3, 4)  # two at a time
    assert platform.get("/experiments", name="cork")["items"][0]["active"] == 0


@pytest.mark.slow
def test_the_time_of_a_search_is_kept(platform):
    tune = TUNE.replace("trials: 20", "trials: 20\n    timeout: 3s").replace(
        "steps: 4", "steps: 40"
    )
    searching_loop(platform, "must", tune=tune)
    platform.pushed("must", write_csv(platform.folder / "must.csv", table(100, seed=1)))
    (run,) = wait_for("the run", lambda: platform.items("/runs", loop="must"))
    run = platform.finished(run["id"])
    found = outputs(run, "tune")
    assert found["search"]["complete"] < TRIALS
    assert "the time was up" in found["reason"]
