"""Which versions may go: all but the newest, and what those and serving need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from volant.domain.model import ModelVersion, Stage
from volant.errors import Conflict, InvalidInput, NotFound
from volant.registry.desk import ModelDesk
from volant.registry.provenance import versions_of
from volant.registry.registered import RegisteredDesk


@dataclass(frozen=True, slots=True)
class Kept:
    """One version and why it stays; `reason` is None for one that goes, and `done` once
    it is gone."""

    model: str
    version: int
    stage: Stage
    reason: str | None
    done: bool = False


def plan(
    versions: Sequence[ModelVersion],
    keep: int,
    uses: Mapping[int, str],
    busy: Callable[[str, int], str | None],
) -> list[Kept]:
    """What becomes of each version of one model, newest first.

    Args:
        versions: All of the model.
        keep: How many of the newest stay whatever they are.
        uses: The versions that serving needs, each with why.
        busy: What works with a version now, or None.
    """
    newest_first = sorted(versions, key=lambda v: v.version, reverse=True)
    by_number = {version.version: version for version in versions}
    reasons: dict[int, str] = {}
    for place, version in enumerate(newest_first):
        reason = _own_reason(version, place < keep, uses, busy)
        if reason is not None:
            reasons[version.version] = reason
    waiting = list(reasons)
    while waiting:
        child = waiting.pop()
        parent = by_number[child].lineage.parent_version
        if parent in by_number and parent not in reasons:
            reasons[parent] = f"version {child} was made to replace it"
            waiting.append(parent)
    return [Kept(v.model, v.version, v.stage, reasons.get(v.version)) for v in newest_first]


def _own_reason(
    version: ModelVersion,
    new: bool,
    uses: Mapping[int, str],
    busy: Callable[[str, int], str | None],
) -> str | None:
    if version.version in uses:
        return uses[version.version].rstrip(".")
    if version.aliases:
        return f"it has the alias {', '.join(version.aliases)}"
    if new:
        return "it is among the newest"
    by = busy(version.model, version.version)
    return f"{by} works with it now" if by else None


class RetentionDesk:
    """Args:
    models: The registry.
    registered: Deletes, guarded.
    busy: (model, version) → what works with it now, or None.
    """

    def __init__(
        self,
        models: ModelDesk,
        registered: RegisteredDesk,
        busy: Callable[[str, int], str | None],
    ) -> None:
        self._models = models
        self._registered = registered
        self._busy = busy

    def prune(self, keep: int, name: str | None = None, *, apply: bool = False) -> list[Kept]:
        """What goes and what stays, of one model or of all; with `apply` it is done.

        Each deletion is a transaction of its own, guarded by what is true then: whoever
        dies between has deleted some, and the same call goes on. A version that came
        into use meanwhile stays.

        Raises `InvalidInput` for a `keep` below 1, `NotFound` for an unknown model.
        """
        if keep < 1:
            raise InvalidInput(f"keep {keep} can't be.", "Keep at least the newest version.")
        if name is not None:
            self._models.page(1, name=name)
        by_model: dict[str, list[ModelVersion]] = {}
        for version in versions_of(self._models, name):
            by_model.setdefault(version.model, []).append(version)
        told: list[Kept] = []
        for model, versions in sorted(by_model.items()):
            found = plan(versions, keep, self._registered.uses(model), self._busy)
            told += self._applied(found) if apply else found
        return told

    def _applied(self, planned: Sequence[Kept]) -> list[Kept]:
        """A child goes before its parent: what was refused is tried again as long as
        anything goes."""
        told = list(planned)
        going = True
        while going:
            before = sum(one.done for one in told)
            told = [
                self._gone(one) if old.reason is None and not one.done else one
                for one, old in zip(told, planned, strict=True)
            ]
            going = sum(one.done for one in told) > before
        return told

    def _gone(self, one: Kept) -> Kept:
        try:
            self._registered.delete_version(one.model, one.version)
        except Conflict as error:
            return Kept(one.model, one.version, one.stage, error.what.rstrip("."))
        except NotFound:
            pass  # somebody else was first
        return Kept(one.model, one.version, one.stage, None, done=True)
