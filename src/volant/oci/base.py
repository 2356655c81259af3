"""What a base image has: which Python, which C library, read from its layers.

Nothing of it is run. Its layers are read from top to bottom as a container engine would lay
them, and only the names that matter are kept.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from volant.errors import InvalidInput, NotFound
from volant.oci.blob import Descriptor
from volant.oci.client import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Client,
    Heard,
)

PLATFORMS = {"amd64": "x86_64", "arm64": "aarch64"}  # in OCI's words → in wheels'
_CONFIGS = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_PYTHON = re.compile(r"(?:usr/local|usr|opt/[\w.-]+)/bin/python3\.(\d+)")
_GLIBC = re.compile(r"(?:usr/)?lib(?:64)?/(?:[\w-]+/)?libc(?:\.so\.6|-2\.\d+\.so)")
_MUSL = re.compile(r"(?:usr/)?lib/ld-musl-[\w-]+\.so\.1")
_GLIBC_SAYS = re.compile(rb"GNU C Library [^\n]{0,80}?version (\d+)\.(\d+)")
_LIBC_BYTES = 16 << 20
_LAYERS = 128


@dataclass(frozen=True, slots=True)
class Findings:
    """`pythons`: path → minor version of Python 3. `glibc`: (major, minor), or None."""

    pythons: Mapping[str, int]
    glibc: tuple[int, int] | None
    musl: bool

    def to_dict(self) -> dict[str, Any]:
        return {"pythons": dict(self.pythons), "glibc": self.glibc, "musl": self.musl}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Findings:
        glibc = body["glibc"]
        return cls(dict(body["pythons"]), tuple(glibc) if glibc else None, bool(body["musl"]))


@dataclass(frozen=True, slots=True)
class Base:
    """A base image for one platform: its manifest's digest, its layers, its configuration
    and what was found in it."""

    digest: str
    layers: tuple[Descriptor, ...]
    config: Mapping[str, Any]
    findings: Findings = field(default_factory=lambda: Findings({}, None, False))

    @property
    def architecture(self) -> str:
        return str(self.config.get("architecture"))


def find_manifest(client: Client, platform: str) -> tuple[str, dict[str, Any]]:
    """The digest and manifest of the reference's image for `platform` (`linux/amd64`).

    Raises `NotFound` when there is none, `InvalidInput` for what is no image.
    """
    manifest, digest, _ = client.manifest()
    kind = manifest.get("mediaType")
    if kind in (OCI_INDEX, DOCKER_INDEX) or "manifests" in manifest:
        offered = {_platform_of(one): one for one in manifest.get("manifests") or ()}
        chosen = offered.get(platform)
        if chosen is None:
            known = ", ".join(sorted(name for name in offered if "unknown" not in name))
            raise NotFound(
                f"{client.reference} has no image for {platform}.",
                f"It has {known or 'none at all'}.",
                code="oci.platform",
            )
        wanted = Descriptor.from_dict(chosen, str(client.reference)).digest
        manifest, digest, _ = client.manifest(wanted)
        kind = manifest.get("mediaType")
    if kind not in (OCI_MANIFEST, DOCKER_MANIFEST) or "config" not in manifest:
        raise _no_image(str(client.reference), str(kind or "no media type"))
    return digest, manifest


def _no_image(name: str, kind: str) -> InvalidInput:
    return InvalidInput(
        f"{name} is no image ({kind[:100]}).",
        "Give --base an image with Python 3.11 or later.",
        code="oci.base",
    )


def _platform_of(entry: Any) -> str:
    told = entry.get("platform") or {}
    return f"{told.get('os')}/{told.get('architecture')}"


def read_base(client: Client, platform: str) -> Base:
    """The base image's configuration and layers, not yet what is in them.

    Raises `InvalidInput` when it is for another platform, or its layers can't be copied.
    """
    digest, manifest = find_manifest(client, platform)
    name = str(client.reference)
    if manifest["config"].get("mediaType") not in _CONFIGS:
        raise _no_image(name, str(manifest.get("artifactType") or manifest["config"]))
    config = json.loads(client.read(Descriptor.from_dict(manifest["config"], name)))
    layers = tuple(Descriptor.from_dict(one, name) for one in manifest.get("layers") or ())
    found = f"{config.get('os')}/{config.get('architecture')}"
    if found != platform:
        raise InvalidInput(
            f"{name} is for {found}, not for {platform}.",
            "Give --platform, or another --base.",
            code="oci.platform",
        )
    ids = (config.get("rootfs") or {}).get("diff_ids") or []
    if len(ids) != len(layers) or not 0 < len(layers) <= _LAYERS:
        raise InvalidInput(
            f"{name} has {len(layers)} layers, and {len(ids)} in its configuration.",
            "Give another --base.",
            code="oci.base",
        )
    if any("nondistributable" in one.media_type or "foreign" in one.media_type for one in layers):
        raise InvalidInput(
            f"{name} has layers that may not be pushed to another registry.",
            "Give another --base.",
            code="oci.base",
        )
    return Base(digest, layers, config)


def inspect_layers(files: Sequence[tuple[Path, str]], name: str) -> Findings:
    """What the layers (file, media type), lowest first, have together.

    Raises `InvalidInput` for one that can't be read.
    """
    pythons: dict[str, int] = {}
    libc: dict[str, tuple[int, int] | None] = {}
    for path, media_type in files:
        try:
            with path.open("rb") as raw, _opened(raw, media_type) as tar:
                for entry in tar:
                    _note(tar, entry, pythons, libc)
        except (tarfile.TarError, OSError, EOFError, ValueError, ImportError) as error:
            raise InvalidInput(
                f"A layer of {name} can't be read: {error}.",
                "Give another --base, with layers compressed by gzip or zstd.",
                code="oci.base",
            ) from error
    versions = [version for version in libc.values() if version]
    musl = any(_MUSL.fullmatch(path) for path in libc)
    return Findings(pythons, max(versions) if versions else None, musl and not versions)


def _opened(raw: IO[bytes], media_type: str) -> tarfile.TarFile:
    if media_type.endswith("zstd"):
        import pyarrow as pa

        stream: Any = pa.CompressedInputStream(raw, "zstd")
        return tarfile.open(fileobj=stream, mode="r|")
    return tarfile.open(fileobj=raw, mode="r|*")


def _note(
    tar: tarfile.TarFile,
    entry: tarfile.TarInfo,
    pythons: dict[str, int],
    libc: dict[str, tuple[int, int] | None],
) -> None:
    path = PurePosixPath(entry.name.removeprefix("./").lstrip("/"))
    if path.name.startswith(".wh."):
        _removed(path, pythons, libc)
        return
    name = path.as_posix()
    if match := _PYTHON.fullmatch(name):
        pythons[name] = int(match[1])
    elif _MUSL.fullmatch(name):
        libc[name] = None
    elif _GLIBC.fullmatch(name) and entry.isfile() and entry.size <= _LIBC_BYTES:
        file = tar.extractfile(entry)
        said = _GLIBC_SAYS.search(file.read()) if file is not None else None
        if said:
            libc[name] = (int(said[1]), int(said[2]))


def _removed(path: PurePosixPath, *known: dict[str, Any]) -> None:
    """A whiteout: the file or folder is gone; the opaque one empties its folder."""
    folder = path.parent.as_posix()
    opaque = path.name == ".wh..wh..opq"
    gone = folder if opaque else (path.parent / path.name.removeprefix(".wh.")).as_posix()
    for names in known:
        for name in [n for n in names if n == gone or n.startswith(f"{gone}/")]:
            del names[name]


def fetch(client: Client, base: Base, folder: Path, heard: Heard | None = None) -> list[Path]:
    """The base's layers as files of `folder`, named by their digests; those that are there
    stay."""
    paths: list[Path] = []
    for layer in base.layers:
        path = layer_file(folder, layer)
        if not path.exists():
            client.pull(layer, path, heard)
        paths.append(path)
    return paths


def layer_file(folder: Path, layer: Descriptor) -> Path:
    """Where a layer of the base lies once it was fetched."""
    return folder / layer.digest.replace(":", "-")
