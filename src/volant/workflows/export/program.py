"""The program of `caller.py` as text, for one workflow; and YAML that people can read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from volant.workflows.export.outline import Outline

_CONSTANTS = re.compile(r"# constants:.*?# end of constants\n", re.DOTALL)
_DOCSTRING = re.compile(r'\A""".*?"""\n', re.DOTALL)
_LINTERS = re.compile(r" *# noqa:[^\n]*")


def program_of(outline: Outline, *, main: bool = True) -> str:
    """Its source. Without `main` it only defines functions, for a Python file that has the
    rest."""
    source = Path(__file__).with_name("caller.py").read_text(encoding="utf-8")
    parameters = {each.name: each.variable for each in outline.parameters}
    lines = [
        f"WORKFLOW = {outline.name!r}",
        f"VERSION = {outline.version}",
        f"CODESET = {outline.codeset!r}",
        f"PARAMETERS = {parameters!r}",
    ]
    source = _LINTERS.sub("", _DOCSTRING.sub("", source)).lstrip("\n")
    source = _CONSTANTS.sub(lambda _: "\n".join(lines) + "\n", source)
    if not main:
        source = source[: source.index("def main()")]
    return source.strip() + "\n"


class _Readable(yaml.SafeDumper):
    """Texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Readable.add_representer(str, _text)


def yaml_text(*documents: Any, head: str) -> str:
    """The documents, after a comment."""
    comment = "".join(f"# {line}".rstrip() + "\n" for line in head.splitlines())
    return comment + "---\n".join(
        yaml.dump(document, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=100)
        for document in documents
    )


def head_of(outline: Outline, system: str, *usage: str) -> str:
    """What the file says of itself."""
    return "\n".join(
        [
            f"Workflow {outline.name}, version {outline.version}, for {system}.",
            f"Written by `volant workflow export`. {system} decides when a step starts; Volant",
            "does the step, and hands its outputs on to the later ones.",
            *usage,
        ]
    )
