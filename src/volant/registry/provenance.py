"""Which files were made here, and who vouches for those that weren't."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from volant.domain.model import ModelVersion
from volant.errors import InvalidInput, NotFound
from volant.registry.desk import ModelDesk

# How the run ids of versions begin that no run of this platform made: registered from
# files, imported from another Volant's export, registered by an MLflow client.
IMPORTED = "import-"
EXPORTED = "export-"
BY_MLFLOW = "mlflow-"
OUTSIDE = (IMPORTED, EXPORTED, BY_MLFLOW)
_PAGE = 200
_TENSORFLOWS = ("saved_model.pb", "saved_model.pbtxt", ".h5", ".hdf5")


def admit(
    models: ModelDesk, pickles: Mapping[str, str], trusted_by: str | None, flag: str
) -> Mapping[str, Any] | None:
    """Who vouches for the pickles, {by, files}; None when there are none, or all were made
    here. `flag` is the command that an admin gives to vouch.

    Raises `InvalidInput` for a pickle from outside.
    """
    foreign = {name: sha for name, sha in pickles.items() if not made_here(models, sha)}
    if not foreign:
        return None
    if trusted_by is not None:
        return {"by": trusted_by, "files": foreign}
    names = ", ".join(list(foreign)[:5])
    if all(name.lower().endswith(_TENSORFLOWS) for name in foreign):
        raise InvalidInput(
            f"{names} is a program for TensorFlow that this platform didn't make: it may read and"
            " write files, or hold Python.",
            "Save the model as Keras's own .keras file, or train it through Volant. An admin who"
            f" knows where it comes from may {flag}.",
            code="model.pickle",
            details={"pickles": foreign},
        )
    raise InvalidInput(
        f"{names} {'is a pickle' if len(foreign) == 1 else 'are pickles'} that this platform "
        "didn't make: loading one runs whatever code is in it.",
        "Export the model to ONNX, to LightGBM's or XGBoost's own file, or to safetensors; or "
        f"train it through Volant. An admin who knows where it comes from may {flag}.",
        code="model.pickle",
        details={"pickles": foreign},
    )


def made_here(models: ModelDesk, sha256: str) -> bool:
    """Whether a run of this platform registered a file of this content."""
    return any(
        sha256 in version.files.values()
        for version in versions_of(models, None)
        if not version.lineage.run_id.startswith(OUTSIDE)
    )


def of_run(models: ModelDesk, name: str, run_id: str) -> ModelVersion | None:
    """The version of that identity."""
    found = (v for v in versions_of(models, name) if v.lineage.run_id == run_id)
    return next(found, None)


def versions_of(models: ModelDesk, name: str | None) -> Iterator[ModelVersion]:
    """All versions of a model, or of all; none of a model that isn't there."""
    before: str | None = None
    while True:
        try:
            page: tuple[Sequence[ModelVersion], str | None]
            page = models.page(_PAGE, before, name=name)
        except NotFound:
            return  # its first version is yet to come
        yield from page[0]
        before = page[1]
        if before is None:
            return
