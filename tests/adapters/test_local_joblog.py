from __future__ import annotations

import json
import os

from hypothesis import example, given
from hypothesis import strategies as st

from volant.adapters.local.joblog import JobLog, LineSplitter
from volant.adapters.system import SystemClock


def split(pieces: list[bytes], limit: int = 64 * 1024) -> list[str]:
    splitter = LineSplitter(limit)
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    return lines + list(splitter.close())


@given(st.binary(), st.lists(st.integers(0, 40)))
@example(b"a\xc3", [1])
def test_pieces_dont_matter(data: bytes, cuts: list[int]) -> None:
    pieces: list[bytes] = []
    rest = data
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    assert split([*pieces, rest]) == split([data])


@given(st.lists(st.text(st.characters(exclude_characters="\n\r", codec="utf-8"))))
def test_text_comes_back(lines: list[str]) -> None:
    assert split(["".join(f"{line}\n" for line in lines).encode()]) == lines
    assert split(["".join(f"{line}\r\n" for line in lines).encode()]) == lines


@given(st.binary(min_size=1), st.integers(1, 8))
def test_no_line_is_longer_than_its_limit(data: bytes, limit: int) -> None:
    for whole, line in zip(data.split(b"\n"), split([data], limit), strict=False):
        if len(whole) > limit:
            assert line.endswith(f"… ({len(whole) - limit} bytes more)")
        else:
            assert line == whole.decode(errors="replace").removesuffix("\r")


def test_half_a_line_of_an_earlier_life_is_ended(tmp_path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"time": "x", "te')
    log = JobLog(path, SystemClock())
    log.feed("stdout", b"hello\nwor")
    log.close()
    lines = path.read_bytes().split(b"\n")
    assert lines[0] == b'{"time": "x", "te'
    assert [json.loads(line)["text"] for line in lines[1:-1]] == ["hello", "wor"]


def test_full_disk_doesnt_end_the_job(tmp_path) -> None:
    log = JobLog(tmp_path / "log.jsonl", SystemClock())
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, log._fd)
    os.close(full)
    log.feed("stderr", b"one\ntwo\n")
    assert list(log.tail) == ["one", "two"]
    log.close()


def test_what_is_masked_is_never_written(tmp_path) -> None:
    path = tmp_path / "log.jsonl"
    log = JobLog(path, SystemClock(), mask=("hunter2-and-more", "hunter2"))
    log.feed("stdout", b"dsn pg://u:hun")
    log.feed("stdout", b"ter2@h\nhunter2-and-more")
    log.note("no luck with hunter2")
    log.close()
    rows = [json.loads(line)["text"] for line in path.read_text().splitlines()]
    assert rows == ["dsn pg://u:***@h", "no luck with ***", "***"]
    assert list(log.tail) == rows
