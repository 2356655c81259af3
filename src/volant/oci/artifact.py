"""A model version as an OCI artifact: its record is the config, each of its files a layer.

The layers are the files themselves, so that versions share what is the same in them, and
`oras pull` or any client gets a folder that can be used. The manifest follows from the
version alone: the same version is the same digest wherever it is pushed from.

Annotations: those of the image spec; on layers, the file's path as ORAS
(`org.opencontainers.image.title`) and the CNCF's ModelPack (`org.cncf.model.filepath`)
write it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volant.errors import Conflict, InvalidInput
from volant.oci.blob import MANIFEST_BYTES, Blob, Descriptor, canonical, digest_of, of_bytes
from volant.oci.client import OCI_MANIFEST, Client, Heard
from volant.oci.layer import check_path

ARTIFACT_TYPE = "application/vnd.volant.model.v1"
CONFIG_TYPE = "application/vnd.volant.model.config.v1+json"
FILE_TYPE = "application/vnd.volant.model.file.v1"
TITLE = "org.opencontainers.image.title"
FILE_PATH = "org.cncf.model.filepath"
VERSION = "org.opencontainers.image.version"
CREATED = "org.opencontainers.image.created"
MAX_FILES = 10_000  # as an export
MAX_BYTES = 32 << 30


@dataclass(frozen=True, slots=True)
class Bundle:
    """A version on this machine: `record` is the manifest of its export (JSON with model,
    version, created_at, runtime, and files: {path: {sha256, bytes}}); `folder` has the
    files."""

    record: bytes
    folder: Path

    @property
    def told(self) -> Mapping[str, Any]:
        return read_record(self.record)

    def path(self, name: str) -> Path:
        return self.folder / name


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did: `sent` bytes left this machine, of `size` in all."""

    reference: str
    digest: str
    sent: int
    size: int


def read_record(record: bytes) -> dict[str, Any]:
    """The record's document with what every use of it needs.

    Raises `InvalidInput` for what isn't the record of a version.
    """
    try:
        told = json.loads(record)
        files = told["files"]
        sound = (
            isinstance(told["model"], str)
            and isinstance(files, dict)
            and 0 < len(files) <= MAX_FILES
            and all(_sound(facts) for facts in files.values())
        )
        int(told["version"])
    except (ValueError, KeyError, TypeError):
        sound, files, told = False, {}, {}
    if not sound:
        raise InvalidInput(
            "The record of the model's version can't be read.",
            "Push it again with this version of Volant.",
            code="oci.record",
        )
    for name in files:
        check_path(name)
    return told


def _sound(facts: Any) -> bool:
    sha256, size = facts["sha256"], facts["bytes"]
    plain = isinstance(sha256, str) and re.fullmatch(r"[0-9a-f]{64}", sha256) is not None
    return plain and isinstance(size, int) and size >= 0


def manifest_of(bundle: Bundle) -> tuple[bytes, list[Blob]]:
    """The manifest's bytes, and the blobs that it points to, the config first. The files
    must have been proven against the record.

    Raises `InvalidInput` when it is larger than registries take.
    """
    told = bundle.told
    config = of_bytes(bundle.record)
    blobs, layers = [config], list[dict[str, Any]]()
    for name, facts in sorted(told["files"].items()):
        blob = Blob(f"sha256:{facts['sha256']}", facts["bytes"], bundle.path(name))
        blobs.append(blob)
        named = {TITLE: name, FILE_PATH: name}
        layers.append(Descriptor(FILE_TYPE, blob.digest, blob.size, named).to_dict())
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": Descriptor(CONFIG_TYPE, config.digest, config.size).to_dict(),
        "layers": layers,
        "annotations": annotations_of(told),
    }
    body = canonical(manifest)
    if len(body) > MANIFEST_BYTES:
        raise InvalidInput(
            f"The model has {len(layers)} files: their list is larger than registries take.",
            "Move it as a file: volant models export",
            code="oci.too_large",
        )
    return body, blobs


