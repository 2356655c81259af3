"""Counters in shared memory: their arithmetic, their rows, and what a crash leaves."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.serving import counter_map
from volant.serving.board import Board, Place
from volant.serving.boards import Boards
from volant.serving.counters import Counters
from volant.serving.latency import BOUNDS_US, BUCKETS, percentile_us
from volant.serving.snapshot import Snapshot, added


def one(board: Board, revision: int = 1) -> Snapshot:
    return next(s for s in board.read()[1] if s.revision == revision)


def opened(place: Place | None) -> Counters:
    assert place is not None
    counters = Counters.of(place.message())
    assert counters.shared
    return counters


def test_counters_bounds_grow_by_less_than_a_fifth():
    assert len(set(BOUNDS_US)) == len(BOUNDS_US) == BUCKETS - 1
    ratios = np.array(BOUNDS_US[8:]) / np.array(BOUNDS_US[7:-1])
    assert ratios.max() <= 1.2


@given(
    st.lists(st.integers(0, 200_000_000), min_size=1, max_size=300),
    st.sampled_from([0.0, 0.01, 0.5, 0.95, 0.99, 1.0]),
)
def test_counters_percentiles_are_within_the_bucket_of_the_true_one(micros, share):
    counters = Counters.private()
    for value in micros:
        counters.answered(200, value / 1e6, 0, 0)
    (snapshot,) = counters.snapshots()[1]
    stored = [int(value / 1e6 * 1e6) for value in micros]
    true = float(np.quantile(stored, share, method="inverted_cdf"))
    place = int(np.searchsorted(BOUNDS_US, true))
    low = BOUNDS_US[place - 1] if place else 0
    high = BOUNDS_US[place] if place < len(BOUNDS_US) else float("inf")
    assert low <= percentile_us(snapshot.latency, share) <= high


def test_counters_no_requests_have_no_percentile():
    assert Snapshot().p99_ms is None
    assert Snapshot().error_rate == 0.0


def test_counters_classes_and_windows():
    board = Board()
    counters = opened(board.assign(1, 7))
    counters.answered(200, 0.002, 100, 50)
    counters.answered(404, 5.0, 10, 20)
    before = one(board)
    counters.answered(200, 0.004, 1, 1)
    counters.answered(500, 0.004, 1, 1)
    counters.predicted(2, 6, 0.003)
    now = one(board)
    assert (now.version, now.replicas) == (7, 1)
    assert (now.requests, now.answered, now.refused, now.errors) == (4, 3, 1, 1)
    assert (now.bytes_in, now.bytes_out, now.rows, now.batches) == (112, 72, 6, 1)
    assert now.predict_us == 6000
    assert sum(now.predict) == 2
    window = now.since(before)
    assert (window.requests, window.errors, window.error_rate) == (2, 1, 0.5)
    assert 3.3 < window.p50_ms < 4.8
    assert window.rps == pytest.approx(2 / window.seconds)
    assert now.since(None).requests == 4
    assert before.since(now).requests == 2  # they began anew


def test_counters_a_row_is_merged_and_used_again():
    board = Board()
    for _ in range(3):
        place = board.assign(1, 1)
        assert place.slot == 0
        counters = opened(place)
        for _ in range(10):
            counters.answered(200, 0.001, 1, 1)
        counters.set(counter_map.IN_FLIGHT, 4)
        board.release(place)
        board.release(place)  # twice does nothing
    other = opened(board.assign(2, 2))
    other.answered(500, 0.001, 0, 0)
    first, second = board.read()[1]
    assert (first.requests, first.replicas, first.in_flight) == (30, 0, 0)
    assert (second.requests, second.errors, second.replicas) == (1, 1, 1)
    assert added(board.read()[1]).requests == 31


def test_counters_rows_run_out_and_the_replica_counts_for_itself():
    board = Board()
    places = [board.assign(1, 1) for _ in range(counter_map.REPLICAS)]
    assert len({place.slot for place in places}) == counter_map.REPLICAS
    assert board.assign(1, 1) is None
    private = Counters.of(None)
    private.answered(200, 0.001, 0, 0)
    assert not private.shared
    assert private.snapshots()[1][0].requests == 1


def test_counters_many_revisions_keep_the_sum():
    board = Board()
    for revision in range(1, 300):
        place = board.assign(revision, revision)
        opened(place).answered(200, 0.001, 0, 0)
        board.release(place)
    found = board.read()[1]
    assert sum(s.requests for s in found) == 299
    assert found[-1].revision == 299
    assert found[0].revision == 0  # the oldest
    assert found[0].requests == 299 - (len(found) - 1)


def test_counters_what_the_live_one_tells_of_others_is_theirs():
    board = Board()
    place = board.assign(1, 1)
    live, canary = opened(place), opened(board.assign(2, 2))
    live.forwarded(2)
    live.unreached(2)
    live.shadowed(3, differs=True)
    live.shadowed(3, differs=False)
    live.dropped(3)
    canary.answered(200, 0.001, 0, 0)
    for _ in range(2):  # before and after the merge
        first, second, third = board.read()[1]
        assert (first.requests, first.errors) == (0, 0)
        assert (second.requests, second.errors, second.forwarded) == (2, 1, 1)
        assert (third.shadowed, third.differed, third.dropped, third.requests) == (2, 1, 1, 0)
        board.release(place)


def test_counters_copies_are_nobodys_requests_but_are_judged():
    board = Board()
    shadow = opened(board.assign(2, 2))
    shadow.copied(200, 0.001)
    shadow.copied(500, 0.1)
    shadow.copied(400, 0.1)
    found = one(board, 2)
    assert (found.requests, found.errors, found.p99_ms) == (0, 0, None)
    judged = found.judged()
    assert (judged.requests, judged.errors, judged.refused) == (3, 1, 1)
    assert judged.p99_ms > 80


def test_counters_requests_that_no_replica_answered_are_errors():
    board = Board()
    board.lose(1, 7, 3)  # none could be started
    place = board.assign(1, 7)
    own = opened(place)
    own.lost()  # its client gave up
    own.set(counter_map.IN_FLIGHT, 2)
    assert (one(board).requests, one(board).errors) == (4, 4)
    board.release(place, cut=True)  # it was killed with two
    found = one(board)
    assert (found.version, found.requests, found.errors, found.lost) == (7, 6, 6, 6)
    assert found.since(None).errors == 6


def test_counters_what_waits_is_seen_from_outside_until_it_is_done():
    board = Board()
    place = board.assign(1, 1)
    own = opened(place)
    first = own.waits(time.perf_counter() - 40)
    assert own.waits(time.perf_counter() - 5)
    older, younger = sorted(one(board).waiting, reverse=True)
    assert older > 40 > younger > 5
    assert len(added(board.read()[1]).waiting) == 2
    own.done(first)
    assert len(one(board).waiting) == 1
    board.release(place)  # its replica is gone, and so are they
    assert one(board).waiting == ()


def test_counters_more_that_wait_than_are_remembered_do_no_harm():
    board = Board()
    own = opened(board.assign(1, 1))
    places = [own.waits(1.0) for _ in range(100)]
    remembered = len(one(board).waiting)
    assert 0 < remembered == len(set(places) - {0})
    for place in places:
        own.done(place)
    assert one(board).waiting == ()
    assert one(board).requests == 0


def test_counters_the_pulse_changes_with_whatever_is_counted():
    """Who asks again only when it has changed misses nothing."""
    board = Board()
    own = opened(board.assign(1, 1))
    acts = [
        lambda: own.answered(200, 0.001, 3, 5),
        lambda: own.answered(400, 0.001, 3, 5),
        lambda: own.copied(200, 0.001),
        lambda: own.copied(400, 0.001),
        lambda: own.forwarded(2),
        lambda: own.unreached(2),
        lambda: own.shadowed(2, differs=False),
        lambda: own.dropped(2),
        own.lost,
        lambda: board.lose(1, 1, 1),
        lambda: board.add(counter_map.COLD_STARTS),
        lambda: board.release(board.assign(1, 1)),
    ]
    seen = [board.pulse()]
    for act in acts:
        act()
        seen.append(board.pulse())
    assert len(set(seen)) == len(seen)
    assert board.pulse() == seen[-1]


WRITER = """
import sys
from volant.serving.counters import Counters
counters = Counters.of({"path": sys.argv[1], "slot": int(sys.argv[2])})
assert counters.shared
count = 0
while True:
    counters.answered(200, 0.001, 3, 5)
    count += 1
    if count % 1000 == 0:
        print(count, flush=True)
