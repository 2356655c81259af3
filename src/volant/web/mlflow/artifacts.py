"""The artifact proxy: files of runs and logged models over HTTP.

What the registry holds is here too, below `volant/`, to read only: so a client can load
`models:/NAME@champion` although the platform itself trained it.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from volant.access.permissions import Permission
from volant.domain.project import DEFAULT_PROJECT
from volant.domain.tracking import WORKSPACES
from volant.errors import PermissionDenied, VolantError
from volant.ports.files import Draft, FileEntry, Files
from volant.web.mlflow.admission import admit
from volant.web.mlflow.calls import Asked, Call
from volant.web.mlflow.places import REGISTRY, place_of, uri_of
from volant.web.mlflow.problems import answer, broken, refused
from volant.web.mlflow.scopes import Scope
from volant.web.mlflow.verbs import Platform

Json = dict[str, Any]


class Digest(Protocol):
    """As `hashlib` has them."""

    def update(self, data: bytes, /) -> None: ...


PREFIXES = tuple(f"/{api}/2.0/mlflow-artifacts" for api in ("api", "ajax-api"))
_PIECE = 1 << 20  # bytes that go to the disk at once


def routes(platform: Platform) -> Sequence[BaseRoute]:
    """Upload, download, list, delete."""
    found: list[BaseRoute] = []
    for prefix in PREFIXES:
        at = f"{prefix}/artifacts"
        one = f"{at}/{{path:path}}"
        found += [
            Route(at, partial(_list, platform), methods=["GET"]),
            Route(one, partial(_download, platform), methods=["GET"]),
            Route(one, partial(_upload, platform), methods=["PUT"]),
            Route(one, partial(_delete, platform), methods=["DELETE"]),
        ]
    return found


async def _list(platform: Platform, request: Request) -> Response:
    path = plain(request.query_params.get("path", "")).rstrip("/")

    def listed(scope: Scope) -> Json:
        found = inside(platform, scope.place(path))
        if not path and scope.project == DEFAULT_PROJECT:
            found = [entry for entry in found if entry.name != WORKSPACES]
        return {"files": entries(found, "")}

    return await _guarded(platform, request, Permission.TRACKING_READ, listed)


async def _guarded(
    platform: Platform,
    request: Request,
    permission: Permission,
    act: Callable[[Scope], Json | Response],
) -> Response:
    """`act` on the call's workspace in a thread, if the caller may; its errors as MLflow's."""

    def run() -> Response:
        try:
            _, project = admit(platform, request, permission)
            found = act(Scope(platform, project))
        except VolantError as error:
            return refused(error)
        except Exception:
            return broken(request)
        return found if isinstance(found, Response) else answer(200, found)

    return await to_thread.run_sync(run)


def plain(path: str) -> str:
    """A path to read at, without what stands for the folder itself: clients log to `./model`,
    and list `.`, but theirs is sent on as `model`."""
    return "/".join(part for part in path.split("/") if part != ".")


def entries_of(platform: Platform, path: str) -> Sequence[FileEntry]:
    """What lies at a path, the registry's own included."""
    if path.startswith(REGISTRY):
        return platform.registry_files.list(path.removeprefix(REGISTRY))
    return platform.artifact_files.list(path)


def inside(platform: Platform, path: str) -> Sequence[FileEntry]:
    """What lies in a folder; a file has nothing in it."""
    found = entries_of(platform, path)
    name = path.rpartition("/")[2]
    alone = len(found) == 1 and found[0].name == name and not found[0].is_folder
    if alone and not entries_of(platform, f"{path}/{name}"):
        return []
    return found


def entries(found: Sequence[FileEntry], prefix: str) -> list[Json]:
    """Entries as the protocol has them; a folder has no size."""
    return [
        {"path": f"{prefix}{entry.name}", "is_dir": entry.is_folder}
        | ({} if entry.is_folder else {"file_size": entry.bytes})
        for entry in found
    ]


