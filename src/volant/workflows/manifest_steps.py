"""The steps of a manifest."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping

from yaml.nodes import MappingNode, SequenceNode

from volant.domain.manifest import (
    CODESET_PATH,
    CodesetInput,
    ManifestInput,
    ManifestStep,
    StepInput,
)
from volant.workflows.elements import written_out
from volant.workflows.images import why_not
from volant.workflows.manifest_parts import env, extensions, outputs, resources
from volant.workflows.manifest_reading import (
    NAME_FIX,
    Names,
    Notes,
    empty,
    entries,
    meant,
    named,
)
from volant.workflows.plan import NAME
from volant.workflows.uses import RUNNABLE
from volant.yamltext.problems import nearest
from volant.yamltext.reading import Reading, Section, join

_KEYS = (
    *("name", "image", "uses", "call", "run", "inputs", "outputs", "extensions", "env"),
    *("resources", "needs", "when", "foreach", "retries", "backoff", "timeout", "cache"),
)
_REQUIREMENT = (
    *("name", "extension_id", "service_id", "product", "version", "zone"),
    *("service_resource", "service_category"),
)
_CALL = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
# What a process may have as the name of a variable, as Kubernetes has it.
_VARIABLE = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]{0,254}")
_ONE_INPUT = re.compile(r"\s*\{\{\s*inputs\.([A-Za-z0-9_-]+)\s*\}\}\s*")
_DAY = 86_400.0
_MOST_RETRIES = 100


class StepReader:
    """Reads steps; what may hold expressions is gathered in `notes`, to be looked at
    when every name is known."""

    def __init__(
        self,
        reading: Reading,
        uses: Mapping[str, tuple[str, ...] | None],
        inputs: Mapping[str, ManifestInput],
    ) -> None:
        self.reading = reading
        self.uses = uses
        self.inputs = inputs
        self.notes = Notes(reading)

    def steps(self, top: Section) -> tuple[ManifestStep, ...]:
        """All steps, with those that have no usable name left out."""
        written = entries(self.reading, top, "steps")
        if "steps" in top and not written:
            top.bad("steps", "The workflow has no steps.", "Give it one.")
        names = Names(self.reading, "step")
        found: list[ManifestStep] = []
        for node, path in written:
            section = self.reading.section(node, path, _KEYS, required=("name",))
            name = None if section is None else names.read(section)
            # An unusable name doesn't hide what else is wrong in the step.
            self.notes.step = name or ""
            step = None if section is None else self._step(section, name or "")
            if step is not None and name is not None:
                found.append(step)
        return tuple(found)

    def _step(self, section: Section, name: str) -> ManifestStep:
        step = ManifestStep(
            name=name,
            image=self._image(section),
            uses=self._uses(section),
            call=self._call(section),
            run=self.notes.text(section, "run", "text"),
            inputs=self._inputs(section),
            outputs=outputs(self.notes, section),
            extensions=extensions(self.notes, section),
            env=env(self.notes, section),
            resources=resources(self.notes, section),
            needs=self._needs(section),
            when=self.notes.text(section, "when", "condition"),
            foreach=self._foreach(section),
            retries=section.integer("retries", 0, 0, _MOST_RETRIES),
            backoff_s=_or(section.duration("backoff", 0, _DAY), 1.0),
            timeout_s=section.duration("timeout", 0.1, 30 * _DAY),
            cache=section.flag("cache"),
        )
        self._check_kind(section, name)
        return step

    def _check_kind(self, section: Section, name: str) -> None:
        """One of uses, call and run, or an image: alone, or with call or run."""
        given = [key for key in ("uses", "call", "run") if key in section]
        image = ["image"] if "image" in section else []
        if len(given) == 1 and not (image and given == ["uses"]):
            return
        if image and not given:
            return
        where = f"Step {name!r}" if name else section.path
        if not given:
            what = f"{where} doesn't say what it does."
            self.reading.bad(section.node, section.path, what, "Add image, uses, call or run.")
        else:
            having = " and ".join([*image, *given])
            fix = "Keep one; an image may stand alone, with call, or with run."
            section.bad(given[-1], f"{where} has {having}.", fix)

    def _image(self, section: Section) -> str | None:
        image = self.notes.text(section, "image", "text")
        if image is not None and "{{" not in image:
            wrong = why_not(image)
            if wrong is not None:
                section.bad("image", wrong[0], wrong[1])
        return image

    def _uses(self, section: Section) -> str | None:
        uses = section.raw("uses")
        if "uses" in section and uses not in self.uses:
            section.bad("uses", *self._no_such(section.at("uses"), (uses or "")[:80]))
        return uses

    def _no_such(self, path: str, uses: str) -> tuple[str, str]:
        """What is wrong with a `uses`, and how to mend it."""
        known = [each for each in self.uses if each.startswith(RUNNABLE)]
        if uses.startswith(RUNNABLE):
            guess = nearest(uses, known)
            told = f"Did you mean {guess}? " if guess else ""
            return (
                f"There is no runnable {uses.removeprefix(RUNNABLE)!r}.",
                f"{told}`volant runnable list` shows them; register it: volant runnable register"
                " FILE",
            )
        return f"{path} {uses!r} is no built-in step.", meant(uses, list(self.uses))

    def _call(self, section: Section) -> str | None:
        call = section.raw("call")
        if "call" in section:
            words = (call or "").replace(":", ".").split(".")
            if _CALL.fullmatch(call or "") is None or any(keyword.iskeyword(w) for w in words):
                what = f"{section.at('call')} {(call or '')[:80]!r} names no function."
                section.bad("call", what, 'Write "module:function", like "train:fit".')
        return call

    def _inputs(self, step: Section) -> tuple[StepInput, ...]:
        short = step.child("inputs")
        if isinstance(short, MappingNode):
            return self._short_inputs(short, step.at("inputs"))
        found: dict[str, StepInput] = {}
        for node, path in entries(self.reading, step, "inputs"):
            section = self.reading.section(node, path, ("name", "value", "codeset"))
            if section is None:
                continue
            made = self._input(section)
            if made is None:
                continue
            # FuseML's own examples say the same thing twice here and there.
            if made.name in found and found[made.name] != made:
                what = f"There are two inputs named {made.name!r} with different values."
                section.bad("name", what, "Keep one of the two.")
            found[made.name] = made
        return tuple(found.values())

    def _short_inputs(self, node: MappingNode, path: str) -> tuple[StepInput, ...]:
        """Ours: `{NAME: value}`, or `{NAME: {codeset: …}}`."""
        found: list[StepInput] = []
        for name, (key, value) in (self.reading.pairs(node, path) or {}).items():
            at = join(path, name)
            if not NAME.fullmatch(name):
                what = f"{name[:80]!r} can't be the name of an input."
                self.reading.bad(key, at, what, NAME_FIX)
            if isinstance(value, MappingNode):
                section = self.reading.section(value, at, ("codeset",), required=("codeset",))
                codeset = None if section is None else self._codeset(section)
                found.append(StepInput(name, codeset=codeset))
            else:
                text = self.reading.raw(value, at) or ""
                self.notes.note(value, at, text)
                found.append(StepInput(name, text))
        return tuple(found)

    def _input(self, section: Section) -> StepInput | None:
        # FuseML's own answers name every key, with null where there is nothing.
        for key in ("codeset", "value", "name"):
            other = "value" if key == "codeset" else "codeset"
            if other in section and empty(section.items.get(key, section.node)):
                section = section.without(key)
        if "value" in section and "codeset" in section:
            what = f"{section.path} has both value and codeset."
            section.bad("codeset", what, "Keep one of the two.")
            return None
        codeset = self._codeset(section)
        name = section.raw("name")
        if name is None and codeset is not None:
            plain = _ONE_INPUT.fullmatch(codeset.name)
            name = plain[1] if plain else codeset.name
            if not NAME.fullmatch(name):
                what = f"{section.path} has no name."
                self.reading.bad(section.node, section.path, what, "Add the key name.")
                return None
        if not named(self.reading, section, name, NAME):
            return None
        if codeset is not None or "codeset" in section:
            return StepInput(name or "", codeset=codeset)
        if "value" not in section:
            what = f"{section.path} ({name}) has neither value nor codeset."
            fix = f"Add a value, such as value: '{{{{ inputs.{name} }}}}'."
            self.reading.bad(section.node, section.path, what, fix)
            return None
        value = section.raw("value") or ""
        self.notes.note(section.items["value"], section.at("value"), value)
        return StepInput(name or "", value=value)

    def _codeset(self, step_input: Section) -> CodesetInput | None:
        node = step_input.child("codeset")
        if node is None:
            return None
        path = step_input.at("codeset")
        section = self.reading.section(node, path, ("name", "path"), required=("name",))
        name = None if section is None else self.notes.text(section, "name", "codeset")
        if section is None or name is None:
            return None
        where = CODESET_PATH
        if "path" in section and not empty(section.items["path"]):
            where = self.notes.text(section, "path", "text") or CODESET_PATH
        return CodesetInput(name, where)

    def _needs(self, step: Section) -> tuple[str, ...] | None:
        node = step.child("needs")
        if node is None or empty(node):
            return None
        items = node.value if isinstance(node, SequenceNode) else [node]
        found: list[str] = []
        for item in items:
            name = self.reading.raw(item, step.at("needs"))
            if name is not None:
                self.notes.note(item, step.at("needs"), name, "needs")
                found.append(name)
        return tuple(dict.fromkeys(found))

    def _foreach(self, step: Section) -> str | None:
        node = step.child("foreach")
        if not isinstance(node, SequenceNode):
            return self.notes.text(step, "foreach", "elements")
        items = [self.reading.raw(item, step.at("foreach")) or "" for item in node.value]
        text = written_out(items)
        self.notes.note(node, step.at("foreach"), text, "elements")
        return text


def _or(value: float | None, default: float) -> float:
    return default if value is None else float(value)
