"""Secrets at rest: AES-256-GCM under a key that lies beside the database, not in it.

A sealed text is `v1:KEY:DATA`: the first eight hex digits of the key's SHA-256, which tell
a wrong key from a damaged text, and base64url of the nonce (96 bits, random) and the
ciphertext with its tag. The place a secret belongs to is authenticated with it, so that one
row's text is no use in another row.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import hashlib
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from volant.durable import sync, write_whole
from volant.errors import Conflict, InvalidInput, ResourceExhausted, Unavailable
from volant.faults import crash_point

_KEY_BYTES = 32
_NONCE_BYTES = 12
_KEY = re.compile(r"[A-Za-z0-9_-]{43}=?")
_FORM = re.compile(r"v1:([0-9a-f]{8}):([A-Za-z0-9_=-]+)")
_MAKE = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"


class Key:
    """256 bits, and the name that what they sealed carries."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.name = hashlib.sha256(data).hexdigest()[:8]

    @classmethod
    def parse(cls, text: str, source: str) -> Key:
        """From base64url of 32 bytes. Raises `InvalidInput`, which doesn't show it."""
        if _KEY.fullmatch(text.strip()) is None:
            raise InvalidInput(
                f"{source} holds no key: it isn't 32 bytes in base64url, 43 characters.",
                f"Put back the key that was there; a new one is made by: {_MAKE}",
                code="extensions.key",
            )
        return cls(base64.urlsafe_b64decode(text.strip().rstrip("=") + "="))

    @property
    def text(self) -> str:
        return base64.urlsafe_b64encode(self.data).decode().rstrip("=")


class Keyring:
    """The key that seals, and those that still open.

    Args:
        home: Where `secret.key` is, made when it is first needed.
        given: The key, if the operator keeps it: `VOLANT_SECRET_KEY`.
        before: The one before it, while `rekey` hasn't run: `VOLANT_SECRET_KEY_OLD`.
        in_use: Whether anything is sealed: then a key that is missing is lost, and none
            may be made in its place.
    """

    def __init__(
        self,
        home: Path,
        *,
        given: str | None = None,
        before: str | None = None,
        in_use: Callable[[], bool] = lambda: False,
    ) -> None:
        self.path = home / "secret.key"
        self._next = home / "secret.key.next"
        self._given = given
        self._before = before
        self._in_use = in_use

    def seal(self, text: str, place: str) -> str:
        """`text` as it may be stored at `place`."""
        return sealed(text, place, self._current())

    def open(self, stored: str, place: str) -> str:
        """What was sealed. Raises `Unavailable` without its key, `Conflict` when it isn't
        what was sealed there."""
        form = _FORM.fullmatch(stored)
        if form is None:
            raise _damaged(place)
        known = {key.name: key for key in self._known()}
        key = known.get(form[1])
        if key is None:
            here = ", ".join(known) or "none"
            raise Unavailable(
                f"The secrets of {place} were sealed with the key {form[1]}, which isn't here"
                f" (here: {here}).",
                f"Put that key back into {self.path} or VOLANT_SECRET_KEY; or give the"
                " credentials anew.",
                code="extensions.key",
                details={"key": form[1], "here": sorted(known)},
            )
        return opened(form[2], place, key)

    def rekeyed(self) -> Key:
        """The key that all is to be sealed with from now on: the operator's, else a new
        one, which is on the disk beside the old one until `settle`."""
        if self._given:
            return self._current()
        key = _read(self._next) or _write(self._next)
        crash_point("extensions.next_key")
        return key

    def settle(self) -> None:
        """Everything is sealed with the new key: it takes the old one's place."""
        if not self._given and self._next.exists():
            self._next.replace(self.path)
            sync(self.path.parent)

    def _current(self) -> Key:
        if self._given:
            return Key.parse(self._given, "VOLANT_SECRET_KEY")
        found = _read(self.path)
        if found is not None:
            return found
        if self._in_use():
            raise Unavailable(
                f"{self.path} is missing, and credentials are sealed with the key it held.",
                "Put it back from a backup; or delete the sealed credentials, and give them"
                " anew under a new key.",
                code="extensions.key",
            )
        return _write(self.path)

    def _known(self) -> list[Key]:
        keys = [
            Key.parse(text, name)
            for text, name in (
                (self._given, "VOLANT_SECRET_KEY"),
                (self._before, "VOLANT_SECRET_KEY_OLD"),
            )
            if text
        ]
        return [*keys, *(key for path in (self.path, self._next) if (key := _read(path)))]


def sealed(text: str, place: str, key: Key) -> str:
    """`text`, sealed for `place`."""
    # Imported here: the control plane starts without it.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE_BYTES)
    data = nonce + AESGCM(key.data).encrypt(nonce, text.encode(), place.encode())
    return f"v1:{key.name}:{base64.urlsafe_b64encode(data).decode()}"


def opened(data: str, place: str, key: Key) -> str:
    """What `sealed` was given. Raises `Conflict` when it isn't that."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        raw = base64.urlsafe_b64decode(data)
        text = AESGCM(key.data).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.encode())
    except (InvalidTag, ValueError, binascii.Error):
        raise _damaged(place) from None
    return text.decode()


def _damaged(place: str) -> Conflict:
    return Conflict(
        f"What is stored for the secret {place} isn't what was sealed there.",
        "Restore the database from a backup, or give the credentials anew.",
        code="extensions.damaged",
    )


def _read(path: Path) -> Key | None:
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return Key.parse(path.read_text("utf-8", "replace"), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(
            f"{path} can't be read: {error.strerror or error}.",
            "Make it readable for the user that runs Volant.",
            code="extensions.key",
        ) from None


def _write(path: Path) -> Key:
    """A new key, on the disk before it is used. Who comes second takes the first one's."""
    key = Key(secrets.token_bytes(_KEY_BYTES))
    try:
        with contextlib.suppress(FileExistsError):
            write_whole(path, f"{key.text}\n", over=False, mode=0o600)
    except OSError as error:
        what = f"{path} can't be written: {error.strerror or error}."
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise ResourceExhausted(what, "Free some space there, then try again.") from None
        raise Unavailable(
            what, "Make its folder writable for the user that runs Volant.", code="extensions.key"
        ) from None
    return _read(path) or key
