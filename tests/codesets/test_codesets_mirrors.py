"""Mirrors: which addresses may be asked, what webhooks must show, who sees logins."""

from __future__ import annotations

import hashlib
import hmac
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.adapters.system import SystemClock
from volant.codesets.mirrors import Mirrors
from volant.codesets.origins import Login, Logins, origin_of
from volant.errors import Conflict, InvalidInput, NotFound, Unauthenticated

ORIGIN = "https://example.com/team/code.git"


@pytest.fixture
def mirrors(desk, tmp_path):
    return Mirrors(desk, tmp_path / "codesets", SystemClock())


@pytest.fixture
def mirrored(desk, mirrors):
    desk.register("p", "code")
    return mirrors.set("p", "code", ORIGIN)


def signed(secret, body):
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def call(mirrors, headers, body=b'{"ref": "refs/heads/main"}', name="code"):
    heard = mirrors.hears("p", name)
    for at in range(0, len(body), 7):
        heard.update(body[at : at + 7])
    heard.judge(headers)


BODY = b'{"ref": "refs/heads/main"}'


@pytest.mark.parametrize("header", ["x-hub-signature-256", "x-gitea-signature", "x-gitlab-token"])
def test_a_signed_call_is_heard_again_and_again(mirrors, mirrored, header):
    secret = mirrored["secret"]
    value = {
        "x-hub-signature-256": f"sha256={signed(secret, BODY)}",
        "x-gitea-signature": signed(secret, BODY),
        "x-gitlab-token": secret,
    }[header]
    mirrors._wanted.clear()
    for _ in range(3):
        call(mirrors, {header: value})
    assert list(mirrors._wanted) == [("p", "code")]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-hub-signature-256": ""},
        {"x-hub-signature-256": "sha256="},
        {"x-hub-signature-256": "sha1=" + "0" * 40},
        {"x-hub-signature-256": "sha256=" + "0" * 64},
        {"x-gitea-signature": "0" * 64},
        {"x-gitlab-token": "secret"},
        {"x-gitlab-token": "é"},
    ],
)
def test_any_other_call_is_refused(mirrors, mirrored, headers):
    mirrors._wanted.clear()
    with pytest.raises(Unauthenticated):
        call(mirrors, headers)
    assert not mirrors._wanted


def test_a_signature_is_of_this_body_and_this_codeset(desk, mirrors, mirrored):
    secret = mirrored["secret"]
    desk.register("p", "other")
    desk.register("p", "plain")
    mirrors.set("p", "other", ORIGIN)
    mine = {"x-hub-signature-256": f"sha256={signed(secret, BODY)}"}
    with pytest.raises(Unauthenticated):
        call(mirrors, mine, BODY + b" ")
    for name in ("other", "plain", "nothing"):
        with pytest.raises(Unauthenticated):
            call(mirrors, mine, name=name)


def test_the_secret_stays_and_is_not_in_the_database(desk, mirrors, mirrored, store, tmp_path):
    again = Mirrors(desk, tmp_path / "codesets", SystemClock())
    assert again.set("p", "code", ORIGIN, 60)["secret"] == mirrored["secret"]
    assert again.get("p", "code")["interval_s"] == 60
    assert "secret" not in again.get("p", "code")
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("volant.db*"))
    assert mirrored["secret"].encode() not in raw
    key = tmp_path / "codesets" / ".webhook-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_login_is_kept_apart(desk, mirrors, tmp_path):
    desk.register("p", "code")
    told = mirrors.set("p", "code", "https://eva:p%40ss@example.com/code.git?x#y")
    assert told["url"] == "https://example.com/code.git"
    assert desk.get("p", "code").origin == "https://example.com/code.git"
    file = tmp_path / "codesets" / ".logins" / "p" / "code"
    assert file.read_text() == "username=eva\npassword=p@ss\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("volant.db*"))
    assert b"p@ss" not in raw
    assert b"p%40ss" not in raw
    config = desk.logins.config("p", "code", told["url"])
    assert list(config) == ["credential.https://example.com.helper"]
    desk.delete("p", "code")
    assert not file.exists()


