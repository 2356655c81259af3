"""Datasets: uploads, pushes, versions, rows and quarantine."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from anyio import CapacityLimiter
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.convertors import Convertor, register_url_convertor

from volant.domain.dataset import Dataset, DatasetVersion, Push
from volant.web.api.guard import needs
from volant.web.api.pages import MAX_LIMIT, Before, Limit, Page, page, whole
from volant.web.api.routing import router
from volant.web.api.uploads import BYTES, Filename, Upload, received
from volant.web.api.verbs import Platform

MAX_UPLOADS = 8  # that are received side by side; others wait


class _DatasetName(Convertor[str]):
    """One segment, or the two of a prediction log's dataset."""

    regex = "predictions/[^/]+|[^/]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("dataset", _DatasetName())


class PushRequest(BaseModel):
    """Which uploads make one delivery."""

    model_config = ConfigDict(extra="forbid")

    uploads: list[str] = Field(min_length=1, max_length=1000)
    options: dict[str, Any] = Field(
        default_factory=dict, description="format, delimiter, encoding; guessed when absent."
    )
    key: str | None = Field(
        default=None, max_length=200, description="The same key again is the same push."
    )


class ReleaseRequest(BaseModel):
    """Which quarantined rows to check again: of one push, or by id, or all."""

    model_config = ConfigDict(extra="forbid")

    push: str | None = None
    rows: list[str] | None = Field(default=None, min_length=1, max_length=10_000)
    force: bool = Field(default=False, description="Take them even if they break the contract.")


class Rows(BaseModel):
    """The first rows of a version, column names apart."""

    columns: list[str]
    rows: list[Any]
    version: int | None


RowLimit = Annotated[int, Query(ge=1, le=10_000, description="At most so many rows.")]


def routes(platform: Platform) -> APIRouter:
    """Everything under `/datasets`, and `/pushes/{id}`."""
    api = router("datasets")
    _reads(api, platform)
    _writes(api, platform)
    return api


def _reads(api: APIRouter, platform: Platform) -> None:
    data = platform.data
    reads = [needs("datasets.read")]

    @api.get("/datasets", dependencies=reads, summary="All datasets")
    def datasets_list() -> Page[Dataset]:
        return whole(data.list())

    @api.get(
        "/datasets/{name:dataset}/versions", dependencies=reads, summary="A dataset's versions"
    )
    def datasets_versions(
        name: str, limit: Limit = 50, before: Before = None
    ) -> Page[DatasetVersion]:
        return page(data.versions(name, limit, before))

    @api.get("/datasets/{name:dataset}/pushes", dependencies=reads, summary="A dataset's pushes")
    def datasets_pushes(name: str, limit: Limit = 50, before: Before = None) -> Page[Push]:
        return page(data.pushes(name, limit, before))

    @api.get(
        "/datasets/{name:dataset}/rows", dependencies=reads, summary="The first rows of a version"
    )
    def datasets_rows(name: str, version: int | None = None, limit: RowLimit = 20) -> Rows:
        return Rows.model_validate(data.rows(name, version, limit))

    @api.get(
        "/datasets/{name:dataset}/quarantine",
        dependencies=reads,
        summary="Rows that broke the contract, with the reasons",
    )
    def datasets_quarantine(
        name: str,
        push: str | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    ) -> Page[dict[str, Any]]:
        return whole([dict(row) for row in data.quarantine(name, push, limit)])

    @api.get("/pushes/{push_id}", dependencies=reads, summary="One push and what became of it")
    def pushes_get(push_id: str) -> Push:
        return data.get_push(push_id)

    # Last: its name may have a slash in it.
    @api.get("/datasets/{name:dataset}", dependencies=reads, summary="One dataset and its contract")
    def datasets_get(name: str) -> Dataset:
        return data.get(name)


def _writes(api: APIRouter, platform: Platform) -> None:
    data = platform.data
    limiter = CapacityLimiter(MAX_UPLOADS)

    @api.post(
        "/datasets/{name}/uploads",
        dependencies=[needs("datasets.push", audit="dataset/{name}", body_limit=None)],
        status_code=201,
        summary="Upload one file into staging",
        openapi_extra=BYTES,
    )
    async def datasets_upload(
        request: Request,
        name: str,
        filename: Filename,
    ) -> Upload:
        """The body is streamed: no more than a block of it is ever in memory."""
        return await received(request, limiter, partial(data.upload, name, filename))

    @api.post(
        "/datasets/{name}/pushes",
        dependencies=[needs("datasets.push", audit="dataset/{name}")],
        status_code=202,
        summary="Deliver uploaded files",
    )
    def datasets_push(name: str, body: PushRequest) -> Push:
        """Starts the ingest and answers at once; ask `/pushes/{id}` for what became of it."""
        return data.push(name, body.uploads, body.options, body.key)

    @api.post(
        "/datasets/{name}/release",
        dependencies=[needs("datasets.release", audit="dataset/{name}")],
        status_code=202,
        summary="Check quarantined rows again",
    )
    def datasets_release(name: str, body: ReleaseRequest) -> Push:
        """Rows that pass now are appended as a new version."""
        return data.release(name, body.push, body.rows, body.force)
