"""The README's quick start by hand: the same words, nothing else."""

from __future__ import annotations

import json
import stat

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from platform_process import COLUMNS, listening, own, table, wait_for, write_csv

pytestmark = pytest.mark.timeout(400)  # for a busy machine: alone, each takes seconds
WINE = own("wine")


@pytest.fixture
def user(platforms):
    """A user's folder with data.csv, and a shell whose Volant lives beside it."""
    platform = platforms()
    write_csv(platform.folder / "data.csv", table(120, seed=1))

    def volant(*words, code=0):
        return platform.shell(*words, code=code, VOLANT_HOME=str(platform.home), VOLANT_PORT="0")

    yield platform, volant
    platform.close()


def run_of(volant, number):
    """The id of the loop's run on the dataset's version, once it ended."""

    def look():
        for run in json.loads(volant("runs", "--loop", WINE, "--json").out)["items"]:
            if run["workflow"]["inputs"]["dataset_version"] == number:
                return run["id"]
        return None

    run_id = wait_for(f"a run on version {number}", look)
    shown = volant("runs", "show", run_id, "--watch", code=None)
    assert shown.code == (1 if "skipped" in shown.out else 0)  # 1: the gate refused
    return run_id


@pytest.mark.slow
def test_the_quick_start_by_hand(user):
    platform, volant = user
    folder = platform.folder
    told = volant("init", "--from", "data.csv", "--target", "label", "--name", WINE)
    assert "Wrote volant.yaml." in told.out
    loop = folder / "volant.yaml"
    assert loop.read_text().count("budget: 30s") == 1
    loop.write_text(loop.read_text().replace("budget: 30s", "budget: 1s"))
    assert "is ready at http://127.0.0.1:" in volant("up", "--detach").out
    platform.connect()
    assert stat.S_IMODE((platform.home / "token").stat().st_mode) == 0o600
    assert f"Loop {WINE} created (generation 1)." in volant("apply").out

    assert (
        f"Committed 120 rows to {WINE} as version 1."
        in volant("data", "push", WINE, "data.csv").out
    )
    run = run_of(volant, 1)
    followed = volant("logs", "-f", run).out
    assert "train" in followed

    rows = [dict(zip(COLUMNS, row, strict=True)) for row in table(60, seed=2)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "more.parquet")
    assert "as version 2." in volant("data", "push", WINE, "more.parquet").out
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in table(60, seed=3)]
    (folder / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "as version 3." in volant("data", "push", WINE, "more.jsonl").out
    last = run_of(volant, 3)

    status = volant("status").out
    assert WINE in status
    assert "240" in status
    runs = volant("runs").out
    assert run in runs
    assert last in runs
    versions = volant("models").out.splitlines()[1:]
    assert [line.split()[:2] for line in versions] == [[WINE, "3"], [WINE, "2"], [WINE, "1"]]
    asked = volant("predict", WINE, "--row", '{"height": 2.0, "weight": 0, "age": 0}').out
    assert "yes" in asked
    many = json.loads(volant("predict", WINE, "--file", "data.csv", "--json").out)
    right = [
        answer["prediction"] == row[-1]
        for answer, row in zip(many["predictions"], table(120, seed=1), strict=True)
    ]
    assert sum(right) > 100
    why = volant("why", WINE).out
    assert f"The dataset {WINE} got version 3 with 60 new rows." in why
    assert why.count("fired") == 3
    assert f"No changes: loop {WINE} is as the file says." in volant("plan").out
    loop.write_text(loop.read_text().replace("budget: 1s", "budget: 2s"))
    assert "train.automl.budget: 1s → 2s" in volant("plan").out

    ports = platform.ports()
    platform.disconnect()
    assert "Stopped Volant at" in volant("down").out
    wait_for("its processes to be gone", lambda: not platform.family(), 5)
    assert not any(listening(port) for port in ports)
    assert "No Volant is running" in volant("down").out
    assert volant("status", code=6).err.startswith("Error: ")


@pytest.mark.slow
def test_the_demo_tells_its_story_and_leaves_nothing_behind(platforms):
    platform = platforms()
    told = platform.shell("demo", timeout_s=240).out
    assert "150 rows are version 1 of biopsies" in told
    assert "4 rows broke the contract" in told
    assert "no champion yet" in told
    assert told.count("✗ Refused: ") >= 1
    assert ", 0 failed" in told
    assert "Everything was stopped and removed." in told
    wait_for("its last process to be gone", lambda: not platform.family(), 10)
    assert not list(platform.temp.iterdir())
    assert not (platform.folder / ".volant").exists()
    assert [path.name for path in platform.folder.iterdir()] == ["tmp"]
