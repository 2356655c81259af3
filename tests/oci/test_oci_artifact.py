"""A version as an artifact: pushed to a registry, and taken from one that may lie."""

from __future__ import annotations

import json

import pytest
from oci_registry import sha256
from tests.oci.conftest import FILES, bundle_of

from volant.errors import Conflict, InvalidInput, Unavailable
from volant.oci.artifact import ARTIFACT_TYPE, FILE_PATH, TITLE, manifest_of, pull, push
from volant.oci.client import OCI_MANIFEST


def test_it_comes_back_as_it_went(registry, connect, bundle, tmp_path):
    done = push(connect(registry), bundle)
    back, digest = pull(connect(registry), tmp_path / "back")
    assert digest == done.digest
    assert back.record == bundle.record
    found = {
        path.relative_to(back.folder).as_posix(): path.read_bytes()
        for path in back.folder.rglob("*")
        if path.is_file()
    }
    assert found == FILES


def test_pushed_twice_nothing_is_sent(registry, connect, bundle):
    first = push(connect(registry), bundle)
    assert first.sent == first.size
    registry.calls.clear()
    assert push(connect(registry), bundle).sent == 0
    assert [method for method, _ in registry.calls] == ["HEAD"]
    other = push(connect(registry, "models/rent:latest"), bundle)
    assert other.digest == first.digest
    assert registry.named("POST", "uploads") == 0


def test_versions_share_what_is_the_same_in_them(registry, connect, bundle, tmp_path):
    push(connect(registry), bundle)
    before = registry.sent
    newer = bundle_of(tmp_path / "newer", {**FILES, "volant.json": b'{"format": 1, "n": 2}'})
    push(connect(registry, "models/rent:2"), newer)
    assert registry.sent - before < len(FILES["model.onnx"])


def test_the_manifest_is_one_that_other_tools_know(bundle):
    body, blobs = manifest_of(bundle)
    manifest = json.loads(body)
    assert manifest["artifactType"] == ARTIFACT_TYPE == "application/vnd.volant.model.v1"
    assert manifest["mediaType"] == OCI_MANIFEST
    assert manifest["annotations"] == {
        TITLE: "rent",
        "org.opencontainers.image.version": "3",
        "org.opencontainers.image.created": "2026-03-01T10:00:00Z",
    }
    names = [layer["annotations"][TITLE] for layer in manifest["layers"]]
    assert names == sorted(FILES)
    assert [layer["annotations"][FILE_PATH] for layer in manifest["layers"]] == names
    assert blobs[0].digest == manifest["config"]["digest"] == sha256(bundle.record)
    assert manifest_of(bundle)[0] == body


def test_a_push_that_dies_leaves_no_tag_and_the_next_one_ends_it(registry, connect, bundle):
    registry.once("PUT", "manifests", lambda h: h.hang_up(), times=9)
    with pytest.raises(Unavailable):
        push(connect(registry), bundle)
    assert connect(registry).digest() is None
    registry.faults.clear()
    before = registry.sent
    push(connect(registry), bundle)
    assert registry.sent == before  # the files were there
    assert connect(registry).digest()


# what a registry may hold


def store(registry, connect, change):
    """Have the registry hold a changed manifest of the version under its tag."""
    known = registry.manifests["models/rent"]
    manifest = json.loads(known["1"][0])
    change(manifest)
    body = json.dumps(manifest).encode()
    known["1"] = (body, OCI_MANIFEST)


@pytest.fixture
def pushed(registry, connect, bundle):
    push(connect(registry), bundle)

    def alter(change):
        store(registry, connect, change)
        return connect(registry)

    return alter


def rename(to):
    def change(manifest):
        manifest["layers"][0]["annotations"] = {TITLE: to}

    return change


@pytest.mark.parametrize("name", ["../../evil", "/etc/cron.d/evil", "a/../../evil", "", "a\\..\\b"])
def test_a_layer_that_climbs_out(pushed, tmp_path, name):
    with pytest.raises(InvalidInput, match="leads out"):
        pull(pushed(rename(name)), tmp_path / "in" / "back")
    assert not list(tmp_path.glob("**/evil*"))


def test_a_file_that_the_record_doesnt_name(pushed, tmp_path):
    with pytest.raises(Conflict, match="record"):
        pull(pushed(rename("other.bin")), tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_two_layers_of_one_name(pushed, tmp_path):
    def twice(manifest):
        manifest["layers"].append(manifest["layers"][0])

    with pytest.raises(InvalidInput, match="twice"):
        pull(pushed(twice), tmp_path / "back")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(artifactType="application/vnd.example"), "of the type"),
        (lambda m: m.update(artifactType="application/vnd.oci.image.config.v1+json"), "an image"),
        (lambda m: m.update(layers=[{"digest": "x"}]), "without a media type"),
        (lambda m: m["layers"][0].update(digest="sha512:" + "a" * 128), "digest"),
        (lambda m: m["layers"][0].update(size=1 << 60), "more than a model may have"),
        (lambda m: m.update(config=None), "without a media type"),
        (lambda m: m["config"].update(size=1 << 40), "should be small"),
        (lambda m: m.update(layers=[]), "record"),
    ],
)
def test_a_manifest_that_isnt_one_of_ours(pushed, tmp_path, change, says):
    with pytest.raises((InvalidInput, Conflict), match=says) as refusal:
        pull(pushed(change), tmp_path / "back")
    assert refusal.value.fix
    assert not (tmp_path / "back").exists()


def test_an_index_is_an_image(registry, connect, tmp_path):
    body = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    registry.manifests["models/rent"] = {"1": (body, "application/vnd.oci.image.index.v1+json")}
    with pytest.raises(InvalidInput, match="an image"):
        pull(connect(registry), tmp_path / "back")


@pytest.mark.parametrize(
    "record",
    [
        b"[]",
        b"{",
        b'{"model": "rent", "version": 1, "files": {}}',
        b'{"model": "rent", "version": 1, "files": {"a": {"sha256": "x", "bytes": 1}}}',
        b'{"model": "rent", "version": 1, "files": {"a": 3}}',
    ],
)
def test_a_record_that_cant_be_read(registry, connect, pushed, tmp_path, record):
    registry.blobs["models/rent"][sha256(record)] = record

    def change(manifest):
        manifest["config"].update(digest=sha256(record), size=len(record))

    with pytest.raises(InvalidInput, match="record"):
        pull(pushed(change), tmp_path / "back")


def test_content_that_was_swapped_in_the_registry(registry, connect, bundle, tmp_path):
    push(connect(registry), bundle)
    held = registry.blobs["models/rent"]
    held[sha256(FILES["model.onnx"])] = b"Weights " * 400
    with pytest.raises(Conflict, match="digest"):
        pull(connect(registry), tmp_path / "back")
    assert not (tmp_path / "back" / "model.onnx").exists()
