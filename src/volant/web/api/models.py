"""Models and their versions."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any, Literal

from anyio import CapacityLimiter
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from volant.domain.model import ModelVersion
from volant.web.api.guard import Caller, needs
from volant.web.api.pages import Before, Limit, Page, page
from volant.web.api.routing import router
from volant.web.api.uploads import BYTES, Filename, Upload, received
from volant.web.api.verbs import Platform

WISHES_LIMIT = 16 << 20  # bytes of a registration's body: an example may hold an image
MAX_UPLOADS = 2  # models that are received side by side; others wait


class ExampleText(BaseModel):
    """A few rows or tensors of the model's inputs, as a file's text."""

    model_config = ConfigDict(extra="forbid")

    text: str
    format: Literal["json", "csv"] = "json"


class PrepareRequest(BaseModel):
    """What isn't in the model's files."""

    model_config = ConfigDict(extra="forbid")

    example: ExampleText | None = None
    signature: dict[str, Any] | None = Field(
        default=None, description="inputs as columns {name, type} or tensors; classes, task."
    )
    task: str | None = Field(default=None, max_length=100)
    metrics: dict[str, float] = Field(default_factory=dict, max_length=100)
    env: Literal["auto", "own", "volant"] = "auto"


class RegisterRequest(PrepareRequest):
    """Which upload becomes a version, and what isn't in its files."""

    upload: str


class Registration(BaseModel):
    """How far a registration has come; `version` is set when it is done."""

    id: str
    model: str
    status: str
    stage: str
    started_at: datetime
    version: int | None
    known: bool
    error: dict[str, Any] | None

    model_config = ConfigDict(from_attributes=True)


def routes(platform: Platform) -> APIRouter:
    """Everything under `/models`."""
    api = router("models")
    _writes(api, platform)
    models = platform.models
    reads = [needs("models.read")]

    @api.get("/models", dependencies=reads, summary="Versions of all models, newest first")
    def models_list(limit: Limit = 50, before: Before = None) -> Page[ModelVersion]:
        return page(models.page(limit, before, name=None))

    @api.get("/models/{name}/versions", dependencies=reads, summary="A model's versions")
    def models_versions(name: str, limit: Limit = 50, before: Before = None) -> Page[ModelVersion]:
        return page(models.page(limit, before, name=name))

    @api.get("/models/{name}/versions/{version}", dependencies=reads, summary="One version")
    def models_get(name: str, version: str) -> ModelVersion:
        """`version` is a number or an alias: `champion`, `challenger`."""
        return models.get(name, version)

    return api


def _writes(api: APIRouter, platform: Platform) -> None:
    registrations = platform.registrations

    def begin(name: str, body: RegisterRequest, trusted_by: str | None) -> Registration:
        wishes = {**body.model_dump(exclude={"upload"}), "trusted_by": trusted_by}
        return Registration.model_validate(registrations.register(name, body.upload, wishes))

    limiter = CapacityLimiter(MAX_UPLOADS)

    @api.post(
        "/models/{name}/uploads",
        dependencies=[needs("models.register", audit="model/{name}", body_limit=None)],
        status_code=201,
        summary="Upload a model's file, or a tar of its folder",
        openapi_extra=BYTES,
    )
    async def models_upload(
        request: Request,
        name: str,
        filename: Filename,
    ) -> Upload:
        """The name's ending tells the format; `.tar` and `.tar.gz` are unpacked."""
        return await received(request, limiter, partial(registrations.upload, name, filename))

    @api.post(
        "/models/{name}/versions",
        dependencies=[needs("models.register", audit="model/{name}", body_limit=WISHES_LIMIT)],
        status_code=202,
        summary="Register an uploaded model",
    )
    def models_register(name: str, body: RegisterRequest) -> Registration:
        """Begins, and answers at once; ask for the registration until it is done. The same
        content again is the same version. A pickle that wasn't made here is refused."""
        return begin(name, body, None)

    @api.post(
        "/models/{name}/trusted-versions",
        dependencies=[needs("models.trust", audit="model/{name}", body_limit=WISHES_LIMIT)],
        status_code=202,
        summary="Register an uploaded model and vouch for its pickles",
    )
    def models_trust(name: str, body: RegisterRequest, caller: Caller) -> Registration:
        """Loading a pickle runs whatever code is in it: who vouched is told on the version."""
        return begin(name, body, caller.name)

    _preparing(api, platform)

    @api.get(
        "/models/{name}/registrations/{registration_id}",
        dependencies=[needs("models.read")],
        summary="What became of a registration",
    )
    def models_registration(name: str, registration_id: str) -> Registration:
        """Known until the server restarts, or 200 others came after it."""
        return Registration.model_validate(registrations.get(name, registration_id))


def _preparing(api: APIRouter, platform: Platform) -> None:
    def begin(name: str, version: str, body: PrepareRequest, by: str | None) -> Registration:
        wishes = {**body.model_dump(), "trusted_by": by}
        begun = platform.registrations.prepare(name, version, wishes)
        return Registration.model_validate(begun)

    subject = "model/{name}/{version}"

    @api.post(
        "/models/{name}/versions/{version}/prepare",
        dependencies=[needs("models.register", audit=subject, body_limit=WISHES_LIMIT)],
        status_code=202,
        summary="Make a candidate of a version that is only registered",
    )
    def models_prepare(name: str, version: str, body: PrepareRequest) -> Registration:
        """For versions that MLflow clients register: proves over their files that they can
        serve. Begins, and answers at once; ask for the registration until it is done. A
        version that is a candidate or more is left as it is."""
        return begin(name, version, body, None)

    @api.post(
        "/models/{name}/versions/{version}/trusted-prepare",
        dependencies=[needs("models.trust", audit=subject, body_limit=WISHES_LIMIT)],
        status_code=202,
        summary="Make a candidate of a version and vouch for its pickles",
    )
    def models_prepare_trusted(
        name: str, version: str, body: PrepareRequest, caller: Caller
    ) -> Registration:
        """Loading a pickle runs whatever code is in it: who vouched is told on the version."""
        return begin(name, version, body, caller.name)
