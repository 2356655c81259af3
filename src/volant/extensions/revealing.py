"""Secrets, opened: for one step, and under a new key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from volant.domain.extension import Credentials, Extension
from volant.domain.masking import maskable
from volant.errors import NotFound, PermissionDenied
from volant.extensions import edit
from volant.extensions.placeholders import OWN, PREFIX, Place, replaced
from volant.extensions.sealing import Key, Keyring, sealed
from volant.ports.extensions import ExtensionRecords

_USER = re.compile(r"(?:^|[_-])(?:user(?:_?name)?|login)$", re.IGNORECASE)


class Revealer:
    """Reveals secrets to one step. Credentials are opened only for whom they admit: a
    placeholder that somebody copied into a workflow of another project opens nothing.

    Args:
        own: Secrets made for this step alone, by their keys: what the built-in services'
            placeholders stand for.
    """

    def __init__(
        self,
        records: ExtensionRecords,
        keys: Keyring,
        own: Mapping[str, str],
        project: str | None,
        user: str | None,
    ) -> None:
        self._records = records
        self._keys = keys
        self._own = own
        self._project = project
        self._user = user
        self._opened: dict[Place, Mapping[str, str]] = {}

    def text(self, text: str) -> str:
        """`text`, revealed. Raises `NotFound` for what isn't there, or no longer,
        `PermissionDenied` for what isn't for this step's project and user."""
        return replaced(text, self._secrets) if PREFIX in text else text

    def value(self, value: Any) -> Any:
        """The same in a plain value: texts in mappings and lists."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each) for each in value]
        return value

    @property
    def mask(self) -> tuple[str, ...]:
        """What must not be seen in logs: all secrets of all credentials opened so far, but
        for users' names, which are words that outputs may well hold (mlflow, default)."""
        return maskable(
            text
            for each in self._opened.values()
            for key, text in each.items()
            if _USER.search(key) is None
        )

    def _secrets(self, place: Place) -> Mapping[str, str]:
        if place not in self._opened:
            own = place.extension == OWN
            self._opened[place] = self._own if own else self._open(place)
        return self._opened[place]

    def _open(self, place: Place) -> Mapping[str, str]:
        credentials = self._find(place)
        if not credentials.admits(self._project, self._user):
            scope = credentials.scope.value
            project = f"in project {self._project}" if self._project else "in no project"
            user = f"by {self._user}" if self._user else "by no user"
            raise PermissionDenied(
                f"The credentials {place} are not for a run {project}, started {user}: their"
                f" scope is {scope}.",
                "Start the run where they may be used, or register credentials for it.",
                code="extensions.scope",
            )
        return {
            key: self._keys.open(text, f"{place}/{key}")
            for key, text in credentials.configuration.items()
        }

    def _find(self, place: Place) -> Credentials:
        try:
            extension = self._records.get(place.extension)
            service = edit.service_of(extension, place.service)
            return edit.credentials_of(service, place.credentials, str(place))
        except NotFound:
            raise NotFound(
                f"The credentials {place} are no longer registered.",
                "Register them again under this name and retry the run, or start a new run:"
                " it takes what is registered then.",
                code="extensions.credentials_gone",
                details={"credentials": str(place)},
            ) from None


def any_sealed(records: ExtensionRecords) -> bool:
    """Whether any secret is stored."""
    return any(
        each.configuration
        for extension in records.list()
        for service in extension.services
        for each in service.credentials
    )


def resealed(extension: Extension, keys: Keyring, key: Key) -> Extension:
    """`extension` with its secrets sealed by `key`."""

    def again(place: Place, credentials: Credentials) -> Credentials:
        configuration = {
            name: sealed(keys.open(text, f"{place}/{name}"), f"{place}/{name}", key)
            for name, text in credentials.configuration.items()
        }
        return replace(credentials, configuration=configuration)

    services = tuple(
        replace(
            service,
            credentials=tuple(
                again(Place(extension.id, service.id, each.id), each)
                for each in service.credentials
            ),
        )
        for service in extension.services
    )
    return replace(extension, services=services)
