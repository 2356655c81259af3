"""A log that is turned over while it is written and read."""

from __future__ import annotations

import json
import os

from volant.serving.log_files import OLD, after, parsed, reopen, rotate, tail


def write(path, *lines):
    with path.open("ab") as file:
        file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def test_log_is_turned_over_and_the_oldest_goes(tmp_path):
    path = tmp_path / "d.log"
    assert not rotate(path, 10)
    for number in range(OLD + 3):
        path.write_text(f"{number} {'x' * 20}\n")
        assert rotate(path, 10)
        assert not path.exists()
    kept = sorted(p.name for p in tmp_path.iterdir())
    assert kept == [f"d.log.{n}" for n in range(1, OLD + 1)]
    assert (tmp_path / "d.log.1").read_text().startswith(str(OLD + 2))


def test_log_writer_follows_its_path_and_loses_nothing(tmp_path):
    path = tmp_path / "d.log"
    out = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    also = os.dup(out)
    assert not reopen(path, out, also)
    os.write(out, b'{"n": 1}\n')
    rotate(path, 1)
    os.write(out, b'{"n": 2}\n')  # not looked yet: it goes to the renamed one
    assert reopen(path, out, also)
    os.write(also, b'{"n": 3}\n')
    assert not reopen(path, out, also)
    lines, _ = tail(path, 10)
    assert [line["n"] for line in lines] == [1, 2, 3]
    os.close(out)
    os.close(also)


def test_log_reader_goes_on_over_a_turn(tmp_path):
    path = tmp_path / "d.log"
    write(path, *({"n": n} for n in range(5)))
    lines, place = tail(path, 2)
    assert [line["n"] for line in lines] == [3, 4]
    assert after(path, place) == ([], place)
    write(path, {"n": 5})
    rotate(path, 1)
    with (tmp_path / "d.log.1").open("ab") as late:
        late.write(b'{"n": 6}\n')
    write(path, {"n": 7}, {"n": 8})
    seen = []
    while True:
        lines, place = after(path, place, most=2)
        if not lines:
            break
        assert len(lines) <= 2
        seen += [line["n"] for line in lines]
    assert seen == [5, 6, 7, 8]


def test_log_half_a_line_waits_for_its_end(tmp_path):
    path = tmp_path / "d.log"
    path.write_bytes(b'{"n": 1}\n{"n":')
    lines, place = tail(path, 10)
    assert [line["n"] for line in lines] == [1]
    with path.open("ab") as file:
        file.write(b" 2}\n")
    assert after(path, place)[0] == [{"n": 2}]


def test_log_strange_lines_and_places(tmp_path):
    path = tmp_path / "d.log"
    assert tail(path, 5) == ([], "0:0")
    assert after(path, "0:0") == ([], "0:0")
    path.write_bytes(b"Fatal Python error\n[1]\n{broken\n\xff\xfe\n")
    lines, _ = tail(path, 10)
    assert lines[0] == {"text": "Fatal Python error"}
    assert all(set(line) == {"text"} for line in lines)
    for place in ("", "::", "x:y", "1:99", "-1:-1"):
        assert len(after(path, place)[0]) == 4
    assert parsed(b'{"a": 1}') == {"a": 1}


def test_log_tail_of_a_long_file_reads_its_end_only(tmp_path):
    path = tmp_path / "d.log"
    write(path, *({"n": n, "pad": "x" * 200} for n in range(3000)))
    lines, place = tail(path, 700)
    assert [line["n"] for line in lines] == list(range(2300, 3000))
    assert after(path, place)[0] == []
