"""The verbs on loops: plan, apply, get, list, delete."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from volant.domain.codec import to_plain
from volant.domain.contract import Contract
from volant.domain.dataset import Dataset
from volant.domain.event import LOOP_APPLIED, LOOP_DELETED, Event
from volant.domain.loop import Loop, LoopSpec
from volant.domain.trigger import Trigger
from volant.errors import InvalidInput, NotFound
from volant.loops import code as user_code
from volant.loops import fit
from volant.loops.compile import compile_loop
from volant.loops.diff import Change, changes
from volant.loops.parse import parse
from volant.ports.clock import Clock, Ids
from volant.ports.records import DatasetRecords, LoopRecords, TriggerRecords
from volant.yamltext.problems import nearest

_SOURCE = "volant/loops"


@dataclass(frozen=True, slots=True)
class _Code:
    """The user's code as it came, read and named by its content."""

    sha256: str
    files: dict[str, bytes]


class LoopDesk:
    """Plans and applies loops.

    Args:
        loops: Where they are stored.
        datasets: Where the datasets that they name are.
        triggers: Read to keep a schedule's next time when a loop is applied again.
        code_root: `home/code`; each loop's code lies under its name and hash.
        clock: For the times of creation and change.
        ids: For the events' identity.
        next_at: The first time after the given one at which a cron expression is due.
    """

    def __init__(
        self,
        *,
        loops: LoopRecords,
        datasets: DatasetRecords,
        triggers: TriggerRecords,
        code_root: Path,
        clock: Clock,
        ids: Ids,
        next_at: Callable[[str, datetime], datetime],
    ) -> None:
        self._loops = loops
        self._datasets = datasets
        self._triggers = triggers
        self._code_root = code_root
        self._clock = clock
        self._ids = ids
        self._next_at = next_at

    def spec(self, source: str) -> LoopSpec:
        """Parse only. Raises `InvalidInput`."""
        return parse(source)

    def plan(self, source: str, code: bytes | None = None) -> dict[str, Any]:
        """What `apply` would do, doing nothing.

        Returns:
            `loop` (its name), `creates`, `changes` (path, before, after), `workflow`
            (the steps as JSON), `warnings`. Without `code`, the code isn't compared.
        """
        spec = parse(source)
        stored = self._find(spec.name)
        dataset = self._dataset(spec)
        found = changes(stored.spec if stored else None, spec)
        sent = self._read_code(spec, code) if code is not None else None
        if code is not None:
            found += _code_change(stored, sent)
        loop = self._next(stored, spec, source, sent)
        workflow = compile_loop(loop, dataset_version=dataset.latest_version)
        return {
            "loop": spec.name,
            "creates": stored is None,
            "changes": to_plain(found),
            "workflow": to_plain(workflow),
            "warnings": self._warnings(spec, dataset),
        }

    def apply(self, source: str, code: bytes | None = None, *, name: str | None = None) -> Loop:
        """Store the loop, its triggers, its code, its dataset and a declared contract.

        The same source and code again change nothing. Dying in between leaves at most
        code that nobody uses yet, or a dataset with its contract but without the loop:
        applying again completes it.

        Args:
            source: The file's text.
            code: A .tar.gz of the folder with the user's code; needed for `train.call`.
            name: When given (an address names it), what the file's name must be.

        Raises:
            InvalidInput: For the file, the code, or a target that isn't in the dataset.
            Conflict: For a contract that changes the type of a column with data.
        """
        spec = parse(source)
        if name is not None and name != spec.name:
            raise InvalidInput(
                f"The file's name is {spec.name!r}, but it was applied as {name!r}.",
                f"Apply it as {spec.name}, or write name: {name}.",
                details={"file": spec.name, "applied_as": name},
            )
        stored = self._find(spec.name)
        dataset = self._dataset(spec)
        sent = self._read_code(spec, code)
        warned = self._warnings(spec, dataset)
        if sent is not None:
            user_code.store(sent.files, self._code_dir(spec.name, sent.sha256))
        self._ensure_dataset(dataset, spec.data.contract)
        loop = self._next(stored, spec, source, sent)
        return self._loops.apply(loop, self._triggers_of(spec), self._applied(loop, warned))

    def get(self, name: str) -> Loop:
        """Raises `NotFound` with the nearest name."""
        found = self._find(name)
        if found is None:
            raise self._unknown(name)
        return found

    def list(self) -> Sequence[Loop]:
        return self._loops.list()

    def delete(self, name: str) -> None:
        """Forget the loop and its triggers; its runs, models and dataset stay."""
        self.get(name)
        self._loops.delete(name, self._event(LOOP_DELETED, name, {"loop": name}))

    def _find(self, name: str) -> Loop | None:
        try:
            return self._loops.get(name)
        except NotFound:
            return None

    def _unknown(self, name: str) -> NotFound:
        known = [loop.name for loop in self._loops.list()]
        guess = nearest(name, known)
        fix = "Run: volant apply" if not known else f"Known loops: {', '.join(known[:20])}."
        return NotFound(
            f"There is no loop {name!r}.",
            f"Did you mean {guess}?" if guess else fix,
            code="loop.not_found",
            details={"loop": name, "known": known[:100]},
        )

    def _dataset(self, spec: LoopSpec) -> Dataset:
        """The stored dataset, or the one that applying would make; checked against `spec`."""
        try:
            dataset = self._datasets.get(spec.data.dataset)
        except NotFound:
            return Dataset(spec.data.dataset, spec.data.contract, self._clock.now())
        fit.check_target(spec, dataset)
        if spec.data.contract is not None:
            fit.check_types(spec.data.contract, dataset)
        return dataset

    def _ensure_dataset(self, dataset: Dataset, declared: Contract | None) -> None:
        stored = self._datasets.create(dataset)
        if declared is not None and stored.contract != declared:
            self._datasets.set_contract(stored.name, declared)

    def _warnings(self, spec: LoopSpec, dataset: Dataset) -> list[str]:
        found = self._unlike(dataset)
        if spec.data.contract is None:
            return found
        found += fit.warnings(spec.data.contract, dataset)
        for other in self._loops.list():
            theirs = other.spec.data
            if other.name == spec.name or theirs.dataset != dataset.name:
                continue
            if theirs.contract is not None and theirs.contract != spec.data.contract:
                found.append(
                    f"The loop {other.name} declares another contract for {dataset.name}; "
                    f"the one applied last holds."
                )
        return found

    def _unlike(self, dataset: Dataset) -> list[str]:
        """A word on a dataset that isn't there yet, though one of a like name is."""
        known = [each.name for each in self._datasets.list()]
        near = nearest(dataset.name, known, cutoff=0.85)
        if dataset.name in known or not near:
            return []
        return [f"There is no dataset {dataset.name} yet, but there is {near}: is that meant?"]

    def _read_code(self, spec: LoopSpec, code: bytes | None) -> _Code | None:
        call = spec.train.call
        if call is None:
            return None
        if code is None:
            module = call.partition(":")[0].replace(".", "/")
            raise InvalidInput(
                f"train.call is {call!r}, but no code was sent with the loop.",
                f"Run volant apply from the folder that holds {module}.py.",
                code="loop.code_missing",
                details={"call": call},
            )
        files = user_code.read_archive(code)
        user_code.check_callable(call, files)
        return _Code(user_code.content_hash(files), files)

    def _code_dir(self, loop: str, sha256: str) -> Path:
        return self._code_root / loop / sha256

    def _next(self, stored: Loop | None, spec: LoopSpec, source: str, sent: _Code | None) -> Loop:
        now = self._clock.now()
        loop = stored or Loop(spec.name, 0, source, spec, now, now)
        return replace(
            loop,
            generation=loop.generation + 1,
            source=source,
            spec=spec,
            updated_at=now,
            code_hash=sent.sha256 if sent else None,
            code_dir=str(self._code_dir(spec.name, sent.sha256)) if sent else None,
        )

    def _triggers_of(self, spec: LoopSpec) -> list[Trigger]:
        waiting = {trigger.id: trigger for trigger in self._triggers.list(spec.name)}
        found: list[Trigger] = []
        for trigger in spec.triggers:
            if trigger.cron is None:
                key = f"{spec.name}:data:{spec.data.dataset}"
                found.append(Trigger(key, spec.name, "data", dataset=spec.data.dataset))
                continue
            digest = hashlib.sha256(trigger.cron.encode()).hexdigest()[:12]
            key = f"{spec.name}:cron:{digest}"
            # A time that has come but wasn't seen yet must not get lost.
            kept = waiting[key].next_at if key in waiting else None
            due = kept or self._next_at(trigger.cron, self._clock.now())
            found.append(Trigger(key, spec.name, "cron", cron=trigger.cron, next_at=due))
        return found

    def _applied(self, loop: Loop, warned: list[str]) -> Event:
        facts = {
            "loop": loop.name,
            "generation": loop.generation,
            "dataset": loop.spec.data.dataset,
            "source_sha256": hashlib.sha256(loop.source.encode()).hexdigest(),
            "code_hash": loop.code_hash,
            "warnings": warned,
        }
        return self._event(LOOP_APPLIED, loop.name, facts)

    def _event(self, kind: str, loop: str, data: dict[str, Any]) -> Event:
        now = self._clock.now()
        return Event(self._ids.new("evt"), kind, _SOURCE, f"loop/{loop}", now, data)


def _code_change(stored: Loop | None, sent: _Code | None) -> list[Change]:
    before = stored.code_hash if stored else None
    after = sent.sha256 if sent else None
    return [Change("code", before, after)] if before != after else []
