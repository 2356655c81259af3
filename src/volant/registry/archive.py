"""A model version as one file that another Volant takes after verifying it.

`manifest.json` stands first: what the record says of the version, and the size and SHA-256
of every file. The files follow in the order of their names, and `manifest.sha256` last, so
that no byte can change unseen. The same version gives the same bytes. Whoever can write the
file can write another one: it isn't signed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from volant.domain.codec import from_plain, to_plain
from volant.domain.model import Lineage, ModelVersion, Signature, Stage
from volant.errors import Conflict, InvalidInput, VolantError
from volant.registry.provenance import EXPORTED
from volant.registry.tarball import (
    BLOCK,
    CHUNK,
    END,
    broken,
    content,
    first_size,
    header,
    measured,
    padding,
)

FORMAT = 1
MANIFEST = "manifest.json"
DIGEST = "manifest.sha256"
MAX_MANIFEST = 16 << 20  # bytes
MAX_FILES = 10_000
MAX_BYTES = 32 << 30
_LOCAL = ("profile", "environment", "imported", "registered_uri", "trusted_pickle")


@dataclass(frozen=True, slots=True)
class FileFacts:
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an exported version is. `stage` is candidate or refused: what serves elsewhere
    doesn't serve here. Its lineage speaks of the platform that made it."""

    model: str
    version: int
    stage: Stage
    created_at: datetime
    signature: Signature
    metrics: Mapping[str, float]
    params: Mapping[str, Any]
    runtime: Mapping[str, Any]
    lineage: Lineage
    files: Mapping[str, FileFacts]
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    description: str = ""
    format: int = FORMAT

    def encoded(self) -> bytes:
        return json.dumps(to_plain(self), sort_keys=True, ensure_ascii=False).encode()

    def identity(self) -> str:
        """The same content is the same version, whatever it was called and tagged. A
        version that comes back to where it was made is the one that its run made."""
        told: Mapping[str, Any] = to_plain(self)
        runtime = {k: v for k, v in told["runtime"].items() if k not in _LOCAL}
        kept = ("signature", "metrics", "params", "lineage", "files", "stage")
        words = {**{key: told[key] for key in kept}, "runtime": runtime}
        return (
            EXPORTED + hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:24]
        )


def manifest_of(
    version: ModelVersion,
    folder: Path,
    tags: Mapping[str, str] | None = None,
    description: str = "",
) -> Manifest:
    """The manifest of a stored version, whose files lie in `folder`.

    Raises `Conflict` for a version that is only registered, and one that lacks a file.
    """
    if version.stage is Stage.REGISTERED:
        raise Conflict(
            f"{version.model} version {version.version} is only registered: nobody has proven "
            "that it can serve.",
            f"Prepare it first: volant models prepare {version.model} {version.version}",
            code="model.not_prepared",
        )
    origin = version.runtime.get("imported")
    lineage = version.lineage
    if isinstance(origin, Mapping):
        lineage = from_plain(Lineage, origin["lineage"])
    return Manifest(
        model=version.model,
        version=version.version,
        stage=Stage.REFUSED if version.stage is Stage.REFUSED else Stage.CANDIDATE,
        created_at=version.created_at,
        signature=version.signature,
        metrics=version.metrics,
        params=version.params,
        runtime=version.runtime,
        lineage=lineage,
        files={
            name: FileFacts(sha256, _size(folder, name))
            for name, sha256 in sorted(version.files.items())
        },
        tags=dict(tags or {}),
        description=description,
    )


def size_of(manifest: Manifest) -> int:
    """Bytes of the whole file."""
    total = measured(MANIFEST, len(manifest.encoded())) + measured(DIGEST, 64) + len(END)
    return total + sum(measured(_place(name), f.bytes) for name, f in manifest.files.items())


def write(manifest: Manifest, folder: Path) -> Iterator[bytes]:
    """The file in blocks. Raises `InvalidInput` when the folder's files aren't the
    manifest's: who reads has then less than `size_of` bytes."""
    told = manifest.encoded()
    yield header(MANIFEST, len(told)) + told + padding(len(told))
    for name, facts in sorted(manifest.files.items()):
        yield header(_place(name), facts.bytes)
        with (folder / name).open("rb") as source:
            yield from content(source, facts.bytes, facts.sha256, name)
        yield padding(facts.bytes)
    yield _end(told)


