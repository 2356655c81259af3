"""Delta tables: the contract of every table, then processes that die, race or fill the disk."""

import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from small_disk import mounted

from volant.adapters.delta.tables import DeltaTables
from volant.errors import InvalidInput, ResourceExhausted, Unavailable
from volant.testing.tables_contract import TablesContract, some_rows


@pytest.fixture
def tables(tmp_path: Path) -> DeltaTables:
    return DeltaTables(tmp_path / "a folder # with ü")


class TestDeltaTables(TablesContract):
    """The shared suite over delta-rs."""


def parts(root: Path, table: str = "wine") -> list[str]:
    return sorted(file.name for file in (root / table).glob("*.parquet"))


def other_process(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    head = """
        import os, signal, sys
        from pathlib import Path
        import pyarrow as pa
        import volant.adapters.delta.tables as module
        tables = module.DeltaTables(Path(sys.argv[1]))
        me = sys.argv[-1]
    """
    text = textwrap.dedent(head) + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", text, *map(str, arguments)])


def test_two_processes_lose_and_double_nothing(tmp_path: Path) -> None:
    code = """
        for i in range(12):
            tables.append("wine", pa.table({"who": [me], "i": [i]}), key=f"{me}{i}")
            tables.append("wine", pa.table({"who": ["both"], "i": [i]}), key=f"both{i}")
    """
    workers = [other_process(code, tmp_path, who) for who in ("a", "b")]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    rows = DeltaTables(tmp_path).read("wine").to_pylist()
    assert sorted((r["who"], r["i"]) for r in rows) == sorted(
        (who, i) for who in ("a", "b", "both") for i in range(12)
    )
    assert len(parts(tmp_path)) == 36
    versions = [DeltaTables(tmp_path).version_of("wine", f"both{i}") for i in range(12)]
    assert len(set(versions)) == 12


def test_two_processes_add_a_column_each(tmp_path: Path) -> None:
    DeltaTables(tmp_path).append("wine", pa.table({"x": [0]}), key="first")
    code = """
        for i in range(4):
            tables.append("wine", pa.table({"x": [1], f"{me}{i}": ["v"]}), key=f"{me}{i}")
    """
    workers = [other_process(code, tmp_path, who) for who in ("a", "b")]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    table = DeltaTables(tmp_path).read("wine")
    assert table.num_rows == 9
    assert len(table.column_names) == 9


def test_death_before_the_commit_leaves_the_table_and_is_swept(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    tables.append("wine", some_rows(), key="k0")
    code = """
        module._commit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        tables.append("wine", pa.table({"id": [9]}), key="k1")
    """
    assert other_process(code, tmp_path).wait(60) == -9
    assert len(parts(tmp_path)) == 2
    assert tables.read("wine").num_rows == 3
    assert tables.append("wine", pa.table({"id": [9]}), key="k1") == 1
    assert len(parts(tmp_path)) == 2
    assert tables.read("wine").num_rows == 4


def test_death_right_after_the_commit_appends_once(tmp_path: Path) -> None:
    code = """
        commit = module._commit
        def die(*arguments):
            commit(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        module._commit = die
        tables.append("wine", pa.table({"id": [9]}), key="k1")
    """
    assert other_process(code, tmp_path).wait(60) == -9
    tables = DeltaTables(tmp_path)
    assert tables.append("wine", pa.table({"id": [9]}), key="k1") == 0
    assert tables.read("wine").num_rows == 1
    assert len(parts(tmp_path)) == 1


def test_keys_outlive_checkpoints(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    for index in range(3):
        tables.append("wine", some_rows(), key=f"k{index}")
    DeltaTable(str(tmp_path / "wine")).create_checkpoint()
    tables.append("wine", some_rows(), key="k3")
    assert [tables.version_of("wine", f"k{i}") for i in range(4)] == [0, 1, 2, 3]
    assert tables.read("wine", version=0).num_rows == 3


def test_a_creation_that_died_half_way_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "wine" / "_delta_log").mkdir(parents=True)
    tables = DeltaTables(tmp_path)
    assert not tables.exists("wine")
    assert tables.append("wine", some_rows(), key="k0") == 0


def test_a_missing_part_is_told(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    tables.append("wine", some_rows(), key="k0")
    next((tmp_path / "wine").glob("*.parquet")).unlink()
    with pytest.raises(Unavailable, match="can't be read"):
        tables.read("wine")


def test_a_broken_log_is_told(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    tables.append("wine", some_rows(), key="k0")
    (tmp_path / "wine" / "_delta_log" / f"{0:020}.json").write_text("not json")
    with pytest.raises(Unavailable, match="can't be read"):
        tables.read("wine")


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "wine").write_text("in the way")
    with pytest.raises(Unavailable, match="can't be written"):
        DeltaTables(tmp_path).append("wine", some_rows(), key="k0")


def test_a_path_that_delta_loses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'%'"):
        DeltaTables(tmp_path / "50%20off").exists("wine")


def test_types_that_delta_lacks_are_stored_as_those_it_has(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    rows = pa.table(
        {
            "d": pa.array(["a", "b"]).dictionary_encode(),
            "u": pa.array([1, 2], pa.uint8()),
            "t": pa.array([0, 1], pa.timestamp("ns")),
            "h": pa.array([0.5, None], pa.float16()),
            "n": pa.nulls(2),
            "l": pa.array(["x", None], pa.large_string()),
        }
    )
    tables.append("odd", rows, key="k")
    read = tables.read("odd")
    assert read.column("d").to_pylist() == ["a", "b"]
    assert read.schema.field("u").type == pa.int64()
    assert read.schema.field("t").type == pa.timestamp("us", tz="UTC")
    assert read.column("n").to_pylist() == [None, None]


@pytest.fixture
def small_disk(tmp_path: Path):
    with mounted(tmp_path / "disk", "1m") as disk:
        yield disk


def leave_free(disk: Path, free: int) -> None:
    """Fill `disk` but for `free` bytes."""
    facts = os.statvfs(disk)
    (disk / "filler").write_bytes(b"\0" * (facts.f_bavail * facts.f_frsize - free))


def many_rows() -> pa.Table:
    return pa.table({"x": [index * 1.1 for index in range(300_000)]})


def test_a_full_disk_leaves_the_table_as_it_was(small_disk: Path) -> None:
    tables = DeltaTables(small_disk)
    tables.append("wine", pa.table({"x": [1.0]}), key="k0")
    before = parts(small_disk)
    with pytest.raises(ResourceExhausted, match="disk is full"):
        tables.append("wine", many_rows(), key="k1")
    with pytest.raises(ResourceExhausted, match="disk is full"):
        tables.append("fresh", many_rows(), key="k1")
    assert parts(small_disk) == before
    assert tables.read("wine").num_rows == 1
    assert not tables.exists("fresh")
    assert parts(small_disk, "fresh") == []
    assert tables.append("wine", pa.table({"x": [2.0]}), key="k2") == 1


@pytest.mark.parametrize("pages", [0, 1, 2, 3])
def test_a_disk_that_is_full_at_any_page_of_an_append(small_disk: Path, pages: int) -> None:
    tables = DeltaTables(small_disk)
    tables.append("wine", pa.table({"x": [1.0]}), key="k0")
    leave_free(small_disk, pages * 4096)
    log = small_disk / "wine" / "_delta_log"
    try:
        assert tables.append("wine", pa.table({"x": [2.0]}), key="k1") == 1
        written = 2
    except ResourceExhausted:
        written = 1
    assert pages > 1 or written == 1
    assert tables.read("wine").num_rows == written
    assert len(parts(small_disk)) == written
    assert len(list(log.iterdir())) == written, list(log.iterdir())
    (small_disk / "filler").unlink()
    assert tables.append("wine", pa.table({"x": [2.0]}), key="k1") == 1
    assert tables.read("wine").column("x").to_pylist() == [1.0, 2.0]


def test_a_limit_on_file_sizes_is_a_full_disk_too(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    tables.append("wine", pa.table({"x": [1.0]}), key="k0")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(ResourceExhausted):
            tables.append("wine", many_rows(), key="k1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(parts(tmp_path)) == 1
    assert tables.read("wine").num_rows == 1
