from __future__ import annotations

import base64
import json

import pytest

from volant.errors import InvalidInput, Unauthenticated
from volant.oci.credentials import credentials_for


def pair(text):
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def home(tmp_path):
    """An environment without any credentials, and where `name` is written."""

    class Home:
        environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}  # noqa: RUF012
        path = tmp_path

        def write(self, name, body):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body if isinstance(body, str) else json.dumps(body))
            return path

        def find(self, registry="r.example.com", repository="team/rent", **more):
            return credentials_for(registry, repository, {**self.environ, **more})

    return Home()


def test_nobody_without_any(home):
    assert home.find() is None


def test_the_environment_comes_first(home):
    home.write(".docker/config.json", {"auths": {"r.example.com": {"auth": pair("bob:x")}}})
    found = home.find(VOLANT_REGISTRY_USERNAME="ada", VOLANT_REGISTRY_PASSWORD="s:e")
    assert (found.username, found.password) == ("ada", "s:e")
    assert found.basic() == f"Basic {pair('ada:s:e')}"
    assert "s:e" not in repr(found)


@pytest.mark.parametrize(
    "key", ["r.example.com", "https://r.example.com", "https://r.example.com/"]
)
def test_dockers_file(home, key):
    home.write(".docker/config.json", {"auths": {key: {"auth": pair("ada:a:b")}}})
    found = home.find()
    assert (found.username, found.password) == ("ada", "a:b")


def test_podmans_file_comes_before_dockers_and_may_be_for_a_namespace(home):
    home.write(".docker/config.json", {"auths": {"r.example.com": {"auth": pair("d:d")}}})
    home.write(
        "run/containers/auth.json",
        {
            "auths": {
                "r.example.com": {"auth": pair("all:x")},
                "r.example.com/team": {"auth": pair("team:x")},
            }
        },
    )
    assert home.find().username == "team"
    assert home.find(repository="other/rent").username == "all"


def test_a_named_file_is_the_only_one(home):
    home.write(".docker/config.json", {"auths": {"r.example.com": {"auth": pair("d:d")}}})
    path = home.write("mine.json", {"auths": {}})
    assert home.find(REGISTRY_AUTH_FILE=str(path)) is None
    with pytest.raises(InvalidInput, match="isn't there"):
        home.find(REGISTRY_AUTH_FILE=str(home.path / "no.json"))


@pytest.mark.parametrize("body", ["{", {"auths": {"r.example.com": {"auth": "%%%"}}}])
def test_a_broken_file_is_told(home, body):
    path = home.write(".docker/config.json", body)
    with pytest.raises(InvalidInput) as refusal:
        home.find()
    assert str(path) in refusal.value.what
    assert "login" in refusal.value.fix


def test_identity_tokens(home):
    home.write(
        ".docker/config.json",
        {"auths": {"r.example.com": {"auth": pair("ada:"), "identitytoken": "it"}}},
    )
    assert home.find().identity_token == "it"


def helper(home, script):
    program = home.write("bin/docker-credential-test", f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    home.write(".docker/config.json", {"credHelpers": {"r.example.com": "test"}})
    return {"PATH": f"{program.parent}:/usr/bin:/bin"}


def test_a_credential_helper_is_asked(home):
    env = helper(
        home, """read server; echo "{\\"Username\\":\\"$server\\",\\"Secret\\":\\"s\\"}" """
    )
    found = home.find(**env)
    assert (found.username, found.password) == ("r.example.com", "s")


def test_a_helper_that_knows_nothing_is_nobody(home):
    env = helper(home, "echo credentials not found in native keychain; exit 1")
    assert home.find(**env) is None


def test_a_helper_that_fails_is_told(home):
    env = helper(home, "echo locked >&2; exit 1")
    with pytest.raises(Unauthenticated, match="locked"):
        home.find(**env)


def test_a_helpers_name_is_no_path(home):
    home.write(".docker/config.json", {"credsStore": "../../evil"})
    with pytest.raises(InvalidInput, match="evil"):
        home.find()