async def _download(platform: Platform, request: Request) -> Response:
    asked = plain(request.path_params["path"])

    def found(scope: Scope) -> Response:
        path = scope.place(asked)
        if path.startswith(REGISTRY):
            file = platform.registry_files.find(path.removeprefix(REGISTRY))
        else:
            file = platform.artifact_files.find(path)
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        # An attachment, whatever it is: a page among artifacts must not run in our origin.
        return FileResponse(file, media_type=kind, filename=file.name)

    return await _guarded(platform, request, Permission.TRACKING_READ, found)


async def _upload(platform: Platform, request: Request) -> Response:
    path = ""

    def allowed() -> None:
        nonlocal path
        path = may_write(platform, request)

    def keep(draft: Draft) -> Response:
        draft.keep(path)
        return answer(200, {})

    return await received(request, platform.artifact_files, allowed, keep)


async def received(
    request: Request,
    files: Files,
    allowed: Callable[[], None],
    keep: Callable[[Draft], Response],
    digest: Digest | None = None,
) -> Response:
    """The body, as a draft among `files`, handed to `keep`. A small one takes a single hop
    to a thread. `allowed` is asked first; `digest` sees every byte."""
    draft: Draft | None = None
    waiting: list[bytes] = []
    size = 0

    def store() -> Draft:
        nonlocal draft
        if draft is None:
            allowed()
            draft = files.draft()
        draft.add(*waiting)
        if digest is not None:
            for chunk in waiting:
                digest.update(chunk)
        return draft

    try:
        async for chunk in request.stream():
            waiting.append(chunk)
            size += len(chunk)
            if size >= _PIECE:
                await to_thread.run_sync(store)
                waiting.clear()
                size = 0
        return await to_thread.run_sync(lambda: keep(store()))
    except BaseException as error:
        if draft is not None:
            await to_thread.run_sync(draft.drop)
        if isinstance(error, VolantError):
            return refused(error)
        if isinstance(error, Exception) and not isinstance(error, ClientDisconnect):
            return broken(request)
        raise


def may_write(platform: Platform, request: Request) -> str:
    """Where the request's path leads; raises unless the caller may write there."""
    _, project = admit(platform, request, Permission.TRACKING_LOG)
    return _changeable(Scope(platform, project), request)


def _changeable(scope: Scope, request: Request) -> str:
    """Where the request's path leads in the workspace; raises for what never changes."""
    path = request.path_params.get("path", "")
    if path.startswith(REGISTRY):
        raise PermissionDenied(
            "What the registry holds never changes.", "Register a new version instead."
        )
    return scope.place(path)


async def _delete(platform: Platform, request: Request) -> Response:
    def deleted(scope: Scope) -> Json:
        platform.artifact_files.delete(_changeable(scope, request))
        return {}

    return await _guarded(platform, request, Permission.TRACKING_DELETE, deleted)


def _listed(asked: Asked, root: str) -> Json:
    path = (
        asked.fields.maybe("path") or asked.fields.maybe("artifact_directory_path") or ""
    ).strip("/")
    place = "/".join(part for part in (place_of(root), plain(path)) if part)
    prefix = f"{path}/" if path else ""
    return {"root_uri": uri_of(root), "files": entries(inside(asked.platform, place), prefix)}


def _of_run(asked: Asked) -> Json:
    found = asked.platform.tracked_runs.get(asked.fields.text("run_id", "run_uuid"))
    return _listed(asked, found.artifact_uri)


def _of_model(asked: Asked) -> Json:
    found = asked.platform.logged_models.get(asked.fields.text("model_id"))
    return _listed(asked, found.artifact_uri)


CALLS = (
    Call("GET", "/artifacts/list", Permission.TRACKING_READ, _of_run),
    Call(
        "GET",
        "/logged-models/{model_id}/artifacts/directories",
        Permission.TRACKING_READ,
        _of_model,
    ),
)
