"""Ingest and release over real tables, and processes that die at every point between."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from volant.adapters.delta.tables import DeltaTables
from volant.data.ingest import ingest, read_quarantine, read_rows, release
from volant.domain.codec import to_plain
from volant.domain.contract import ColumnRule, ColumnType, Contract
from volant.errors import ResourceExhausted

CONTRACT = Contract(
    (
        ColumnRule("id", ColumnType.INTEGER, nullable=False, unique=True),
        ColumnRule("x", ColumnType.NUMBER, min=0.0, max=100.0),
    )
)
GOOD = "id,x\n1,0.5\n2,1.5\n3,\n"
MIXED = "id,x\n10,5\n11,-1\nbad,2\n12,3,4\n13,7\n10,8\n"


class Work:
    """One dataset's pushes over tables in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tables = DeltaTables(root / "tables")

    def inputs(
        self, push: str, content: str, name: str = "a.csv", contract: Contract | None = CONTRACT
    ) -> dict[str, Any]:
        path = self.root / f"{push}-{name}"
        path.write_text(content)
        return {
            "push_id": push,
            "dataset": "wine",
            "files": [{"path": str(path), "name": name}],
            "options": {},
            "contract": to_plain(contract) if contract else None,
        }

    def push(self, push: str, content: str, **more: Any) -> dict[str, Any]:
        return ingest(self.inputs(push, content, **more), self.tables)

    def release(
        self, release_id: str, contract: Contract | None = CONTRACT, **options: Any
    ) -> dict[str, Any]:
        given = to_plain(contract) if contract else None
        inputs = {"push_id": release_id, "dataset": "wine", "contract": given, "options": options}
        return release(inputs, self.tables)

    def ids(self) -> list[int]:
        return sorted(self.tables.read("wine").column("id").to_pylist())

    def quarantine(self, **inputs: Any) -> list[dict[str, Any]]:
        return read_quarantine({"dataset": "wine", **inputs}, self.tables)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def test_a_clean_push(work: Work) -> None:
    assert work.push("p1", GOOD) == {
        "status": "committed",
        "table_version": 0,
        "rows_added": 3,
        "rows_total": 3,
        "rows_quarantined": 0,
        "contract": None,
        "reasons": {},
        "reason": None,
        "warnings": [],
    }
    assert work.quarantine() == []
    rows = read_rows({"dataset": "wine", "limit": 2}, work.tables)
    assert rows == {"columns": ["id", "x"], "rows": [[1, 0.5], [2, 1.5]], "version": None}


def test_broken_rows_wait_in_quarantine_with_reasons(work: Work) -> None:
    work.push("p1", GOOD)
    outcome = work.push("p2", MIXED)
    assert (outcome["rows_added"], outcome["rows_total"], outcome["rows_quarantined"]) == (2, 5, 4)
    assert outcome["reasons"] == {
        "x is below the minimum 0": 1,
        "id is not an integer": 1,
        "id is in this push before": 1,
        "the row has 3 fields, but the header has 2": 1,
    }
    found = work.quarantine()
    assert [(q["id"], q["row_number"], q["source"]) for q in found] == [
        (f"p2.0.{line}", line, "a.csv") for line in (3, 4, 5, 7)
    ]
    assert found[0]["raw"] == '{"id": "11", "x": "-1"}'
    assert found[0]["reasons"] == ["x = -1 is below the minimum 0"]
    assert found[2]["raw"] == "12,3,4"
    assert json.dumps(found)
    assert work.quarantine(push_id="p1") == []
    assert len(work.quarantine(push_id="p2", limit=2)) == 2


def test_the_same_push_again_changes_nothing(work: Work) -> None:
    first = work.push("p1", MIXED)
    assert work.push("p1", MIXED) == first
    assert work.ids() == [10, 13]
    assert len(work.quarantine()) == 4


