from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.errors import InvalidInput
from volant.oci.reference import parse_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("registry.example.com/models/rent:3", "registry.example.com", "models/rent", "3", None),
        ("localhost:5000/rent:v1.2_a-b", "localhost:5000", "rent", "v1.2_a-b", None),
        ("localhost/rent:1", "localhost", "rent", "1", None),
        (f"r.example.com/a/b@{DIGEST}", "r.example.com", "a/b", None, DIGEST),
        (f"r.example.com/a/b:1@{DIGEST}", "r.example.com", "a/b", None, DIGEST),
        ("[::1]:5000/rent:1", "[::1]:5000", "rent", "1", None),
    ],
)
def test_full_names(text, registry, repository, tag, digest):
    found = parse_reference(text)
    assert (found.registry, found.repository, found.tag, found.digest) == (
        registry,
        repository,
        tag,
        digest,
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models/rent:1", "names no registry"),
        ("rent", "names no registry"),
        ("localhost:5000/rent", "has no tag"),
        ("https://localhost:5000/rent:1", "has a scheme"),
        ("localhost:5000/Rent:1", "repository"),
        ("localhost:5000/a//b:1", "repository"),
        ("localhost:5000/../b:1", "repository"),
        ("localhost:5000/rent:", "tag"),
        ("localhost:5000/rent:-a", "tag"),
        ("localhost:5000/rent:" + "a" * 129, "tag"),
        ("localhost:5000/rent@sha256:abc", "digest"),
        ("localhost:5000/rent@md5:" + "a" * 32, "digest"),
        ("exa mple.com/rent:1", "registry"),
        ("example.com:123456/rent:1", "registry"),
        (f"example.com/{'a/' * 200}b:1", "repository"),
        ("", "names no registry"),
    ],
)
def test_wrong_names_are_told_what_is_wrong(text, says):
    with pytest.raises(InvalidInput) as refusal:
        parse_reference(text)
    assert says in refusal.value.what
    assert refusal.value.fix


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:5000", "[::1]:5000"])
def test_loopback_is_known(host):
    assert parse_reference(f"{host}/a:1").loopback


@pytest.mark.parametrize("host", ["127.example.com", "localhost.example.com", "10.0.0.1:5000"])
def test_what_only_looks_like_loopback_is_not(host):
    assert not parse_reference(f"{host}/a:1").loopback


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text):
    try:
        found = parse_reference(text)
    except InvalidInput:
        return
    assert parse_reference(str(found)) == found
