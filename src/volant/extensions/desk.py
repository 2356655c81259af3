"""The verbs on extensions: register, change, find what a step needs, reveal its secrets."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from volant.domain.event import (
    EXTENSION_CHANGED,
    EXTENSION_DELETED,
    EXTENSION_REGISTERED,
    EXTENSIONS_RESEALED,
    Event,
)
from volant.domain.extension import Credentials, Endpoint, Extension, Service
from volant.domain.manifest import ExtensionRequirement
from volant.domain.workflow import ExtensionBinding
from volant.errors import Conflict, NotFound
from volant.extensions import edit
from volant.extensions.placeholders import Place
from volant.extensions.resolve import Resolution, matching, resolve
from volant.extensions.revealing import Revealer, resealed
from volant.extensions.sealing import Keyring
from volant.faults import crash_point
from volant.ports.clock import Clock, Ids
from volant.ports.extensions import ExtensionRecords

log = logging.getLogger(__name__)


class ExtensionDesk:
    """The registry.

    Args:
        records: Where extensions are stored.
        keys: What seals their credentials.
        built_in: This server's own records, made when they are asked for: its address is
            known only when it listens.
        clock: For times of registration and of change.
        ids: For ids that nobody chose.
    """

    def __init__(
        self,
        records: ExtensionRecords,
        keys: Keyring,
        built_in: Callable[[], Sequence[Extension]],
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._records = records
        self._keys = keys
        self._built_in = built_in
        self._clock = clock
        self._ids = ids
        # Sealing and storing are one: nothing is stored under a key that `rekey` has left.
        self._sealing = threading.Lock()

    # the whole record

    def register(self, extension: Extension, by: str) -> Extension:
        """Store a record and all its parts; an id that is empty is made. Raises `Conflict`
        for one that is taken, `InvalidInput` for what can't be."""
        now = self._clock.now()
        named = self._named(extension)
        new = edit.checked(replace(named, registered_at=now, updated_at=now, builtin=False))
        with self._sealing:
            new = replace(new, services=tuple(self._sealed(new.id, s) for s in new.services))
            self._records.register(new, self._event(EXTENSION_REGISTERED, new.id, by))
        return new

    def update(self, extension_id: str, changes: Mapping[str, Any], by: str) -> Extension:
        """Change fields of its own; what isn't named stays."""
        return self._change(
            extension_id, by, "extension", lambda old: edit.checked(replace(old, **changes))
        )

    def delete(self, extension_id: str, by: str) -> None:
        """Runs that wait for its secrets will fail, and say so. Raises `NotFound`, and
        `Conflict` for what is built in."""
        try:
            self._records.delete(extension_id, self._event(EXTENSION_DELETED, extension_id, by))
        except NotFound:
            self._refuse_built_in(extension_id)
            raise

    def get(self, extension_id: str) -> Extension:
        """Raises `NotFound`."""
        try:
            return self._records.get(extension_id)
        except NotFound:
            for each in self._built_in():
                if each.id == extension_id:
                    return each
            raise

    def list(self, wanted: ExtensionRequirement | None = None) -> Sequence[Extension]:
        """All that meet `wanted`, by id: the registered, and of the built-in those whose id
        nobody took."""
        stored = self._records.list()
        taken = {each.id for each in stored}
        every = [*stored, *(each for each in self._built_in() if each.id not in taken)]
        every.sort(key=lambda each: each.id)
        return every if wanted is None else matching(wanted, every)

    # its parts

    def service(self, extension_id: str, service_id: str) -> Service:
        return edit.service_of(self.get(extension_id), service_id)

    def endpoint(self, extension_id: str, service_id: str, url: str) -> Endpoint:
        where = f"{extension_id}/{service_id}"
        return edit.endpoint_of(self.service(extension_id, service_id), url, where)

    def credentials(self, extension_id: str, service_id: str, credentials_id: str) -> Credentials:
        """Without their secrets: what stands in their place is sealed."""
        return _credentials(self.get(extension_id), service_id, credentials_id)

    def add_service(self, extension_id: str, service: Service, by: str) -> Service:
        service = self._named_service(service, service.resource or "service")

        def change(old: Extension) -> Extension:
            edit.with_service(old, service, new=True)  # checked before anything is sealed
            return edit.with_service(old, self._sealed(old.id, service), new=True)

        changed = self._change(extension_id, by, f"service {service.id}", change)
        return edit.service_of(changed, service.id)

    def update_service(
        self, extension_id: str, service_id: str, changes: Mapping[str, Any], by: str
    ) -> Service:
        def change(old: Extension) -> Extension:
            return edit.with_service(old, replace(edit.service_of(old, service_id), **changes))

        changed = self._change(extension_id, by, f"service {service_id}", change)
        return edit.service_of(changed, service_id)

    def delete_service(self, extension_id: str, service_id: str, by: str) -> None:
        self._change(
            extension_id,
            by,
            f"service {service_id}",
            lambda old: edit.without_service(old, service_id),
        )

    def add_endpoint(
        self, extension_id: str, service_id: str, endpoint: Endpoint, by: str
    ) -> Endpoint:
        self._change(
            extension_id,
            by,
            f"endpoint of {service_id}",
            lambda old: edit.with_endpoint(old, service_id, endpoint, new=True),
        )
        return endpoint

    def update_endpoint(
        self, extension_id: str, service_id: str, url: str, changes: Mapping[str, Any], by: str
    ) -> Endpoint:
        where = f"{extension_id}/{service_id}"

        def change(old: Extension) -> Extension:
            there = edit.endpoint_of(edit.service_of(old, service_id), url, where)
            return edit.with_endpoint(old, service_id, replace(there, **changes))

        changed = self._change(extension_id, by, f"endpoint of {service_id}", change)
        return edit.endpoint_of(edit.service_of(changed, service_id), url, where)

    def delete_endpoint(self, extension_id: str, service_id: str, url: str, by: str) -> None:
        self._change(
            extension_id,
            by,
            f"endpoint of {service_id}",
            lambda old: edit.without_endpoint(old, service_id, url),
        )

    def add_credentials(
        self, extension_id: str, service_id: str, credentials: Credentials, by: str
    ) -> Credentials:
        if not credentials.id:
            credentials = replace(credentials, id=self._ids.new("creds"))

        def change(old: Extension) -> Extension:
            edit.with_credentials(old, service_id, credentials, new=True)
            held = self._held(Place(old.id, service_id, credentials.id), credentials)
            return edit.with_credentials(old, service_id, held, new=True)

        changed = self._change(extension_id, by, f"credentials {credentials.id}", change)
        return _credentials(changed, service_id, credentials.id)

    def update_credentials(
        self,
        extension_id: str,
        service_id: str,
        credentials_id: str,
        changes: Mapping[str, Any],
        by: str,
    ) -> Credentials:
        """`configuration`, if it is among the changes, takes the place of all there was."""

        def change(old: Extension) -> Extension:
            new = replace(_credentials(old, service_id, credentials_id), **changes)
            edit.with_credentials(old, service_id, new)
            if "configuration" in changes:
                new = self._held(Place(old.id, service_id, credentials_id), new)
            return edit.with_credentials(old, service_id, new)

        changed = self._change(extension_id, by, f"credentials {credentials_id}", change)
        return _credentials(changed, service_id, credentials_id)

    def delete_credentials(
        self, extension_id: str, service_id: str, credentials_id: str, by: str
    ) -> None:
        self._change(
            extension_id,
            by,
            f"credentials {credentials_id}",
            lambda old: edit.without_credentials(old, service_id, credentials_id),
        )

    # what runs ask

    def resolve(
        self,
        requirements: Mapping[str, ExtensionRequirement],
        project: str | None = None,
        user: str | None = None,
    ) -> Resolution:
        """A service for each requirement, and where there was a choice. Raises `NotFound`
        for one that nothing meets."""
        if not requirements:
            return Resolution({})
        found = resolve(requirements, self.list(), project, user)
        for note in found.notes:
            log.info("extensions: %s", note)
        return found

    def bind(
        self,
        requirements: Mapping[str, ExtensionRequirement],
        project: str | None = None,
        user: str | None = None,
    ) -> Mapping[str, ExtensionBinding]:
        """The bindings of `resolve`."""
        return self.resolve(requirements, project, user).bindings

    def reveal(
        self,
        text: str,
        own: Mapping[str, str] | None = None,
        *,
        project: str | None = None,
        user: str | None = None,
    ) -> str:
        """`text` with each placeholder's secret in its place; see `Revealer`."""
        return self.revealer(own, project=project, user=user).text(text)

    def revealer(
        self,
        own: Mapping[str, str] | None = None,
        *,
        project: str | None = None,
        user: str | None = None,
    ) -> Revealer:
        """What reveals secrets to one step, and remembers which."""
        return Revealer(self._records, self._keys, own or {}, project, user)

    def rekey(self, by: str) -> int:
        """Seal all secrets with a new key; returns how many there are. Whenever it is
        broken off, what is stored can be opened, and the next call goes on."""
        sealed_again = 0
        with self._sealing:
            key = self._keys.rekeyed()

            def change(old: Extension) -> Extension:
                nonlocal sealed_again
                sealed_again += sum(
                    len(each.configuration)
                    for service in old.services
                    for each in service.credentials
                )
                return resealed(old, self._keys, key)

            event = self._event(EXTENSIONS_RESEALED, None, by)
            self._records.change_all(change, event)
            crash_point("extensions.resealed")
            self._keys.settle()
        return sealed_again

    # within

    def _change(
        self, extension_id: str, by: str, part: str, change: Callable[[Extension], Extension]
    ) -> Extension:
        event = self._event(EXTENSION_CHANGED, extension_id, by, part)

        def stamped(old: Extension) -> Extension:
            return replace(change(old), updated_at=self._clock.now())

        with self._sealing:
            try:
                return self._records.change(extension_id, stamped, event)
            except NotFound as error:
                if error.details.get("noun") == "extension":
                    self._refuse_built_in(extension_id)
                raise

    def _refuse_built_in(self, extension_id: str) -> None:
        if any(each.id == extension_id for each in self._built_in()):
            raise Conflict(
                f"{extension_id} is built in: it is this server itself.",
                f"Register one of your own; it is preferred, also under the id {extension_id}.",
                code="extensions.built_in",
            )

    def _named(self, extension: Extension) -> Extension:
        services = tuple(
            self._named_service(each, each.resource or "service") for each in extension.services
        )
        name = extension.id or self._ids.new(extension.product or "extension")
        return replace(extension, id=name, services=services)

    def _named_service(self, service: Service, prefix: str) -> Service:
        credentials = tuple(
            each if each.id else replace(each, id=self._ids.new("creds"))
            for each in service.credentials
        )
        return replace(service, id=service.id or self._ids.new(prefix), credentials=credentials)

    def _sealed(self, extension_id: str, service: Service) -> Service:
        held = tuple(
            self._held(Place(extension_id, service.id, each.id), each)
            for each in service.credentials
        )
        return replace(service, credentials=held)

    def _held(self, place: Place, credentials: Credentials) -> Credentials:
        """`credentials` as they are stored."""
        configuration = {
            key: self._keys.seal(text, f"{place}/{key}")
            for key, text in credentials.configuration.items()
        }
        return replace(credentials, configuration=configuration)

    def _event(self, kind: str, extension_id: str | None, by: str, part: str = "") -> Event:
        subject = f"extension/{extension_id}" if extension_id else "extensions"
        data = {"by": by, **({"part": part} if part else {})}
        now = self._clock.now()
        return Event(self._ids.new("evt"), kind, "volant", subject, now, data)


def _credentials(extension: Extension, service_id: str, credentials_id: str) -> Credentials:
    service = edit.service_of(extension, service_id)
    return edit.credentials_of(service, credentials_id, f"{extension.id}/{service_id}")
