"""One registry over HTTP: who we are to it, what is tried again, and its refusals in our
words."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx

from volant import __version__
from volant.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    VolantError,
)
from volant.oci.challenge import Challenge, best_challenge
from volant.oci.credentials import Credentials, credentials_for
from volant.oci.reference import Reference

TRIES = 4
TRANSIENT = ("oci.interrupted", "oci.busy")  # error codes that another try may mend
_PAUSES_S = (0.5, 1.0, 2.0)
_LONGEST_PAUSE_S = 30.0
_ERROR_BYTES = 64 << 10

Content = bytes | Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a registry. `plain_http` None: only on this machine's loopback;
    `environ` None: the process's own."""

    plain_http: bool | None = None
    environ: Mapping[str, str] | None = None
    sleep: Callable[[float], None] = time.sleep


class Session:
    """Requests to the registry and repository of `reference`; close it in the end."""

    def __init__(self, reference: Reference, access: Access | None = None) -> None:
        access = access or Access()
        self.reference = reference
        plain = reference.loopback if access.plain_http is None else access.plain_http
        self.origin = httpx.URL(f"{'http' if plain else 'https'}://{reference.registry}")
        self._environ = access.environ
        self._sleep = access.sleep
        self._credentials: Credentials | None = None
        self._looked = False
        self._authorization = ""
        self._http = httpx.Client(
            headers={"User-Agent": f"volant/{__version__}"},
            timeout=httpx.Timeout(60.0, connect=10.0, pool=None),
            verify=_trust(),
            trust_env=not reference.loopback,  # a proxy can't reach this machine's loopback
        )

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def url(self, path: str, repository: str | None = None) -> httpx.URL:
        """The address of `path` under the repository's part of the API."""
        return self.origin.copy_with(path=f"/v2/{repository or self.reference.repository}/{path}")

    def ask(
        self,
        method: str,
        url: httpx.URL,
        *,
        expect: Sequence[int],
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
        scope: str = "pull",
        again: bool = True,
    ) -> httpx.Response:
        """The answer, read whole; its status is one of `expect`. With `again`, what breaks
        off is tried again with growing pauses.

        Raises the `VolantError` that the answer means, `Unavailable` for none.
        """

        def once() -> httpx.Response:
            with self.stream(
                method, url, expect=expect, headers=headers, content=content, scope=scope
            ) as answer:
                with self._told():
                    answer.read()
                return answer

        return self.trying(once) if again else once()

    def trying(self, attempt: Callable[[], Any]) -> Any:
        """What `attempt` returns, tried again while its errors may mend themselves."""
        for place in range(TRIES):
            try:
                return attempt()
            except VolantError as error:
                if error.error_code not in TRANSIENT or place == TRIES - 1:
                    raise
                self.rest(place, error)
        raise AssertionError  # the last try returns or raises

    def rest(self, place: int, error: VolantError) -> None:
        """Pause before another try: as long as the registry asks for, else ever longer."""
        asked = float(error.details.get("retry_after_s") or 0.0)
        self._sleep(min(max(asked, _PAUSES_S[min(place, 2)]), _LONGEST_PAUSE_S))

    @contextmanager
    def stream(
        self,
        method: str,
        url: httpx.URL,
        *,
        expect: Sequence[int],
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
        scope: str = "pull",
    ) -> Generator[httpx.Response]:
        """As `ask`, one try, the body still to be read."""
        answer = self._send(method, url, headers, content)
        try:
            if answer.status_code == 401 and self._authorize(answer, scope):
                answer.close()
                answer = self._send(method, url, headers, content)
            if answer.status_code not in expect:
                raise self._refusal(answer)
            yield answer
        finally:
            answer.close()

    def _send(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str] | None,
        content: Content | None,
    ) -> httpx.Response:
        sent = dict(headers or {})
        if self._authorization and _origin(url) == _origin(self.origin):
            sent["Authorization"] = self._authorization
        request = self._http.build_request(
            method, url, headers=sent, content=content() if callable(content) else content
        )
        with self._told():
            # A registry may keep blobs elsewhere; httpx leaves our authorization here then.
            return self._http.send(request, stream=True, follow_redirects=method in ("GET", "HEAD"))

    # who we are

    def _authorize(self, refused: httpx.Response, scope: str) -> bool:
        """Become somebody, as the challenge asks; False when there is nothing new to say."""
        if not self._looked:
            reference = self.reference
            self._credentials = credentials_for(
                reference.registry, reference.repository, self._environ
            )
            self._looked = True
        challenge = best_challenge(refused.headers.get_list("www-authenticate"))
        if challenge is None:
            return False
        if challenge.scheme == "basic":
            said = self._credentials.basic() if self._credentials else ""
        else:
            said = f"Bearer {self._token(challenge, scope)}"
        if not said or said == self._authorization:
            return False
        self._authorization = said
        return True

    def _token(self, challenge: Challenge, scope: str) -> str:
        """A bearer token from the realm that the registry names (distribution's token
        authentication)."""
        realm = self._realm(challenge)
        wanted = f"repository:{self.reference.repository}:{scope}"
        scopes = list(dict.fromkeys([*challenge.params.get("scope", "").split(), wanted]))
        service = challenge.params.get("service", "")
        mine = self._credentials
        headers: dict[str, str] = {}
        with self._told():
            if mine is not None and mine.identity_token:
                form = {
                    "grant_type": "refresh_token",
                    "refresh_token": mine.identity_token,
                    "service": service,
                    "scope": " ".join(scopes),
                    "client_id": "volant",
                }
                answer = self._http.post(realm, data=form)
            else:
                if mine is not None:
                    headers["Authorization"] = mine.basic()
                query = {"scope": scopes, **({"service": service} if service else {})}
                answer = self._http.get(realm.copy_merge_params(query), headers=headers)
        if not answer.is_success:
            raise self._refusal(answer)
        try:
            body = answer.json()
            return str(body.get("token") or body["access_token"])
        except (ValueError, KeyError, AttributeError):
            raise Unavailable(
                f"{realm.host} gave no token for {self.reference.registry}.",
                "Ask who runs the registry.",
                code="oci.token",
            ) from None

    def _realm(self, challenge: Challenge) -> httpx.URL:
        text = challenge.params.get("realm", "")
        try:
            realm = httpx.URL(text)
        except httpx.InvalidURL:
            realm = httpx.URL()
        allowed = ("https", "http") if self.origin.scheme == "http" else ("https",)
        if realm.scheme not in allowed or not realm.host:
            raise Unavailable(
                f"{self.reference.registry} sends us to {text[:200]!r} for a token.",
                "A registry that is reached over TLS must name an https address for its tokens.",
                code="oci.token",
            )
        return realm

    # refusals

    @contextmanager
    def _told(self) -> Generator[None]:
        """httpx's errors in our words."""
        name = self.reference.registry
        try:
            yield
        except httpx.ConnectError as error:
            raise _unconnected(name, error) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise Unavailable(
                f"{name} sent us to an address that can't be used: {error}.",
                "Ask who runs the registry.",
                code="oci.address",
            ) from error
        except httpx.ConnectTimeout as error:
            raise Unavailable(
                f"{name} doesn't answer.",
                "Check its name and your network.",
                code="oci.interrupted",
            ) from error
        except httpx.HTTPError as error:
            raise interrupted(name, str(error) or type(error).__name__) from error

    def _refusal(self, answer: httpx.Response) -> VolantError:
        status, name = answer.status_code, self.reference.registry
        said = _said(answer)
        told = f"{name} answered {status}{f': {said}' if said else ''}."
        if status in (401, 403):
            return self._refused_us(status, told)
        if status == 404:
            return NotFound(
                f"{self.reference} isn't in the registry ({told.rstrip('.')}).",
                "Check the repository and the tag.",
                code="oci.not_found",
            )
        if status == 429 or status >= 500:
            after = answer.headers.get("retry-after", "")
            return Unavailable(
                told,
                "Try again later.",
                code="oci.busy",
                details={"retry_after_s": int(after) if after.isdigit() else 0},
            )
        if status == 413:
            return ResourceExhausted(told, "Ask for a larger limit there.", code="oci.too_large")
        if status == 409:
            return Conflict(told, "Its tags may be immutable: choose another tag.", code="oci.tag")
        return InvalidInput(told, "Check that this is a registry's address.", code="oci.refused")

    def _refused_us(self, status: int, told: str) -> VolantError:
        name, mine = self.reference.registry, self._credentials
        if status == 401 and mine is None:
            return Unauthenticated(
                told,
                f"Log in (`podman login {name}` or `docker login {name}`), or set "
                "VOLANT_REGISTRY_USERNAME and VOLANT_REGISTRY_PASSWORD.",
                code="oci.unauthenticated",
            )
        who = f"{mine.username or 'the identity token'} of {mine.source}" if mine else "nobody"
        if status == 401:
            return Unauthenticated(
                told,
                f"It doesn't know {who}, or not this password: log in to {name} again.",
                code="oci.unauthenticated",
            )
        return PermissionDenied(
            told,
            f"Ask for the right to use {self.reference.repository} (we asked as {who}).",
            code="oci.denied",
        )


