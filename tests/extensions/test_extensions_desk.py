"""The registry's verbs over a real store."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys

import pytest

from volant.domain.extension import Credentials, Endpoint, Extension, Scope, Service
from volant.domain.manifest import ExtensionRequirement
from volant.errors import Conflict, InvalidInput, NotFound, PermissionDenied, Unavailable

SECRET = "s3cr3t-of-the-store"
MINE = ExtensionRequirement("it", extension_id="mine")


def record(id="mine", **more) -> Extension:
    store = Service(
        "store",
        "s3",
        endpoints=(Endpoint("http://minio:9000"),),
        credentials=(Credentials("default", configuration={"KEY": "key-id", "PASS": SECRET}),),
    )
    return Extension(id, product="minio", version="1.2.3", services=(store,), **more)


def types(store) -> list[str]:
    found, _ = store.events.page(50)
    return [each.type.removeprefix("volant.") for each in reversed(found)]


def test_a_record_and_its_secrets(desk, store, tmp_path):
    made = desk.register(record(), "ann")
    assert desk.get("mine") == made
    assert made.registered_at == made.updated_at
    with pytest.raises(Conflict, match="'mine' already"):
        desk.register(record(), "ann")
    bound = desk.bind({"it": MINE})["it"]
    assert bound.cfg == {
        "KEY": "secret://mine/store/default/KEY",
        "PASS": "secret://mine/store/default/PASS",
    }
    assert desk.reveal(f"http://u:{bound.cfg['PASS']}@h/x") == f"http://u:{SECRET}@h/x"
    assert SECRET not in repr(made) + repr(desk.list())
    store.close()
    for file in tmp_path.rglob("*"):
        assert SECRET.encode() not in file.read_bytes()
    assert types(store) == ["extension.registered"]


def test_parts_one_by_one(desk, store):
    desk.register(Extension("e", services=()), "ann")
    assert desk.add_service("e", Service("", "s3"), "ann").id.startswith("s3-")
    desk.add_service("e", Service("s", "s3"), "ann")
    with pytest.raises(Conflict):
        desk.add_service("e", Service("s"), "ann")
    desk.update_service("e", "s", {"category": "store", "auth_required": True}, "ann")
    desk.add_endpoint("e", "s", Endpoint("http://h:1"), "ann")
    with pytest.raises(Conflict):
        desk.add_endpoint("e", "s", Endpoint("http://h:1"), "ann")
    desk.update_endpoint("e", "s", "http://h:1", {"configuration": {"A": "b"}}, "ann")
    assert desk.endpoint("e", "s", "http://h:1").configuration == {"A": "b"}
    made = desk.add_credentials("e", "s", Credentials("", configuration={"P": "one"}), "ann")
    asked = ExtensionRequirement("it", service_category="store")
    text = desk.bind({"it": asked})["it"].cfg["P"]
    assert desk.reveal(text) == "one"
    desk.update_credentials("e", "s", made.id, {"default": True}, "ann")
    assert desk.reveal(text) == "one"
    desk.update_credentials("e", "s", made.id, {"configuration": {"P": "two"}}, "ann")
    assert desk.reveal(text) == "two"
    assert desk.credentials("e", "s", made.id).default
    desk.update("e", {"version": "2.0"}, "ann")
    assert desk.service("e", "s").category == "store"
    desk.delete_credentials("e", "s", made.id, "ann")
    with pytest.raises(NotFound, match="no longer registered"):
        desk.reveal(text)
    desk.delete_endpoint("e", "s", "http://h:1", "ann")
    desk.delete_service("e", "s", "ann")
    with pytest.raises(NotFound, match="has no service 's'"):
        desk.service("e", "s")
    desk.delete("e", "ann")
    with pytest.raises(NotFound):
        desk.get("e")
    assert types(store)[0] == "extension.registered"
    assert types(store)[-1] == "extension.deleted"
    assert types(store).count("extension.changed") == 12


def test_what_fails_changes_nothing(desk, store):
    desk.register(record(), "ann")
    before = desk.get("mine")
    for call in (
        lambda: desk.update_service("mine", "nope", {"category": "x"}, "ann"),
        lambda: desk.add_endpoint("mine", "store", Endpoint("no url"), "ann"),
        lambda: desk.update("mine", {"configuration": {"a b": "c"}}, "ann"),
        lambda: desk.add_credentials("mine", "store", Credentials("default"), "ann"),
    ):
        with pytest.raises((NotFound, InvalidInput, Conflict)):
            call()
    assert desk.get("mine") == before
    assert types(store) == ["extension.registered"]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (record("a b"), "can't be the id of an extension"),
        (record("volant"), "this server's own"),
        (record(configuration={"A=B": "c"}), "can't be a key"),
        (record(configuration={"A": "\0"}), "zero byte"),
        (record(description="x" * 1001), "description"),
        (Extension("e", services=(Service("s"), Service("s"))), "'s' twice"),
        (
            Extension("e", services=(Service("s", endpoints=(Endpoint("http://u:hunter2@h"),)),)),
            "has a password in it",
        ),
        (Extension("e", services=(Service("s", endpoints=(Endpoint("nope"),)),)), "is no URL"),
        (
            Extension(
                "e", services=(Service("s", credentials=(Credentials("c", Scope.PROJECT),)),)
            ),
            "name none",
        ),
    ],
)
def test_what_can_not_be_registered(desk, made, says):
    with pytest.raises(InvalidInput, match=says) as error:
        desk.register(made, "ann")
    assert "hunter2" not in str(error.value)
    assert not any(each for each in desk.list() if not each.builtin)


def test_built_in_ones_can_be_covered_and_not_changed(desk):
    assert desk.get("mlflow").builtin
    with pytest.raises(Conflict, match="built in"):
        desk.delete("mlflow", "ann")
    with pytest.raises(Conflict, match="built in"):
        desk.update("mlflow", {"version": "1"}, "ann")
    desk.register(record("mlflow"), "ann")
    assert not desk.get("mlflow").builtin
    assert [each.id for each in desk.list()].count("mlflow") == 1
    desk.delete("mlflow", "ann")
    assert desk.get("mlflow").builtin


def test_a_step_opens_only_what_is_for_it(desk):
    parts = (
        Credentials("p", Scope.PROJECT, projects=("alpha",), configuration={"P": "of-alpha"}),
        Credentials("u", Scope.USER, users=("ann",), configuration={"P": "of-ann"}),
    )
    desk.register(Extension("e", services=(Service("s", credentials=parts),)), "ann")
    assert desk.reveal("secret://e/s/p/P", project="alpha") == "of-alpha"
    assert desk.reveal("secret://e/s/u/P", project="x", user="ann") == "of-ann"
    for text, project, user, told in (
        ("secret://e/s/p/P", "beta", "ann", "a run in project beta, started by ann: .* project"),
        ("secret://e/s/p/P", None, None, "a run in no project, started by no user: .* project"),
        ("secret://e/s/u/P", "alpha", "bob", "a run in project alpha, started by bob: .* user"),
    ):
        with pytest.raises(PermissionDenied, match=f"are not for {told}"):
            desk.reveal(text, project=project, user=user)


def test_a_steps_own_secrets_and_what_is_masked(desk):
    desk.register(record(), "ann")
    token = desk.bind({"it": ExtensionRequirement("it", service_resource="mlflow-tracking")})["it"]
    own = {"MLFLOW_TRACKING_TOKEN": "own-token"}
    revealer = desk.revealer(own, project="alpha", user="ann")
    assert revealer.mask == ()
    given = {"a": [token.cfg["MLFLOW_TRACKING_TOKEN"], 1], "b": "secret://mine/store/default/PASS"}
    assert revealer.value(given) == {"a": ["own-token", 1], "b": SECRET}
    assert set(revealer.mask) == {"own-token", SECRET, "key-id"}
    with pytest.raises(NotFound, match="MLFLOW_TRACKING_TOKEN"):
        desk.reveal(token.cfg["MLFLOW_TRACKING_TOKEN"])


def test_users_names_are_not_masked(desk):
    names = {"REDIS_USERNAME": "default", "user": "mlflow", "LOGIN": "postgres"}
    held = Credentials("c", configuration={**names, "USER_KEY": "abcdef"})
    desk.register(Extension("e", services=(Service("s", credentials=(held,)),)), "ann")
    revealer = desk.revealer()
    assert revealer.text("secret://e/s/c/LOGIN") == "postgres"
    assert revealer.mask == ("abcdef",)


def test_a_new_key(desk, desk_of, tmp_path):
    desk.register(record(), "ann")
    file = tmp_path / "secret.key"
    before, sealed = file.read_text(), desk.get("mine")
    assert desk.rekey("ann") == 2
    assert file.read_text() != before
    assert desk.get("mine").services != sealed.services
    assert desk_of().reveal("secret://mine/store/default/PASS") == SECRET
    assert not (tmp_path / "secret.key.next").exists()


def test_from_a_file_to_the_environment_and_on(desk, desk_of, tmp_path):
    desk.register(record(), "ann")
    first, second = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    assert desk_of(given=first).rekey("ann") == 2
    (tmp_path / "secret.key").unlink()
    place = "secret://mine/store/default/PASS"
    assert desk_of(given=first).reveal(place) == SECRET
    with pytest.raises(Unavailable, match="isn't here"):
        desk_of(given=second).reveal(place)
    assert desk_of(given=second, before=first).rekey("ann") == 2
    assert desk_of(given=second).reveal(place) == SECRET
    with pytest.raises(Unavailable, match="is missing"):
        desk_of().update_credentials("mine", "store", "default", {"configuration": {"K": "v"}}, "a")


REKEY = """
import sys
from pathlib import Path
from volant.adapters.system import SortableIds, SystemClock
from volant.extensions.desk import ExtensionDesk
from volant.extensions.sealing import Keyring
from volant.store import Store, sqlite_url
home = Path(sys.argv[1])
with Store(sqlite_url(home / "volant.db")) as store:
    desk = ExtensionDesk(store.extensions, Keyring(home), tuple, SystemClock(), SortableIds())
    desk.rekey("ann")
"""


@pytest.mark.parametrize("point", ["extensions.next_key", "extensions.resealed"])
def test_a_death_while_the_key_changes(desk, desk_of, tmp_path, point):
    desk.register(record(), "ann")
    place = "secret://mine/store/default/PASS"
    env = {**os.environ, "VOLANT_CRASH_AT": point}
    command = [sys.executable, "-c", REKEY, str(tmp_path)]
    died = subprocess.run(command, env=env, timeout=60, check=False)
    assert died.returncode == -9
    assert (tmp_path / "secret.key.next").exists()
    assert desk_of().reveal(place) == SECRET
    # Somebody goes on working before the command is given again.
    desk_of().add_credentials("mine", "store", Credentials("b", configuration={"P": "new"}), "ann")
    assert desk_of().rekey("ann") == 3
    assert not (tmp_path / "secret.key.next").exists()
    assert desk_of().reveal(place) == SECRET
    assert desk_of().reveal("secret://mine/store/b/P") == "new"
