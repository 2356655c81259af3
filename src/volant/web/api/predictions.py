"""Logged predictions, and predictions over whole files or datasets."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from volant.domain.run import Run
from volant.web.api.guard import Caller, needs
from volant.web.api.routing import router
from volant.web.api.verbs import Platform


class Logged(BaseModel):
    """Rows that a deployment predicted, the oldest first. `dataset` is where they are
    kept."""

    dataset: str
    columns: list[str]
    rows: list[list[Any]]


class BatchRequest(BaseModel):
    """What to predict, and where to put it: a path on the server's machine, or
    `dataset:NAME` (an input may name its version: `dataset:NAME@3`)."""

    model_config = ConfigDict(extra="forbid")

    input: str = Field(min_length=1, max_length=4096)
    output: str = Field(min_length=1, max_length=4096)
    version: str | None = Field(
        default=None, max_length=200, description="A number or @alias; what is live when absent."
    )
    chunk_rows: int = Field(default=50_000, ge=1, le=10_000_000)
    format: Literal["csv", "parquet", "jsonl"] | None = Field(
        default=None, description="Of the input file; by its name when absent."
    )
    only: bool = Field(default=False, description="Leave the input's columns out of the output.")
    strict: bool = Field(default=False, description="Stop at the first row that can't be used.")
    overwrite: bool = Field(default=False, description="Replace an output that is there.")


class Batch(BaseModel):
    """The run that does it. `state`: `started`, `resumed`, `running` already, or `done`."""

    state: str
    run: Run


def routes(platform: Platform) -> APIRouter:
    """`/deployments/{name}/predictions` and `/models/{name}/batches`."""
    api = router("predictions")

    @api.get(
        "/deployments/{name}/predictions",
        dependencies=[needs("datasets.read")],
        summary="What a deployment predicted last",
    )
    def predictions_list(
        name: str,
        last: Annotated[int, Query(ge=1, le=10_000, description="At most so many rows.")] = 20,
        since: Annotated[datetime | None, Query(description="Only from this time on.")] = None,
    ) -> Logged:
        """From its prediction log, with what isn't in the dataset yet."""
        moment = None if since is None else since.isoformat()
        return Logged.model_validate(dict(platform.predictions.read(name, last, moment)))

    @api.post(
        "/models/{name}/batches",
        dependencies=[needs("loops.run", audit="model/{name}")],
        status_code=202,
        summary="Predict a whole file or dataset",
    )
    def predictions_batch(name: str, body: BatchRequest, caller: Caller) -> Batch:
        """`name` is a deployment or a model. The same request again goes on with the same
        run, or says that it is done."""
        found = platform.batches.start(name, body.model_dump(), caller.name)
        return Batch.model_validate(dict(found))

    return api
