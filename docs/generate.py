"""Writes the pages that follow from the code: docs/cli.md and docs/api.md.

python docs/generate.py            write them
python docs/generate.py --demo     run `volant demo` and draw docs/assets/demo.svg
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import typer
from fastapi.routing import iter_route_contexts
from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).parent
WIDTH = 100
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ROOMS = (
    "access",
    "data",
    "decisions",
    "deployments",
    "events",
    "loops",
    "models",
    "monitoring",
    "registrations",
    "registry",
    "runs",
    "tracking",
)
_BENCH = (
    "applications",
    "assignments",
    "codesets",
    "extensions",
    "mirrors",
    "outside",
    "projects",
    "retention",
    "runnables",
    "workflows",
)


def cli_page() -> str:
    """The reference of every command, from the commands themselves."""
    from volant.cli import exits
    from volant.cli.main import ENTRIES
    from volant.cli.options import add_global_options

    every: Any = SimpleNamespace(params=[])
    add_global_options(every)
    parts = [
        "<!-- Written by docs/generate.py from the commands themselves. -->",
        "# Command line",
        "Every command is a client of the REST API, except `init`, `up`, `down`, `demo` and"
        " `version`, which act on this machine.",
        "## Options of every command",
        "They stand before or after the command's name.",
        _options(every.params),
        "`--json` prints one JSON document on standard output, errors included; notes and progress"
        " go to standard error. Colors are off when the output is no terminal, with `--no-color`,"
        " and when `NO_COLOR` is set. `volant --install-completion` installs completion for the"
        " current shell.",
        "## Exit codes",
        _exit_codes(exits.__doc__ or ""),
    ]
    for name, entry in ENTRIES.items():
        module, _, attribute = entry.target.partition(":")
        command = typer.main.get_command(getattr(import_module(module), attribute))
        parts += list(_command(command, f"volant {name}", 2))
    return "\n\n".join(parts) + "\n"


def _command(command: Any, path: str, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} {path}"
    text = " ".join((command.help or "").split("\n\n")[0].split())
    below = getattr(command, "commands", {})
    runs_alone = not below or command.invoke_without_command
    if runs_alone:
        yield f"```text\n{path}{_usage(command)}\n```"
    yield text
    rest = (command.help or "").split("\n\n")[1:]
    yield from (" ".join(part.split()) for part in rest)
    if runs_alone:
        arguments = [p for p in command.params if p.param_type_name == "argument" and p.help]
        if arguments:
            rows = "\n".join(f"| `{_argument(p)}` | {_cell(p.help)} |" for p in arguments)
            yield f"| argument | |\n| --- | --- |\n{rows}"
        if table := _options(
            [p for p in command.params if p.param_type_name == "option" and not p.hidden]
        ):
            yield table
    for name, one in below.items():
        yield from _command(one, f"{path} {name}", depth + 1)


def _usage(command: Any) -> str:
    options = [p for p in command.params if p.param_type_name == "option"]
    words = [f" {p.opts[0]} {_value(p)}" for p in options if p.required]
    words += [" [OPTIONS]"] if len(options) > len(words) else []
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    return "".join((*words, *(f" {_argument(p)}" for p in arguments)))


def _argument(param: Any) -> str:
    name = (param.metavar or param.name).upper()
    if name[0] + name[-1] in ("[]", "{}"):
        name = name[1:-1]
    many = "…" if param.nargs == -1 else ""
    return f"{name}{many}" if param.required else f"[{name}{many}]"


def _options(params: list[Any]) -> str:
    rows = [
        f"| {_flags(param)} | {_cell(param.help or '')}{_default(param)} |"
        for param in params
        if param.name != "help"
    ]
    return "| option | |\n| --- | --- |\n" + "\n".join(rows) if rows else ""


def _flags(param: Any) -> str:
    names = [*param.opts, *param.secondary_opts]
    value = "" if param.is_flag else f" {_value(param)}"
    return ", ".join(f"`{name}{value}`" for name in names)


def _value(param: Any) -> str:
    if param.metavar:
        return param.metavar.replace("|", "\\|")
    kinds = [param.type_descriptor.annotation, *get_args(param.type_descriptor.annotation)]
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Enum):
            return "\\|".join(str(one.value) for one in kind)
    return "N" if int in kinds or float in kinds else "TEXT"


def _default(param: Any) -> str:
    value = getattr(param.default, "value", param.default)
    if param.is_flag and not param.secondary_opts:
        return ""
    if isinstance(value, bool):
        value = (param.opts if value else param.secondary_opts)[0]
    return f" Default: `{value}`." if isinstance(value, str | int | float | Path) else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _exit_codes(text: str) -> str:
    rows = [line.split(maxsplit=1) for line in text.splitlines() if re.match(r"\d", line)]
    return "| code | |\n| --- | --- |\n" + "\n".join(f"| {code} | {what} |" for code, what in rows)


def api_page() -> str:
    """The reference of every route, from the routes themselves."""
    from volant.access.permissions import LEAST_ROLE
    from volant.web.api.app import create_app
    from volant.web.api.guard import Guard, guard_of
    from volant.web.api.problem import KINDS

    # Only the routes' declarations are read: no verb is called.
    rooms = dict.fromkeys(_ROOMS)
    platform: Any = SimpleNamespace(**rooms, workbench=SimpleNamespace(**dict.fromkeys(_BENCH)))
    app = create_app(platform)
    schema = app.openapi()
    by_tag: dict[str, list[str]] = {}
    for context in iter_route_contexts(app.routes):
        route: Any = context.original_route
        guard = guard_of(route)
        needs = "nothing"
        if isinstance(guard, Guard):
            role = LEAST_ROLE[guard.permission].name.lower()  # type: ignore[index]
            needs = f"`{guard.permission}` ({role})"
        for method in (m for m in _METHODS if m in route.methods):
            path = str(context.path)
            told = schema["paths"].get(path, {}).get(method.lower(), {})
            told["body"] = _body(told, schema)
            by_tag.setdefault(str(route.tags[0]), []).append(
                _route(method, path, needs, told, route)
            )
    parts = [_API_HEAD, _problem_table(KINDS)]
    for tag, sections in by_tag.items():
        parts += [f"## {tag.capitalize()}", *sections]
    return "\n\n".join(parts) + "\n"


def _route(method: str, path: str, needs: str, told: dict[str, Any], route: Any) -> str:
    lines = [f"### `{method} {path}`", f"{route.summary}. Needs {needs}.".replace("?.", "?")]
    if told.get("description"):
        lines.append(" ".join(told["description"].split()))
    query = [p for p in told.get("parameters", ()) if p["in"] == "query"]
    if query:
        rows = [f"| `{p['name']}` | {_type(p['schema'])} | {_asked(p)} |" for p in query]
        lines.append("| query | | |\n| --- | --- | --- |\n" + "\n".join(rows))
    lines += [told["body"]] if told["body"] else []
    return "\n\n".join(lines)


def _body(told: dict[str, Any], schema: dict[str, Any]) -> str:
    """A JSON body's fields."""
    body = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if not body:
        return ""
    named = [one["$ref"] for one in (body, *body.get("anyOf", ())) if "$ref" in one]
    found = schema["components"]["schemas"][named[0].rpartition("/")[2]]
    rows: list[str] = []
    for name, one in found["properties"].items():
        words = ["required"] if name in found.get("required", ()) else []
        words += [_cell(one["description"])] if one.get("description") else []
        rows.append(f"| `{name}` | {_type(one)} | {'; '.join(words)} |")
    return "| body | | |\n| --- | --- | --- |\n" + "\n".join(rows)


