"""What replicas log: nothing that was answered is lost, whatever becomes of them."""

import fcntl
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from volant.serving import log_folder
from volant.serving.log_format import FRAME, MAGIC, frame, read_segment
from volant.serving.prediction_log import LogOrder, PredictionLog

sys.path.insert(0, str(Path(__file__).parents[1] / "harness"))
import small_disk


@dataclass
class Asked:
    id: str | None = None
    rows: int = 1
    caller: str = "10.0.0.1"
    asked: float = 0.0
    copy: bool = False


def fresh(rows: int = 1, **more) -> Asked:
    return Asked(rows=rows, asked=time.perf_counter(), **more)


def log_in(folder: Path, **more) -> PredictionLog:
    said: list[dict] = []
    log = PredictionLog(LogOrder(folder, **more), {"deployment": "d"}, said.append)
    log.said = said
    return log


def batches(folder: Path) -> list:
    found = []
    for path in (*log_folder.sealed(folder), *log_folder.live(folder)):
        found += read_segment(path.read_bytes())[1]
    return found


def ids(folder: Path) -> list[str]:
    return [each for batch in batches(folder) for each in batch.ids]


def test_a_batch_comes_back_as_it_went(tmp_path):
    log = log_in(tmp_path)
    texts = np.array([["a"], [None], ["ü"], [b"\xff"]], dtype=object)
    numbers = np.arange(8, dtype=np.float32).reshape(4, 2)
    asked = [fresh(1, id="one"), fresh(3, caller="token:abc")]
    log.answered(asked, [numbers, texts], [np.array([1, 2, 3, 4])])
    log.answered([fresh()], [numbers[:1], texts[:1]], (), 400)
    log.close()
    first, second = batches(tmp_path)
    assert (first.ids, first.rows, first.status) == (["one", None], [1, 3], 200)
    assert first.callers == ["10.0.0.1", "token:abc"]
    assert 0 <= first.latencies[0] < 10_000
    assert abs(first.time - time.time()) < 60
    np.testing.assert_array_equal(first.feeds[0], numbers)
    assert first.feeds[1].ravel().tolist()[:3] == ["a", None, "ü"]
    assert first.outputs[0].tolist() == [1, 2, 3, 4]
    assert (second.status, second.outputs) == (400, ())


MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3)
FEEDS = {
    "one each column": [np.full(4, k, np.float32) for k in range(30)],
    "columns of a matrix": list(MATRIX.T),
    "of the same size, not the same type": [MATRIX[:, 0], np.arange(4, dtype=np.int32)],
    "of the same size, not the same shape": [np.zeros((2, 2)), np.zeros(4)],
    "texts": [np.array(["a", "b"], dtype=object), np.array(["c", "d"], dtype=object)],
    "one": [MATRIX],
    "no rows": [np.zeros(0), np.zeros(0)],
}


@pytest.mark.parametrize("name", FEEDS)
def test_feeds_come_back_as_they_went(tmp_path, name):
    feeds = FEEDS[name]
    log = log_in(tmp_path)
    log.answered([fresh(4)], feeds, [MATRIX])
    log.close()
    (batch,) = batches(tmp_path)
    assert [each.dtype for each in batch.feeds] == [each.dtype for each in feeds]
    for found, given in zip(batch.feeds, feeds, strict=True):
        np.testing.assert_array_equal(found, given)
    np.testing.assert_array_equal(batch.outputs[0], MATRIX)


def test_what_was_being_written_at_the_end_is_left_out(tmp_path):
    log = log_in(tmp_path)
    for number in range(3):
        log.answered([fresh(id=str(number))], [np.ones((1, 2))], [np.ones(1)])
    log.close()
    whole = log_folder.sealed(tmp_path)[0].read_bytes()
    ends = [len(MAGIC)]
    while ends[-1] < len(whole):
        ends.append(ends[-1] + FRAME.size + FRAME.unpack_from(whole, ends[-1])[0])
    for cut in range(ends[-2], len(whole)):
        torn = whole[:cut] + bytes(len(whole) - cut)
        found = [i for batch in read_segment(torn)[1] for i in batch.ids]
        assert found in (["0", "1"], ["0", "1", "2"])
        assert (len(found) == 3) == (torn == whole)


def test_a_file_that_is_no_segment_is_told():
    with pytest.raises(ValueError):
        read_segment(b"something else")
    with pytest.raises(ValueError):
        read_segment(MAGIC + frame(b"\x02not the first"))


def test_segments_rotate_when_full_and_with_time(tmp_path):
    log = log_in(tmp_path, segment_bytes=8192, rotate_s=0.05)
    for number in range(100):
        log.answered([fresh(id=str(number))], [np.ones((1, 40))], [np.ones(1)])
    assert len(log_folder.sealed(tmp_path)) > 3
    assert all(p.stat().st_size <= 8192 for p in log_folder.sealed(tmp_path))
    time.sleep(0.06)
    log.tick()
    assert not log_folder.live(tmp_path)
    assert ids(tmp_path) == [str(n) for n in range(100)]
    log.answered([fresh(id="large")], [np.ones((1, 10_000))], [np.ones(1)])
    log.close()
    assert ids(tmp_path)[-1] == "large"


def test_a_sample_is_whole_requests(tmp_path):
    log = log_in(tmp_path, sample=0.3)
    for number in range(200):
        asked = [fresh(2, id=f"{number}-{i}") for i in range(5)]
        rows = np.repeat(np.arange(5.0), 2).reshape(10, 1) + 10 * number
        log.answered(asked, [rows], [rows[:, 0]])
    log.close()
    found = 0
    for batch in batches(tmp_path):
        expected = [10 * int(i.split("-")[0]) + int(i.split("-")[1]) for i in batch.ids]
        assert batch.outputs[0].tolist() == np.repeat(expected, 2).tolist()
        assert batch.feeds[0][:, 0].tolist() == np.repeat(expected, 2).tolist()
        found += len(batch.ids)
    assert 200 < found < 400


