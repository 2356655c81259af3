"""Large artifacts in parts: several at once, each tried again by itself.

A part is stored under its upload's id, which only its client knows, its number and its
hash; the last call writes them one after the other into the artifact. What nobody
completes is removed with other abandoned drafts: when the platform starts, and nothing of it
came for a day.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from functools import partial

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from volant.errors import InvalidInput, NotFound, VolantError
from volant.ports.files import Draft
from volant.web.mlflow.artifacts import PREFIXES, may_write, received
from volant.web.mlflow.fields import Fields
from volant.web.mlflow.problems import answer, broken, refused
from volant.web.mlflow.verbs import Platform

MAX_PARTS = 10_000
_BODY_LIMIT = 4 << 20  # bytes; the list of ten thousand parts takes about two million
_PIECE = 1 << 20
_TARGET = "target"  # the file of an upload that says where it goes

_Handler = Callable[[Platform, Request, str, Fields], Response]


def routes(platform: Platform) -> Sequence[BaseRoute]:
    """Create, one part, complete, abort."""
    found: list[BaseRoute] = []
    for prefix in PREFIXES:
        at = f"{prefix}/mpu"
        part = f"{at}/parts/{{upload}}/{{number:int}}"
        found.append(Route(part, partial(_part, platform), methods=["PUT"]))
        for name, handler in (("create", _create), ("complete", _complete), ("abort", _abort)):
            serve = partial(_serve, platform, handler)
            found.append(Route(f"{at}/{name}/{{path:path}}", serve, methods=["POST"]))
    return found


async def _serve(platform: Platform, handler: _Handler, request: Request) -> Response:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_LIMIT:
            return refused(InvalidInput("The body is too large.", "Send fewer, larger parts."))

    def run() -> Response:
        try:
            folder = may_write(platform, request)
            return handler(platform, request, folder, Fields.of_body(body))
        except VolantError as error:
            return refused(error)
        except Exception:
            return broken(request)

    return await to_thread.run_sync(run)


def _create(platform: Platform, request: Request, folder: str, fields: Fields) -> Response:
    count = fields.whole("num_parts", 1)
    if not 1 <= count <= MAX_PARTS:
        raise InvalidInput(
            f"num_parts: expected 1 to {MAX_PARTS}, got {count}.", "Make larger parts."
        )
    named = _named(folder, fields)
    platform.artifact_files.folder(named)  # refuses now what could only be refused at the end
    upload = secrets.token_hex(16)
    target = platform.artifact_parts.draft()
    target.add(named.encode())
    target.keep(f"{upload}/{_TARGET}")
    base = str(request.url.replace(query="")).partition("/mpu/create/")[0]
    parts = [
        {"url": f"{base}/mpu/parts/{upload}/{n}", "part_number": n, "headers": {}}
        for n in range(1, count + 1)
    ]
    return answer(200, {"upload_id": upload, "credentials": parts})


def _named(folder: str, fields: Fields) -> str:
    """Where the artifact goes: the folder of the address, and the name of the client's file."""
    name = fields.text("path").replace("\\", "/").rpartition("/")[2]
    return f"{folder.strip('/')}/{name}"


async def _part(platform: Platform, request: Request) -> Response:
    upload, number = request.path_params["upload"], request.path_params["number"]
    digest = hashlib.sha256()

    def allowed() -> None:
        _target(platform, upload)
        if not 1 <= number <= MAX_PARTS:
            raise InvalidInput(f"There is no part {number}.", "Parts are counted from 1.")

    def keep(draft: Draft) -> Response:
        tag = digest.hexdigest()
        draft.keep(f"{upload}/{number}-{tag}")
        return Response(status_code=200, headers={"ETag": tag})

    return await received(request, platform.artifact_parts, allowed, keep, digest)


def _target(platform: Platform, upload: str) -> str:
    try:
        return platform.artifact_parts.find(f"{upload}/{_TARGET}").read_text()
    except (NotFound, InvalidInput):
        raise NotFound(
            f"There is no upload {upload[:64]!r}.", "Begin the upload again.", code="no_upload"
        ) from None


def _complete(platform: Platform, _request: Request, folder: str, fields: Fields) -> Response:
    upload = fields.text("upload_id")
    target = _meant(platform, folder, fields, upload)
    draft = platform.artifact_files.draft()
    try:
        for part in fields.several("parts"):
            _append(platform, draft, upload, part.whole("part_number"), part.text("etag"))
        draft.keep(target)
    except BaseException:
        draft.drop()
        raise
    platform.artifact_parts.delete(upload)
    return answer(200, {})


def _meant(platform: Platform, folder: str, fields: Fields, upload: str) -> str:
    target = _target(platform, upload)
    if target != _named(folder, fields):
        raise InvalidInput(
            f"The upload {upload!r} is for another artifact.", "Use the path it was begun with."
        )
    return target


def _append(platform: Platform, draft: Draft, upload: str, number: int, tag: str) -> None:
    try:
        found = platform.artifact_parts.find(f"{upload}/{number}-{tag.strip(chr(34))}")
    except NotFound:
        raise InvalidInput(
            f"Part {number} of the upload isn't there with this ETag.", "Send the part again."
        ) from None
    with found.open("rb") as file:
        while piece := file.read(_PIECE):
            draft.add(piece)


def _abort(platform: Platform, _request: Request, folder: str, fields: Fields) -> Response:
    upload = fields.text("upload_id")
    _meant(platform, folder, fields, upload)
    platform.artifact_parts.delete(upload)
    return answer(200, {})