def _type(schema: dict[str, Any]) -> str:
    kinds = [one.get("type", "") for one in schema.get("anyOf", [schema])]
    return " or ".join(kind for kind in kinds if kind and kind != "null")


def _asked(param: dict[str, Any]) -> str:
    words = ["required"] if param.get("required") else []
    default = param["schema"].get("default")
    if default is not None:
        words.append(f"default {default}")
    if text := param.get("description") or param["schema"].get("description"):
        words.append(_cell(text))
    return "; ".join(words)


def _problem_table(kinds: dict[str, tuple[int, str]]) -> str:
    rows = [
        f"| {status} | `urn:volant:{kind}` | {title} |" for kind, (status, title) in kinds.items()
    ]
    return "| status | type | title |\n| --- | --- | --- |\n" + "\n".join(rows)


_API_HEAD = """\
<!-- Written by docs/generate.py from the routes themselves. -->

# REST API

The address is the one that `volant up` prints, then `/api/v1`. The command line is a client of this
API and has no other way in. `GET /api/v1/openapi.json` answers the OpenAPI document.

**Token.** Every route but `/health` wants `Authorization: Bearer TOKEN`. The first token lies in
the home folder, in the file `token`. A route names the permission that it needs, and the least role
that has it; see [Operating](operating.md#tokens-and-roles).

**Pages.** Lists take `?limit=` (1 to 500) and `?before=`, and answer `{"items": […], "next": …}`,
newest first. Give `next` as `before` for the following page; it is null at the end.

**Errors** are problem details (RFC 9457, `application/problem+json`) with `type`, `title`,
`status`, `detail`, and Volant's `code`, `fix`, `details` and `request_id`. `code` names the error
for programs, `fix` says what to do. The header `X-Request-Id`, yours or one made for you, is in
every answer and in the server's log."""


