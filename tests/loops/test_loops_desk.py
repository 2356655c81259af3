from __future__ import annotations

import base64
import io
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from volant.adapters.system import SortableIds
from volant.domain.contract import ColumnRule, ColumnType, Contract
from volant.domain.dataset import Dataset, DatasetVersion, Push, PushStatus
from volant.domain.event import DATASET_COMMITTED, LOOP_APPLIED, LOOP_DELETED, Event
from volant.errors import Conflict, InvalidInput, NotFound, Unavailable
from volant.loops.code import content_hash
from volant.loops.code import store as store_code
from volant.loops.desk import LoopDesk
from volant.store.records import Store

SOURCE = "kind: Loop\nname: wine-quality\ndata: {dataset: wine, target: quality}\n"
CALLED = SOURCE + 'train: {call: "train:fit"}\n'
CONTRACT = """\
kind: Loop
name: wine-quality
data:
  dataset: wine
  target: quality
  contract: {columns: {quality: {type: TYPE, nullable: false}, color: {type: string}}}
"""


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(store: Store, tmp_path: Path, clock: Clock) -> LoopDesk:
    return LoopDesk(
        loops=store.loops,
        datasets=store.datasets,
        triggers=store.triggers,
        code_root=tmp_path / "code",
        clock=clock,
        ids=SortableIds(),
        next_at=lambda _cron, after: after + timedelta(hours=1),
    )


def folder(source: str = "def fit(x):\n    return x\n") -> bytes:
    """The archive of a folder that holds train.py and a package, as a client packs it."""
    return archive(("train.py", source), ("pkg/__init__.py", ""), ("pkg/data.json", "{}"))


