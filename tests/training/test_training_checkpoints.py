"""Checkpoints on a real artifact store: whole, proven, two kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from volant.adapters.local.artifacts import LocalArtifacts
from volant.errors import ResourceExhausted
from volant.training import checkpoints as room
from volant.training.checkpoints import Checkpoints, Place, Unsettled, is_draft, stamp
from volant.training.ledger import Attempt, Ledger
from volant.training.writers import being_written


class Desk:
    """One step's checkpoints under a folder of the test's."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "artifacts"
        self.artifacts = LocalArtifacts(self.root)
        self.checkpoints = Checkpoints(self.artifacts)
        self.runs = folder / "runs"
        self.place = self.of("run-1")

    def of(self, run_id: str) -> Place:
        workdir = self.runs / run_id / "train"
        workdir.mkdir(parents=True, exist_ok=True)
        return Place(run_id, "train", workdir)

    def write(self, **files: str) -> None:
        self.place.folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (self.place.folder / name).write_text(text)

    def take(self, **files: str):
        self.write(**files)
        return self.checkpoints.take(self.place, 1, 5.0, time.time())

    def restore(self, place: Place | None = None, before=()):
        return self.checkpoints.restore(place or self.place, before)

    def held(self, place: Place | None = None) -> dict[str, str]:
        folder = (place or self.place).folder
        return {
            path.relative_to(folder).as_posix(): path.read_text()
            for path in folder.rglob("*")
            if path.is_file()
        }

    def stored(self) -> list[str]:
        return sorted(p.name for p in (self.root / "checkpoints/run-1/train").glob("*"))

    def files_of(self, number: int) -> Path:
        return self.root / f"checkpoints/run-1/train/{number:06}"


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_a_step_begins_with_the_newest_checkpoint_and_nothing_else(desk):
    assert desk.restore().checkpoint is None
    assert desk.held() == {}
    desk.take(state="1")
    (desk.place.folder / "deep").mkdir()
    (desk.place.folder / "deep" / "weights").write_text("w")
    made = desk.take(state="2")
    desk.write(state="torn", more="of a dead attempt")
    found = desk.restore().checkpoint
    assert found is not None
    assert (found.number, found.work_s, found.bytes) == (made.number, 5.0, 2)
    assert desk.held() == {"state": "2", "deep/weights": "w"}


def test_without_a_checkpoint_what_a_dead_attempt_left_is_gone(desk):
    desk.write(state="torn")
    desk.restore()
    assert desk.held() == {}


def test_an_empty_folder_is_no_checkpoint(desk):
    desk.restore()
    assert desk.take() is None
    assert Ledger.read(desk.place.workdir).checkpoints == ()


@pytest.mark.parametrize("how", ["altered", "cut", "missing", "added", "gone"])
def test_a_damaged_checkpoint_is_passed_over(desk, how):
    desk.take(state="good")
    desk.take(state="newer")
    stored = desk.files_of(2)
    if how == "gone":
        shutil.rmtree(stored)
    elif how == "missing":
        (stored / "state").rename(stored / "other")
    elif how == "added":
        (stored / ".hidden.tmp").write_text("x")
    else:
        (stored / "state").write_text("never" if how == "altered" else "new")
    restored = desk.restore()
    assert restored.damaged == (2,)
    assert restored.checkpoint.number == 1
    assert desk.held() == {"state": "good"}
    assert desk.restore().damaged == ()  # it was forgotten
    assert desk.take(state="third").number == 3
    assert desk.restore().checkpoint.number == 3


def test_with_every_checkpoint_damaged_a_step_begins_anew(desk):
    for number in (1, 2):
        desk.take(state=str(number))
        (desk.files_of(number) / "state").write_text("x")
    restored = desk.restore()
    assert restored.checkpoint is None
    assert restored.damaged == (2, 1)
    assert desk.held() == {}


def test_a_ledger_that_cant_be_read_knows_no_checkpoint_and_numbers_go_on(desk):
    desk.take(state="1")
    (desk.place.control / "ledger.json").write_text('{"checkpoints": [')
    assert desk.restore().checkpoint is None
    made = desk.take(state="2")
    assert made.number == 2  # number 1 is somebody's files
    assert desk.restore().checkpoint.number == 2


def test_the_newest_two_are_kept(desk):
    for number in range(1, 6):
        desk.take(state=str(number))
    assert desk.stored() == ["000004", "000005"]
    assert [c.number for c in Ledger.read(desk.place.workdir).checkpoints] == [4, 5]


def test_drafts_are_no_part_of_a_checkpoint(desk):
    desk.restore()
    (desk.place.folder / "epoch.tmp").mkdir()
    (desk.place.folder / "epoch.tmp" / "weights").write_text("half")
    (desk.place.folder / ".hidden").write_text("x")
    (desk.place.folder / "state.partial").write_text("half")
    assert stamp(desk.place.folder) == ()
    assert desk.take() is None
    (desk.place.folder / "epoch.tmp").rename(desk.place.folder / "epoch")
    desk.take()
    desk.restore()
    assert desk.held() == {"epoch/weights": "half"}
    assert [is_draft(name) for name in ("a", "a.tmp", "a.partial", ".a", "tmp")] == [
        *(False, True, True, True, False)
    ]