def read(path: Path, folder: Path | None = None) -> Manifest:
    """The manifest, once every byte of the file is proven to follow from it; with a
    `folder`, which must be new, the files are there then.

    Raises `InvalidInput` for whatever isn't a whole export; the folder is gone then.
    """
    try:
        with path.open("rb") as source:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                raise broken("it is no plain file")
            return _read(source, folder)
    except BaseException:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _read(source: BinaryIO, folder: Path | None) -> Manifest:
    manifest = _manifest(source)
    if os.fstat(source.fileno()).st_size != size_of(manifest):
        raise broken("it isn't as long as its manifest says: files are missing, or added")
    for name, facts in sorted(manifest.files.items()):
        expected = header(_place(name), facts.bytes)
        if source.read(len(expected)) != expected:
            raise broken(f"something else stands where {name!r} should be")
        with _target(folder, name) as out:
            for block in content(source, facts.bytes, facts.sha256, name):
                out.write(block)
        if source.read(len(padding(facts.bytes))) != padding(facts.bytes):
            raise broken(f"something is hidden after {name!r}")
    if source.read() != _end(manifest.encoded()):
        raise broken("its manifest isn't the one that was written, or something is hidden")
    return manifest


def read_manifest(path: Path) -> Manifest:
    """What the file says of itself; nothing of it is proven."""
    with path.open("rb") as source:
        return _manifest(source)


def _manifest(source: BinaryIO) -> Manifest:
    size = first_size(source.read(BLOCK), MANIFEST)
    if size is None:
        raise broken(f"it doesn't begin with {MANIFEST}")
    if size > MAX_MANIFEST:
        raise broken(f"its manifest is larger than {MAX_MANIFEST >> 20} MiB")
    told = source.read(size)
    try:
        body = json.loads(told)
        found = body.get("format")
        if found != FORMAT:
            raise InvalidInput(
                f"The file is an export of format {str(found)[:20]!r}; this Volant reads {FORMAT}.",
                "Update Volant, or export it again with a version like this one.",
                code="model.export_format",
            )
        manifest = from_plain(Manifest, body)
        as_written = manifest.encoded() == told
    except (ValueError, AttributeError, RecursionError):
        raise broken("its manifest isn't JSON") from None
    except VolantError as error:
        if error.error_code == "model.export_format":
            raise
        raise broken(f"its manifest is wrong: {error.what.rstrip('.')}") from None
    if not as_written or source.read(len(padding(size))) != padding(size):
        raise broken("its manifest isn't written as Volant writes it")
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    total = 0
    for name, facts in manifest.files.items():
        path = PurePosixPath(name)
        parts = path.parts
        odd = (
            path.is_absolute()
            or not parts
            or path.as_posix() != name
            or any(part in ("..", ".") or len(part.encode()) > 255 for part in parts)
            or not name.isprintable()
            or "\\" in name
            or len(parts) > 40
        )
        if odd:
            raise broken(f"the path {name[:200]!a} leaves its folder, or can't be a file's")
        if facts.bytes < 0 or len(facts.sha256) != 64:
            raise broken(f"what its manifest says of {name[:200]!a} can't be")
        total += facts.bytes
    if not manifest.files or len(manifest.files) > MAX_FILES or total > MAX_BYTES:
        raise broken(f"it holds no file, over {MAX_FILES}, or over {MAX_BYTES >> 30} GiB")
    if manifest.stage not in (Stage.CANDIDATE, Stage.REFUSED):
        raise broken(f"a version of stage {manifest.stage.value} isn't exported")


def _end(manifest: bytes) -> bytes:
    digest = hashlib.sha256(manifest).hexdigest().encode()
    return header(DIGEST, len(digest)) + digest + padding(len(digest)) + END


def _place(name: str) -> str:
    return f"files/{name}"


def _size(folder: Path, name: str) -> int:
    try:
        return (folder / name).stat().st_size
    except OSError as error:
        raise Conflict(
            f"The file {name!r} of this version can't be read: {error.strerror}.",
            "Restore the artifact store from a backup; `volant models verify` tells the rest.",
            code="artifact_altered",
        ) from error


class _Nowhere:
    """Where blocks go when they are only looked at."""

    def write(self, _block: bytes) -> None:
        """Nothing stays."""


@contextmanager
def _target(folder: Path | None, name: str) -> Generator[Any]:
    if folder is None:
        yield _Nowhere()
        return
    target = folder / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb", buffering=CHUNK) as out:
            yield out
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise broken(f"{name[:200]!a} is a file and a folder") from None


def imported(manifest: Manifest, here: Mapping[str, Any]) -> dict[str, Any]:
    """The version's runtime on this platform: what was found here (`profile`,
    `environment`), and where it comes from."""
    kept = {key: value for key, value in manifest.runtime.items() if key not in _LOCAL}
    origin = {
        "model": manifest.model,
        "version": manifest.version,
        "created_at": to_plain(manifest.created_at),
        "lineage": to_plain(manifest.lineage),
    }
    return {**kept, **here, "imported": origin}


def lineage_of(manifest: Manifest) -> Lineage:
    """Its lineage here: the run and its parent aren't known to this platform."""
    return replace(
        manifest.lineage, run_id=manifest.identity(), tracking_run=None, parent_version=None
    )
