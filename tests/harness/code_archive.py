"""Folders as archives, made in memory."""

from __future__ import annotations

import io
import tarfile


def archive(files, links=()):
    """A .tar.gz of contents by name, and of links by name and target."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as packed:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
        for name, target in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            packed.addfile(entry)
    return raw.getvalue()
