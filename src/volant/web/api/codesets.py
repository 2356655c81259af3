"""Codesets: register, list, versions, files, mirrors, and what became of pushes."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any

from anyio import CapacityLimiter
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from volant.domain.codeset import Codeset, CodesetFile, CodesetRef, Commit
from volant.domain.decision import Decision
from volant.web.api.guard import Caller, needs
from volant.web.api.pages import Before, Limit, Page, page, whole
from volant.web.api.routing import router
from volant.web.api.uploads import BYTES, streamed
from volant.web.api.verbs import Platform

MAX_UPLOADS = 4  # that are received side by side; others wait
_ONE = "/codesets/{project}/{name}"
_SUBJECT = "codeset/{project}/{name}"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Told(_Body):
    """What people say of a codeset; null leaves it as it is."""

    description: str | None = Field(default=None, max_length=10_000)
    labels: list[str] | None = Field(default=None, max_length=50)


class MirrorRequest(_Body):
    """What to fetch a codeset from, and how often."""

    url: str = Field(
        min_length=1, max_length=2000, description="A login in it is kept, and never shown."
    )
    interval_s: float | None = Field(default=None, description="Seconds; 300 when null.")


class MirrorView(BaseModel):
    """What a codeset is fetched from, and how the last try ended."""

    url: str
    interval_s: float
    tried_at: datetime | None
    error: str | None


class NewMirror(MirrorView):
    """A mirror with the secret of its webhook, which nothing else shows."""

    secret: str
    webhook: str = Field(description="Where GitHub, GitLab or Gitea shall send pushes.")


class CodesetView(BaseModel):
    """A codeset, and where git clones it from."""

    project: str
    name: str
    description: str
    labels: list[str]
    branch: str
    head: str | None = Field(description="The newest version, null while it is empty.")
    pushes: int
    origin: str | None
    created_at: datetime
    url: str


class WholeCodeset(CodesetView):
    """A codeset with its mirror, its newest version and what became of the last push."""

    mirror: MirrorView | None
    last: Commit | None
    decision: Decision | None


Path = Annotated[str, Query(max_length=4000, description="A folder or file in the codeset.")]
Version = Annotated[
    str | None,
    Query(max_length=250, description="A commit's hash, a branch or a tag; the newest if absent."),
]


def routes(platform: Platform) -> APIRouter:
    """Everything under `/codesets`."""
    api = router("codesets")
    _reads(api, platform)
    _writes(api, platform)
    return api


def _url(request: Request, codeset: Codeset) -> str:
    """Under the very address that was asked, which works for whoever asks."""
    return f"{str(request.base_url).rstrip('/')}/git/{codeset.project}/{codeset.name}.git"


def _view(request: Request, codeset: Codeset) -> CodesetView:
    return CodesetView(**_facts(request, codeset))


def _facts(request: Request, codeset: Codeset) -> dict[str, Any]:
    return {
        "project": codeset.project,
        "name": codeset.name,
        "description": codeset.description,
        "labels": list(codeset.labels),
        "branch": codeset.branch,
        "head": codeset.head,
        "pushes": codeset.pushes,
        "origin": codeset.origin,
        "created_at": codeset.created_at,
        "url": _url(request, codeset),
    }


def _reads(api: APIRouter, platform: Platform) -> None:
    desk, mirrors = platform.workbench.codesets, platform.workbench.mirrors
    reads = [needs("codesets.read")]

    @api.get("/codesets", dependencies=reads, summary="All codesets")
    def codesets_list(
        request: Request,
        project: Annotated[str | None, Query(max_length=200)] = None,
        label: Annotated[str | None, Query(max_length=200)] = None,
    ) -> Page[CodesetView]:
        return whole([_view(request, each) for each in desk.list(project=project, label=label)])

    @api.get(_ONE, dependencies=reads, summary="One codeset")
    def codesets_get(request: Request, project: str, name: str) -> WholeCodeset:
        found = desk.get(project, name)
        told = mirrors.get(project, name)
        commits, _ = desk.versions(project, name, 1)
        decisions, _ = platform.decisions.page(1, subject=f"codeset/{project}/{name}")
        return WholeCodeset(
            **_facts(request, found),
            mirror=None if told is None else MirrorView.model_validate(told),
            last=commits[0] if commits else None,
            decision=decisions[0] if decisions else None,
        )

    @api.get(f"{_ONE}/versions", dependencies=reads, summary="A codeset's versions")
    def codesets_versions(
        project: str, name: str, version: Version = None, limit: Limit = 50, before: Before = None
    ) -> Page[Commit]:
        """Its commits, newest first; those before `version` if one is given."""
        return page(desk.versions(project, name, limit, before, version))

    @api.get(f"{_ONE}/version", dependencies=reads, summary="One version in full")
    def codesets_version(
        request: Request, project: str, name: str, version: Version = None
    ) -> CodesetRef:
        found = desk.resolve(project, name, version)
        url = _url(request, desk.get(project, name))
        return CodesetRef(found.project, found.name, found.version, url)

    @api.get(f"{_ONE}/files", dependencies=reads, summary="The files of a version")
    def codesets_files(
        project: str, name: str, version: Version = None, below: Path = ""
    ) -> Page[CodesetFile]:
        return whole(desk.files(project, name, version, below))

    @api.get(
        f"{_ONE}/decisions",
        dependencies=[needs("decisions.read")],
        summary="What became of a codeset's pushes, and why",
    )
    def codesets_decisions(
        project: str, name: str, limit: Limit = 50, before: Before = None
    ) -> Page[Decision]:
        desk.get(project, name)
        return page(platform.decisions.page(limit, before, subject=f"codeset/{project}/{name}"))


def _writes(api: APIRouter, platform: Platform) -> None:
    desk, mirrors = platform.workbench.codesets, platform.workbench.mirrors
    limiter = CapacityLimiter(MAX_UPLOADS)

    @api.put(
        _ONE,
        dependencies=[needs("codesets.push", audit=_SUBJECT)],
        summary="Register a codeset",
    )
    def codesets_register(request: Request, project: str, name: str, body: Told) -> CodesetView:
        """Its project is made if there is none. One that is there gets what is told of it;
        its versions stay."""
        made = desk.register(project, name, description=body.description, labels=body.labels)
        return _view(request, made)

    @api.post(
        f"{_ONE}/archive",
        dependencies=[needs("codesets.push", audit=_SUBJECT, body_limit=None)],
        summary="The files of a folder as the next version",
        openapi_extra=BYTES,
    )
    async def codesets_archive(
        request: Request,
        project: str,
        name: str,
        caller: Caller,
        message: Annotated[str, Query(max_length=10_000)] = "",
    ) -> CodesetView:
        """The body is a .tar.gz. The same files again change nothing."""
        take = partial(desk.receive, project, name, by=caller.name, message=message)
        return _view(request, await streamed(request, limiter, take))

    @api.patch(
        _ONE, dependencies=[needs("codesets.push", audit=_SUBJECT)], summary="Describe a codeset"
    )
    def codesets_describe(request: Request, project: str, name: str, body: Told) -> CodesetView:
        told = desk.describe(project, name, description=body.description, labels=body.labels)
        return _view(request, told)

    @api.put(
        f"{_ONE}/mirror",
        dependencies=[needs("codesets.mirror", audit=_SUBJECT)],
        summary="Fetch a codeset from elsewhere",
    )
    def codesets_mirror(
        request: Request, project: str, name: str, body: MirrorRequest
    ) -> NewMirror:
        """Every branch and tag comes from there, now and then and whenever its webhook is
        called. The answer tells the webhook's secret."""
        made = mirrors.set(project, name, body.url, body.interval_s)
        at = f"{str(request.base_url).rstrip('/')}/api/v1/codesets/{project}/{name}/webhook"
        return NewMirror(**made, webhook=at)

    @api.post(
        f"{_ONE}/fetch",
        dependencies=[needs("codesets.push", audit=_SUBJECT)],
        status_code=202,
        summary="Fetch a mirror now",
    )
    def codesets_fetch(request: Request, project: str, name: str) -> CodesetView:
        """It is fetched in the background."""
        found = desk.get(project, name)
        mirrors.want(project, name)
        return _view(request, found)

    @api.delete(
        _ONE,
        dependencies=[needs("codesets.delete", audit=_SUBJECT)],
        status_code=204,
        summary="Delete a codeset",
    )
    def codesets_delete(project: str, name: str) -> None:
        """Refused while a run uses it. Its runs and what came of them stay."""
        desk.delete(project, name)
