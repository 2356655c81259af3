"""`volant extension`: FuseML's verbs and flags, and our own beside them."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.adapters.system import SortableIds, SystemClock
from volant.cli.extension_options import names, pairs
from volant.extensions.builtin import built_in
from volant.extensions.desk import ExtensionDesk
from volant.extensions.sealing import Keyring
from volant.web.api.app import create_app

SECRET = "s3cr3t: with = signs, and commas"
RECORD = """\
id: mlflow-0001
product: mlflow
version: 1.20
services:
  - id: mlflow-store
    resource: s3
    auth_required: True
    endpoints:
      - url: http://mlflow-minio:9000
        type: internal
"""


@pytest.fixture
def desk(serving, platform, store, tmp_path):
    platform.workbench.extensions = ExtensionDesk(
        store.extensions,
        Keyring(tmp_path),
        lambda: built_in("http://127.0.0.1:8400"),
        SystemClock(),
        SortableIds(),
    )
    serving.app = create_app(platform)
    return platform.workbench.extensions


@pytest.fixture
def extension(volant, desk, tmp_path, monkeypatch):
    """Runs `volant extension`; what it prints has no secret in it."""

    def call(*words, stdin="", code=0):
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        done = volant("extension", *words)
        assert done.code == code, done.err
        assert SECRET not in done.out + done.err
        return done

    (tmp_path / "record.yaml").write_text(RECORD)
    told = call("register", tmp_path / "record.yaml")
    assert told.out == 'Extension "mlflow-0001" successfully registered\n'
    return call


def test_the_record_from_standard_input_and_its_end(extension, desk):
    second = RECORD.replace("mlflow-0001", "second")
    assert extension("register", "-", stdin=second).code == 0
    assert extension("register", "-", stdin=second, code=4).out == ""
    told = extension("register", "-", stdin="services: [{id: a, resorce: b}]", code=2)
    assert "-:1:20: services[0].resorce is not a key" in told.err
    assert extension("register", "/nowhere.yaml", code=2).code == 2
    update = ("--desc", "D", "-p", "mlf", "--version", "2", "-z", "east", "-c", "A:b")
    extension("update", *update, "second")
    changed = desk.get("second")
    told = (changed.description, changed.product, changed.version, changed.zone)
    assert (*told, changed.configuration) == ("D", "mlf", "2", "east", {"A": "b"})
    assert extension("delete", "second").out == 'Extension "second" successfully deleted\n'
    assert extension("get", "second", code=3).out == ""


def test_lists_and_views(extension):
    rows = extension("list", "--product", "mlflow", "-r", "s3").out.splitlines()
    assert [row.split()[0] for row in rows] == ["ID", "mlflow", "mlflow-0001"]
    assert "No extension matches." in extension("list", "--id", "nope").err
    assert len(extension("list", "--version", ">=1.20, <2", "--json").json["items"]) == 1
    shown = extension("get", "mlflow-0001").out.splitlines()
    assert shown[:3] == ["ID:           mlflow-0001", "Product:      mlflow", "Version:      1.20"]
    assert "Service mlflow-store (s3, needs credentials)" in shown
    assert "  Endpoint http://mlflow-minio:9000 (internal)" in shown


def test_services_and_endpoints(extension, desk):
    extension(
        *("service", "add", "--id", "ui", "--desc", "UI", "-r", "mlflow-ui", "-c", "UI"),
        *("--auth-required=true", "--configuration", "A:http://x", "mlflow-0001"),
    )
    extension("service", "update", "--auth-required=false", "mlflow-0001", "ui")
    made = desk.service("mlflow-0001", "ui")
    assert (made.resource, made.category, made.auth_required) == ("mlflow-ui", "UI", False)
    assert made.configuration == {"A": "http://x"}
    rows = extension("service", "list", "mlflow-0001").out.splitlines()
    assert rows[-1].split() == ["ui", "mlflow-ui", "UI", "A=http://x"]
    assert "resource: mlflow-ui" in extension("service", "get", "mlflow-0001", "ui").out
    where = ("mlflow-0001", "ui", "https://h:1/a?b=c")
    told = extension("endpoint", "add", "--type", "internal", "-c", "K:v", *where).out
    assert told.startswith('Endpoint "https://h:1/a?b=c" successfully added to service ui')
    extension("endpoint", "update", "--type", "external", *where)
    assert extension("endpoint", "get", *where, "--json").json["type"] == "external"
    assert "K=v" in extension("endpoint", "list", "mlflow-0001", "ui").out
    extension("endpoint", "delete", *where)
    extension("service", "delete", "mlflow-0001", "ui")
    assert [each.id for each in desk.get("mlflow-0001").services] == ["mlflow-store"]


def test_credentials(extension, desk):
    where = ("mlflow-0001", "mlflow-store")
    who = ("--scope", "project", "--project", "a,b", "--project", "c")
    extension("credentials", "add", "--id", "x", *who, "-c", f"KEY:{SECRET}", *where)
    reveal = desk.reveal
    assert reveal("secret://mlflow-0001/mlflow-store/x/KEY", project="b") == SECRET
    update = ("--scope", "user", "--user", "ann", "--default", "--stdin", "PASS")
    extension("credentials", "update", *update, *where, "x", stdin=f"{SECRET}\n")
    text = "secret://mlflow-0001/mlflow-store/x/PASS"
    assert reveal(text, project="a", user="ann") == SECRET
    shown = extension("credentials", "get", *where, "x", "--json").json
    assert (shown["keys"], shown["users"], shown["default"]) == (["PASS"], ["ann"], True)
    row = extension("credentials", "list", *where).out.splitlines()[-1]
    assert row.split() == ["x", "user", "ann", "in", "a,", "b,", "c", "yes", "PASS"]
    assert "    PASS = ***" in extension("get", "mlflow-0001").out
    assert extension("credentials", "add", "--stdin", "P", *where, code=2).out == ""
    extension("credentials", "delete", *where, "x")
    assert desk.service(*where).credentials == ()


def test_recipes_and_extensions_without_one(extension, desk):
    told = extension(
        *("add", "redis", "--url", "h:1", "--no-check", "--password-stdin"), stdin=f"{SECRET}\n"
    )
    assert told.out == 'Extension "redis" successfully registered: not checked\n'
    assert "`service_resource: redis`" in told.err
    assert desk.reveal("secret://redis/redis/default/REDIS_PASSWORD") == SECRET
    extension("add", "--id", "bare", "-p", "product", "-c", "A:b")
    assert desk.get("bare").configuration == {"A": "b"}
    assert "--url" in extension("add", "redis", code=2).err
    assert "Did you mean kafka?" in extension("add", "kafak", "--url", "h", code=2).err
    both = ("--password-stdin", "--token-stdin")
    assert "one secret" in extension("add", "redis", "--url", "h", *both, code=2).err


def test_what_a_step_would_get_and_a_new_key(extension):
    told = extension("resolve", "-r", "s3")
    assert told.out.splitlines()[0] == "mlflow/mlflow-store  http://127.0.0.1:8400"
    extension(
        "credentials", "add", "-c", f"KEY:{SECRET}", "--id", "x", "mlflow-0001", "mlflow-store"
    )
    told = extension("resolve", "-r", "s3", "--version", "^1")
    assert told.out.splitlines() == [
        "mlflow-0001/mlflow-store  http://mlflow-minio:9000",
        "  KEY = secret://mlflow-0001/mlflow-store/x/KEY",
    ]
    assert "The nearest is" in extension("resolve", "-p", "mlfow", code=3).err
    assert extension("rekey").out == "Sealed 1 secret with the new key.\n"


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), st.text()), st.booleans())
def test_pairs(told, colon):
    told = {key: value.strip() for key, value in told.items()}
    assert pairs([f"{key}{':' if colon else '='}{value}" for key, value in told.items()]) == told


def test_pairs_without_a_value_and_names_with_commas():
    assert pairs(["A", "B:", "C=http://x", "D:a=b"]) == {
        "A": "",
        "B": "",
        "C": "http://x",
        "D": "a=b",
    }
    assert names(["a, b", "c"]) == ["a", "b", "c"]
    assert names([]) is None
