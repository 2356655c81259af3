"""The shell script around a runnable's entrypoint, in POSIX sh.

No value of an input ever stands in the script itself: each comes in a variable of the
environment and is quoted where it is used, so that nothing in it is taken for shell.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from volant.domain.manifest import CodesetInput, StepInput
from volant.domain.run import INPUT_FILES
from volant.domain.runnable import Port, RunnableSpec
from volant.projects.texts import Reference, parts_of

_RESULTS = '"$VOLANT_RESULTS_DIR"'
_FILES = f"$VOLANT_WORKDIR/{INPUT_FILES}"
_NUMBER = r"""volant_number() {
    case $2 in ''|*[!0-9eE.+-]*|*[!0-9.]) ;; *[0-9]*) return 0 ;; esac
    echo "$1 must be a number, not '$2'." >&2
    exit 2
}"""


@dataclass(frozen=True)
class Script:
    """What to run, None for the image's own command `run`, and its environment."""

    text: str | None
    env: Mapping[str, str]


def script(spec: RunnableSpec, inputs: Sequence[StepInput]) -> Script:
    """The command of a step that does `spec` with `inputs`, which were checked."""
    writer = _Writer(spec, inputs)
    return Script(writer.text(), writer.env)


class _Writer:
    def __init__(self, spec: RunnableSpec, inputs: Sequence[StepInput]) -> None:
        self.spec = spec
        self.given = {each.name: each for each in inputs}
        self.env: dict[str, str] = {}
        self.places: dict[str, str] = {}  # input → the variable that holds the file's path
        self.before: list[str] = []

    def text(self) -> str | None:
        container = self.spec.container
        self._files()
        self._folders()
        self._numbers()
        self._environment()
        command = self._command()
        after = [line for port in self.spec.outputs for line in self._after(port)]
        if container.image and not (container.entrypoint or container.args or self.before or after):
            return None
        lines = (*self.before, command, *after)
        helper = [_NUMBER] if any("volant_number" in line for line in lines) else []
        if any("$VOLANT_START" in line for line in lines):
            helper.append("VOLANT_START=$PWD")
        return "\n".join(["set -e", *helper, *lines]) + "\n"

    # before the command

    def _files(self) -> None:
        """Inputs that the command reads from files."""
        for port in self.spec.inputs:
            if port.name in self.given and port.path and port.type != "codeset":
                path = shlex.quote(port.path)
                self.before.append(f'mkdir -p "$(dirname {path})"')
                self.before.append(f"printf %s {self._value(port.name)} > {path}")

    def _folders(self) -> None:
        """Where the command leaves outputs that it doesn't leave in the results folder."""
        for port in self.spec.outputs:
            if port.path:
                self.before.append(f'mkdir -p "$(dirname {shlex.quote(port.path)})"')

    def _numbers(self) -> None:
        for port in self.spec.inputs:
            if port.type == "number" and port.name in self.given:
                what = shlex.quote(f"The input {port.name} of {self.spec.id}")
                self.before.append(f"volant_number {what} {self._value(port.name)}")

    def _environment(self) -> None:
        """The runnable's own variables: as they are where nothing but values stands in
        them, else set in the script, which knows the paths."""
        for name, text in self.spec.container.env.items():
            parts = list(parts_of(text))
            if all(isinstance(part, str) or self._plain(part) for part in parts):
                self.env[name] = "".join(
                    part if isinstance(part, str) else self._expression(part) for part in parts
                )
            else:
                self.before.append(f"export {name}={self._word(text)}")

    def _plain(self, part: object) -> bool:
        return isinstance(part, Reference) and part.side == "inputs" and part.field != "path"

    # the command

    def _command(self) -> str:
        container = self.spec.container
        entrypoint = container.entrypoint or "run"
        words = [*_split(entrypoint), *container.args]
        return " ".join(self._word(word) for word in words)

    def _word(self, text: str) -> str:
        """One word of the shell, whatever is in it."""
        return (
            "".join(
                shlex.quote(part) if isinstance(part, str) else self._reference(part)
                for part in parts_of(text)
            )
            or "''"
        )

    def _reference(self, part: object) -> str:
        assert isinstance(part, Reference)
        if part.side == "outputs":
            port = self.spec.output(part.name)
            if port is not None and port.path:
                return shlex.quote(port.path)
            return f"{_RESULTS}/{shlex.quote(part.name)}"
        if part.field == "path":
            return self._path(part.name)
        return self._value(part.name, part.field)

    def _value(self, name: str, field: str | None = None) -> str:
        """An input's value, quoted, from a variable of its own."""
        if name not in self.given:
            return "''"
        variable = f"VOLANT_ARG_{list(self.given).index(name)}" + (f"_{field}" if field else "")
        self.env[variable] = self._expression(Reference("inputs", name, field))
        return f'"${variable}"'

    def _expression(self, part: object) -> str:
        """An input's value as the engine will fill it in."""
        assert isinstance(part, Reference)
        given = self.given.get(part.name)
        if given is None:
            return ""
        if given.codeset is None:
            return given.value or ""
        name = _codeset(given.codeset)
        return f"{{{{ inputs.{name}.{part.field} }}}}" if part.field else f"{{{{ inputs.{name} }}}}"

    def _path(self, name: str) -> str:
        port = self.spec.input(name)
        given = self.given.get(name)
        if given is not None and given.codeset is not None:
            first = next(each for each in self.given.values() if each.codeset is not None)
            # The step starts in its first codeset, wherever that lies here, and the others
            # lie as they would if its folder ended in the path that it was given.
            if given is first or first.codeset is None:
                return '"$VOLANT_START"'
            start = shlex.quote(first.codeset.path.rstrip("/"))
            return f'"${{VOLANT_START%{start}}}"{shlex.quote(given.codeset.path)}'
        if port is not None and port.path:
            return shlex.quote(port.path)
        return self._temporary(name)

    def _temporary(self, name: str) -> str:
        """A file of the value, for a command that wants one and doesn't say where."""
        if name not in self.places:
            variable = f"VOLANT_FILE_{len(self.places)}"
            self.places[name] = variable
            self.before += [
                f'mkdir -p -m 700 "{_FILES}"',
                f'{variable}="{_FILES}"/{shlex.quote(name)}',
                f'printf %s {self._value(name)} > "${variable}"',
            ]
        return f'"${self.places[name]}"'

    # after it

    def _after(self, port: Port) -> Iterable[str]:
        target = f"{_RESULTS}/{shlex.quote(port.name)}"
        if port.path:
            path = shlex.quote(port.path)
            told = shlex.quote(
                f"{port.path} is a folder; the output {port.name} of {self.spec.id} is a text:"
                " write the folder's address into a file."
            )
            yield f"if [ -d {path} ]; then echo {told} >&2; exit 2; fi"
            yield f"if [ -e {path} ]; then cp {path} {target}; fi"
        if port.optional:
            default = shlex.quote(port.default or "")
            yield f"[ -e {target} ] || printf %s {default} > {target}"
        if port.type == "number":
            what = shlex.quote(f"The output {port.name} of {self.spec.id}")
            yield f'if [ -e {target} ]; then volant_number {what} "$(cat {target})"; fi'


def _codeset(given: CodesetInput) -> str:
    """The workflow input that a step's codeset is."""
    name = given.name.strip()
    return name.removeprefix("{{").removesuffix("}}").strip().removeprefix("inputs.")


def _split(entrypoint: str) -> list[str]:
    """A command line in its words; an expression is never split."""
    held: dict[str, str] = {}
    text = ""
    for part in parts_of(entrypoint):
        if isinstance(part, str):
            text += part
        else:
            key = f"\x01{len(held)}\x01"
            field = f".{part.field}" if isinstance(part, Reference) and part.field else ""
            held[key] = (
                f"{{{{ {part.side}.{part.name}{field} }}}}" if isinstance(part, Reference) else ""
            )
            text += key
    words = shlex.split(text) or [text]
    for key, value in held.items():
        words = [word.replace(key, value) for word in words]
    return words