def test_git_uses_the_login_there_and_nowhere_else(desk, tmp_path):
    """By git's own word: `git credential fill`."""
    logins = Logins(tmp_path / "logins with 'quotes'")
    logins.keep("p", "code", Login("eva", "s e'c\"ret"))
    env = desk.git.environment(logins.config("p", "code", "https://example.com:8443/x.git"))
    asked = b"protocol=https\nhost=%s\n\n"
    here = desk.git.run("credential", "fill", data=asked % b"example.com:8443", env=env)
    assert b"username=eva\npassword=s e'c\"ret\n" in here
    there = desk.git.run("credential", "fill", data=asked % b"example.org:8443", env=env)
    assert b"eva" not in there


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc",
        "/etc",
        "ext::sh -c date",
        "https://",
        "https://exa mple.com/x",
        "--upload-pack=x",
        "-oProxyCommand=x@host:path",
        "ssh://-oProxyCommand=x/y",
        "http://[::1/x",
        "https://example.com:port/x",
        "a::b@c:d",
        "fd::17",
        "https://example.com/x\n",
        "",
    ],
)
def test_an_address_that_isnt_one_elsewhere_is_refused(desk, mirrors, url):
    desk.register("p", "code")
    with pytest.raises(InvalidInput) as failure:
        mirrors.set("p", "code", url)
    assert failure.value.error_code == "codeset.origin"
    assert desk.get("p", "code").origin is None


@pytest.mark.parametrize(
    "url", ["git@github.com:team/code.git", "ssh://git@example.com:22/x", ORIGIN]
)
def test_addresses_of_all_kinds(url):
    assert origin_of(url) == (url, None)


@given(st.text(max_size=60))
def test_whatever_passes_is_no_option_and_no_helper(text):
    try:
        url, login = origin_of(text)
    except InvalidInput:
        return
    assert not url.startswith("-")
    assert "::" not in url.split("/")[0]
    assert not any(ord(each) <= 32 for each in url)
    assert login is None or login.user


def test_an_own_history_is_not_written_over(desk, mirrors, put):
    put({"a": b"1"})
    with pytest.raises(Conflict, match="versions of its own"):
        mirrors.set("p", "code", ORIGIN)
    with pytest.raises(NotFound, match="is no mirror"):
        mirrors.want("p", "code")


def test_an_interval_has_bounds(desk, mirrors):
    desk.register("p", "code")
    for interval in (0, -1, 9, 1e9, float("nan")):
        with pytest.raises(InvalidInput):
            mirrors.set("p", "code", ORIGIN, interval)


def test_a_fetch_that_fails_says_why_and_is_tried_again_later(desk, mirrors):
    desk.register("p", "code")
    mirrors.set("p", "code", "http://127.0.0.1:1/x.git", 3600)
    mirrors.tick()
    for thread in list(mirrors._fetching.values()):
        thread.join(30)
    told = mirrors.get("p", "code")
    assert "127.0.0.1" in told["error"]
    assert "reaches that host" in told["error"]
    assert "fsck" not in told["error"]
    assert told["tried_at"] is not None
    mirrors.tick()
    assert not any(thread.is_alive() for thread in mirrors._fetching.values())
    assert mirrors.get("p", "code")["tried_at"] == told["tried_at"]


def test_a_codesets_own_manifest():
    from volant.codesets.manifest import tests_of

    assert tests_of("kind: Codeset\ntests: pytest -q\n") == ("pytest -q",)
    assert tests_of("tests: [a, b]\nkind: Codeset\n") == ("a", "b")
    assert tests_of("kind: Loop\nname: x\n") is None
    assert tests_of("[") is None
    assert tests_of("just text") is None
    for wrong in (
        "kind: Codeset\n",
        "kind: Codeset\ntests: ''\n",
        "kind: Codeset\ntests: [1]\n",
        "kind: Codeset\ntests: {a: b}\n",
        "kind: Codeset\ntests: x\ntest: y\n",
    ):
        with pytest.raises(InvalidInput):
            tests_of(wrong)
    with pytest.raises(InvalidInput, match="tests must be a command or a list of commands"):
        tests_of("kind: Codeset\ntests: {a: b}\n")
