"""The data room's desk in the control plane: uploads, pushes, and questions about them.

Nothing here reads a row: that is the work of step processes, which `start` and `read`
reach.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from volant.data.options import file_options
from volant.data.staging import Staging
from volant.domain.dataset import Dataset, DatasetVersion, Push, PushStatus, run_id_of
from volant.errors import InvalidInput, NotFound, ResourceExhausted, Unavailable
from volant.faults import crash_point
from volant.ports.clock import Clock, Ids
from volant.ports.records import DatasetRecords, PushRecords, VersionRecords

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
LOGGED = "predictions"  # the `source` of a push that a deployment's log makes
RELEASE = "release"  # the `source` of a push that takes rows out of quarantine

_PAGE = 200

log = logging.getLogger(__name__)


class DataDesk:
    """What the edges ask of datasets.

    Args:
        datasets: Stored datasets.
        pushes: Stored pushes.
        versions: Stored dataset versions.
        staging: The folder for uploads.
        clock: The time.
        ids: New identifiers.
        start: Starts the run that works a push off, and returns its id; the same push
            again starts nothing and returns the same id. The options are the file
            options, or for a push whose source is `RELEASE` {push, rows, force}.
        read: Runs a reading action in a step process and returns its outputs.
        expect: Told the dataset as soon as an upload for it begins: a push will follow.
    """

    def __init__(  # noqa: PLR0917 - bound once, in this order
        self,
        datasets: DatasetRecords,
        pushes: PushRecords,
        versions: VersionRecords,
        staging: Path,
        clock: Clock,
        ids: Ids,
        start: Callable[[Push, dict[str, Any]], str],
        read: Callable[[str, dict[str, Any]], Mapping[str, Any]],
        expect: Callable[[str], object] = str,
    ) -> None:
        self._datasets = datasets
        self._pushes = pushes
        self._versions = versions
        self._staging = Staging(staging)
        self._clock = clock
        self._ids = ids
        self._start = start
        self._read = read
        self._expect = expect
        self._waiting: dict[str, Push] = {}

    def upload(self, dataset: str, filename: str, chunks: Iterable[bytes]) -> dict[str, Any]:
        """Store one file: {id, filename, bytes, sha256}.

        Raises `InvalidInput` for a bad dataset name or an empty file, and
        `ResourceExhausted` on a full disk; nothing of it stays then.
        """
        check_dataset_name(dataset)
        self._expect(dataset)
        return self._staging.receive(self._ids.new("upload"), filename, chunks)

    def push(
        self,
        dataset: str,
        upload_ids: Sequence[str],
        options: Mapping[str, Any] | None = None,
        key: str | None = None,
        source: str = "http",
    ) -> Push:
        """Deliver uploaded files; the dataset is made on its first push.

        The same `key` again is the same push: it is returned as it stands and nothing
        is delivered twice. Raises `InvalidInput` for a bad name or option and `NotFound`
        for an unknown upload.
        """
        check_dataset_name(dataset)
        if not upload_ids:
            raise InvalidInput("A push without files has no rows.", "Name at least one upload.")
        file_options(options)
        push_id = self._push_id(dataset, key)
        if key is not None and (known := self._known(push_id)) is not None:
            return self._begin(known)
        files = tuple(str(self._staging.file_of(one)) for one in dict.fromkeys(upload_ids))
        return self._record(push_id, dataset, source, files, dict(options or {}))

    def release(
        self,
        name: str,
        push: str | None = None,
        rows: Sequence[str] | None = None,
        force: bool = False,
    ) -> Push:
        """Check quarantined rows again (of one push, or by id, or all) and append those
        that pass, as a push of its own; with `force` all whose values fit their types."""
        self._datasets.get(name)
        if push is not None:
            self._pushes.get(push)
        options = {"push": push, "rows": None if rows is None else list(rows), "force": force}
        return self._record(self._ids.new("push"), name, RELEASE, (), options)

    def recover(self) -> list[Push]:
        """Start what a crash left recorded and not started; call it when the platform starts.

        Every push that waits for its verdict is started again, which does nothing where
        its run exists. Uploads of committed pushes are removed.
        """
        started: list[Push] = []
        for dataset in self._datasets.list():
            before: str | None = None
            if "/" in dataset.name:  # a log's: who makes its pushes looks after them
                continue
            while True:
                page, before = self._pushes.page(dataset.name, _PAGE, before)
                for push in page:
                    if push.status is PushStatus.RECEIVED:
                        started.append(self._begin(push))
                    elif push.status is PushStatus.COMMITTED:
                        self._staging.drop(push.id, push.files)
                if before is None:
                    break
        return started

    def start_waiting(self) -> None:
        """Start the pushes whose run couldn't be stored, for a full disk or a locked
        database, if it can be now."""
        for push in list(self._waiting.values()):
            try:
                self._begin(push)
            except (Unavailable, ResourceExhausted):
                return
            self._waiting.pop(push.id, None)

    def settled(self, push_id: str) -> None:
        """Remove what a committed push left in staging; its rows are in the table."""
        push = self._pushes.get(push_id)
        self._staging.drop(push.id, push.files)

    def get_push(self, push_id: str) -> Push:
        return self._pushes.get(push_id)

    def pushes(
        self, dataset: str, limit: int = 50, before: str | None = None
    ) -> tuple[Sequence[Push], str | None]:
        self._datasets.get(dataset)
        return self._pushes.page(dataset, limit, before)

    def list(self) -> Sequence[Dataset]:
        return self._datasets.list()

    def get(self, name: str) -> Dataset:
        return self._datasets.get(name)

    def versions(
        self, name: str, limit: int = 50, before: str | None = None
    ) -> tuple[Sequence[DatasetVersion], str | None]:
        self._datasets.get(name)
        return self._versions.page(name, limit, before)

    def rows(self, name: str, version: int | None = None, limit: int = 20) -> dict[str, Any]:
        """The first rows of a version (None: the newest): {columns, rows, version}; each
        row is a list in column order."""
        dataset = self._datasets.get(name)
        version = dataset.latest_version if version is None else version
        if version is None:
            rules = dataset.contract.columns if dataset.contract else ()
            return {"columns": [rule.name for rule in rules], "rows": [], "version": None}
        at: int | None = self._versions.get(name, version).table_version
        if "/" in name and version == dataset.latest_version:
            at = None  # a log forgets its oldest rows in versions of its own
        inputs = {"dataset": name, "table_version": at, "limit": limit}
        answer = self._read("read_rows", inputs)
        return {"columns": answer["columns"], "rows": answer["rows"], "version": version}

    def quarantine(
        self, name: str, push: str | None = None, limit: int = 50
    ) -> list[dict[str, Any]]:
        """Quarantined rows that nobody released: {id, push_id, row_number, source, raw,
        reasons}."""
        dataset = self._datasets.get(name)
        if push is not None:
            self._pushes.get(push)
        if not dataset.quarantined:
            return []
        inputs = {"dataset": name, "push_id": push, "limit": limit}
        return [dict(row) for row in self._read("read_quarantine", inputs)["items"]]

    def _push_id(self, dataset: str, key: str | None) -> str:
        if key is None:
            return self._ids.new("push")
        both = f"{dataset} {key}"  # a dataset's name has no space in it
        return f"push-{hashlib.sha256(both.encode()).hexdigest()[:24]}"

    def _known(self, push_id: str) -> Push | None:
        try:
            return self._pushes.get(push_id)
        except NotFound:
            return None

    def _record(
        self,
        push_id: str,
        dataset: str,
        source: str,
        files: tuple[str, ...],
        options: Mapping[str, Any],
    ) -> Push:
        now = self._clock.now()
        self._staging.keep_options(push_id, options)
        crash_point("push.staged")
        self._datasets.create(Dataset(name=dataset, contract=None, created_at=now))
        push = self._pushes.create(
            Push(
                id=push_id,
                dataset=dataset,
                source=source,
                files=files,
                status=PushStatus.RECEIVED,
                created_at=now,
                run_id=run_id_of(push_id),
            )
        )
        crash_point("push.recorded")
        try:
            return self._begin(push)
        except (Unavailable, ResourceExhausted) as error:
            # It is accepted: told that it isn't, somebody would deliver it a second time.
            log.warning("push %s waits until its run can be stored: %s", push.id, error)
            self._waiting[push.id] = push
            return push

    def _begin(self, push: Push) -> Push:
        if push.status is not PushStatus.RECEIVED:
            return push
        run_id = self._start(push, self._staging.options(push.id))
        return replace(push, run_id=push.run_id or run_id)


def check_dataset_name(name: str) -> None:
    """Raises `InvalidInput` for a name that can't be a dataset's."""
    if not NAME.fullmatch(name):
        raise InvalidInput(
            f"{name[:80]!r} can't name a dataset.",
            "Use 1 to 63 lower-case letters, digits, '_' and '-', a letter or digit first.",
            code="dataset_name",
        )