def annotations_of(told: Mapping[str, Any]) -> dict[str, str]:
    """The image spec's annotations that a version has."""
    found = {TITLE: str(told["model"]), VERSION: str(told["version"])}
    created = told.get("created_at")
    return {**found, CREATED: str(created)} if created else found


def push(client: Client, bundle: Bundle, sent: Heard | None = None) -> Pushed:
    """Have the registry hold the version under the client's reference.

    The tag is written last: until then nobody can see a part of it. Pushed again, nothing
    is sent.
    """
    manifest, blobs = manifest_of(bundle)
    size = len(manifest) + sum(blob.size for blob in blobs)
    digest = digest_of(manifest)
    reference = str(client.reference)
    if client.digest() == digest:
        return Pushed(reference, digest, 0, size)
    gone = sum(client.push(blob, sent=sent) for blob in {b.digest: b for b in blobs}.values())
    client.put_manifest(manifest, OCI_MANIFEST)
    return Pushed(reference, digest, gone + len(manifest), size)


def pull(client: Client, folder: Path, heard: Heard | None = None) -> tuple[Bundle, str]:
    """Fetch the version into `folder`; returns it and its manifest's digest. Every byte is
    proven: manifest, config and files by their digests, the files by the record, too.

    Raises `InvalidInput` for what isn't a model of ours or leads out of the folder,
    `Conflict` for content that isn't what its digest says.
    """
    manifest, digest, _ = client.manifest()
    name = str(client.reference)
    layers = _layers(manifest, name)
    record = client.read(Descriptor.from_dict(manifest["config"], name))
    told = read_record(record)
    stated = {path: (f"sha256:{f['sha256']}", f["bytes"]) for path, f in told["files"].items()}
    if stated != {path: (layer.digest, layer.size) for path, layer in layers.items()}:
        raise Conflict(
            f"{name} doesn't hold the files that its record names.",
            "It was altered in the registry: push it again.",
            code="oci.record",
        )
    for path, layer in sorted(layers.items()):
        client.pull(layer, _made(folder, path), heard)
    return Bundle(record, folder), digest


def _made(folder: Path, path: str) -> Path:
    """The file's place, its folders made. Raises `InvalidInput` where a file is one."""
    target = folder / path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InvalidInput(
            f"{path!r} lies in a file.", "Push the model again.", code="oci.path"
        ) from None
    return target


def _layers(manifest: Mapping[str, Any], name: str) -> dict[str, Descriptor]:
    """The files' entries by path. Raises `InvalidInput` for a manifest that isn't ours."""
    config = manifest.get("config")
    kind = manifest.get("artifactType") or (config or {}).get("mediaType")
    if kind not in (ARTIFACT_TYPE, CONFIG_TYPE):
        image = "manifests" in manifest or str(kind or "").endswith(
            ("image.config.v1+json", "container.image.v1+json")
        )
        raise InvalidInput(
            f"{name} is {'an image' if image else f'of the type {kind}'}, not a model version.",
            "`volant models push` makes those; an image is run, for example with podman.",
            code="oci.not_a_model",
        )
    found: dict[str, Descriptor] = {}
    for body in manifest.get("layers") or ():
        layer = Descriptor.from_dict(body, name)
        path = layer.annotations.get(FILE_PATH) or layer.annotations.get(TITLE) or ""
        check_path(path)
        if path in found:
            raise InvalidInput(f"{name} has {path!r} twice.", "Push it again.", code="oci.path")
        found[path] = layer
    total = sum(layer.size for layer in found.values())
    if len(found) > MAX_FILES or total > MAX_BYTES:
        raise InvalidInput(
            f"{name} has {len(found)} files of {total} bytes: more than a model may have.",
            f"At most {MAX_FILES} files and {MAX_BYTES >> 30} GiB.",
            code="oci.too_large",
        )
    return found
