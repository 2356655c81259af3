"""Tables as Delta Lake tables in folders of one root, through delta-rs.

An append is two steps. First its rows become one Parquet file whose name nobody
knows; then one commit names that file and, as a Delta application transaction, the
append's key. A process that dies in between leaves an unnamed file, which the next
append of the same key sweeps away. The commit is made at exactly one version number
(delta-rs is told not to rebase it), so the number can be stored with the key and be
returned when the same key comes again. Losing the race for a number costs a reload
of the log, not a rewrite of the rows.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions

from volant.adapters.delta.conform import conform, delta_ready, new_fields
from volant.adapters.delta.failures import full_disk, is_full_disk, unreadable, unwritable
from volant.adapters.delta.retention import newest, trim
from volant.durable import sync
from volant.errors import InvalidInput, NotFound, Unavailable

_NAME = re.compile(r"(predictions/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,126}")
_ATTEMPTS = 200  # lost races before an append gives up; each takes milliseconds
_LOG = "_delta_log"
# A dataset version must stay readable for as long as its number is known.
_CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}


@dataclass(frozen=True, slots=True)
class _Part:
    """A Parquet file that no commit names yet."""

    path: Path
    schema: pa.Schema
    rows: int

    def action(self) -> AddAction:
        facts = self.path.stat()
        return AddAction(
            path=self.path.name,
            size=facts.st_size,
            partition_values={},
            modification_time=int(facts.st_mtime * 1000),
            data_change=True,
            stats=f'{{"numRecords":{self.rows}}}',
        )


class DeltaTables:
    """`Tables` over delta-rs; safe for any number of processes on one file system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def append(self, table: str, rows: pa.Table, *, key: str) -> int:
        """Commit `rows` under `key`; see `Tables.append`.

        A column that the table lacks is added (older rows read null there), a column
        that `rows` lacks reads null. Whole numbers fit a column of floats; any other
        difference in type raises `InvalidInput`. Raises `ResourceExhausted` when the
        disk is full, and then nothing of `rows` stays on it.
        """
        path = self._path(table)
        rows = delta_ready(rows)
        part: _Part | None = None
        try:
            for attempt in range(_ATTEMPTS):
                opened = _open(path, table)
                done = None if opened is None else opened.transaction_version(key)
                if done is None:
                    fitted = rows if opened is None else conform(rows, _schema(opened), table)
                    if part is None or part.schema != fitted.schema:
                        _discard(part)
                        part = _stage(path, key, fitted)
                    done = _commit(path, table, opened, part, key)
                if done is not None:
                    _sweep(path, table, key)
                    part = None
                    return done
                if attempt:
                    time.sleep(random.uniform(0, 0.02))  # noqa: S311 - spreads rivals in time
            raise Unavailable(
                f"Table {table!r} was changed by others {_ATTEMPTS} times in a row.",
                "Try again when fewer processes write to it.",
                code="table_contended",
            )
        except OSError as error:
            # A rival that committed this key first may have swept our file away.
            done = self.version_of(table, key)
            if done is None:
                raise unwritable(table, error) from error
            return done
        finally:
            _discard(part)

    def read(
        self,
        table: str,
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """Rows in the order they were appended; see `Tables.read`."""
        path = self._path(table)
        opened = _opened(path, table, version)
        try:
            dataset = _in_order(opened, path)
            if missing := [name for name in columns or () if name not in dataset.schema.names]:
                raise NotFound(
                    f"Table {table!r} has no column {missing[0]!r}.",
                    f"Its columns are: {', '.join(dataset.schema.names)}.",
                )
            wanted = None if columns is None else list(columns)
            if limit is None:
                return dataset.to_table(columns=wanted)
            return dataset.head(limit, columns=wanted)
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise unreadable(table, error) from error

    def version_of(self, table: str, key: str) -> int | None:
        """The version that `append` with this `key` made, or None."""
        opened = _open(self._path(table), table)
        return None if opened is None else opened.transaction_version(key)

    def exists(self, table: str) -> bool:
        """Whether anything was ever appended."""
        return _open(self._path(table), table) is not None

    def scan(self, table: str, *, version: int | None = None, rows: int) -> Iterator[pa.Table]:
        """Rows in pieces; see `Tables.scan`."""
        path = self._path(table)
        opened = _opened(path, table, version)
        try:
            dataset = _in_order(opened, path)
            for batch in dataset.to_batches(
                batch_size=rows, batch_readahead=2, fragment_readahead=1
            ):
                if batch.num_rows:
                    yield pa.Table.from_batches([batch])
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise unreadable(table, error) from error

    def newest(
        self, table: str, limit: int, *, since: datetime | None = None, column: str = "time"
    ) -> pa.Table:
        """The last rows; see `Tables.newest`."""
        path = self._path(table)
        opened = _open(path, table)
        if opened is None:
            raise NotFound(
                f"There is no table {table!r}.", "Push data to it first, or check the name."
            )
        try:
            return newest(_in_order(opened, path), limit, since, column)
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise unreadable(table, error) from error

    def trim(self, table: str, max_bytes: int) -> int:
        """Forget the oldest appends; see `Tables.trim`."""
        path = self._path(table)
        opened = _open(path, table)
        if opened is None:
            return 0
        try:
            return trim(opened, path, max_bytes)
        except (DeltaError, OSError) as error:
            raise unwritable(table, error) from error

    def _path(self, table: str) -> Path:
        if not _NAME.fullmatch(table):
            raise InvalidInput(
                f"{table!r} can't name a table.",
                "Use 1 to 127 letters, digits, '_', '-' and '.', a letter or digit first.",
            )
        path = self._root.absolute() / table
        if "%" in str(path):  # delta-rs decodes such a path twice and loses the table
            raise InvalidInput(
                f"Tables can't lie in {str(self._root)!r}: a '%' in the path isn't supported.",
                "Choose a folder whose path has no '%'.",
            )
        return path


def _opened(path: Path, table: str, version: int | None) -> DeltaTable:
    """As `_open`; raises `NotFound` when there is none."""
    opened = _open(path, table, version)
    if opened is None:
        raise NotFound(f"There is no table {table!r}.", "Push data to it first, or check the name.")
    return opened


def _open(path: Path, table: str, version: int | None = None) -> DeltaTable | None:
    """The table at `path`; None when there is none. Raises `NotFound` for a version that isn't."""
    log = path / _LOG
    if not (log / f"{0:020}.json").exists() and not (log / "_last_checkpoint").exists():
        return None
    try:
        newest = DeltaTable(path.as_uri())
        if version is None or version == newest.version():
            return newest
        if not 0 <= version <= newest.version():
            raise NotFound(
                f"Table {table!r} has no version {version}.",
                f"Its newest is {newest.version()}.",
                details={"version": version, "newest": newest.version()},
            )
        newest.load_as_version(version)
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise unreadable(table, error) from error
    return newest


def _schema(opened: DeltaTable) -> pa.Schema:
    return pa.schema(opened.schema().to_arrow())


def _in_order(opened: DeltaTable, path: Path) -> pads.FileSystemDataset:
    """The table's files as a dataset, oldest first: the log keeps no order of its own.

    Arrow reads them through its own file system. Through delta-rs's, which is Python,
    a reading thread that outlives the interpreter by a moment aborts the process.
    """
    files = pafs.SubTreeFileSystem(str(path), pafs.LocalFileSystem())
    dataset: Any = opened.to_pyarrow_dataset(filesystem=files)
    actions = pa.table(opened.get_add_actions(flatten=True)).to_pydict()
    times = dict(zip(actions["path"], actions["modification_time"], strict=True))
    fragments = sorted(dataset.get_fragments(), key=lambda one: (times[one.path], one.path))
    return pads.FileSystemDataset(fragments, dataset.schema, dataset.format, dataset.filesystem)


def _stage(path: Path, key: str, rows: pa.Table) -> _Part:
    (path / _LOG).mkdir(parents=True, exist_ok=True)
    file = path / f"part-{_mark(key)}-{uuid.uuid4().hex}.parquet"
    part = _Part(file, rows.schema, rows.num_rows)
    texts = [field.name for field in rows.schema if pa.types.is_string(field.type)]
    try:
        # Dictionaries pay for text; for numbers they cost time and save little.
        pq.write_table(rows, file, use_dictionary=texts or False)  # pyright: ignore[reportArgumentType]
        sync(file)
        sync(path)
    except BaseException:
        _discard(part)
        raise
    return part


def _commit(path: Path, table: str, opened: DeltaTable | None, part: _Part, key: str) -> int | None:
    """Try once; returns the version, or None when another process came first."""
    version = 0 if opened is None else opened.version() + 1
    try:
        if opened is None:
            create_table_with_add_actions(
                path.as_uri(),
                Schema.from_arrow(part.schema),
                [part.action()],
                configuration=_CONFIGURATION,
                commit_properties=_properties(key, 0),
            )
        elif fields := new_fields(part.schema, _schema(opened)):
            opened.alter.add_columns(list(Schema.from_arrow(pa.schema(fields)).fields))
            return None  # now it is another table: look again
        else:
            opened.create_write_transaction(
                [part.action()],
                "append",
                opened.schema(),
                commit_properties=_properties(key, version),
            )
    except (DeltaError, OSError) as error:
        return _settle(path, table, key, error)
    sync(path / _LOG / f"{version:020}.json")
    sync(path / _LOG)
    return version


def _settle(path: Path, table: str, key: str, error: Exception) -> int | None:
    """After a failed commit: a failure behind the commit (a checkpoint, say) is none."""
    again = _open(path, table)
    done = None if again is None else again.transaction_version(key)
    if done is not None:
        return done
    if is_full_disk(error):
        _sweep_log(path)
        raise full_disk(table, error)
    if isinstance(error, CommitFailedError) or "already exists" in str(error):
        return None
    raise unwritable(table, error)


def _properties(key: str, version: int) -> CommitProperties:
    # Without retries delta-rs commits at `version` or fails; it never moves on to the next.
    return CommitProperties(
        max_commit_retries=0, app_transactions=[Transaction(key, version, _now_ms())]
    )


def _now_ms() -> int:
    return int(time.time() * 1000)


def _mark(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _sweep(path: Path, table: str, key: str) -> None:
    """Remove the files of this key that no commit names: our own, if a rival committed
    first, and what dead processes left. The key is committed, so a live process that
    still holds such a file can only find that out and give up."""
    files = list(path.glob(f"part-{_mark(key)}-*.parquet"))
    if len(files) < 2:
        return
    opened = _open(path, table)
    if opened is None:
        return
    named = set(pa.table(opened.get_add_actions(flatten=True)).column("path").to_pylist())
    for file in files:
        if file.name not in named:
            file.unlink(missing_ok=True)


def _sweep_log(path: Path) -> None:
    """Remove empty temporary files that a full disk left in the log."""
    for file in (path / _LOG).iterdir():
        if not file.name.endswith((".json", ".parquet", ".crc", "_last_checkpoint")):
            file.unlink(missing_ok=True)


def _discard(part: _Part | None) -> None:
    if part is not None:
        part.path.unlink(missing_ok=True)