def test_a_contract_is_inferred_once_from_all_files(work: Work) -> None:
    inputs = work.inputs("p1", GOOD, contract=None)
    pq.write_table(pa.table({"id": [7, 8], "x": [2.5, 1.0]}), work.root / "b.parquet")
    inputs["files"].append({"path": str(work.root / "b.parquet"), "name": "b.parquet"})
    (work.root / "c.jsonl").write_text('{"x": "1.25", "id": 9}\n{"id": 10}\n')
    inputs["files"].append({"path": str(work.root / "c.jsonl"), "name": "c.jsonl"})
    outcome = ingest(inputs, work.tables)
    assert outcome["contract"]["inferred"] is True
    assert [rule["type"] for rule in outcome["contract"]["columns"]] == ["integer", "number"]
    assert work.ids() == [1, 2, 3, 7, 8, 9, 10]


def test_a_column_that_one_file_lacks_is_nullable(work: Work) -> None:
    inputs = work.inputs("p1", "a,b\n1,2\n", contract=None)
    (work.root / "second.csv").write_text("a\n3\n")
    inputs["files"].append({"path": str(work.root / "second.csv"), "name": "second.csv"})
    outcome = ingest(inputs, work.tables)
    assert (outcome["status"], outcome["rows_added"]) == ("committed", 2)
    assert outcome["warnings"] == ["second.csv lacks 'b': filled with nulls."]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("id;x\n", "header but no rows"),
        ("id,y\n1,2\n", "the contract doesn't know"),
        ("x\n1\n", "lacks the column 'id'"),
    ],
)
def test_a_file_that_can_not_be_used_rejects_the_push(work: Work, content: str, words: str) -> None:
    outcome = work.push("p1", content)
    assert outcome["status"] == "rejected"
    assert words in outcome["reason"]
    assert not work.tables.exists("wine")


def test_a_missing_file_and_a_bad_option_reject_the_push(work: Work) -> None:
    inputs = work.inputs("p1", GOOD)
    assert "no option" in ingest({**inputs, "options": {"delim": ";"}}, work.tables)["reason"]
    Path(inputs["files"][0]["path"]).unlink()
    assert "There is no file a.csv" in ingest(inputs, work.tables)["reason"]


def test_all_rows_broken_rejects_the_push_and_keeps_the_rows(work: Work) -> None:
    outcome = work.push("p1", "id,x\n1,-1\n2,-2\n,3\n")
    assert outcome["status"] == "rejected"
    assert outcome["rows_quarantined"] == 3
    assert "All 3 rows break the contract" in outcome["reason"]
    assert "x is below the minimum 0 (2 times)" in outcome["reason"]
    assert len(work.quarantine()) == 3
    assert not work.tables.exists("wine")


def test_a_type_that_the_table_can_not_take_rejects_the_push(work: Work) -> None:
    work.push("p1", GOOD)
    changed = Contract((ColumnRule("id", ColumnType.STRING), CONTRACT.columns[1]))
    outcome = work.push("p2", "id,x\na,1\n", contract=changed)
    assert "Column 'id' holds string" in outcome["reason"]


def test_a_wider_contract_adds_its_column(work: Work) -> None:
    work.push("p1", GOOD)
    wider = Contract((*CONTRACT.columns, ColumnRule("color", ColumnType.STRING)))
    assert work.push("p2", "id,x,color\n9,1,red\n", contract=wider)["rows_total"] == 4
    assert work.tables.read("wine").column("color").to_pylist() == [None, None, None, "red"]


def test_uniqueness_holds_across_pushes(work: Work) -> None:
    work.push("p1", GOOD)
    assert work.push("p2", "id,x\n3,1\n4,1\n")["reasons"] == {"id is in the dataset already": 1}
    assert work.push("p2", "id,x\n3,1\n4,1\n")["rows_added"] == 1
    assert work.ids() == [1, 2, 3, 4]


def test_release_appends_what_passes_now_and_only_once(work: Work) -> None:
    work.push("p1", MIXED)
    refused = work.release("r1")
    assert refused["status"] == "rejected"
    assert "No row could be released" in refused["reason"]
    looser = Contract((CONTRACT.columns[0], ColumnRule("x", ColumnType.NUMBER)))
    outcome = work.release("r2", looser)
    assert (outcome["status"], outcome["rows_added"], outcome["rows_total"]) == ("committed", 1, 3)
    assert outcome["reasons"]["id is in the dataset already"] == 1
    assert work.release("r2", looser)["rows_total"] == 3
    assert work.release("r3", looser)["status"] == "rejected"
    assert work.ids() == [10, 11, 13]
    assert [q["row_number"] for q in work.quarantine()] == [4, 5, 7]


