"""The client of the REST API: finds the server, speaks to it, rebuilds its errors."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from volant.cli.options import Options
from volant.errors import (
    InvalidInput,
    Unauthenticated,
    Unavailable,
    VolantError,
    from_dict,
)

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 60.0  # reading rows starts a process on the server
BLOCK = 1 << 16
_PREFIX = "/api/v1"


def find_server(options: Options) -> tuple[str, str]:
    """The server's URL and the token to show it.

    `--server-url`, else VOLANT_SERVER_URL, else FUSEML_SERVER_URL, with VOLANT_TOKEN; else
    what the server that runs on the home folder wrote there. The home's token is sent to
    that server only.

    Raises `Unavailable` when nothing runs there, `Unauthenticated` without a token.
    """
    home = options.home_folder()
    own = read_server(home)
    url = options.server_url or (None if options.home else _named_server())
    token = os.environ.get("VOLANT_TOKEN")
    if url is None:
        if not own:
            raise not_running(home)
        url, token = str(own["url"]), _home_token(home) or token
    elif not token and own and str(own["url"]).rstrip("/") == url.rstrip("/"):
        token = _home_token(home)
    if not token:
        raise Unauthenticated(
            f"There is no token for {url}.",
            "Set VOLANT_TOKEN; `volant tokens create` on the server's machine makes one.",
            code="no_token",
        )
    return url.rstrip("/"), token


def _named_server() -> str | None:
    """The server that the environment names."""
    return os.environ.get("VOLANT_SERVER_URL") or os.environ.get("FUSEML_SERVER_URL") or None


def read_server(home: Path) -> dict[str, Any]:
    """What a server wrote of itself into its home; empty when none did."""
    try:
        found = json.loads((home / "server.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and "url" in found else {}


def named(name: str) -> str:
    """`name` as one segment of a path. Raises `InvalidInput` when it can't be one."""
    if name in ("", ".", "..") or "/" in name:
        raise InvalidInput(
            f"{name!r} can't be a name.", "Give a name as the lists show it.", code="bad_name"
        )
    return quote(name, safe="")


def dataset_path(name: str) -> str:
    """A dataset's name in a path; `predictions/NAME` is that of a deployment's log."""
    if name.startswith("predictions/"):
        return f"predictions/{named(name.removeprefix('predictions/'))}"
    return named(name)


def not_running(where: Path | str) -> Unavailable:
    """The error for a server that isn't there."""
    return Unavailable(
        f"Volant is not running on {where}.", "Start it: volant up", code="not_running"
    )


def _home_token(home: Path) -> str | None:
    try:
        return (home / "token").read_text().strip() or None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unauthenticated(
            f"{home / 'token'} can't be read: {error.strerror}.",
            "Run as the user who started Volant, or set VOLANT_TOKEN.",
            code="no_token",
        ) from error


