"""Pushing and pulling blobs and manifests over real HTTP, and what may go wrong on the way."""

from __future__ import annotations

import pytest
from oci_registry import PASSWORD, USER, sha256

from volant.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from volant.oci.blob import Descriptor, of_bytes, of_file
from volant.oci.client import OCI_MANIFEST

BODY = bytes(range(256)) * 400  # 102 400 bytes: 13 chunks of 8000
ADA = {"VOLANT_REGISTRY_USERNAME": USER, "VOLANT_REGISTRY_PASSWORD": PASSWORD}


def entry(body):
    return Descriptor("application/octet-stream", sha256(body), len(body))


@pytest.fixture
def blob(tmp_path):
    path = tmp_path / "content.bin"
    path.write_bytes(BODY)
    return of_file(path)


@pytest.mark.parametrize("chunk", [8000, len(BODY), 1 << 20])
def test_a_blob_comes_back_as_it_went(registry, connect, blob, tmp_path, chunk):
    client = connect(registry, chunk=chunk)
    heard = []
    assert client.push(blob, sent=heard.append) == len(BODY)
    assert sum(heard) == len(BODY)
    client.pull(entry(BODY), tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == BODY
    assert client.read(entry(BODY)) == BODY
    assert registry.named("PATCH", "uploads") == (13 if chunk == 8000 else 0)


def test_what_is_there_isnt_sent(registry, connect, blob):
    connect(registry).push(blob)
    before = registry.sent
    assert connect(registry).push(blob) == 0
    assert registry.sent == before


def test_a_blob_of_another_repository_is_mounted(start, connect, blob):
    registry = start()
    connect(registry, "base/one:1").push(blob)
    before = registry.sent
    other = connect(registry, "mine/two:1")
    assert other.push(blob, source="base/one") == 0
    assert other.has(blob.digest)
    assert registry.sent == before


def test_a_registry_that_mounts_nothing_gets_it(start, connect, blob):
    registry = start(mounts=False)
    connect(registry, "base/one:1").push(blob)
    assert connect(registry, "mine/two:1").push(blob, source="base/one") == len(BODY)


def test_an_upload_goes_on_where_it_broke_off(registry, connect, blob):
    def break_off(handler):
        handler.body(100)
        handler.hang_up()

    client = connect(registry, chunk=8000)
    client.push(of_bytes(b"other"))
    registry.once("PATCH", "uploads", lambda h: None, times=0)
    seen = []

    def later(handler):
        if handler.command == "PATCH":
            seen.append(handler.headers["Content-Range"])
            if len(seen) == 5:
                break_off(handler)
                return True
        return False

    registry.faults.append(later)
    client.push(blob)
    assert seen[4] == seen[5] == "32000-39999"  # the fifth chunk, and nothing before it, again
    assert registry.blobs["models/rent"][blob.digest] == BODY


def test_an_upload_that_the_registry_forgot_starts_again(registry, connect, blob):
    def forget(handler):
        handler.body()
        registry.uploads.clear()
        handler.refuse(503, "UNAVAILABLE")

    registry.once("PATCH", "uploads", forget)
    connect(registry, chunk=60_000).push(blob)
    assert registry.blobs["models/rent"][blob.digest] == BODY


def test_a_registry_without_chunks_gets_it_in_one_piece(start, connect, blob):
    registry = start(chunked=False)
    connect(registry, chunk=8000).push(blob)
    assert registry.blobs["models/rent"][blob.digest] == BODY


def test_one_piece_that_breaks_off_is_sent_again(registry, connect, blob):
    registry.once("PUT", "uploads", lambda h: (h.body(9), h.hang_up()), times=2)
    connect(registry).push(blob)
    assert registry.blobs["models/rent"][blob.digest] == BODY


def test_a_registry_that_stays_broken_is_told_and_holds_nothing(registry, connect, blob):
    registry.once("PUT", "uploads", lambda h: h.hang_up(), times=99)
    with pytest.raises(Unavailable, match="broke") as refusal:
        connect(registry).push(blob)
    assert "Try again" in refusal.value.fix
    assert not registry.blobs.get("models/rent")


def test_a_busy_registry_is_waited_for(registry, connect):
    registry.once("HEAD", "blobs", lambda h: h.refuse(429, "TOOMANYREQUESTS", Retry_After="1"))
    assert not connect(registry).has(sha256(b"x"))


def test_a_download_goes_on_where_it_broke_off(registry, connect, blob, tmp_path):
    client = connect(registry)
    client.push(blob)

    def half(handler):
        handler.answer(200, BODY[:50_000], Content_Length=str(len(BODY)))
        handler.hang_up()

    registry.once("GET", "blobs", half)
    client.pull(entry(BODY), tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == BODY
    assert registry.named("GET", "blobs") == 2


@pytest.mark.parametrize("wrong", [BODY[:-1] + b"x", BODY + b"more"])
def test_other_content_than_the_digest_says_is_refused(registry, connect, tmp_path, wrong):
    registry.blobs["models/rent"] = {sha256(BODY): wrong}
    client = connect(registry)
    for pull in (
        lambda: client.pull(entry(BODY), tmp_path / "back.bin"),
        lambda: client.read(entry(BODY)),
    ):
        with pytest.raises(Conflict, match="isn't what its digest says"):
            pull()
    assert not list(tmp_path.glob("back*"))


def test_content_that_ends_early_is_refused(registry, connect, tmp_path):
    registry.blobs["models/rent"] = {sha256(BODY): BODY[:-1]}
    with pytest.raises((Conflict, Unavailable)):
        connect(registry).pull(entry(BODY), tmp_path / "back.bin")
    assert not list(tmp_path.glob("back*"))


def test_a_manifest_is_proven_by_its_digest(registry, connect):
    client = connect(registry)
    digest = client.put_manifest(b'{"schemaVersion": 2}', OCI_MANIFEST)
    assert client.digest() == digest
    assert client.manifest()[1:] == (digest, b'{"schemaVersion": 2}')
    known = registry.manifests["models/rent"]
    known[digest] = known["1"] = (b'{"schemaVersion": 3}', OCI_MANIFEST)
    with pytest.raises(Conflict, match="digest"):
        client.manifest(digest)


def test_there_is_no_such_tag(registry, connect):
    client = connect(registry)
    assert client.digest() is None
    with pytest.raises(NotFound, match="models/rent:1") as refusal:
        client.manifest()
    assert "MANIFEST_UNKNOWN" in refusal.value.what


def test_a_page_is_no_manifest(registry, connect):
    registry.once("GET", "manifests", lambda h: h.answer(200, b"<html>"))
    with pytest.raises(InvalidInput, match="no manifest"):
        connect(registry).manifest()


# who we are


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_who_is_known_may_push_and_pull(start, connect, blob, auth):
    registry = start(auth)
    client = connect(registry, environ=ADA)
    client.push(blob)
    assert client.read(entry(BODY)) == BODY
    client.put_manifest(b'{"schemaVersion": 2}', OCI_MANIFEST)


def test_a_token_is_asked_for_once_for_each_right(start, connect, blob):
    registry = start("bearer")
    client = connect(registry, environ=ADA, chunk=8000)
    client.push(blob)
    client.read(entry(BODY))
    assert registry.named("GET", "/token") <= 2


def test_nobody_may_read_what_is_public(start, connect, blob):
    registry = start("bearer")
    registry.blobs["models/rent"] = {blob.digest: BODY}
    assert connect(registry).read(entry(BODY)) == BODY


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_nobody_is_told_how_to_log_in(start, connect, blob, auth):
    registry = start(auth)
    with pytest.raises(Unauthenticated) as refusal:
        connect(registry).push(blob)
    assert f"podman login {registry.host}" in refusal.value.fix


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_wrong_password_is_told_with_where_it_was_found(start, connect, blob, auth):
    registry = start(auth)
    environ = {**ADA, "VOLANT_REGISTRY_PASSWORD": "wrong"}
    with pytest.raises(Unauthenticated) as refusal:
        connect(registry, environ=environ).push(blob)
    assert "ada of VOLANT_REGISTRY_USERNAME" in refusal.value.fix
    assert "wrong" not in str(refusal.value.to_dict())


def test_a_right_that_is_missing_is_told(registry, connect, blob):
    registry.once("POST", "uploads", lambda h: h.refuse(403, "DENIED"))
    with pytest.raises(PermissionDenied, match="DENIED") as refusal:
        connect(registry).push(blob)
    assert "models/rent" in refusal.value.fix


def test_a_password_goes_to_no_other_host(start, connect, blob):
    """An upload that is sent elsewhere, as registries do with stores of their own."""
    store, registry = start(), start("basic")
    store.uploads["ab"] = bytearray()
    place = f"http://{store.host}/v2/models/rent/blobs/uploads/ab"
    registry.once("POST", "uploads", lambda h: h.answer(202, Location=place))
    seen = []
    store.faults.append(lambda h: bool(seen.append(h.headers.get("Authorization"))))
    connect(registry, environ=ADA).push(blob)
    assert store.blobs["models/rent"][blob.digest] == BODY
    assert seen == [None]


# the connection


def test_a_registry_that_isnt_there(connect, start):
    registry = start()
    registry.host = "127.0.0.1:1"
    with pytest.raises(Unavailable, match=r"127.0.0.1:1 can't be reached"):
        connect(registry).digest()


def test_tls_where_there_is_none(registry, tmp_path):
    from volant.oci.client import Client
    from volant.oci.reference import parse_reference
    from volant.oci.session import Access

    reference = parse_reference(f"{registry.host}/a:1")
    with Client(reference, Access(plain_http=False)) as client:
        with pytest.raises(Unavailable) as refusal:
            client.digest()
    assert "TLS" in refusal.value.what
    assert "--plain-http" in refusal.value.fix
