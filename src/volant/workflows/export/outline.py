"""What another system needs to know of a workflow: its steps' order and its inputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from volant.domain.manifest import Manifest
from volant.errors import InvalidInput
from volant.workflows.links import links_of
from volant.workflows.order import places

# Texts that one of the systems would read as an expression of its own.
_MARKS = ("{{", "}}", "$(", "${", "\n", "\r", "\0")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One input. `variable` is the environment variable that hands it to the step's
    program; `default` is empty where the server's own default is to count."""

    name: str
    variable: str
    description: str
    default: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    name: str
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """`tasks` are in an order in which each comes after all that it needs. `codeset` is the
    input that says for which codeset the run is."""

    name: str
    version: int
    description: str
    tasks: tuple[Task, ...]
    parameters: tuple[Parameter, ...]
    codeset: str = ""

    def levels(self) -> list[list[Task]]:
        """Tasks of one level need only tasks of the levels before."""
        depth: dict[str, int] = {}
        rows: list[list[Task]] = []
        for task in self.tasks:
            at = max((depth[need] + 1 for need in task.needs), default=0)
            depth[task.name] = at
            rows.extend([] for _ in range(at + 1 - len(rows)))
            rows[at].append(task)
        return rows


def outline_of(manifest: Manifest, version: int) -> Outline:
    """The outline of a registered workflow's version, its runnables expanded."""
    links = links_of(manifest)
    after = places(links)
    needs = {name: {*link.all, *after[name]} for name, link in links.items()}
    done: list[str] = []
    while len(done) < len(needs):
        ready = [name for name in needs if name not in done and needs[name] <= set(done)]
        if not ready:
            raise InvalidInput(
                f"The steps of workflow {manifest.name} wait for each other.", "Mend it first."
            )
        done.append(ready[0])
    codesets = [each.name for each in manifest.inputs if each.type == "codeset"]
    return Outline(
        name=manifest.name,
        version=version,
        description=manifest.description,
        tasks=tuple(
            Task(name, tuple(other for other in done if other in needs[name])) for name in done
        ),
        parameters=tuple(
            _parameter(each.name, each.type, each.description, each.default, number)
            for number, each in enumerate(manifest.inputs, 1)
        ),
        codeset=codesets[0] if codesets else "",
    )


def _parameter(name: str, type: str, about: str, default: str | None, number: int) -> Parameter:
    text = " ".join(about.split())
    if type == "codeset":
        text = f"{text} (PROJECT/NAME or PROJECT/NAME@COMMIT)".strip()
    text = text.replace("{{", "{ {").replace("}}", "} }").replace("$", "")
    plain = default if default and not any(mark in default for mark in _MARKS) else ""
    return Parameter(name, f"VOLANT_PARAM_{number}", text, plain, default is None)


def fitting(
    names: Iterable[str], bad: str, *, lower: bool = False, filler: str = "-", longest: int = 200
) -> Mapping[str, str]:
    """Each name as a system takes it: what matches `bad` becomes `filler`, and no two
    become the same."""
    found: dict[str, str] = {}
    for name in names:
        text = re.sub(bad, filler, name.lower() if lower else name)[:longest]
        text = text.strip(filler) or "x"
        unique, number = text, 2
        while unique in found.values():
            end = f"{filler}{number}"
            unique, number = text[: longest - len(end)] + end, number + 1
        found[name] = unique
    return found
