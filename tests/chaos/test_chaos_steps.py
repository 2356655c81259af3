"""Kill −9 at every crash point of a registered workflow's steps, start again: it ends well,
and every effect is there once."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from platform_process import Platform, wait_for
from small_codeset import small_codeset

from volant.faults import CRASH_POINTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

MINE = ("step.", "environment.", "trainer.", "predictor.")
POINTS = [point for point in CRASH_POINTS if point.startswith(MINE)]
APP = "one-code-mlflow-e2e"
ROOT = Path(__file__).parents[2]


# Several in one life: each is one crash more on the way of the same run.
GROUPS = [POINTS[::2], POINTS[1::2]]


@pytest.mark.parametrize("points", GROUPS, ids=" ".join)
def test_killed_in_steps_the_workflow_ends_and_serves_once(platforms, points: list[str]) -> None:
    platform = platforms()
    crashed = platform.folder / "crashed"
    platform.start(VOLANT_CRASH_AT=",".join(points), VOLANT_CRASH_ONCE=str(crashed))
    code = small_codeset(platform.folder / "code")
    platform.cli("codeset", "register", "--name", "code", "--project", "one", code)
    platform.cli("workflow", "create", ROOT / "examples" / "workflows" / "mlflow-e2e.yaml")
    run_id = platform.post("/workflows/mlflow-e2e/runs", {"project": "one", "codeset": "code"})[
        "id"
    ]
    _survive(platform, run_id)
    steps = {s["name"]: s for s in platform.get(f"/runs/{run_id}")["state"]["steps"]}
    assert {step["status"] for step in steps.values()} == {"succeeded"}
    for point in points:
        assert Path(f"{crashed}.{point}").exists(), f"{point} wasn't passed"
    versions = platform.items(f"/models/{APP}/versions")
    assert [one["version"] for one in versions] == [1]
    revisions = platform.get(f"/deployments/{APP}")["revisions"]
    assert [one["status"] for one in revisions] == ["live"]
    assert [one["name"] for one in platform.items("/applications")] == [APP]
    token = {"Authorization": f"Bearer {(platform.home / 'token').read_text().strip()}"}
    tracked = httpx.post(
        f"{platform.url}/api/2.0/mlflow/runs/search",
        json={"experiment_ids": [_experiment(platform, token)]},
        headers=token,
    ).json()["runs"]
    statuses = sorted(one["info"]["status"] for one in tracked)
    assert statuses[0] == "FINISHED"
    assert set(statuses[1:]) <= {"KILLED"}
    held = platform.cli("tokens", "list").json["items"]
    assert not [one for one in held if str(one["principal"]).startswith("run/")]


def _survive(platform: Platform, run_id: str) -> None:
    """Until the run ended, started again when the control plane died."""

    def look() -> bool:
        if platform.ended():
            platform.start()
        try:
            return platform.get(f"/runs/{run_id}")["state"]["status"] in ("succeeded", "failed")
        except httpx.TransportError:
            return False

    wait_for("the run's end", look)


def _experiment(platform: Platform, token: dict[str, str]) -> str:
    found = httpx.get(
        f"{platform.url}/api/2.0/mlflow/experiments/get-by-name",
        params={"experiment_name": "one.code"},
        headers=token,
    )
    return found.json()["experiment"]["experiment_id"]
