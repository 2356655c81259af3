"""Content by its digest: what a registry stores and a manifest points to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volant.errors import InvalidInput

BLOCK = 1 << 20
MANIFEST_BYTES = 4 << 20  # the distribution spec's limit for a manifest


@dataclass(frozen=True, slots=True)
class Blob:
    """Content to push: `body`, or the file `path`. `size` is in bytes."""

    digest: str
    size: int
    path: Path | None = None
    body: bytes = b""

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to `stop`, in blocks."""
        stop = self.size if stop is None else stop
        if self.path is None:
            yield self.body[start:stop]
            return
        with self.path.open("rb") as file:
            file.seek(start)
            left = stop - start
            while left > 0 and (block := file.read(min(BLOCK, left))):
                left -= len(block)
                yield block


@dataclass(frozen=True, slots=True)
class Descriptor:
    """How a manifest points to content. `size` is in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])

    def to_dict(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        return {**body, "annotations": dict(self.annotations)} if self.annotations else body

    @classmethod
    def from_dict(cls, body: Any, where: str) -> Descriptor:
        """Read a manifest's entry. Raises `InvalidInput` for what isn't one."""
        try:
            digest, size = str(body["digest"]), int(body["size"])
            found = cls(str(body["mediaType"]), digest, size, dict(body.get("annotations") or {}))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InvalidInput(
                f"{where} has an entry without a media type, digest and size.",
                "It was made by something else: push it again.",
                code="oci.manifest",
            ) from None
        if not digest.startswith("sha256:") or len(digest) != 71 or size < 0:
            raise InvalidInput(
                f"{where} has an entry with the digest {digest[:90]!r}.",
                "Only SHA-256 digests can be proven here: push it again with them.",
                code="oci.manifest",
            )
        return found


def of_bytes(body: bytes) -> Blob:
    return Blob(digest_of(body), len(body), body=body)


def of_file(path: Path) -> Blob:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Blob(f"sha256:{digest}", path.stat().st_size, path)


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def canonical(document: Any) -> bytes:
    """JSON that is the same bytes for the same document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