def archive(*files: tuple[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, text in files:
            info = tarfile.TarInfo(name)
            info.size = len(text)
            info.mtime = time.time()
            packed.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def test_applying_stores_loop_triggers_dataset_and_event(desk: LoopDesk, store: Store) -> None:
    loop = desk.apply(SOURCE + 'triggers: [data, {cron: "0 2 * * *"}]\n')
    assert loop.generation == 1
    assert desk.get("wine-quality") == loop
    assert list(desk.list()) == [loop]
    assert store.datasets.get("wine").contract is None
    data, cron = sorted(store.triggers.list("wine-quality"), key=lambda t: -len(t.kind + t.id))[
        ::-1
    ]
    kinds = {trigger.kind: trigger for trigger in (data, cron)}
    assert kinds["data"].dataset == "wine"
    assert kinds["cron"].next_at == datetime(2026, 3, 1, 13, 0, tzinfo=UTC)
    (event,) = store.events.pending(10)
    assert (event.type, event.subject) == (LOOP_APPLIED, "loop/wine-quality")
    assert event.data["generation"] == 1


def test_the_same_again_changes_nothing(desk: LoopDesk, store: Store, clock: Clock) -> None:
    first = desk.apply(SOURCE)
    clock.time += timedelta(days=1)
    assert desk.apply(SOURCE) == first
    assert len(store.events.pending(10)) == 1


def test_a_change_counts_the_generation_up(desk: LoopDesk, clock: Clock) -> None:
    desk.apply(SOURCE)
    clock.time += timedelta(days=1)
    changed = desk.apply(SOURCE + "deploy: {replicas: {max: 2}}\n")
    assert changed.generation == 2
    assert changed.updated_at == clock.time
    assert changed.created_at < clock.time


def test_a_schedule_keeps_its_time_when_the_loop_changes(
    desk: LoopDesk, store: Store, clock: Clock
) -> None:
    cron = 'triggers: [{cron: "0 2 * * *"}]\n'
    desk.apply(SOURCE + cron)
    clock.time += timedelta(hours=5)  # due at 13:00, not fired yet
    desk.apply(SOURCE + cron + "description: changed\n")
    (trigger,) = store.triggers.list("wine-quality")
    assert trigger.next_at == datetime(2026, 3, 1, 13, 0, tzinfo=UTC)


def test_the_address_must_name_the_same_loop(desk: LoopDesk) -> None:
    with pytest.raises(InvalidInput, match="applied as 'other'"):
        desk.apply(SOURCE, name="other")


def test_an_unknown_loop_gets_the_nearest_name(desk: LoopDesk) -> None:
    with pytest.raises(NotFound) as caught:
        desk.get("wine-quality")
    assert "volant apply" in caught.value.fix
    desk.apply(SOURCE)
    with pytest.raises(NotFound) as caught:
        desk.get("wine-qualty")
    assert caught.value.fix == "Did you mean wine-quality?"


def test_deleting(desk: LoopDesk, store: Store) -> None:
    desk.apply(SOURCE)
    desk.delete("wine-quality")
    assert desk.list() == []
    assert store.triggers.list() == []
    assert [e.type for e in store.events.pending(10)] == [LOOP_APPLIED, LOOP_DELETED]
    with pytest.raises(NotFound):
        desk.delete("wine-quality")


def test_planning_changes_nothing(desk: LoopDesk, store: Store, tmp_path: Path) -> None:
    plan = desk.plan(SOURCE)
    assert plan["creates"] is True
    assert plan["loop"] == "wine-quality"
    assert {"path": "data.target", "before": None, "after": "quality"} in plan["changes"]
    assert [step["name"] for step in plan["workflow"]["steps"]] == [
        "split",
        "train",
        "evaluate",
        "register",
        "deploy",
    ]
    assert desk.list() == []
    assert store.datasets.list() == []
    assert not (tmp_path / "code").exists()


def test_a_plan_tells_what_differs(desk: LoopDesk) -> None:
    desk.apply(SOURCE)
    assert desk.plan(SOURCE)["changes"] == []
    plan = desk.plan(
        SOURCE + "train: {automl: {budget: 2m}}\ngate: {thresholds: {rmse: {max: 0.7}}}\n"
    )
    assert plan["creates"] is False
    assert plan["changes"] == [
        {"path": "train.automl.budget", "before": "30s", "after": "2m"},
        {"path": "gate.thresholds.rmse.max", "before": None, "after": 0.7},
    ]


# -- the dataset it names ---------------------------------------------------


def fill(store: Store, contract: Contract) -> None:
    """A dataset with one committed version of 3 rows."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    store.datasets.create(Dataset("wine", contract, now))
    store.pushes.create(Push("push-1", "wine", "test", ("a.csv",), PushStatus.RECEIVED, now))
    version = DatasetVersion("wine", 1, 0, 3, 3, 0, "push-1", now)
    event = Event("evt-1", DATASET_COMMITTED, "test", "dataset/wine", now)
    store.pushes.commit("push-1", version, None, event)


STORED = Contract(
    (
        ColumnRule("quality", ColumnType.INTEGER, nullable=False),
        ColumnRule("color", ColumnType.STRING),
        ColumnRule("sugar", ColumnType.NUMBER),
    ),
    inferred=True,
)


def test_a_declared_contract_reaches_the_dataset(desk: LoopDesk, store: Store) -> None:
    desk.apply(CONTRACT.replace("TYPE", "integer"))
    contract = store.datasets.get("wine").contract
    assert contract is not None
    assert contract.inferred is False
    assert contract.columns[0] == ColumnRule("quality", ColumnType.INTEGER, nullable=False)
    desk.apply(CONTRACT.replace("TYPE", "number"))  # no rows yet: free to change
    contract = store.datasets.get("wine").contract
    assert contract is not None
    assert contract.columns[0].type is ColumnType.NUMBER


def test_an_inferred_contract_stays_without_a_declared_one(desk: LoopDesk, store: Store) -> None:
    fill(store, STORED)
    desk.apply(SOURCE)
    assert store.datasets.get("wine").contract == STORED


def test_a_contract_may_not_change_the_type_of_stored_rows(desk: LoopDesk, store: Store) -> None:
    fill(store, STORED)
    for verb in (desk.plan, desk.apply):
        with pytest.raises(Conflict) as caught:
            verb(CONTRACT.replace("TYPE", "string"))
        assert "'quality' a string" in caught.value.what
        assert "type: integer" in caught.value.fix
    assert desk.list() == []


def test_a_stricter_or_narrower_contract_warns(desk: LoopDesk, store: Store) -> None:
    fill(store, STORED)
    source = CONTRACT.replace("TYPE", "integer").replace(
        "color: {type: string}", "color: {type: string, values: [red]}, age: {type: integer}"
    )
    warned = desk.plan(source)["warnings"]
    assert [w.split("'")[1] for w in warned] == ["color", "age", "sugar"]
    desk.apply(source)
    (applied,) = [e for e in store.events.pending(10) if e.type == LOOP_APPLIED]
    assert list(applied.data["warnings"]) == warned


def test_a_target_that_the_dataset_lacks_is_refused(desk: LoopDesk, store: Store) -> None:
    fill(store, STORED)
    with pytest.raises(InvalidInput) as caught:
        desk.apply(SOURCE.replace("target: quality", "target: qualty"))
    assert caught.value.fix == "Did you mean quality?"


def test_two_loops_may_share_a_dataset_and_are_warned_of_two_contracts(
    desk: LoopDesk, store: Store
) -> None:
    desk.apply(CONTRACT.replace("TYPE", "integer"))
    other = CONTRACT.replace("TYPE", "number").replace("name: wine-quality", "name: wine-other")
    assert "wine-quality declares another contract" in desk.plan(other)["warnings"][0]
    desk.apply(other)
    assert len(store.triggers.for_dataset("wine")) == 2


# -- the user's own code ----------------------------------------------------


def test_a_callable_needs_its_code(desk: LoopDesk) -> None:
    with pytest.raises(InvalidInput) as caught:
        desk.apply(CALLED)
    assert caught.value.fix == "Run volant apply from the folder that holds train.py."


def test_code_is_kept_by_its_content(desk: LoopDesk, tmp_path: Path) -> None:
    first = desk.apply(CALLED, folder())
    assert first.code_dir == str(tmp_path / "code" / "wine-quality" / str(first.code_hash))
    assert (Path(first.code_dir) / "train.py").read_text().startswith("def fit")
    assert desk.apply(CALLED, folder()) == first
    changed = folder("def fit(x):\n    return 2 * x\n")
    assert desk.plan(CALLED, changed)["changes"][0]["path"] == "code"
    second = desk.apply(CALLED, changed)
    assert second.generation == 2
    assert second.code_hash != first.code_hash
    assert Path(first.code_dir).is_dir()  # runs of the first generation still need it
    assert sorted(p.name for p in (tmp_path / "code" / "wine-quality").iterdir()) == sorted(
        [str(first.code_hash), str(second.code_hash)]
    )


def test_code_without_a_callable_is_not_kept(desk: LoopDesk, tmp_path: Path) -> None:
    assert desk.apply(SOURCE, folder()).code_hash is None
    assert not (tmp_path / "code").exists()


@pytest.mark.parametrize(
    ("call", "what", "fix"),
    [
        ("trian:fit", "trian.py isn't in the folder", "Did you mean train:fit?"),
        ("pkg:fit", "pkg/__init__.py defines no fit", "Define fit in pkg/__init__.py."),
        ("train:fti", "train.py defines no fti", "Did you mean train:fit?"),
        ("train:zzz", "train.py defines no zzz", "Define zzz in train.py."),
    ],
)
def test_a_callable_that_is_not_in_the_code(desk: LoopDesk, call: str, what: str, fix: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        desk.apply(CALLED.replace("train:fit", call), folder())
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_broken_python_is_told_with_its_line(desk: LoopDesk) -> None:
    with pytest.raises(InvalidInput, match=r"train.py isn't Python .*line 2"):
        desk.apply(CALLED, folder("x = 1\ndef fit(:\n"))


@pytest.mark.parametrize(
    "source",
    ["from os import path as fit\n", "from os import *\n", "fit = print\n", "class fit: ...\n"],
)
def test_a_callable_may_be_bound_in_any_way(desk: LoopDesk, source: str) -> None:
    assert desk.apply(CALLED, folder(source)).code_hash


def tarball(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        train = tarfile.TarInfo("train.py")
        train.size = 11
        archive.addfile(train, io.BytesIO(b"fit = print"))
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    ("info", "what"),
    [
        (member("/etc/cron.d/x"), "leaves its folder"),
        (member("../x.py"), "leaves its folder"),
        (member("a/../../x.py"), "leaves its folder"),
        (member("../x", tarfile.DIRTYPE), "leaves its folder"),
        (member("x", tarfile.SYMTYPE, "/etc/passwd"), "link or no plain file"),
        (member("x", tarfile.LNKTYPE, "train.py"), "link or no plain file"),
        (member("x", tarfile.CHRTYPE), "link or no plain file"),
        (member("x", tarfile.FIFOTYPE), "link or no plain file"),
        (member("train.py"), "twice"),
        (member("./train.py"), "twice"),
        (member("train.py/x"), "as a file and as a folder"),
        (member("a\nb"), "can't be a file's"),
    ],
)
def test_archives_that_reach_out_are_refused(
    desk: LoopDesk, tmp_path: Path, info: tarfile.TarInfo, what: str
) -> None:
    with pytest.raises(InvalidInput, match=what):
        desk.apply(CALLED, tarball((info, b"")))
    assert not (tmp_path / "code").exists()
    assert desk.list() == []


@pytest.mark.parametrize(
    "code",
    [b"", b"text", base64.b64encode(b"x" * 99), tarball()[:-20], tarball()[:60]],
    ids=["empty", "text", "base64", "cut short", "only the beginning"],
)
def test_broken_archives_are_refused(desk: LoopDesk, code: bytes) -> None:
    with pytest.raises(InvalidInput):
        desk.apply(CALLED, code)


def test_an_archive_that_unfolds_without_end_is_refused(desk: LoopDesk) -> None:
    with pytest.raises(InvalidInput) as caught:
        desk.apply(CALLED, tarball((member("zeros.py"), bytes(100 * 2**20))))
    assert caught.value.error_code == "loop.code_too_large"


def test_an_archive_of_countless_files_is_refused(desk: LoopDesk) -> None:
    code = tarball(*((member(f"f{i}"), b"") for i in range(5_001)))
    with pytest.raises(InvalidInput) as caught:
        desk.apply(CALLED, code)
    assert caught.value.error_code == "loop.code_too_large"


def test_code_that_cannot_be_kept_is_told(desk: LoopDesk, tmp_path: Path) -> None:
    (tmp_path / "code").write_text("no folder")
    with pytest.raises(Unavailable, match="can't be written"):
        desk.apply(CALLED, folder())
    assert desk.list() == []


def test_many_applying_the_same_code_keep_it_once(tmp_path: Path) -> None:
    files = {f"pkg/f{i}.py": b"x = 1\n" for i in range(20)}
    target = tmp_path / "loop" / content_hash(files)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store_code(files, target), range(16)))
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert len(list((target / "pkg").iterdir())) == 20


def test_dying_before_the_loop_is_stored_is_completed_by_applying_again(
    desk: LoopDesk, store: Store
) -> None:
    source = CONTRACT.replace("TYPE", "integer") + 'train: {call: "train:fit"}\n'
    code = folder()
    loops = store.loops
    desk._loops = replace_apply(loops)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(KeyboardInterrupt):
        desk.apply(source, code)
    desk._loops = loops  # pyright: ignore[reportPrivateUsage]
    assert desk.list() == []
    assert desk.apply(source, code).generation == 1
    assert replace(store.datasets.get("wine")).contract is not None


def replace_apply(loops: object) -> object:
    """The real records, but the process ends where it would store the loop."""

    class Dying:
        def __getattr__(self, name: str) -> object:
            if name == "apply":
                raise KeyboardInterrupt
            return getattr(loops, name)

    return Dying()