def test_a_shadows_copies_are_left_out(tmp_path):
    log = log_in(tmp_path)
    rows = np.arange(4.0).reshape(4, 1)
    log.answered([fresh(id="copy", copy=True)], [rows[:1]], [rows[:1, 0]])
    log.answered(
        [fresh(id="a"), fresh(2, id="copy", copy=True), fresh(id="b")], [rows], [rows[:, 0]]
    )
    log.answered([fresh(id="copy", copy=True)], [rows[:1]], (), 500)
    log.close()
    (batch,) = batches(tmp_path)
    assert (batch.ids, batch.outputs[0].tolist()) == (["a", "b"], [0.0, 3.0])
    assert batch.feeds[0].ravel().tolist() == [0.0, 3.0]


def test_what_waits_is_bounded(tmp_path):
    log = log_in(tmp_path, segment_bytes=8192, max_bytes=32_768)
    for number in range(1000):
        log.answered([fresh(id=str(number))], [np.ones((1, 40))], [np.ones(1)])
    log.close()
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 32_768
    kept = ids(tmp_path)
    assert kept == [str(n) for n in range(1000 - len(kept), 1000)]
    assert len(kept) > 30


def test_a_full_disk_switches_the_log_off_and_predictions_go_on(tmp_path):
    with small_disk.mounted(tmp_path / "disk", "1m") as disk:
        log = log_in(disk / "log", segment_bytes=400_000, max_bytes=1 << 30)
        for number in range(500):
            log.answered([fresh(id=str(number))], [np.ones((1, 500))], [np.ones(1)])
        assert log.missed
        assert log.logged + log.missed == 500
        assert [said["prediction_log"] for said in log.said] == ["off"]
        assert ids(disk / "log") == [str(n) for n in range(log.logged)]
        for path in log_folder.sealed(disk / "log"):
            path.unlink()
        log._off_until = 0.0
        log.answered([fresh(id="again")], [np.ones((1, 500))], [np.ones(1)])
        assert log.said[-1]["prediction_log"] == "on"
        log.close()


def test_a_live_segment_is_left_alone_and_a_dead_ones_taken(tmp_path):
    log = log_in(tmp_path)
    log.answered([fresh(id="a")], [np.ones((1, 2))], [np.ones(1)])
    log_folder.take_over(tmp_path)
    assert log_folder.live(tmp_path)
    fcntl.flock(log._segment._file, fcntl.LOCK_UN)  # as the kernel does when it dies
    log_folder.take_over(tmp_path)
    assert not log_folder.live(tmp_path)
    assert ids(tmp_path) == ["a"]


class Clients:
    """Ask with an id of its own each time; keep those that were answered."""

    def __init__(self, wire, replica, name: str, count: int) -> None:
        self.answered: list[str] = []
        self._wire, self._replica, self._name = wire, replica, name
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self, client: int) -> None:
        try:
            with self._replica.connect() as sock:
                for number in range(100_000):
                    given = f"{self._replica.pid}-{client}-{number}"
                    tensor = {
                        "name": "x",
                        "shape": [1, 4],
                        "datatype": "FP32",
                        "data": [1, 2, 3, 4],
                    }
                    raw = self._wire.post(
                        f"/v2/models/{self._name}/infer", {"id": given, "inputs": [tensor]}
                    )
                    status, _, body = self._wire.http(sock, raw)
                    assert status == 200
                    assert json.loads(body)["id"] == given
                    self.answered.append(given)
        except OSError:
            pass

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


def test_a_killed_replica_loses_nothing_that_it_answered(
    start_replica, spec_for, wire, wait_until, tmp_path
):
    """Two replicas in one folder, killed under load at different moments."""
    told = {"dir": str(tmp_path), "segment_bytes": 65_536}
    loads = []
    for _ in range(2):
        replica = start_replica(spec_for("numeric", log=told))
        loads.append((replica, Clients(wire, replica, "numeric", 4)))
    for enough, (replica, clients) in zip((137, 400), loads, strict=True):
        wait_until(lambda c=clients, n=enough: len(c.answered) > n)
        os.kill(replica.pid, signal.SIGKILL)
    for _, clients in loads:
        clients.join()
    wait_until(lambda: log_folder.take_over(tmp_path) or not log_folder.live(tmp_path))
    logged = ids(tmp_path)
    answered = [each for _, clients in loads for each in clients.answered]
    assert len(logged) == len(set(logged))
    assert set(answered) <= set(logged)
    assert len(set(logged) - set(answered)) <= 8  # one a client was under way


def test_logging_is_switched_while_it_serves(start_replica, spec_for, wire, wait_until, tmp_path):
    replica = start_replica(spec_for("numeric"))
    body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}

    def ask(given: str) -> None:
        raw = wire.post("/v2/models/numeric/infer", {"id": given, **body})
        assert wire.http(sock, raw)[0] == 200

    with replica.connect() as sock:
        ask("before")
        replica.tell(type="log", log={"dir": str(tmp_path), "sample": 1.0})
        tries = SimpleNamespace(count=0)

        def logged() -> bool:
            tries.count += 1
            ask(f"on-{tries.count}")
            return bool(log_folder.live(tmp_path))

        wait_until(logged)
        replica.tell(type="log", log=None)
        wait_until(lambda: bool(log_folder.sealed(tmp_path)))
        ask("after")
    found = ids(tmp_path)
    assert found
    assert not {"before", "after"} & set(found)
    assert {caller for batch in batches(tmp_path) for caller in batch.callers} == {"127.0.0.1"}
