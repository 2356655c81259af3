"""Secrets at rest, and their key."""

from __future__ import annotations

import base64
import secrets
import stat
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.errors import Conflict, InvalidInput, Unavailable
from volant.extensions.sealing import Key, Keyring, opened, sealed

KEY = Key(bytes(range(32)))


@given(st.text(), st.text(max_size=40))
def test_what_is_sealed_is_opened_at_its_place_only(text, place):
    stored = sealed(text, place, KEY)
    assert opened(stored.split(":")[2], place, KEY) == text
    with pytest.raises(Conflict, match="isn't what was sealed"):
        opened(stored.split(":")[2], place + "x", KEY)


def test_the_same_secret_is_never_sealed_alike():
    assert sealed("a", "p", KEY) != sealed("a", "p", KEY)


def test_a_bit_that_changed_is_found():
    raw = bytearray(base64.urlsafe_b64decode(sealed("secret", "p", KEY).split(":")[2]))
    for at in range(len(raw)):
        raw[at] ^= 1
        with pytest.raises(Conflict):
            opened(base64.urlsafe_b64encode(bytes(raw)).decode(), "p", KEY)
        raw[at] ^= 1


def test_the_key_is_made_once_for_its_owner_alone(tmp_path):
    stored = Keyring(tmp_path).seal("secret", "p")
    file = tmp_path / "secret.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = file.read_text()
    assert Keyring(tmp_path).open(stored, "p") == "secret"
    Keyring(tmp_path).seal("other", "p")
    assert file.read_text() == made
    assert list(tmp_path.iterdir()) == [file]


def test_a_key_that_others_may_read_is_closed_to_them(tmp_path):
    Keyring(tmp_path).seal("secret", "p")
    (tmp_path / "secret.key").chmod(0o644)
    Keyring(tmp_path).seal("secret", "p")
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600


def test_many_first_users_have_one_key(tmp_path):
    stored = []
    threads = [
        threading.Thread(target=lambda: stored.append(Keyring(tmp_path).seal("secret", "p")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [Keyring(tmp_path).open(each, "p") for each in stored] == ["secret"] * 8


def test_another_key_is_told_from_a_damaged_secret(tmp_path):
    stored = Keyring(tmp_path).seal("secret", "mlflow/store/default/KEY")
    (tmp_path / "secret.key").write_text(secrets.token_urlsafe(32) + "\n")
    with pytest.raises(
        Unavailable, match=r"sealed with the key [0-9a-f]{8}, which isn't here"
    ) as e:
        Keyring(tmp_path).open(stored, "mlflow/store/default/KEY")
    assert "VOLANT_SECRET_KEY" in e.value.fix
    assert "secret" not in str(e.value).replace("secret.key", "").replace("secrets", "")
    with pytest.raises(Conflict):
        Keyring(tmp_path).open("v1:nonsense", "p")


def test_a_lost_key_is_not_replaced(tmp_path):
    Keyring(tmp_path).seal("secret", "p")
    (tmp_path / "secret.key").unlink()
    with pytest.raises(Unavailable, match="is missing"):
        Keyring(tmp_path, in_use=lambda: True).seal("secret", "p")
    assert not (tmp_path / "secret.key").exists()


def test_a_key_from_the_environment(tmp_path):
    given_key = secrets.token_urlsafe(32)
    stored = Keyring(tmp_path, given=given_key).seal("secret", "p")
    assert list(tmp_path.iterdir()) == []
    assert Keyring(tmp_path, given=given_key).open(stored, "p") == "secret"
    assert Keyring(tmp_path, given=secrets.token_urlsafe(32), before=given_key).open(stored, "p")


@pytest.mark.parametrize("bad", ["short", "x" * 44, "hunter2" * 7])
def test_what_is_no_key_is_refused_and_not_shown(tmp_path, bad):
    with pytest.raises(InvalidInput) as error:
        Keyring(tmp_path, given=bad).seal("secret", "p")
    assert bad not in str(error.value)
    (tmp_path / "secret.key").write_text(bad)
    with pytest.raises(InvalidInput) as error:
        Keyring(tmp_path).seal("secret", "p")
    assert bad not in str(error.value)


def test_the_registry_is_there_before_the_cipher():
    code = (
        "import sys, volant.extensions.desk, volant.extensions.recipes;"
        "assert not {'cryptography', 'psycopg', 'httpx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
