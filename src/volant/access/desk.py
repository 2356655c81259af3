"""The verbs on access: authenticate, allow, tokens, audit."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from volant.access import permissions, token_file
from volant.access.permissions import Permission
from volant.domain.principal import AuditEntry, Principal, Role, Token
from volant.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from volant.ports.clock import Clock, Ids
from volant.ports.records import AuditRecords, TokenRecords

PREFIX = "vlt_"
LENT = "run/"  # how the principals of steps begin
_BOOTSTRAP = "tok-bootstrap"  # ids of tokens that a start of the server made
_ADMIN = "admin"
_CACHE_S = 5.0
_CACHE_SIZE = 1024
_MAX_SECRET = 200
_TOUCH = timedelta(minutes=1)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,61}[A-Za-z0-9])?")


class AccessDesk:
    """Who may do what, by token.

    Args:
        tokens: Where tokens are stored, by the SHA-256 of their secrets.
        audit: Where audit entries are appended.
        clock: For times of creation and of audit entries.
        ids: For tokens' ids.
        monotonic: Seconds, for the cache.
    """

    def __init__(
        self,
        *,
        tokens: TokenRecords,
        audit: AuditRecords,
        clock: Clock,
        ids: Ids,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._audit = audit
        self._clock = clock
        self._ids = ids
        self._monotonic = monotonic
        self._cache: dict[str, tuple[Principal, float]] = {}
        self._lock = threading.Lock()
        self._changed: Callable[[], None] = lambda: None

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` when a token was made or revoked. It must be quick."""
        self._changed = callback

    def first_token(self, home: Path) -> str:
        """The secret in `home/token`, made if need be with an admin's rights.

        A file that is missing, or whose secret isn't known, gets a new secret; what an
        earlier start made is revoked then. Dying in between leaves at worst a token
        whose secret nobody has, revoked at the next start.
        """
        path = home / "token"
        secret = token_file.read(path)
        if secret is not None and self._tokens.find(sha256_of(secret)) is not None:
            return secret
        stale = [t for t in self._tokens.list() if t.id.startswith(_BOOTSTRAP)]
        secret = _new_secret()
        # The row first: whoever sees the file can use what is in it.
        self._tokens.create(self._token(_BOOTSTRAP, _ADMIN, Role.ADMIN, secret))
        token_file.write(path, secret)
        for token in stale:
            self._tokens.delete(token.id)
        self._forget()
        return secret

    def authenticate(self, secret: str) -> Principal:
        """Who bears this secret. Raises `Unauthenticated`.

        It is looked up by its hash, so the time taken tells nothing about any stored
        secret. An answer is remembered for 5 s: a token that another server revoked
        works at most that much longer here.
        """
        if not secret.startswith(PREFIX) or len(secret) > _MAX_SECRET or not secret.isascii():
            raise _unknown()
        digest = sha256_of(secret)
        remembered = self._remembered(digest)
        if remembered is not None:
            return remembered
        token = self._tokens.find(digest)
        if token is None or not hmac.compare_digest(token.sha256, digest):
            raise _unknown()
        self._touch(token)
        principal = Principal(token.principal, token.role)
        with self._lock:
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            self._cache[digest] = (principal, self._monotonic() + _CACHE_S)
        return principal

    def bearer(self, sha256: str) -> Principal:
        """Whose token it is that has this hash, as replicas know them. Raises
        `Unauthenticated`."""
        token = self._tokens.find(sha256)
        if token is None:
            raise _unknown()
        return Principal(token.principal, token.role)

    def _touch(self, token: Token) -> None:
        """Note the use, at most once a minute: it is for people, not for the record."""
        now, last = self._clock.now(), token.last_used_at
        if last is None or now - last >= _TOUCH:
            with contextlib.suppress(Unavailable, ResourceExhausted):
                self._tokens.touch(token.id, now)

    def _remembered(self, digest: str) -> Principal | None:
        with self._lock:
            found = self._cache.get(digest)
            if found is None or found[1] <= self._monotonic():
                self._cache.pop(digest, None)
                return None
            return found[0]

    def _forget(self) -> None:
        with self._lock:
            self._cache.clear()
        self._changed()

    def allow(self, principal: Principal, permission: Permission | str) -> None:
        """Raises `PermissionDenied` unless the principal's role has `permission`."""
        permissions.allow(principal, permission)

    def issue(self, principal: str, role: Role) -> tuple[Token, str]:
        """A new token and its secret, which is shown this once and stored nowhere."""
        if _NAME.fullmatch(principal) is None:
            raise InvalidInput(
                f"{principal[:80]!r} can't be a principal's name.",
                "Use 1 to 63 letters, digits and . _ @ -, a letter or digit first and last.",
                code="access.name",
            )
        secret = _new_secret()
        token = self._token("tok", principal, role, secret)
        self._tokens.create(token)
        self._changed()
        return token, secret

    def lend(self, borrower: str, role: Role) -> str:
        """A secret for a step of a run, until `recall`; what the same borrower was lent
        before is revoked. `borrower` begins with `run/`, which no person's name can."""
        if not borrower.startswith(LENT):
            raise ValueError(borrower)
        self.recall(borrower)
        secret = _new_secret()
        self._tokens.create(self._token("tok", borrower[:200], role, secret))
        self._changed()
        return secret

    def recall(self, borrower: str = LENT) -> None:
        """Revoke what was lent to this one; without a name, to all."""
        for token in self._tokens.list():
            mine = token.principal == borrower[:200]
            if mine or (borrower == LENT and token.principal.startswith(LENT)):
                self._tokens.delete(token.id)
        self._forget()

    def tokens(self) -> Sequence[Token]:
        return self._tokens.list()

    def revoke(self, token_id: str) -> Token:
        """Raises `NotFound`, or `Conflict` for the last admin's token."""
        stored = self._tokens.list()
        token = next((t for t in stored if t.id == token_id), None)
        if token is None:
            raise NotFound(
                f"There is no token {token_id[:80]!r}.",
                "Give the id of one; the list of tokens shows them.",
                code="access.token_not_found",
            )
        admins = [t for t in stored if t.role is Role.ADMIN]
        if admins == [token]:
            raise Conflict(
                f"{token_id} is the last admin's token; without it nobody could make another.",
                "Issue another admin's token first.",
                code="access.last_admin",
            )
        self._tokens.delete(token_id)
        self._forget()
        return token

    def token_sha256s(self) -> list[str]:
        """The hashes of all tokens, for replicas, which check them without the database."""
        return sorted(token.sha256 for token in self._tokens.list())

    def audit(self, entry: AuditEntry) -> None:
        """Append; nothing here changes or deletes an entry."""
        self._audit.append(entry)

    def note(
        self, principal: str, action: str, subject: str, outcome: str, request_id: str = ""
    ) -> None:
        """`audit` with the present time."""
        now = self._clock.now()
        self._audit.append(AuditEntry(now, principal, action, subject, outcome, request_id))

    def audit_page(
        self, limit: int, before: str | None = None
    ) -> tuple[Sequence[AuditEntry], str | None]:
        """Entries, newest first."""
        return self._audit.page(limit, before)

    def _token(self, prefix: str, principal: str, role: Role, secret: str) -> Token:
        return Token(self._ids.new(prefix), principal, role, sha256_of(secret), self._clock.now())


def sha256_of(secret: str) -> str:
    """What is stored of a secret. A plain hash is enough: secrets have 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def _unknown() -> Unauthenticated:
    return Unauthenticated(
        "The token isn't known here, or was revoked.",
        "Set VOLANT_TOKEN to a valid token; on the server's machine it is in VOLANT_HOME/token.",
        code="access.unknown_token",
    )