def test_relative_links_inside_come_back_and_others_dont(desk):
    desk.write(state="1")
    (desk.place.folder / "latest").symlink_to("state")
    (desk.place.folder / "out").symlink_to("../../../secret")
    (desk.place.folder / "absolute").symlink_to(desk.place.folder / "state")
    desk.take()
    desk.restore()
    assert (desk.place.folder / "latest").readlink() == Path("state")
    assert not os.path.lexists(desk.place.folder / "out")
    assert not os.path.lexists(desk.place.folder / "absolute")


def test_a_file_that_is_being_written_is_seen(tmp_path):
    path = tmp_path / "state"
    path.write_text("1")
    assert not being_written(path)
    with path.open("a"):
        assert being_written(path)
        with path.open():
            assert being_written(path)
    assert not being_written(path)
    writer = subprocess.Popen(
        [sys.executable, "-c", f"f = open({str(path)!r}, 'a'); print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    writer.stdout.readline()
    assert being_written(path)
    writer.communicate(b"\n")
    assert not being_written(path)
    with pytest.raises(FileNotFoundError):
        being_written(tmp_path / "nothing")


def test_looking_doesnt_disturb_who_opens_a_file_to_write(tmp_path):
    """A lease that is broken sends its holder a signal, which must not end it."""
    path = tmp_path / "state"
    path.write_text("1")
    over = threading.Event()

    def write():
        while not over.is_set():
            path.write_text("2")
            time.sleep(0)

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(3000):
        being_written(path)
    over.set()
    thread.join()
    assert not being_written(path)


def test_what_is_being_written_isnt_taken(desk):
    desk.take(state="1")
    with (desk.place.folder / "state").open("a") as file:
        file.write("half")
        with pytest.raises(Unsettled):
            desk.take()
    assert desk.stored() == ["000001"]


def test_what_changes_while_it_is_copied_isnt_taken(desk, monkeypatch):
    desk.write(state="1", other="1")
    put = desk.artifacts.put_tree

    def write_meanwhile(key, source):
        found = put(key, source)
        desk.write(state="changed")
        return found

    monkeypatch.setattr(desk.artifacts, "put_tree", write_meanwhile)
    with pytest.raises(Unsettled):
        desk.take()
    assert desk.stored() == []
    assert Ledger.read(desk.place.workdir).checkpoints == ()
    # A rename in the meantime leaves what was taken as it was.

    def rename_meanwhile(key, source):
        (desk.place.folder / "state.tmp").write_text("next")
        (desk.place.folder / "state.tmp").rename(desk.place.folder / "state")
        return put(key, source)

    monkeypatch.setattr(desk.artifacts, "put_tree", rename_meanwhile)
    desk.take()
    desk.restore()
    assert desk.held() == {"state": "changed", "other": "1"}


def test_a_full_disk_leaves_the_checkpoint_before(desk, monkeypatch):
    desk.take(state="1")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room, "_link", full)
    with pytest.raises(ResourceExhausted):
        desk.take(state="2")
    assert desk.restore().checkpoint.number == 1
    assert desk.held() == {"state": "1"}


def test_a_run_that_repeats_another_goes_on_from_its_checkpoint(desk):
    desk.take(state="of the first run")
    second, third = desk.of("run-2"), desk.of("run-3")
    chain = [second.workdir, desk.place.workdir]
    assert desk.restore(third, chain).checkpoint.number == 1
    assert desk.held(third) == {"state": "of the first run"}
    (third.folder / "state").write_text("own")
    desk.checkpoints.take(third, 1, 1.0, time.time())
    desk.restore(third, chain)
    assert desk.held(third) == {"state": "own"}


def test_a_run_that_ended_well_leaves_only_its_attempts(desk):
    Ledger().begun(Attempt(1, time.time())).write(desk.place.workdir)
    desk.take(state="1")
    other = desk.of("run-2")
    (other.workdir / "checkpoint").mkdir()
    (other.workdir / "checkpoint" / "state").write_text("2")
    desk.checkpoints.take(other, 1, 1.0, time.time())
    for _ in range(2):
        desk.checkpoints.clear("run-1", desk.runs)
        assert not (desk.root / "checkpoints/run-1").exists()
        assert not desk.place.folder.exists()
    ledger = Ledger.read(desk.place.workdir)
    assert (ledger.checkpoints, len(ledger.attempts), ledger.next_number) == ((), 1, 2)
    assert desk.restore(other).checkpoint.number == 1


def test_what_was_spared_is_counted_once_however_often_it_was_gone_on_from():
    ledger = Ledger().begun(Attempt(1, 0.0)).with_last(ended="preempted", took_s=20.0, saved=1)
    assert ledger.summary(3600.0) is None
    ledger = ledger.begun(Attempt(2, 30.0, resumed_from=1, spared_s=15.0))  # nobody saw its end
    ledger = ledger.begun(Attempt(3, 60.0, resumed_from=2, spared_s=25.0))
    ledger = ledger.with_last(ended="succeeded", took_s=10.0)
    told = ledger.summary(1800.0)
    again = ledger.begun(Attempt(4, 75.0, resumed_from=2, spared_s=25.0)).summary()
    assert again["spared_s"] == 25.0
    assert [each["spared_s"] for each in again["attempts"]] == [0.0, 15.0, 25.0, 25.0]
    assert [each["ended"] for each in told["attempts"]] == ["preempted", "vanished", "succeeded"]
    assert (told["preemptions"], told["spared_s"], told["spared_cost"]) == (2, 25.0, 12.5)
    assert "spared_cost" not in ledger.summary()
