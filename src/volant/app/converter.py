"""The converter's step: a model of TensorFlow, Keras or ONNX in OpenVINO's own form. What
OpenVINO's optimizer does in FuseML, its wheel does here, beside the library that reads the
model, in an environment made for that."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volant.app.found_models import Found, Tell, find, wanted
from volant.app.jobs import job_of
from volant.app.step_place import Place, as_declared
from volant.app.step_rooms import Outputs, Rooms, outputs_of, step_log
from volant.domain.run import StepRequest
from volant.errors import InvalidInput
from volant.formats import openvino_ir
from volant.registry.provenance import admit

_SCHEME = "mlflow-artifacts:"
_ALONE = "converted"  # in the folder of tracked artifacts: of models that no run logged
# What the original takes and nothing here needs, with why.
_NOT_NEEDED = {
    "batch": "any number of rows is taken",
    "input_shape": "a size that may be any stays so",
    "static_shape": "a size that may be any stays so",
    "data_type": "weights keep their precision",
    "extra_args": "dimensions keep their order",
}
# What would change the model's answers.
_REFUSED = ("scale", "scale_values", "mean_values", "reverse_input_channels", "input", "output")


class Converter:
    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def convert(self, request: StepRequest, place: Place) -> Outputs:
        """The address of the converted model; of the model itself where it is of a format
        that isn't converted, as the log says."""
        _check(place)
        with step_log(self._rooms, request) as tell:
            uri = wanted(place, "input_model", "model")
            for name, why in _NOT_NEEDED.items():
                if place.text(name):
                    tell(f"{name} isn't needed: {why}")
            found = find(self._rooms, uri, place)
            try:
                uri = self._address(request, place, found, uri, tell)
            finally:
                shutil.rmtree(request.workdir / "source", ignore_errors=True)
        return as_declared(request, uri, "model")

    def _address(
        self, request: StepRequest, place: Place, found: Found, uri: str, tell: Tell
    ) -> str:
        model = self._job(request, "inspect_model", "command", {"folder": str(found.folder)})
        form = place.text("output_format", default="openvino").lower()
        if form != "openvino" or not openvino_ir.convertible(model["format"]):
            wish = "" if form == "openvino" else f", and {form} is wanted"
            tell(f"{uri} is {model['why']}{wish}: it is handed on as it is")
            return uri
        admit(
            self._rooms.models, model["pickles"], found.made_by, "register it with --trust-pickle"
        )
        workshop = openvino_ir.workshop(model)
        made = self._target(found, model, workshop)
        path = made.removeprefix(_SCHEME).lstrip("/")
        target = self._rooms.desks.artifact_files.folder(path)
        if (target / openvino_ir.FILE).is_file():
            tell(f"it was converted before: {made}")
            return made
        tell(f"converting {model['why']}")
        self._converted(request, model, workshop, target, tell)
        tell(f"converted: {made}")
        return made

    def _target(self, found: Found, model: Mapping[str, Any], workshop: Mapping[str, Any]) -> str:
        """Among the artifacts of the run that logged the model; not within the model, whose
        files would be others then. The same model has the same address."""
        words = json.dumps([model["digest"], workshop["key"]])
        key = hashlib.sha256(words.encode()).hexdigest()[:12]
        if found.tracked_run is not None:
            root = self._rooms.desks.tracked_runs.get(found.tracked_run).artifact_uri
            if root.startswith(_SCHEME):
                return f"{root.rstrip('/')}/openvino-{key}"
        return f"{_SCHEME}/{_ALONE}/openvino-{key}"

    def _converted(
        self,
        request: StepRequest,
        model: Mapping[str, Any],
        workshop: Mapping[str, Any],
        target: Path,
        tell: Tell,
    ) -> None:
        tell(f"in an environment with {', '.join(workshop['requirements'])}")
        wish = {"environments": str(self._rooms.home.environments), **workshop}
        self._job(request, "build_environment", "command", wish)
        made = self._job(request, "convert_model", workshop["profile"], model)
        if made["compared_rows"]:
            rows, apart = made["compared_rows"], made["max_abs_diff"]
            tell(f"both answer the same on {rows} rows; largest difference {apart:.1e}")
        else:
            tell("it takes none of the values made up for it, so the two weren't compared")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            Path(made["folder"]).rename(target)
        except OSError:
            if not (target / openvino_ir.FILE).is_file():  # else another run was quicker
                raise

    def _job(
        self, request: StepRequest, action: str, profile: str, inputs: Mapping[str, Any]
    ) -> Outputs:
        job = job_of(request, inputs, entry=f"volant.actions:{action}", profile=profile)
        return outputs_of(request, self._rooms.compute.run(job))


def _check(place: Place) -> None:
    asked = [name for name in _REFUSED if place.text(name).lower() not in ("", "false")]
    if asked:
        raise InvalidInput(
            f"The converter can't do {', '.join(asked)}: the model would answer something else.",
            "Put it into the model itself, such as a layer that scales, and leave the input out.",
            code="converter.unsupported",
        )