@cache
def _trust() -> ssl.SSLContext:
    """Whom we trust: SSL_CERT_FILE or SSL_CERT_DIR, else certifi's authorities."""
    return httpx.create_ssl_context()


def interrupted(name: str, how: str) -> Unavailable:
    return Unavailable(
        f"The connection to {name} broke: {how}.",
        "Try again: what the registry has already isn't sent twice.",
        code="oci.interrupted",
    )


def _unconnected(name: str, error: httpx.ConnectError) -> VolantError:
    text = str(error)
    if isinstance(error.__context__, ssl.SSLError) or re.search(r"\[SSL|certificate", text, re.I):
        if re.search(r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|UNKNOWN_PROTOCOL", text):
            return Unavailable(
                f"{name} doesn't speak TLS ({text}).",
                "If it is meant to be without, give --plain-http.",
                code="oci.tls",
            )
        return Unavailable(
            f"The certificate of {name} isn't trusted ({text}).",
            "Name the file of its authority in SSL_CERT_FILE.",
            code="oci.tls",
        )
    return Unavailable(
        f"{name} can't be reached: {text}.",
        "Check the registry's name and port, and that it runs.",
        code="oci.unreachable",
    )


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return url.scheme, url.host, port


def _said(answer: httpx.Response) -> str:
    """The registry's own words: codes and messages of its error body."""
    try:
        if not answer.is_stream_consumed:
            answer.read()
        body = answer.json() if len(answer.content) <= _ERROR_BYTES else {}
        found = [f"{one.get('code', '')} {one.get('message', '')}" for one in body["errors"]]
    except (ValueError, KeyError, TypeError, AttributeError, httpx.HTTPError):
        return ""
    return "; ".join(text.strip() for text in found if text.strip())[:300]
