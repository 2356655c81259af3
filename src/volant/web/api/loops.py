"""Loops: plan, apply, list, delete, start a run."""

from __future__ import annotations

import base64
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from volant.domain.decision import Decision
from volant.domain.loop import Loop
from volant.domain.run import Run
from volant.errors import InvalidInput
from volant.web.api.guard import CODE_LIMIT, Caller, needs
from volant.web.api.pages import Before, Limit, Page, page, whole
from volant.web.api.routing import router
from volant.web.api.verbs import Platform


class LoopSource(BaseModel):
    """A loop as its file's text, with the user's code if it has some."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(max_length=1 << 20, description="The text of a volant.yaml.")
    code: str | None = Field(
        default=None, description="Base64 of a .tar.gz of the folder that `call:` imports from."
    )


def routes(platform: Platform) -> APIRouter:
    """Everything under `/loops`."""
    api = router("loops")
    loops = platform.loops

    @api.post(
        "/loops/plan",
        dependencies=[needs("loops.plan", body_limit=CODE_LIMIT)],
        summary="What applying a loop would change",
    )
    def loops_plan(body: LoopSource) -> dict[str, Any]:
        """Nothing is changed. Every fault in the file is told with its line."""
        return dict(loops.plan(body.source, _unpacked(body.code)))

    @api.put(
        "/loops/{name}",
        dependencies=[needs("loops.apply", audit="loop/{name}", body_limit=CODE_LIMIT)],
        summary="Create or change a loop",
    )
    def loops_apply(name: str, body: LoopSource) -> Loop:
        """The same source and code again change nothing."""
        return loops.apply(body.source, _unpacked(body.code), name=name)

    @api.get("/loops", dependencies=[needs("loops.read")], summary="All loops")
    def loops_list() -> Page[Loop]:
        return whole(loops.list())

    @api.get("/loops/{name}", dependencies=[needs("loops.read")], summary="One loop")
    def loops_get(name: str) -> Loop:
        return loops.get(name)

    @api.delete(
        "/loops/{name}",
        dependencies=[needs("loops.delete", audit="loop/{name}")],
        status_code=204,
        summary="Delete a loop",
    )
    def loops_delete(name: str) -> None:
        """Its triggers end. Its data, runs, models and deployment stay."""
        loops.delete(name)

    @api.post(
        "/loops/{name}/runs",
        dependencies=[needs("loops.run", audit="loop/{name}")],
        status_code=202,
        summary="Run a loop now",
    )
    def loops_run(name: str, caller: Caller) -> Run:
        return platform.run_loop(name, caller.name)

    @api.get(
        "/loops/{name}/decisions",
        dependencies=[needs("decisions.read")],
        summary="What was decided for a loop, and why",
    )
    def loops_decisions(name: str, limit: Limit = 50, before: Before = None) -> Page[Decision]:
        loops.get(name)
        return page(platform.decisions.page(limit, before, loop=name))

    return api


def _unpacked(code: str | None) -> bytes | None:
    if code is None:
        return None
    try:
        return base64.b64decode(code, validate=True)
    except ValueError as error:  # also what is no ASCII
        raise InvalidInput(
            f"`code` is not base64: {error}.", "Send base64 of a .tar.gz, without line breaks."
        ) from error
