"""The desk over the real store: uploads, pushes, verdicts, recovery."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from volant.adapters.system import SortableIds, SystemClock
from volant.data.commit import commit_push, verdict_of
from volant.data.desk import RELEASE, DataDesk
from volant.data.staging import Staging, safe_name
from volant.domain.contract import ColumnRule, ColumnType, Contract
from volant.domain.dataset import Dataset, Push, PushStatus
from volant.domain.event import DATASET_COMMITTED, DATASET_REJECTED
from volant.errors import InvalidInput, NotFound, ResourceExhausted
from volant.store import Store, sqlite_url

COMMITTED = {
    "status": "committed",
    "table_version": 4,
    "rows_added": 3,
    "rows_total": 3,
    "rows_quarantined": 1,
    "contract": {"columns": [{"name": "x", "type": "number"}], "inferred": True},
    "reasons": {"x is not a number": 1},
    "reason": None,
    "warnings": [],
}
REJECTED = {**COMMITTED, "status": "rejected", "table_version": None, "reason": "All broken."}


class Place:
    """A desk, its store, and what it started and read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(sqlite_url(root / "volant.db"))
        self.store.migrate()
        self.started: list[tuple[Push, dict[str, Any]]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}
        self.desk = DataDesk(
            self.store.datasets,
            self.store.pushes,
            self.store.versions,
            root / "staging",
            SystemClock(),
            SortableIds(),
            self.start,
            self.read,
        )

    def start(self, push: Push, options: dict[str, Any]) -> str:
        self.started.append((push, options))
        return f"run-{push.id}"

    def read(self, action: str, inputs: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((action, inputs))
        return self.answers[action]

    def upload(self, content: bytes = b"x\n1\n", name: str = "a.csv") -> str:
        return self.desk.upload("wine", name, [content])["id"]

    def commit(self, push_id: str, outputs: dict[str, Any] = COMMITTED) -> dict[str, Any]:
        return commit_push(push_id, outputs, self.store.pushes, SystemClock())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.store.close()


def test_an_upload_is_stored_whole(place: Place) -> None:
    answer = place.desk.upload("wine", "../../etc/a b.csv", iter([b"x,y\n", b"", b"1,2\n"]))
    assert answer["filename"] == "a b.csv"
    assert answer["bytes"] == 8
    assert len(answer["sha256"]) == 64
    folder = place.root / "staging" / answer["id"]
    assert [file.read_bytes() for file in folder.iterdir()] == [b"x,y\n1,2\n"]


def test_an_empty_or_broken_upload_leaves_nothing(place: Place) -> None:
    with pytest.raises(InvalidInput, match="0 bytes"):
        place.desk.upload("wine", "a.csv", [b""])

    def breaking() -> Iterator[bytes]:
        yield b"x\n"
        raise ConnectionResetError("gone")

    with pytest.raises(Exception, match="gone"):
        place.desk.upload("wine", "a.csv", breaking())
    assert list((place.root / "staging").iterdir()) == []


@pytest.mark.parametrize(("first", "then"), [(COMMITTED, REJECTED), (REJECTED, COMMITTED)])
def test_an_ingest_done_again_after_its_verdict_changes_nothing(
    place: Place, first: dict[str, Any], then: dict[str, Any]
) -> None:
    """As after a kill: its files are gone by then, so the second look finds no row."""
    push = place.desk.push("wine", [place.upload()], {})
    assert verdict_of(push) is None
    stored = place.commit(push.id, first)
    again = place.commit(push.id, then)
    told = verdict_of(place.desk.get_push(push.id))
    assert told is not None
    assert told["status"] == again["status"] == first["status"]
    assert told["version"] == again["version"] == stored["version"]


@pytest.mark.parametrize("name", ["", "Wine", "wine/red", "..", "w" * 64, "-w", "wine.released"])
def test_names_that_can_not_be(place: Place, name: str) -> None:
    with pytest.raises(InvalidInput, match="can't name a dataset"):
        place.desk.upload(name, "a.csv", [b"x"])
    with pytest.raises(InvalidInput, match="can't name a dataset"):
        place.desk.push(name, ["upload-1"], {})


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("data.csv", "data.csv"),
        ("C:\\data\\my file (1).csv", "my file (1).csv"),
        (".partial", "partial"),
        ("..", "upload"),
        ("a\n\0b<>.csv", "a__b__.csv"),
        ("größe.csv", "größe.csv"),
        ("x" * 400 + ".parquet", "x" * 192 + ".parquet"),
    ],
)
def test_safe_names(given: str, safe: str) -> None:
    assert safe_name(given) == safe