class Client:
    """One connection to a server's REST API.

    Every call returns the answer's JSON and raises the very `VolantError` that the
    server meant, or `Unavailable` when there is no answer.
    """

    def __init__(self, url: str, token: str, timeout_s: float | None = None) -> None:
        import httpx

        self.url = url
        self.token = token
        self._timeout_s = timeout_s or TIMEOUT_S
        try:
            host = httpx.URL(url).host
            self._http = httpx.Client(
                base_url=url + _PREFIX,
                headers={"Authorization": f"Bearer {token}"},
                timeout=httpx.Timeout(self._timeout_s, connect=min(5.0, self._timeout_s)),
                # A proxy of the environment can't reach this machine's loopback.
                trust_env=host not in ("127.0.0.1", "localhost", "::1"),
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidInput(f"{url!r} is not a server's URL: {error}.", _URL_FIX) from error

    @classmethod
    def of(cls, options: Options) -> Self:
        """The client of the server that `options` and the environment name."""
        return cls(*find_server(options), options.timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """GET; a query parameter that is None is left out."""
        return self._call("GET", path, params=_given(query))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._call("POST", path, json=dict(body or {}))

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("PUT", path, json=dict(body))

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("PATCH", path, json=dict(body))

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def pages(self, path: str, limit: int, **query: Any) -> dict[str, Any]:
        """The newest `limit` items of a list, over as many pages as that takes."""
        items: list[Any] = []
        cursor: str | None = None
        while len(items) < limit:
            size = min(500, limit - len(items))
            page = self.get(path, limit=size, before=cursor, **query)
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        return {"items": items, "next": cursor}

    def upload(
        self, name: str, file: Path, sent: Callable[[int], None], noun: str = "datasets"
    ) -> dict[str, Any]:
        """Stream `file` into staging; `sent` hears of every block's bytes."""
        return self.send(f"/{noun}/{named(name)}/uploads", file, sent, filename=file.name)

    def send(
        self, path: str, file: Path, sent: Callable[[int], None], **query: Any
    ) -> dict[str, Any]:
        """Stream `file` as the body of a POST; `sent` hears of every block's bytes."""
        return self._call(
            "POST",
            path,
            params=_given(query),
            content=_read(file, sent),
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Length": str(file.stat().st_size),
            },
        )

    def text(self, path: str, **query: Any) -> str:
        """GET what isn't JSON."""
        with self._told():
            answer = self._http.get(path, params=_given(query))
        if not answer.is_success:
            raise rebuilt(answer, self.url)
        return answer.text

    def download(self, path: str, target: Path, **query: Any) -> None:
        """Stream a file to `target`, which is whole then or isn't there."""
        with self._told(), self._http.stream("GET", path, params=_given(query)) as answer:
            if not answer.is_success:
                answer.read()
                raise rebuilt(answer, self.url)
            try:
                with target.open("wb") as file:
                    for block in answer.iter_bytes(BLOCK):
                        file.write(block)
            except BaseException:
                target.unlink(missing_ok=True)
                raise

    def _call(self, method: str, path: str, **request: Any) -> Any:
        with self._told():
            answer = self._http.request(method, path, **request)
        if not answer.is_success:
            raise rebuilt(answer, self.url)
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise _not_volant(answer, self.url) from error

    @contextmanager
    def _told(self) -> Generator[None]:
        """httpx's errors in our words."""
        import httpx

        try:
            yield
        except httpx.ConnectError as error:
            raise not_running(self.url) from error
        except httpx.TimeoutException as error:
            raise Unavailable(
                f"{self.url} gave no answer in {self._timeout_s:g} s.",
                "Try again, or give it longer with --timeout; `volant status` tells whether it is"
                " well.",
                code="no_answer",
            ) from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise InvalidInput(f"{self.url!r} is not a server's URL.", _URL_FIX) from error
        except httpx.HTTPError as error:
            raise Unavailable(
                f"The connection to {self.url} broke: {error or type(error).__name__}.",
                "Try again; `volant status` tells whether it is well.",
                code="connection_broke",
            ) from error


_URL_FIX = "Give one like http://127.0.0.1:8400."


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in query.items() if value is not None}


def _read(file: Path, sent: Callable[[int], None]) -> Iterator[bytes]:
    with file.open("rb") as source:
        while block := source.read(BLOCK):
            yield block
            sent(len(block))


def rebuilt(answer: httpx.Response, url: str) -> VolantError:
    """The error that a problem details body tells of."""
    try:
        body = answer.json()
        kind = str(body["type"]).removeprefix("urn:volant:")
    except (ValueError, KeyError, TypeError):
        return _not_volant(answer, url)
    return from_dict(
        {
            "kind": kind,
            "code": body.get("code", kind),
            "what": body.get("detail", ""),
            "fix": body.get("fix", ""),
            "details": {**(body.get("details") or {}), "request_id": body.get("request_id")},
        }
    )


def _not_volant(answer: httpx.Response, url: str) -> Unavailable:
    return Unavailable(
        f"{url} answered {answer.status_code} {answer.reason_phrase}, and not as Volant does.",
        "Check the URL: something else may listen there.",
        code="not_volant",
    )
