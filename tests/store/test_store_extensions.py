"""Extensions on both databases."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from volant.domain.event import EXTENSION_CHANGED, Event
from volant.domain.extension import Credentials, Endpoint, EndpointType, Extension, Scope, Service
from volant.errors import Conflict, NotFound

NOW = datetime(2030, 1, 31, 9, 30, tzinfo=UTC)
WHOLE = Extension(
    id="e",
    product="mlflow",
    version="1.2.3",
    description="d",
    zone="east",
    configuration={"A": "b"},
    services=(
        Service(
            id="s",
            resource="s3",
            category="store",
            auth_required=True,
            configuration={"C": "d"},
            endpoints=(Endpoint("http://h", EndpointType.INTERNAL, {"E": "f"}),),
            credentials=(
                Credentials("c", Scope.USER, True, ("p",), ("u",), {"K": "v1:00000000:abc"}),
            ),
        ),
    ),
    registered_at=NOW,
    updated_at=NOW,
)


def event(name: str) -> Event:
    return Event(name, EXTENSION_CHANGED, "volant", "extension/e", NOW)


def stored(store) -> int:
    return len(store.events.page(500)[0])


def test_what_is_stored_comes_back(store):
    records = store.extensions
    records.register(WHOLE, event("1"))
    assert records.get("e") == WHOLE
    with pytest.raises(Conflict):
        records.register(replace(WHOLE, version="2"), event("2"))
    records.register(replace(WHOLE, id="a"), event("3"))
    assert [each.id for each in records.list()] == ["a", "e"]
    changed = records.change("e", lambda old: replace(old, version="2"), event("4"))
    assert changed == records.get("e") == replace(WHOLE, version="2")
    records.change_all(lambda old: replace(old, zone="west"), event("5"))
    assert {each.zone for each in records.list()} == {"west"}
    records.delete("e", event("6"))
    assert stored(store) == 5


def test_what_fails_stores_nothing(store):
    records = store.extensions
    records.register(WHOLE, event("1"))

    def fail(old):
        raise NotFound("no", "no")

    for call in (
        lambda: records.change("e", fail, event("2")),
        lambda: records.change_all(fail, event("3")),
        lambda: records.change("f", lambda old: old, event("4")),
        lambda: records.delete("f", event("5")),
    ):
        with pytest.raises(NotFound):
            call()
    assert records.list() == [WHOLE]
    assert stored(store) == 1
    with pytest.raises(NotFound, match="no extension 'ee'") as error:
        records.get("ee")
    assert "Did you mean e?" in error.value.fix


def test_changes_at_once_are_all_kept(store):
    records = store.extensions
    records.register(replace(WHOLE, configuration={}), event("1"))

    def add(key):
        def change(old):
            return replace(old, configuration={**old.configuration, key: "x"})

        records.change("e", change, event(key))

    threads = [threading.Thread(target=add, args=(f"K{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(records.get("e").configuration) == {f"K{n}" for n in range(8)}