"""


def test_counters_a_killed_writer_loses_nothing():
    board = Board()
    place = board.assign(1, 1)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, place.path, str(place.slot)], stdout=subprocess.PIPE
    )
    told = 0
    while told < 50_000:
        told = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    told = max([told, *map(int, writer.communicate()[0].split())])
    board.release(place)
    found = one(board)
    assert found.requests >= told
    assert found.bytes_in in (3 * found.requests, 3 * (found.requests - 1))
    assert found.latency_us in (1000 * found.requests, 1000 * (found.requests - 1))


def test_counters_readers_never_see_half_a_merge():
    board = Board()
    stop = threading.Event()
    wrong: list[int] = []
    total = [0]

    def read() -> None:
        while not stop.is_set():
            least = total[0]
            seen = sum(s.requests for s in board.read()[1])
            if seen < least:
                wrong.append(seen - least)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(150):
        place = board.assign(1, 1)
        opened(place).answered(200, 0.001, 0, 0)
        total[0] += 1
        board.release(place)
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong


def test_counters_of_another_layout_or_no_map_are_private(tmp_path):
    for content in (b"", b"short", bytes(counter_map.SIZE), os.urandom(counter_map.SIZE)):
        path = tmp_path / "map"
        path.write_bytes(content)
        assert not Counters.of({"path": str(path), "slot": 0}).shared
    assert not Counters.of({"path": str(tmp_path / "none"), "slot": 0}).shared


def kept_by(folder, requests: int = 5) -> None:
    boards = Boards(folder)
    place = boards.place("d", 1, 4)
    counters = opened(place)
    for _ in range(requests):
        counters.answered(200, 0.001, 0, 0)
    boards.free("d", place)
    boards.cold_start("d", 0.25)
    boards.end("d", keep=True)


def test_counters_totals_survive_an_orderly_end_once(tmp_path):
    kept_by(tmp_path)
    boards = Boards(tmp_path)
    boards.place("d", 1, 4)
    own, (found,) = boards.read("d")
    assert (found.requests, found.version, found.replicas) == (5, 4, 1)
    assert (own["cold_starts"], own["last_cold_us"], own["starts"]) == (1, 250_000, 2)
    # The file is gone while it runs: after a crash it begins at zero, not at an old total.
    assert not list(tmp_path.iterdir())
    boards.end("d", keep=False)
    assert boards.read("d") == ({}, [])


@pytest.mark.parametrize("spoil", ["layout", "short", "rows", "empty"])
def test_counters_a_spoilt_file_of_totals_is_left_out(tmp_path, spoil):
    kept_by(tmp_path)
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    if spoil == "layout":
        data[8:16] = (counter_map.LAYOUT + 1).to_bytes(8, "little")
    file.write_bytes({"short": data[:-3], "rows": data[:-800], "empty": b""}.get(spoil, data))
    boards = Boards(tmp_path)
    boards.place("d", 1, 4)
    assert [s.requests for s in boards.read("d")[1]] == [0]


def test_counters_take_memory_only_for_what_is_used():
    board = Board()
    opened(board.assign(1, 1)).answered(200, 0.001, 0, 0)
    board.read()
    board.pulse()
    used = os.fstat(board._fd).st_blocks * 512
    assert used <= 16 * mmap.PAGESIZE


def test_counters_pulse_changes_with_every_request():
    board = Board()
    counters = opened(board.assign(1, 1))
    before = board.pulse()
    assert board.pulse() == before
    counters.answered(200, 0.001, 1, 1)
    assert board.pulse() != before