def test_a_full_disk_refuses_the_upload(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(ResourceExhausted, match="disk is full"):
            Staging(tmp_path).receive("upload-1", "a.csv", [b"x" * 600] * 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_push_is_recorded_and_started(place: Place) -> None:
    uploads = [place.upload(), place.upload(name="b.csv")]
    push = place.desk.push("wine", uploads, {"delimiter": ";"})
    assert push.status is PushStatus.RECEIVED
    assert push.run_id == f"run-{push.id}"
    assert [Path(file).name for file in push.files] == ["a.csv", "b.csv"]
    assert place.started[0][1] == {"delimiter": ";"}
    assert place.desk.get("wine").latest_version is None
    assert place.desk.get_push(push.id).files == push.files
    assert place.desk.rows("wine") == {"columns": [], "rows": [], "version": None}
    assert place.desk.quarantine("wine") == []


def test_the_same_key_is_the_same_push(place: Place) -> None:
    first = place.desk.push("wine", [place.upload()], {}, key="k")
    assert place.desk.push("wine", [place.upload()], {}, key="k").id == first.id
    assert place.desk.push("wine", [place.upload()], {}, key="l").id != first.id
    assert place.desk.push("beer", [place.upload()], {}, key="k").id != first.id
    place.commit(first.id)
    count = len(place.started)
    again = place.desk.push("wine", ["upload-gone"], {}, key="k")
    assert (again.status, again.version) == (PushStatus.COMMITTED, 1)
    assert len(place.started) == count


def test_pushes_that_can_not_be(place: Place) -> None:
    with pytest.raises(InvalidInput, match="without files"):
        place.desk.push("wine", [], {})
    for upload in ("upload-1", "../etc", "pushes", ""):
        with pytest.raises(NotFound):
            place.desk.push("wine", [upload], {})
    with pytest.raises(InvalidInput, match="no option"):
        place.desk.push("wine", [place.upload()], {"sep": ";"})
    with pytest.raises(NotFound):
        place.desk.get("wine")


def test_a_commit_stores_version_contract_and_event_once(place: Place) -> None:
    push = place.desk.push("wine", [place.upload()], {})
    outputs = place.commit(push.id)
    assert (outputs["dataset"], outputs["version"]) == ("wine", 1)
    assert place.commit(push.id) == outputs
    dataset = place.desk.get("wine")
    assert dataset.contract == Contract((ColumnRule("x", ColumnType.NUMBER),), inferred=True)
    assert (dataset.latest_version, dataset.rows, dataset.quarantined) == (1, 3, 1)
    events = place.store.events.pending(10)
    assert [(e.id, e.type, e.subject) for e in events] == [
        (f"evt-{push.id}", DATASET_COMMITTED, "dataset/wine")
    ]
    assert events[0].data == {
        "dataset": "wine",
        "version": 1,
        "table_version": 4,
        "push_id": push.id,
        "rows_added": 3,
        "rows_total": 3,
        "rows_quarantined": 1,
    }
    versions, _ = place.desk.versions("wine")
    assert [version.push_id for version in versions] == [push.id]


def test_a_rejection_stores_reason_and_event_once(place: Place) -> None:
    push = place.desk.push("wine", [place.upload()], {})
    assert place.commit(push.id, REJECTED)["version"] is None
    place.commit(push.id, REJECTED)
    stored = place.desk.get_push(push.id)
    assert (stored.status, stored.reason) == (PushStatus.REJECTED, "All broken.")
    [event] = place.store.events.pending(10)
    assert event.type == DATASET_REJECTED
    assert event.data["reason"] == "All broken."


def test_rows_and_quarantine_ask_a_step_process(place: Place) -> None:
    push = place.desk.push("wine", [place.upload()], {})
    place.commit(push.id)
    place.answers["read_rows"] = {"columns": ["x"], "rows": [[1.0]], "version": 4}
    place.answers["read_quarantine"] = {"items": [{"id": "q"}]}
    assert place.desk.rows("wine", limit=7) == {"columns": ["x"], "rows": [[1.0]], "version": 1}
    assert place.desk.quarantine("wine", push.id, 5) == [{"id": "q"}]
    assert place.asked == [
        ("read_rows", {"dataset": "wine", "table_version": 4, "limit": 7}),
        ("read_quarantine", {"dataset": "wine", "push_id": push.id, "limit": 5}),
    ]
    for call in (
        lambda: place.desk.rows("wine", 9),
        lambda: place.desk.rows("beer"),
        lambda: place.desk.quarantine("beer"),
        lambda: place.desk.quarantine("wine", "push-0"),
        lambda: place.desk.versions("beer"),
        lambda: place.desk.pushes("beer"),
    ):
        with pytest.raises(NotFound):
            call()


def test_a_release_is_a_push_of_its_own(place: Place) -> None:
    push = place.desk.push("wine", [place.upload()], {})
    release = place.desk.release("wine", push.id, ["a", "b"], True)
    assert (release.source, release.files) == (RELEASE, ())
    assert place.started[-1][1] == {"push": push.id, "rows": ["a", "b"], "force": True}
    with pytest.raises(NotFound):
        place.desk.release("beer")
    with pytest.raises(NotFound):
        place.desk.release("wine", "push-0")


def test_recover_starts_what_waits_and_cleans_up(place: Place) -> None:
    done = place.desk.push("wine", [place.upload()], {})
    place.commit(done.id)
    waiting = place.desk.push("wine", [place.upload()], {"encoding": "latin-1"})
    refused = place.desk.push("wine", [place.upload()], {})
    place.commit(refused.id, REJECTED)
    place.started.clear()
    assert [push.id for push in place.desk.recover()] == [waiting.id]
    assert place.started[0][1] == {"encoding": "latin-1"}
    assert not Path(done.files[0]).exists()
    assert Path(waiting.files[0]).exists()
    assert Path(refused.files[0]).exists()


def test_recover_reaches_beyond_one_page(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volant.data.desk._PAGE", 2)
    pushes = [place.desk.push("wine", [place.upload()], {}) for _ in range(5)]
    assert {push.id for push in place.desk.recover()} == {push.id for push in pushes}


DIE = """
import sys
from pathlib import Path
from volant.adapters.system import SortableIds, SystemClock
from volant.data.desk import DataDesk
from volant.store import Store, sqlite_url
root = Path(sys.argv[1])
store = Store(sqlite_url(root / "volant.db"))
desk = DataDesk(store.datasets, store.pushes, store.versions, root / "staging",
                SystemClock(), SortableIds(), lambda push, options: "run", lambda *_: {})
desk.push("wine", [sys.argv[2]], {"delimiter": ";"}, key="k")
"""


@pytest.mark.parametrize("point", ["push.staged", "push.recorded"])
def test_death_between_staging_and_start(place: Place, point: str) -> None:
    upload = place.upload()
    code = subprocess.run(
        [sys.executable, "-c", DIE, str(place.root), upload],
        env={**os.environ, "VOLANT_CRASH_AT": point},
        check=False,
    ).returncode
    assert code == -9
    recovered = place.desk.recover()
    assert len(recovered) == (1 if point == "push.recorded" else 0)
    push = place.desk.push("wine", [upload], {"delimiter": ";"}, key="k")
    assert {started[0].id for started in place.started} == {push.id}
    assert all(options == {"delimiter": ";"} for _, options in place.started)
    assert len(place.desk.pushes("wine")[0]) == 1


def test_the_desk_imports_nothing_heavy() -> None:
    code = (
        "import sys, volant.data.desk, volant.data.commit;"
        "print([m for m in ('numpy', 'pyarrow', 'deltalake', 'orjson') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


def test_a_dataset_made_by_a_contract_shows_its_columns(place: Place) -> None:
    contract = Contract((ColumnRule("x", ColumnType.NUMBER),))
    place.store.datasets.create(Dataset("wine", contract, datetime(2030, 1, 1, tzinfo=UTC)))
    assert place.desk.rows("wine")["columns"] == ["x"]
    assert [dataset.name for dataset in place.desk.list()] == ["wine"]
