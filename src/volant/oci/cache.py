"""What was found in base images and which layers were made, so that the next image of the
same kind is made of them. Anything in it may be deleted at any time."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from volant.durable import whole, write_whole
from volant.oci.blob import Blob, of_file
from volant.oci.layer import Layer

_KEPT = 12  # layers; the oldest go
_FINDINGS = 1  # the number of the way in which base images are read


class Cache:
    """In the folder `root`; processes may share it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def of_user(cls, environ: Mapping[str, str]) -> Cache:
        """In the user's cache folder."""
        home = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME") or "~") / ".cache")
        return cls(Path(home).expanduser() / "volant" / "oci")

    def findings(self, digest: str) -> Mapping[str, Any] | None:
        """What is known of the base image with that manifest."""
        body = self._read(self._root / "bases" / f"{digest.removeprefix('sha256:')}.json")
        return body["found"] if body is not None and body.get("read") == _FINDINGS else None

    def keep_findings(self, digest: str, found: Mapping[str, Any]) -> None:
        path = self._root / "bases" / f"{digest.removeprefix('sha256:')}.json"
        self._write(path, {"read": _FINDINGS, "found": dict(found)})

    def layer(self, key: str) -> tuple[Layer, Sequence[str]] | None:
        """The layer that was made for `key`, proven to be as it was, and what is in it."""
        path, about = self._places(key)
        told = self._read(about)
        try:
            if told is None or of_file(path).digest != told["digest"]:
                return None
            blob = Blob(told["digest"], path.stat().st_size, path)
            layer = Layer(blob, told["diff_id"], int(told["unpacked"]), told["made_by"])
            with contextlib.suppress(OSError):
                os.utime(about)
            return layer, list(told["lock"])
        except (OSError, KeyError, TypeError, ValueError):
            return None

    def keep_layer(self, key: str, layer: Layer, lock: Sequence[str]) -> Layer:
        """Keep the layer's file; returns the layer at its new place. A cache that can't be
        written keeps nothing."""
        path, about = self._places(key)
        told = {
            "digest": layer.blob.digest,
            "diff_id": layer.diff_id,
            "unpacked": layer.unpacked,
            "made_by": layer.made_by,
            "lock": list(lock),
        }
        source = layer.blob.path
        if source is None:
            return layer
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path, lasting=False) as draft:
                _copy(source, draft)
        except OSError:
            return layer
        self._write(about, told)
        self._prune()
        return Layer(Blob(layer.blob.digest, layer.blob.size, path), *_rest(layer))

    def _places(self, key: str) -> tuple[Path, Path]:
        folder = self._root / "layers"
        return folder / f"{key}.tar.gz", folder / f"{key}.json"

    def _prune(self) -> None:
        with contextlib.suppress(OSError):
            known = sorted((self._root / "layers").glob("*.json"), key=lambda p: p.stat().st_mtime)
            for about in known[:-_KEPT]:
                about.unlink(missing_ok=True)
                about.with_suffix(".tar.gz").unlink(missing_ok=True)

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return body if isinstance(body, dict) else None

    def _write(self, path: Path, body: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(body), lasting=False)


def _rest(layer: Layer) -> tuple[str, int, str]:
    return layer.diff_id, layer.unpacked, layer.made_by


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(1 << 20):
            writer.write(block)
