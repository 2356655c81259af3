"""Push and pull: blobs and manifests of one repository (OCI distribution spec 1.1).

A blob that is there isn't sent; one that another repository of the registry has is
mounted. A small blob is sent in one piece, a large one in chunks, which go on where they
broke off. Whatever comes is proven by its digest before anybody uses it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from volant.errors import Conflict, InvalidInput, Unavailable, VolantError
from volant.oci.blob import BLOCK, MANIFEST_BYTES, Blob, Descriptor, digest_of
from volant.oci.reference import Reference
from volant.oci.session import TRANSIENT, TRIES, Access, Session, interrupted

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
_ACCEPTED = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX))
_OCTETS = "application/octet-stream"
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")

Heard = Callable[[int], None]


class Client:
    """One repository. `chunk` is the size in bytes from which, and in which, blobs are
    sent in chunks."""

    def __init__(
        self, reference: Reference, access: Access | None = None, *, chunk: int = 32 << 20
    ) -> None:
        self.reference = reference
        self._session = Session(reference, access)
        self._chunk = chunk

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    # manifests

    def manifest(self, target: str | None = None) -> tuple[dict[str, Any], str, bytes]:
        """The manifest of `target` (a tag or digest; the reference's), its digest, and its
        bytes, which have that digest.

        Raises `NotFound`, `Conflict` when the content isn't what the digest says,
        `InvalidInput` for what is no manifest.
        """
        wanted = target or self.reference.target
        answer = self._session.ask(
            "GET",
            self._session.url(f"manifests/{wanted}"),
            expect=(200,),
            headers={"Accept": _ACCEPTED},
        )
        body, digest = answer.content, digest_of(answer.content)
        if wanted.startswith("sha256:") and wanted != digest:
            raise _altered(f"The manifest of {self.reference}", wanted, digest)
        told = answer.headers.get("docker-content-digest", digest)
        if told.startswith("sha256:") and told != digest:
            raise _altered(f"The manifest of {self.reference}", told, digest)
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if not isinstance(document, dict) or len(body) > MANIFEST_BYTES:
            raise InvalidInput(
                f"{self.reference} is no manifest that can be read here.",
                "Check that the address is a registry's.",
                code="oci.manifest",
            )
        kind = answer.headers.get("content-type", "").partition(";")[0].strip()
        document.setdefault("mediaType", kind)
        return document, digest, body

    def digest(self, target: str | None = None) -> str | None:
        """The digest under a tag, or None when the registry has no such tag."""
        answer = self._session.ask(
            "HEAD",
            self._session.url(f"manifests/{target or self.reference.target}"),
            expect=(200, 404),
            headers={"Accept": _ACCEPTED},
        )
        return answer.headers.get("docker-content-digest") if answer.status_code == 200 else None

    def put_manifest(self, body: bytes, media_type: str, target: str | None = None) -> str:
        """Store a manifest whose blobs are there; returns its digest."""
        digest = digest_of(body)
        answer = self._session.ask(
            "PUT",
            self._session.url(f"manifests/{target or self.reference.target}"),
            expect=(200, 201, 202),
            headers={"Content-Type": media_type},
            content=body,
            scope="pull,push",
        )
        told = answer.headers.get("docker-content-digest", digest)
        if told.startswith("sha256:") and told != digest:
            raise _altered(f"The manifest that {self.reference.registry} stored", digest, told)
        return digest

    # blobs out

    def has(self, digest: str) -> bool:
        answer = self._session.ask(
            "HEAD", self._session.url(f"blobs/{digest}"), expect=(200, 404), scope="pull,push"
        )
        return answer.status_code == 200

    def push(self, blob: Blob, *, source: str | None = None, sent: Heard | None = None) -> int:
        """Have the registry hold `blob`; returns how many bytes were sent. `source` is a
        repository of the same registry that may have it; `sent` hears of each block.

        Raises what the registry refuses with; after a break, a new call goes on with what
        isn't there yet.
        """
        if self.has(blob.digest):
            return 0
        location = self.mount(blob.digest, source) if source else self._begin()
        if location is None:
            return 0
        heard = sent or (lambda _count: None)
        if blob.size <= self._chunk:
            self._whole(blob, location, heard)
        else:
            self._in_chunks(blob, location, heard)
        return blob.size

    def mount(self, digest: str, source: str) -> httpx.URL | None:
        """Take the blob from another repository of the registry: None when that worked,
        else where it can be uploaded to."""
        url = self._session.url("blobs/uploads/").copy_merge_params(
            {"mount": digest, "from": source}
        )
        answer = self._session.ask(
            "POST", url, expect=(201, 202), scope="pull,push", headers={"Content-Length": "0"}
        )
        return None if answer.status_code == 201 else self._location(answer)

    def _begin(self) -> httpx.URL:
        answer = self._session.ask(
            "POST",
            self._session.url("blobs/uploads/"),
            expect=(202,),
            scope="pull,push",
            headers={"Content-Length": "0"},
        )
        return self._location(answer)

    def _location(self, answer: httpx.Response) -> httpx.URL:
        where = answer.headers.get("location")
        if not where:
            raise Unavailable(
                f"{self.reference.registry} doesn't say where to upload to.",
                "Check that the address is a registry's.",
                code="oci.address",
            )
        return answer.request.url.join(where)

    def _whole(self, blob: Blob, location: httpx.URL | None, sent: Heard) -> None:
        """Monolithic; each further try is a new upload."""

        def attempt() -> None:
            nonlocal location
            here, location = location or self._begin(), None
            self._put(here, blob, 0, sent)

        self._session.trying(attempt)

    def _put(self, location: httpx.URL, blob: Blob, start: int, sent: Heard) -> None:
        """The rest of the blob from `start`, and the end of its upload."""
        self._session.ask(
            "PUT",
            location.copy_merge_params({"digest": blob.digest}),
            expect=(200, 201, 204),
            headers={"Content-Type": _OCTETS, "Content-Length": str(blob.size - start)},
            content=_body(blob, start, blob.size, sent),
            scope="pull,push",
            again=False,
        )

    def _in_chunks(self, blob: Blob, location: httpx.URL, sent: Heard) -> None:
        offset, failures = 0, 0
        while True:
            try:
                while offset < blob.size:
                    stop = min(offset + self._chunk, blob.size)
                    location = self._patch(location, blob, offset, stop, sent)
                    offset = stop
                self._put(location, blob, blob.size, sent)
            except VolantError as error:
                failures += 1
                if error.error_code == "oci.refused" and offset == 0:
                    # Some registries take no chunks, which the spec lets them.
                    self._whole(blob, None, sent)
                    return
                if error.error_code not in (*TRANSIENT, "oci.refused") or failures >= TRIES:
                    raise
                self._session.rest(failures - 1, error)
                location, offset = self._resumed(location)
            else:
                return

    def _patch(
        self, location: httpx.URL, blob: Blob, start: int, stop: int, sent: Heard
    ) -> httpx.URL:
        answer = self._session.ask(
            "PATCH",
            location,
            expect=(202, 204),
            headers={
                "Content-Type": _OCTETS,
                "Content-Length": str(stop - start),
                "Content-Range": f"{start}-{stop - 1}",
            },
            content=_body(blob, start, stop, sent),
            scope="pull,push",
            again=False,
        )
        return self._location(answer)

    def _resumed(self, location: httpx.URL) -> tuple[httpx.URL, int]:
        """Where an upload goes on, and from which byte: a new one if that one is gone."""
        answer = self._session.ask(
            "GET", location, expect=(200, 202, 204, 400, 404, 405, 416), scope="pull,push"
        )
        match = _RANGE.fullmatch(answer.headers.get("range", ""))
        if answer.status_code in (200, 202, 204) and match is not None:
            # "0-0" is also how registries write that they have nothing.
            return self._location(answer), int(match[1]) + 1 if int(match[1]) else 0
        return self._begin(), 0

    # blobs in

    def pull(self, entry: Descriptor, target: Path, heard: Heard | None = None) -> None:
        """Fetch a blob to the file `target`, which then has its digest and size; what broke
        off goes on. On failure there is no such file.

        Raises `Conflict` for other content than the digest says.
        """
        part = target.with_name(f"{target.name}.part")
        try:
            self._session.trying(lambda: self._fetch(entry, part, heard))
            with part.open("rb") as file:
                found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            if found != entry.digest:
                raise _altered(f"A blob of {self.reference}", entry.digest, found)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def read(self, entry: Descriptor, limit: int = MANIFEST_BYTES) -> bytes:
        """A small blob's bytes, proven. Raises `InvalidInput` when it is larger than
        `limit` bytes, `Conflict` for other content."""
        if entry.size > limit:
            raise InvalidInput(
                f"A blob of {self.reference} that should be small has {entry.size} bytes.",
                "It was made by something else.",
                code="oci.too_large",
            )

        def once() -> bytes:
            url, plain = self._session.url(f"blobs/{entry.digest}"), {"Accept-Encoding": "identity"}
            with self._session.stream("GET", url, expect=(200,), headers=plain) as answer:
                body = b""
                for block in self._blocks(answer):
                    body += block
                    if len(body) > entry.size:
                        break
                return body

        body = self._session.trying(once)
        if digest_of(body) != entry.digest:
            raise _altered(f"A blob of {self.reference}", entry.digest, digest_of(body))
        return body

    def _fetch(self, entry: Descriptor, part: Path, heard: Heard | None) -> None:
        have = part.stat().st_size if part.exists() else 0
        if have == entry.size and part.exists():
            return
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        url = self._session.url(f"blobs/{entry.digest}")
        with self._session.stream("GET", url, expect=(200, 206, 416), headers=headers) as answer:
            if answer.status_code == 416:
                part.unlink(missing_ok=True)
                raise interrupted(self.reference.registry, "it can't go on where it broke off")
            goes_on = answer.status_code == 206 and _starts_at(answer, have)
            with part.open("ab" if goes_on else "wb") as file:
                size = have if goes_on else 0
                for block in self._blocks(answer):
                    size += len(block)
                    if size > entry.size:
                        raise _altered(f"A blob of {self.reference}", entry.digest, "larger")
                    file.write(block)
                    if heard is not None:
                        heard(len(block))
        if size < entry.size:
            raise interrupted(self.reference.registry, f"{size} of {entry.size} bytes came")

    def _blocks(self, answer: httpx.Response) -> Iterator[bytes]:
        try:
            yield from answer.iter_raw(BLOCK)
        except httpx.HTTPError as error:
            how = str(error) or type(error).__name__
            raise interrupted(self.reference.registry, how) from error


def _starts_at(answer: httpx.Response, have: int) -> bool:
    return answer.headers.get("content-range", "").startswith(f"bytes {have}-")


def _body(blob: Blob, start: int, stop: int, sent: Heard) -> Callable[[], Iterator[bytes]]:
    def blocks() -> Iterator[bytes]:
        for block in blob.read(start, stop):
            yield block
            sent(len(block))

    return blocks


def _altered(what: str, wanted: str, found: str) -> Conflict:
    return Conflict(
        f"{what} isn't what its digest says: expected {wanted}, got {found}.",
        "It was damaged or replaced on its way or in the registry: push it again.",
        code="oci.digest",
        details={"expected": wanted, "found": found},
    )
