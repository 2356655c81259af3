"""Every command that a text of the source tells to type exists, with its options."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import typer

import volant
from volant.cli.main import ENTRIES
from volant.cli.options import add_global_options

SOURCE = Path(volant.__file__).parent
VARIES = "X\0"  # what a program fills in
COMMAND = re.compile(r"`volant ([^`]+)`|(?:^|[:;(] ?|, |&& )volant ([^`;,()…&]+)")
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@cache
def root(name):
    module, _, attribute = ENTRIES[name].target.partition(":")
    command = typer.main.get_command(getattr(import_module(module), attribute))
    add_global_options(command)
    return command


def texts_of(source):
    """The string literals of a module but its docstrings."""
    tree = ast.parse(source)
    apart = set()
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            apart.add(node.body[0].value)
        if isinstance(node, ast.JoinedStr):
            apart |= set(node.values)
            parts = (p.value if isinstance(p, ast.Constant) else VARIES for p in node.values)
            yield "".join(parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in apart:
            yield node.value


def named_in(text):
    """What a text tells to type after `volant`, and whether it stands in backticks: else
    prose may follow."""
    for quoted, bare in COMMAND.findall(text):
        words = quoted or re.split(r"[.:](?: |$)|\n", bare)[0]
        begins = text.startswith(f"volant {bare}")  # it may be a sentence about Volant
        if quoted or not begins or words.split()[0] in ENTRIES:
            yield words, bool(quoted)


def wrong_in(words, alone):
    """What of `volant WORDS` isn't there; None when it all is."""
    words = words.split()
    if VARIES in words[0] or words[0].startswith("--"):
        return None
    if words[0] not in ENTRIES:
        return f"no command {words[0]}"
    command, given = root(words[0]), 0
    rest = iter(words[1:])
    for word in rest:
        below = getattr(command, "commands", {})
        if word.startswith("-") and word != "-":
            flag, _, told = word.partition("=")
            known = {name: p for p in command.params for name in (*p.opts, *p.secondary_opts)}
            if flag not in known:
                return f"no option {flag}"
            if not told and not known[flag].is_flag:
                next(rest, None)
        elif below and VARIES in word:
            return f"no command {word} that varies"
        elif below:
            if word not in below:
                return f"no command {word}"
            command = below[word]
        else:
            given += 1
    most = [p.nargs for p in command.params if p.param_type_name == "argument"]
    return f"{given} arguments" if alone and -1 not in most and given > sum(most) else None


FOLDERS = sorted({str(path.parent.relative_to(SOURCE)) for path in SOURCE.rglob("*.py")})


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_command_that_is_named_is_there(folder):
    texts = {text for path in (SOURCE / folder).glob("*.py") for text in texts_of(path.read_text())}
    found = {words: wrong_in(words, alone) for text in texts for words, alone in named_in(text)}
    assert not {words: wrong for words, wrong in found.items() if wrong}


def test_what_is_wrong_in_a_hint_is_found():
    def wrong(text):
        return [wrong_in(*named) for named in named_in(text)]

    assert wrong(f"`volant models {VARIES}` lists them.") == [f"no command {VARIES} that varies"]
    assert wrong("`volant models keep X`") == ["no command keep"]
    assert wrong("End it: volant deployment delete X.") == ["no command deployment"]
    assert wrong("`volant runs show X --wach`") == ["no option --wach"]
    assert wrong("`volant loops show A B`") == ["2 arguments"]
    assert wrong("Do: volant up --detach && volant apply; volant runs show X Y now") == [None] * 3
