"""How workflows and codesets are named on the command line: by position, or by FuseML's
options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volant.cli import current
from volant.cli.options import Options
from volant.errors import InvalidInput

MAX_SOURCE = 1 << 19

WorkflowName = Annotated[
    str | None, typer.Argument(metavar="[WORKFLOW]", help="The workflow's name.")
]
CodesetName = Annotated[
    str | None,
    typer.Argument(metavar="[CODESET]", help="The codeset, as PROJECT/NAME."),
]
NameOption = Annotated[
    str | None, typer.Option("--name", "-n", metavar="NAME", help="The workflow.")
]
CodesetOption = Annotated[
    str | None,
    typer.Option("--codeset-name", "-c", metavar="CODESET", help="The codeset."),
]
ProjectOption = Annotated[
    str | None,
    typer.Option("--codeset-project", "-p", metavar="PROJECT", help="The codeset's project."),
]


def chosen(argument: str | None, option: str | None) -> str:
    """The workflow, named in one of both ways."""
    if (argument is None) == (option is None):
        raise InvalidInput(
            "Which workflow?" if argument is None else "The workflow is named twice.",
            "Name it once: as the argument, or with --name.",
            code="which_workflow",
        )
    return argument or option or ""


def codeset(
    options: Options, argument: str | None, name: str | None, project: str | None
) -> tuple[str, str, str | None] | None:
    """(project, name, commit) of the codeset, None when none is named. What an option
    leaves out is the current project or codeset, if one was set."""
    if argument is not None and (name or project):
        raise InvalidInput("The codeset is named twice.", "Name it once.", code="which_codeset")
    commit: str | None = None
    if argument is not None:
        argument, sign, at = argument.partition("@")
        if sign and not at:
            raise InvalidInput(
                f"Nothing stands after the @ of {argument}@.",
                "Write a commit, a branch or a tag there, or leave the @ out for the newest.",
                code="which_codeset",
            )
        project, slash, name = argument.rpartition("/")
        commit = at or None
        project = project if slash else None
    elif name is None and project is None:
        return None
    home = options.home_folder()
    project = project or current.read(home, "project")
    name = name or current.read(home, "codeset")
    if not project or not name:
        lacks = "project" if not project else "name"
        raise InvalidInput(
            f"The codeset's {lacks} isn't given.",
            "Write PROJECT/NAME, or give --codeset-project and --codeset-name.",
            code="which_codeset",
        )
    return project, name, commit


def text_of(file: Path) -> str:
    """A manifest's text. Raises `InvalidInput` for what can't be read as one."""
    try:
        data = file.read_bytes()
        if len(data) > MAX_SOURCE:
            raise InvalidInput(f"{file} has {len(data):,} bytes.", f"At most {MAX_SOURCE:,}.")
        return data.decode()
    except OSError as error:
        raise InvalidInput(
            f"{file} can't be read: {error.strerror}.", "Give the path of a workflow's manifest."
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is no text.", "Give a manifest in YAML, as UTF-8.") from error
