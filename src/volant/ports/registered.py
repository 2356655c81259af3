"""The registry in MLflow's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from volant.domain.event import Event
from volant.domain.model import ModelVersion
from volant.domain.query import Search
from volant.domain.registered import OldStage, RegisteredModel, RegisteredVersion


class RegisteredModels(Protocol):
    def create(self, model: RegisteredModel) -> RegisteredModel:
        """Raises `Conflict` when there is one of that name, in whatever project, and
        `NotFound` when its project isn't there."""
        ...

    def get(self, name: str) -> RegisteredModel: ...

    def change(
        self,
        name: str,
        *,
        new_name: str | None = None,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        without: str | None = None,
        aliases: Mapping[str, int | None] | None = None,
    ) -> RegisteredModel:
        """An alias that is None is removed; removing a tag or alias that isn't there
        changes nothing. A model that is deployed, or that a loop trains, keeps its name,
        and its aliases `champion` and `challenger` aren't moved by hand: raises
        `Conflict`."""
        ...

    def delete(self, name: str, event: Event) -> None:
        """With its versions, the event in the same transaction; its data gets the `uris`
        of their files. Raises `Conflict` while anything serves it."""
        ...

    def search(self, search: Search) -> tuple[Sequence[RegisteredModel], bool]: ...


class RegisteredVersions(Protocol):
    def create(
        self, version: ModelVersion, told: RegisteredVersion, event: Event
    ) -> RegisteredVersion:
        """Store it under the next number of its model; `NotFound` for an unknown model."""
        ...

    def get(self, name: str, version: int) -> RegisteredVersion: ...

    def by_alias(self, name: str, alias: str) -> RegisteredVersion | None:
        """The version that bears it; None when none does."""
        ...

    def change(
        self,
        name: str,
        version: int,
        *,
        description: str | None = None,
        old_stage: OldStage | None = None,
        archive_others: bool = False,
        tags: Mapping[str, str] | None = None,
        without: str | None = None,
    ) -> RegisteredVersion: ...

    def delete(self, name: str, version: int, event: Event) -> None:
        """With the event in the same transaction; its data gets the `uris` of the files.
        Raises `Conflict` while anything serves it, would go back to it, or came of it."""
        ...

    def uses(self, name: str) -> Mapping[int, str]:
        """The versions that serving needs, each with why: champion, live or on the way to
        be, copied to, or what a rollback brings back."""
        ...

    def search(self, search: Search) -> tuple[Sequence[RegisteredVersion], bool]: ...
