"""Codesets that are fetched from elsewhere: now and then, and when a webhook says so.

The same thread looks after what no request looks after: pushes that were cut off before
they were stored, and repositories that many pushes left in pieces.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import secrets
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from volant.codesets.desk import CodesetDesk
from volant.codesets.origins import fetch, origin_of
from volant.domain.codeset import Codeset, Mirror
from volant.durable import write_whole
from volant.errors import Conflict, InvalidInput, NotFound, Unauthenticated, VolantError
from volant.ports.clock import Clock

LEAST_S, LONGEST_S = 10.0, 86_400.0
DEFAULT_S = 300.0
MAX_FETCHES = 4  # side by side
_TICK_S = 5.0
_TIDY_EVERY = 120  # ticks

log = logging.getLogger(__name__)


class Heard:
    """One call of a webhook: it sees the body go by, then judges the headers. A call
    asks for no more than a look at the origin, so one that is repeated does no harm."""

    def __init__(self, mirrors: Mirrors, project: str, name: str, secret: str | None) -> None:
        self._mirrors = mirrors
        self._place = (project, name)
        # Without a secret all is done as with one, and nothing can match.
        self._secret = (secret or secrets.token_hex(32)).encode()
        self._mac = hmac.new(self._secret, digestmod=hashlib.sha256)

    def update(self, data: bytes, /) -> None:
        """The next part of the body."""
        self._mac.update(data)

    def judge(self, headers: Mapping[str, str]) -> None:
        """Ask for a fetch if the call is signed with the secret. Names in `headers` are in
        lower case. Raises `Unauthenticated`."""
        signature = self._mac.hexdigest().encode()
        told = (
            (headers.get("x-hub-signature-256", ""), b"sha256=" + signature),  # GitHub
            (headers.get("x-gitea-signature", ""), signature),
            (headers.get("x-forgejo-signature", ""), signature),
            (headers.get("x-gitlab-token", ""), self._secret),
        )
        matches = [hmac.compare_digest(given.encode(), wanted) for given, wanted in told]
        if not any(matches):
            raise Unauthenticated(
                "The webhook's signature doesn't match.",
                "Enter the webhook's secret there. Registering the mirror again, with the same"
                " address and login (volant codeset register --mirror), tells it.",
                code="codeset.signature",
            )
        self._mirrors.want(*self._place)


class Mirrors:
    """Mirrors, and the thread that fetches them.

    Args:
        desk: The codesets.
        root: `home/codesets`: the key of webhooks' secrets and logins lie there.
        clock: For when a mirror was tried last.
        tick_s: Seconds between looks at what is due.
    """

    def __init__(
        self, desk: CodesetDesk, root: Path, clock: Clock, *, tick_s: float = _TICK_S
    ) -> None:
        self._desk = desk
        self._key_file = root / ".webhook-key"
        self._clock = clock
        self._tick_s = tick_s
        self._lock = threading.Lock()
        self._wanted: dict[tuple[str, str], None] = {}
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._fetching: dict[tuple[str, str], threading.Thread] = {}

    # verbs

    def set(
        self, project: str, name: str, url: str, interval_s: float | None = None
    ) -> Mapping[str, Any]:
        """Make the codeset a mirror of `url`, which may hold a login, and fetch it soon.

        Raises `InvalidInput` for the address or the interval, `Conflict` for a codeset that
        has commits of its own.
        """
        plain, login = origin_of(url)
        every = DEFAULT_S if interval_s is None else float(interval_s)
        if not LEAST_S <= every <= LONGEST_S:
            raise InvalidInput(
                f"A mirror can't be fetched every {every:g} s.",
                f"Give from {LEAST_S:g} to {LONGEST_S:g} seconds.",
            )
        codeset = self._desk.get(project, name)
        if codeset.origin is None and codeset.head is not None:
            raise Conflict(
                f"The codeset {project}/{name} has versions of its own.",
                "Register the mirror under another name.",
                code="codeset.not_empty",
            )
        self._desk.logins.forget(project, name)
        if login is not None:
            self._desk.logins.keep(project, name, login)
        salt = secrets.token_hex(16)
        mirror = self._desk.records.set_mirror(Mirror(project, name, plain, every, salt))
        self.want(project, name)
        return {**self._facts(mirror), "secret": self._secret(mirror)}

    def get(self, project: str, name: str) -> Mapping[str, Any] | None:
        """The mirror's facts without its secret; None for a codeset that is none."""
        mirror = self._desk.records.mirror(project, name)
        return None if mirror is None else self._facts(mirror)

    @staticmethod
    def _facts(mirror: Mirror) -> dict[str, Any]:
        return {
            "url": mirror.url,
            "interval_s": mirror.interval_s,
            "tried_at": mirror.tried_at,
            "error": mirror.error,
        }

    def want(self, project: str, name: str) -> None:
        """Fetch it as soon as may be. Raises `NotFound` for what is no mirror."""
        if self._desk.records.mirror(project, name) is None:
            raise NotFound(
                f"The codeset {project}/{name} is no mirror.",
                "Make it one: volant codeset register --mirror URL",
                code="codeset.no_mirror",
            )
        with self._lock:
            self._wanted[project, name] = None
        self._woken.set()

    def hears(self, project: str, name: str) -> Heard:
        """What listens to one call of a codeset's webhook, whether there is one or not."""
        mirror = self._desk.records.mirror(project, name)
        return Heard(self, project, name, None if mirror is None else self._secret(mirror))

    def _secret(self, mirror: Mirror) -> str:
        told = f"{mirror.project}/{mirror.name}/{mirror.salt}"
        return hmac.new(self._key(), told.encode(), hashlib.sha256).hexdigest()

    def _key(self) -> bytes:
        """Of this home; made at first. The database alone tells no secret."""
        with self._lock:
            try:
                return bytes.fromhex(self._key_file.read_text())
            except FileNotFoundError:
                key = secrets.token_bytes(32)
                write_whole(self._key_file, key.hex(), mode=0o600)
                return key

    # the thread

    def start(self) -> None:
        """Begin looking."""
        self._thread = threading.Thread(target=self._run, name="codesets", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking, and end the fetches that are under way."""
        self._stopped.set()
        self._woken.set()
        for thread in (self._thread, *self._fetching.values()):
            if thread is not None:
                thread.join(5.0)

    def _run(self) -> None:
        ticks = 0
        while not self._stopped.is_set():
            self._woken.clear()
            try:
                self.tick()
                ticks += 1
                if ticks % _TIDY_EVERY == 0:
                    self._tidy()
            except VolantError as error:
                log.warning("Codesets can't be looked after now: %s", error)
            except Exception:
                log.exception("Looking after codesets failed; it goes on.")
            self._woken.wait(self._tick_s)

    def tick(self) -> None:
        """Store what was pushed and not told of; fetch each mirror that is due."""
        self._desk.pushes.recover("recovered")
        with self._lock:
            wanted, self._wanted = self._wanted, {}
        now = self._clock.now()
        for mirror in self._desk.records.mirrors():
            last = mirror.tried_at
            due = last is None or now - last >= timedelta(seconds=mirror.interval_s)
            asked = (mirror.project, mirror.name) in wanted
            if (due or asked) and not self._begin(mirror) and asked:
                with self._lock:  # for what came while the present fetch was under way
                    self._wanted[mirror.project, mirror.name] = None

    def _begin(self, mirror: Mirror) -> bool:
        """Fetch in a thread of its own, so that a slow origin holds up no other; False
        when that is under way, or when as many are as may be."""
        place = (mirror.project, mirror.name)
        self._fetching = {key: each for key, each in self._fetching.items() if each.is_alive()}
        if place in self._fetching or len(self._fetching) >= MAX_FETCHES:
            return False
        thread = threading.Thread(
            target=self._fetch, args=(mirror,), name=f"fetch {'/'.join(place)}", daemon=True
        )
        self._fetching[place] = thread
        thread.start()
        return True

    def _fetch(self, mirror: Mirror) -> None:
        error: str | None = None
        try:
            self.fetch(mirror)
        except NotFound:
            return  # it was deleted meanwhile
        except VolantError as problem:
            error = str(problem)
            log.info("mirror %s/%s: %s", mirror.project, mirror.name, error)
        except Exception:
            log.exception("mirror %s/%s", mirror.project, mirror.name)
            error = "The server met an unexpected error; its log tells more."
        with contextlib.suppress(VolantError):  # then it is merely tried again sooner
            self._desk.records.tried(mirror.project, mirror.name, self._clock.now(), error)
        self._woken.set()

    def fetch(self, mirror: Mirror) -> Codeset:
        """Fetch it now. Raises what git's failure was."""
        project, name = mirror.project, mirror.name
        repository = self._desk.repository(project, name)
        login = self._desk.logins.config(project, name, mirror.url)
        branch = fetch(
            repository,
            mirror.url,
            login,
            max_bytes=self._desk.max_bytes,
            stopped=self._stopped.is_set,
        )
        return self._desk.pushes.settle(project, name, "mirror", branch)

    def _tidy(self) -> None:
        for codeset in self._desk.list():
            if self._stopped.is_set():
                return
            repository = self._desk.repository(codeset.project, codeset.name)
            repository.unlock()
            repository.tidy()