def demo_svg() -> str:
    """Chapters 2 to 6 of a demo that is run now, as a picture."""
    said = _in_terminal([sys.executable, "-m", "volant.cli.main", "demo"])
    plain = Text.from_ansi(said).plain.splitlines()
    heads = [i for i, line in enumerate(plain) if re.match(r"\d  \S", line)]
    lines = said.splitlines()[heads[1] : heads[6]]
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False
    )
    console.print(Text.from_ansi("\n".join(lines).rstrip()))
    drawn = console.export_svg(title="make demo", font_aspect_ratio=0.61)
    # No fonts from a network, and a face that every machine has.
    drawn = re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL)
    drawn = drawn.replace("Fira Code", "DejaVu Sans Mono").replace("arial", "sans-serif")
    # Ids that follow from the content are enough; a run's own would change every line.
    return re.sub(r"terminal-\d+", "terminal", drawn)


def _in_terminal(command: list[str]) -> str:
    """What `command` prints in a terminal of `WIDTH` columns, without what it overwrote."""
    parent, child = pty.openpty()
    env = {**os.environ, "COLUMNS": str(WIDTH), "LINES": "50", "TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdout=child, stderr=child, env=env)
    os.close(child)
    said = b""
    while True:
        try:
            block = os.read(parent, 1 << 16)
        except OSError:  # the terminal's other end is closed
            break
        if not block:
            break
        said += block
    os.close(parent)
    if process.wait():
        raise SystemExit(said.decode())
    return _settled(said.decode())


def _settled(said: str) -> str:
    """The screen's lines at the end: what moves the cursor up takes lines back."""
    lines = [""]
    for part in re.split(r"(\r?\n|\r|\x1b\[\d*[A-HJK]|\x1b\[\?25[lh])", said):
        if part in {"\n", "\r\n"}:
            lines.append("")
        elif part.endswith("A") and part.startswith("\x1b["):
            lines.pop()
            lines[-1] = ""
        elif part == "\r" or part.endswith("K"):
            lines[-1] = ""
        elif not part.startswith("\x1b[?"):
            lines[-1] += part
    return "\n".join(lines)


PAGES = {"cli.md": cli_page, "api.md": api_page}

if __name__ == "__main__":
    if "--demo" in sys.argv:
        (DOCS / "assets" / "demo.svg").write_text(demo_svg())
    else:
        for name, make in PAGES.items():
            (DOCS / name).write_text(make())
