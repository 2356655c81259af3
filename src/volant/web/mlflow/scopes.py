"""What a call names must be of the workspace that the call is for.

One place for all calls: ids of experiments, runs and models mean the same wherever they
stand. What isn't there at all is left to the call, which says so in its own words.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from volant.domain.project import DEFAULT_PROJECT
from volant.domain.tracking import DEFAULT_EXPERIMENT, DEFAULT_NAME, WORKSPACES, Noun
from volant.errors import InvalidInput, NotFound
from volant.web.mlflow.fields import Fields
from volant.web.mlflow.places import REGISTRY, place_of
from volant.web.mlflow.verbs import Platform

_IDS = {
    "experiment_id": Noun.EXPERIMENT,
    "run_id": Noun.RUN,
    "run_uuid": Noun.RUN,
    "run_ids": Noun.RUN,
    "source_run_id": Noun.RUN,
    "model_id": Noun.LOGGED_MODEL,
}
_WITH_MODELS = ("metrics", "models")  # lists of what may name a logged model
_REGISTRY = ("/registered-models/", "/model-versions/")
_NEW_MODEL = "/registered-models/create"
# Calls that make something in the default experiment when they name none.
_MAKING = frozenset({("POST", "/runs/create"), ("POST", "/logged-models")})


@dataclass(frozen=True, slots=True)
class Scope:
    """The workspace of one call."""

    platform: Platform
    project: str

    def own(self, noun: Noun, ids: Sequence[str]) -> None:
        """Raises `NotFound` for what is another workspace's."""
        if not ids:
            return
        for one, owner in self.platform.workbench.owners.projects(noun, ids).items():
            if owner != self.project:
                raise NotFound(
                    f"There is no {noun.value} {one[:250]!r} in the workspace {self.project!r}:"
                    f" it is in {owner!r}.",
                    f"Work there: mlflow.set_workspace({owner!r}), or MLFLOW_WORKSPACE={owner}.",
                    code="other_workspace",
                    details={"project": owner},
                )

    def check(self, method: str, path: str, fields: Fields) -> Fields:
        """The call's parameters, all of this workspace. Raises `NotFound`."""
        fields = self._experiments(method, path, fields)
        for name, noun in _IDS.items():
            self.own(noun, fields.ids(name))
        for name in _WITH_MODELS:
            self.own(Noun.LOGGED_MODEL, fields.inner_ids(name, "model_id"))
        if path.startswith(_REGISTRY):
            if path != _NEW_MODEL:
                self.own(Noun.MODEL, fields.ids("name"))
            self._source(fields.value("source"))
        return fields

    def _experiments(self, method: str, path: str, fields: Fields) -> Fields:
        """With the workspace's own default experiment where the number of the default one, or
        none, is given, and without those of others in a list to search in, as MLflow does."""
        if self.project != DEFAULT_PROJECT:
            given = fields.ids("experiment_id")
            making = (method, path) in _MAKING
            if given == [DEFAULT_EXPERIMENT] or (making and not given):
                fields = fields.having(experiment_id=self._default(making=making))
        asked = fields.ids("experiment_ids")
        if not asked:
            return fields
        owners = self.platform.workbench.owners.projects(Noun.EXPERIMENT, asked)
        kept = [one for one in asked if owners.get(one) == self.project]
        if self.project != DEFAULT_PROJECT and DEFAULT_EXPERIMENT in asked:
            with suppress(NotFound):
                kept.append(self._default(making=False))
        return fields.having(experiment_ids=kept)

    def _default(self, *, making: bool) -> str:
        experiments = self.platform.experiments
        if making:
            return experiments.default(self.project).id
        return experiments.by_name(DEFAULT_NAME, self.project).id

    def _source(self, source: str) -> None:
        """Where a registered version comes from, in each of its spellings."""
        scheme, _, rest = source.partition(":")
        first, _, second = rest.lstrip("/").partition("/")
        if scheme == "runs":
            self.own(Noun.RUN, [first])
        elif scheme == "models":
            self.own(Noun.MODEL if second else Noun.LOGGED_MODEL, [first])
        elif scheme == "mlflow-artifacts":
            path = place_of(source)
            if self.place(path) != path:
                raise InvalidInput(
                    f"Invalid model version source: {source[:300]!r} is none of the workspace"
                    f" {self.project!r}.",
                    "Give the artifacts of a run or of a logged model of this workspace.",
                    code="invalid_parameter",
                )

    def place(self, path: str) -> str:
        """Where an artifact's path leads: a workspace has a folder of its own, which a path
        may begin with or be below; the default one has all the rest. What the registry holds
        can be read from each.

        Raises `InvalidInput` for a path into another workspace.
        """
        first, _, rest = path.partition("/")
        if first == WORKSPACES:
            owner = rest.partition("/")[0]
            if owner != self.project:
                raise InvalidInput(
                    f"Artifact path targets workspace {owner[:200]!r} but the workspace"
                    f" specified in the request is {self.project!r}.",
                    f"Work there: mlflow.set_workspace({owner[:200]!r}).",
                    code="invalid_parameter",
                )
            return path
        if self.project == DEFAULT_PROJECT or path.startswith(REGISTRY):
            return path
        return "/".join(part for part in (WORKSPACES, self.project, path) if part)
