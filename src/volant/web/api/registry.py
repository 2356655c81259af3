"""What becomes of model versions after they were registered, and what is told of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from volant.domain.model import ModelVersion, Stage
from volant.domain.statistics import TrainingStatistics
from volant.web.api.guard import Caller, needs
from volant.web.api.models import Registration
from volant.web.api.pages import Page, whole
from volant.web.api.routing import router
from volant.web.api.verbs import Platform

_TYPES = {"md": "text/markdown; charset=utf-8", "html": "text/html; charset=utf-8"}
_VERSION = "model/{name}/{version}"
_HTML_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


class Tags(BaseModel):
    """A tag that is null is removed."""

    model_config = ConfigDict(extra="forbid")

    tags: dict[str, str | None] = Field(min_length=1, max_length=100)


class Alias(BaseModel):
    """`version` is a number or another alias."""

    model_config = ConfigDict(extra="forbid")

    version: int | Annotated[str, Field(max_length=255)]


class ImportRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    upload: str


class PruneRequest(BaseModel):
    """Without `apply` it is only told what would go."""

    model_config = ConfigDict(extra="forbid")

    keep: int = Field(ge=1, description="How many of the newest versions of each model stay.")
    model: str | None = None
    apply: bool = False


class CheckedFile(BaseModel):
    """`state` is right, changed, missing or added."""

    version: int
    file: str
    state: str


class Kept(BaseModel):
    """`reason` says why it stays; null for one that goes, and `done` when it is gone."""

    model_config = ConfigDict(from_attributes=True)

    model: str
    version: int
    stage: Stage
    reason: str | None
    done: bool


def routes(platform: Platform) -> APIRouter:
    """What stands under `/models` beside reading and registering."""
    api = router("models")
    _life(api, platform)
    _views(api, platform)
    _travel(api, platform)
    return api


def _life(api: APIRouter, platform: Platform) -> None:
    registry = platform.registry

    @api.delete(
        "/models/{name}/versions/{version}",
        dependencies=[needs("models.delete", audit=_VERSION)],
        status_code=204,
        summary="Delete a version and its files",
    )
    def models_delete(name: str, version: str) -> None:
        """Refused while it is the champion, served, rolled out, what a rollback goes to,
        used by a batch, or named by another version as the one that it replaces."""
        registry.delete(name, version)

    @api.post(
        "/models/{name}/versions/{version}/retire",
        dependencies=[needs("models.retire", audit=_VERSION)],
        summary="Take a version out of use",
    )
    def models_retire(name: str, version: str, caller: Caller) -> ModelVersion:
        """A candidate, or a champion that no deployment serves."""
        return registry.retire(name, version, caller.name)

    @api.post(
        "/models/{name}/versions/{version}/tags",
        dependencies=[needs("models.register", audit=_VERSION)],
        summary="Set and remove tags of a version",
    )
    def models_tag(name: str, version: str, body: Tags) -> dict[str, str]:
        """`card.intended_use` and `card.limits` are shown on the model card."""
        return dict(registry.tag(name, version, body.tags))

    _aliases(api, platform)

    @api.post(
        "/model-retention",
        dependencies=[needs("models.delete", audit="model-retention")],
        summary="Delete old versions that nothing needs",
    )
    def models_prune(body: PruneRequest) -> Page[Kept]:
        """The newest stay, and whatever serves, has an alias, or is an ancestor of what
        stays."""
        found = registry.prune(body.keep, body.model, apply=body.apply)
        return whole([Kept.model_validate(one) for one in found])


def _aliases(api: APIRouter, platform: Platform) -> None:
    registry = platform.registry
    dependencies = [needs("models.register", audit="model/{name}@{alias}")]
    path = "/models/{name}/aliases/{alias}"

    @api.put(path, dependencies=dependencies, summary="Point an alias at a version")
    def models_alias(name: str, alias: str, body: Alias) -> dict[str, int]:
        """Answers all aliases of the model. `champion` and `challenger` are refused where
        anything serves the model or did, or a loop trains it: then they follow that."""
        return dict(registry.alias(name, alias, body.version))

    @api.delete(path, dependencies=dependencies, summary="Remove an alias")
    def models_unalias(name: str, alias: str) -> dict[str, int]:
        """Answers the aliases that are left. `champion` and `challenger` are refused as
        they are when pointed."""
        return dict(registry.alias(name, alias, None))


def _views(api: APIRouter, platform: Platform) -> None:
    registry = platform.registry
    reads = [needs("models.read")]

    @api.get(
        "/models/{name}/files",
        dependencies=reads,
        summary="Compare the files of a model with their SHA-256",
    )
    def models_files(
        name: str, version: Annotated[str | None, Query(max_length=255)] = None
    ) -> Page[CheckedFile]:
        """Every file is read: of one version, or of all."""
        found = registry.check(name, version)
        return whole([CheckedFile(**one) for one in found])

    @api.get(
        "/models/{name}/versions/{version}/diff",
        dependencies=reads,
        summary="What differs from another version",
    )
    def models_diff(
        name: str,
        version: str,
        to_version: Annotated[str, Query(max_length=255)],
        to_model: Annotated[str | None, Query(max_length=256)] = None,
    ) -> dict[str, Any]:
        """From this version to the other, of the same model if none is named: metrics,
        parameters, inputs and outputs, data, files."""
        return dict(registry.diff((name, version), (to_model or name, to_version)))

    @api.get(
        "/models/{name}/versions/{version}/statistics",
        dependencies=reads,
        summary="What the training data looked like, column by column",
    )
    def models_statistics(name: str, version: str) -> TrainingStatistics:
        """Of all rows that the version was trained on, without the holdout. 404 for a version
        that no loop trained."""
        return registry.statistics(name, version)

    @api.get(
        "/models/{name}/versions/{version}/card",
        dependencies=reads,
        summary="The model card",
        response_class=Response,
        responses={200: {"content": {"text/markdown": {}, "text/html": {}}}},
    )
    def models_card(
        name: str, version: str, format: Annotated[Literal["md", "html"], Query()] = "md"
    ) -> Response:
        """Written from the record. The page loads nothing and runs nothing."""
        text = registry.card(name, version, format)
        headers = {"Content-Security-Policy": _HTML_POLICY, "X-Content-Type-Options": "nosniff"}
        return Response(text, media_type=_TYPES[format], headers=headers)


def _travel(api: APIRouter, platform: Platform) -> None:
    registry = platform.registry

    @api.get(
        "/models/{name}/versions/{version}/export",
        dependencies=[needs("models.read")],
        summary="A version as one file",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/x-tar": {}}}},
    )
    def models_export(name: str, version: str, without_pickles: bool = False) -> StreamingResponse:
        """A tar that another Volant imports after verifying it. Its files are verified
        first; if one changes while it is read, the answer ends early."""
        found = registry.export(name, version, without_pickles=without_pickles)
        return StreamingResponse(
            found.blocks,
            media_type="application/x-tar",
            headers={
                "Content-Length": str(found.size),
                "Content-Disposition": f'attachment; filename="{found.filename}"',
            },
        )

    @api.post(
        "/models/{name}/imports",
        dependencies=[needs("models.register", audit="model/{name}")],
        status_code=202,
        summary="Register an uploaded export of another Volant",
    )
    def models_import(name: str, body: ImportRequest) -> Registration:
        """Begins, and answers at once; ask for the registration until it is done. The same
        content again is the same version. Code from outside is refused."""
        return Registration.model_validate(registry.import_file(name, body.upload))

    @api.post(
        "/models/{name}/trusted-imports",
        dependencies=[needs("models.trust", audit="model/{name}")],
        status_code=202,
        summary="Register an uploaded export and vouch for the code in it",
    )
    def models_import_trusted(name: str, body: ImportRequest, caller: Caller) -> Registration:
        """Loading a pickle runs whatever code is in it: who vouched is told on the version."""
        return Registration.model_validate(registry.import_file(name, body.upload, caller.name))
