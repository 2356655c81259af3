"""From a branch that moved to one stored event.

Git moves the branch, in files; the database is told after that. Whoever comes along
compares both: the request that pushed, a watcher, the next start. The one that stores the
new head stores the event in the same transaction, and the others find nothing to do.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from volant.codesets.repository import Repository
from volant.domain.codeset import Codeset
from volant.domain.event import CODESET_PUSHED, Event
from volant.errors import NotFound, VolantError
from volant.faults import crash_point
from volant.ports.clock import Clock
from volant.ports.codesets import CodesetRecords

SOURCE = "volant/codesets"
_TRIES = 20
_ORPHAN_S = 5.0  # at a start: what outlived the last platform ended with its pipes

log = logging.getLogger(__name__)


class Pushes:
    """Compares branches with stored heads.

    Args:
        records: Where heads are stored.
        repository: The repository of a project's codeset.
        root: Where repositories lie.
        clock: For events' times.
    """

    def __init__(
        self,
        records: CodesetRecords,
        repository: Callable[[str, str], Repository],
        root: Path,
        clock: Clock,
    ) -> None:
        self._records = records
        self._repository = repository
        self._root = root
        self._clock = clock

    def settle(self, project: str, name: str, by: str, default: str | None = None) -> Codeset:
        """Store what the repository's branch is now, with its event, unless that is stored.

        The branch that was pushed first becomes the codeset's branch; `default` names it for
        a mirror. A branch that was deleted keeps its last stored head.
        """
        repository = self._repository(project, name)
        for _ in range(_TRIES):
            before = self._records.get(project, name)
            branch = default or self._branch(before, repository)
            head = repository.tip(branch)
            if head is None or head == before.head:
                return before
            crash_point("codeset.received")
            repository.keep(head)
            if branch != before.branch:
                repository.make_default(branch)
            after = replace(before, branch=branch, head=head, pushes=before.pushes + 1)
            if self._records.pushed(before, after, self._event(before, after, by)):
                crash_point("codeset.stored")
                return after
        return self._records.get(project, name)

    def _branch(self, codeset: Codeset, repository: Repository) -> str:
        if codeset.head is not None or repository.tip(codeset.branch) is not None:
            return codeset.branch
        found = repository.branches()
        if "master" in found:
            return "master"
        return found[0] if len(found) == 1 else codeset.branch

    def _event(self, before: Codeset, after: Codeset, by: str) -> Event:
        place = f"{after.project}/{after.name}"
        told = f"{place} {after.created_at.isoformat()} {after.pushes}"
        return Event(
            id=f"evt-push-{hashlib.sha256(told.encode()).hexdigest()[:24]}",
            type=CODESET_PUSHED,
            source=SOURCE,
            subject=f"codeset/{place}",
            time=self._clock.now(),
            data={
                "project": after.project,
                "name": after.name,
                "branch": after.branch,
                "before": before.head,
                "after": after.head,
                "by": by,
            },
        )

    def changed(self) -> list[Codeset]:
        """Those whose branch isn't their stored head. Cheap: it reads a file each."""
        found: list[Codeset] = []
        for codeset in self._records.list():
            repository = self._repository(codeset.project, codeset.name)
            tip = repository.tip(codeset.branch)
            empty = codeset.head is None and tip is None
            if (tip is not None and tip != codeset.head) or (empty and _has_branch(repository)):
                found.append(codeset)
        return found

    def recover(self, by: str) -> None:
        """`settle` where a push was cut off before its head was stored."""
        for codeset in self.changed():
            try:
                self.settle(codeset.project, codeset.name, by)
            except VolantError as error:
                log.warning("codeset %s/%s: %s", codeset.project, codeset.name, error)

    def clear(self) -> None:
        """At a start: remove repositories whose codesets were deleted, drafts of new ones,
        and what git programs left that died."""
        for draft in (*self._root.glob("*/.new-*"), *self._root.glob("*/.gone-*")):
            shutil.rmtree(draft, ignore_errors=True)
        for path in self._root.glob("*/*.git"):
            self._repository(path.parent.name, path.stem).unlock(_ORPHAN_S)
            self.finish_deleting(path.parent.name, path.stem)

    def finish_deleting(self, project: str, name: str) -> None:
        """Remove a repository that was to go, if its codeset has gone."""
        repository = self._repository(project, name)
        if not repository.deleting:
            return
        try:
            self._records.get(project, name)
        except NotFound:
            repository.remove()
        else:
            repository.spare()


def _has_branch(repository: Repository) -> bool:
    heads = repository.path / "refs" / "heads"
    return any(heads.iterdir()) if heads.is_dir() else False
