"""Addresses: their one canonical form, and what is wrong with one that isn't there."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote_to_bytes

from volant.serving.refusal import Refusal, nearest, shown

SAFE = "~:@!$&'()*+,;="  # RFC 3986, 3.3: what a segment may hold as it is


def plain(path: bytes) -> bytes:
    """The path alone, each of its segments in one canonical form."""
    path = path.partition(b"?")[0]
    if not path.startswith(b"/"):  # absolute form, RFC 9112, 3.2.2
        scheme, found, rest = path.partition(b"://")
        if found and scheme.lower() in (b"http", b"https"):
            path = b"/" + rest.partition(b"/")[2]
    if b"%" in path:
        segments = [quote(unquote_to_bytes(s), safe=SAFE) for s in path.split(b"/")]
        path = "/".join(segments).encode()
    return path.rstrip(b"/") or b"/"


def unknown(path: bytes, names: Sequence[str], versions: Sequence[str]) -> Refusal:
    """What is wrong with an address where nothing is."""
    parts = unquote_to_bytes(path).decode("utf-8", "replace").strip("/").split("/")
    at = {("v2", "models"): 2, ("v1", "models"): 2, ("v2", "repository"): 3}.get(
        (parts[0], parts[1]) if len(parts) > 1 else ("", "")
    )
    model = parts[at].partition(":")[0] if at is not None and len(parts) > at else names[0]
    if model not in names and parts[1:3] != ["repository", "index"]:
        return Refusal(
            404,
            f"Model: expected {shown(names[0])}, got {shown(model)}." + nearest(model, names),
        )
    version = parts[4].partition(":")[0] if parts[3:4] == ["versions"] and parts[4:] else None
    if version is not None and version not in versions:
        return Refusal(
            404,
            f"Version of {shown(names[0])}: expected {' or '.join(versions)} (what "
            f"serves), got {shown(version)}.",
        )
    return Refusal(
        404,
        f"Expected an address of the Open Inference Protocol, got {shown('/'.join(parts))}.",
    )