def test_forced_release_asks_for_types_only(work: Work) -> None:
    work.push("p1", MIXED)
    outcome = work.release("r1", force=True)
    assert outcome["rows_added"] == 2
    assert work.ids() == [10, 10, 11, 13]
    assert work.release("r2", force=True)["rows_added"] == 0


def test_release_of_chosen_rows(work: Work) -> None:
    work.push("p1", MIXED)
    work.push("p2", "id,x\n20,-1\n21,-2\n22,1\n")
    assert work.release("r1", push="p2", force=True)["rows_added"] == 2
    assert work.release("r2", rows=["p1.0.3", "nothing"], force=True)["rows_added"] == 1
    assert work.ids() == [10, 11, 13, 20, 21, 22]


def test_release_of_nothing(work: Work) -> None:
    assert "has no contract yet" in work.release("r1", contract=None)["reason"]
    assert "waits in quarantine" in work.release("r1")["reason"]


def test_two_releases_of_one_row_append_it_once(work: Work) -> None:
    work.push("p1", MIXED)
    # What a rival leaves that claimed the row first and died before its append.
    claim = pa.table({"id": ["p1.0.3"], "push_id": ["r1"]})
    work.tables.append("wine.released", claim, key="r1")
    work.tables.append("wine.released", pa.table({"id": ["p1.0.3"], "push_id": ["r2"]}), key="r2")
    assert work.release("r2", force=True)["status"] == "rejected"
    assert work.release("r1", force=True)["rows_added"] == 1
    assert work.ids() == [10, 11, 13]


def test_a_full_disk_is_no_verdict(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    inputs = work.inputs("p1", "id,x\n" + "".join(f"{i},{i % 100}\n" for i in range(100_000)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(ResourceExhausted):
            ingest(inputs, work.tables)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ingest(inputs, work.tables)["rows_added"] == 100_000


DIE = """
import json, sys
from pathlib import Path
from volant.adapters.delta.tables import DeltaTables
from volant.data import ingest as module
inputs = json.loads(sys.argv[2])
getattr(module, sys.argv[3])(inputs, DeltaTables(Path(sys.argv[1])))
"""


def die(work: Work, inputs: dict[str, Any], point: str, action: str = "ingest") -> int:
    arguments = [str(work.root / "tables"), json.dumps(inputs), action]
    environment = {**os.environ, "VOLANT_CRASH_AT": point}
    return subprocess.run(
        [sys.executable, "-c", DIE, *arguments], env=environment, check=False
    ).returncode


@pytest.mark.parametrize("point", ["ingest.quarantined", "ingest.appended"])
def test_death_at_every_point_loses_and_doubles_nothing(work: Work, point: str) -> None:
    work.push("p0", GOOD)
    inputs = work.inputs("p1", MIXED)
    assert die(work, inputs, point) == -9
    assert len(work.quarantine()) == 4
    assert work.ids() == ([1, 2, 3] if point == "ingest.quarantined" else [1, 2, 3, 10, 13])
    outcome = ingest(inputs, work.tables)
    assert (outcome["rows_added"], outcome["rows_total"], outcome["rows_quarantined"]) == (2, 5, 4)
    assert work.ids() == [1, 2, 3, 10, 13]
    assert len(work.quarantine()) == 4


def test_death_in_a_release(work: Work) -> None:
    work.push("p1", MIXED)
    inputs = {
        "push_id": "r1",
        "dataset": "wine",
        "contract": to_plain(CONTRACT),
        "options": {"force": True},
    }
    assert die(work, inputs, "ingest.appended", "release") == -9
    assert release(inputs, work.tables)["rows_added"] == 2
    assert work.ids() == [10, 10, 11, 13]
