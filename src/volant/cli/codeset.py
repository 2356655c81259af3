"""`volant codeset`: register, list, get, delete, set, versions, files, fetch, clone-url."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from volant.cli import current
from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.options import Options, options_of
from volant.cli.output import Output, output_of
from volant.cli.text import ago, size
from volant.errors import InvalidInput, NotFound, Unavailable

app = new_app(help="Code that workflows run: git repositories.", no_args_is_help=True)

FETCHED_S = 60.0
POLL_S = 0.3

Named = Annotated[str, typer.Option("--name", "-n", metavar="NAME", help="The codeset.")]
Name = Annotated[
    str | None,
    typer.Option("--name", "-n", metavar="NAME", help="The codeset; the current one if absent."),
]
Project = Annotated[
    str | None,
    typer.Option("--project", "-p", metavar="PROJECT", help="Its project; the current if absent."),
]
Version = Annotated[
    str | None, typer.Option("--version", help="A commit, a branch or a tag; else the newest.")
]


@app.command()
def register(
    ctx: typer.Context,
    *,
    location: Annotated[
        str, typer.Argument(metavar="LOCATION", help="A folder, or a git repository's address.")
    ],
    name: Named,
    project: Project = None,
    desc: Annotated[str | None, typer.Option("--desc", "-d", help="What it is.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="What it is like; may be repeated.")
    ] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Fetch it from LOCATION from now on.")
    ] = False,
    every: Annotated[
        float | None, typer.Option("--every", help="Seconds between a mirror's fetches.")
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="The commit's.")] = "",
    history: Annotated[
        bool, typer.Option("--history/--no-history", help="Keep a repository's history.")
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Even if the codeset has versions of its own.")
    ] = False,
    user: Annotated[str | None, typer.Option("--user", hidden=True)] = None,
    password: Annotated[str | None, typer.Option("--password", hidden=True)] = None,
) -> None:
    """Register a codeset, or bring changed files into it as its next version.

    A folder that is a git repository comes with its history, any other as one commit;
    the address of a repository is cloned with your own git. Its project is made if there
    is none. Prints where git clones it from.
    """
    from volant.cli import codeset_push

    del user, password  # FuseML's: here the token is who we are
    out, options = output_of(ctx), options_of(ctx)
    place = _project(options, project)
    if mirror and not codeset_push.is_address(location):
        raise InvalidInput(
            f"{location!r} is no address that could be mirrored.",
            "Give one like https://github.com/OWNER/NAME.git.",
        )
    with Client.of(options) as client, ExitStack() as stack:
        new = not _is_there(client, place, name)
        source = None
        if not mirror:
            found = codeset_push.looked_at(out, location, history=history)
            source = stack.enter_context(found)
        labels = None if label is None else [part for each in label for part in each.split(",")]
        body = {"description": desc, "labels": labels}
        made = client.put(f"/codesets/{named(place)}/{named(name)}", body)
        if new:
            stack.enter_context(codeset_push.undone(client, out, made))
        told: dict[str, Any] = {}
        if source is None:
            told = _mirror(client, out, made, location, every)
            made = client.get(_path(made))
        else:
            made = codeset_push.send(client, out, made, source, message=message, force=force)
    out.document({**made, **told}, lambda: _registered(out, made, told))
    _remember(out, options, place, name)


def _is_there(client: Client, project: str, name: str) -> bool:
    try:
        client.get(f"/codesets/{named(project)}/{named(name)}")
    except NotFound:
        return False
    return True


def _mirror(
    client: Client, out: Output, made: dict[str, Any], url: str, every: float | None
) -> dict[str, Any]:
    """Set the mirror and wait until it was fetched. Raises what its fetch failed of."""
    told = client.put(f"{_path(made)}/mirror", {"url": url, "interval_s": every})
    deadline = time.monotonic() + FETCHED_S
    out.note(f"Fetching {told['url']} …")
    while time.monotonic() < deadline:
        found = client.get(_path(made))["mirror"]
        if found["tried_at"] == told["tried_at"]:
            time.sleep(POLL_S)
            continue
        if found["error"] is None:
            break
        raise Unavailable(
            f"{told['url']} can't be fetched: {found['error']}",
            "Correct the address, and register it again; it is tried again by itself too.",
            code="codeset.fetch_failed",
        )
    else:
        out.note("It is still being fetched; `volant codeset get` tells when it is there.")
    return {"webhook": told["webhook"], "secret": told["secret"]}


def _registered(out: Output, made: dict[str, Any], told: dict[str, Any]) -> None:
    out.line(f"Codeset {made['url']} successfully registered")
    if made["head"]:
        out.line(f"Version {made['head']} on {made['branch']}", "dim")
    if told:
        out.line(f"Webhook {told['webhook']}")
        out.line(f"Its secret {told['secret']}")


def _remember(out: Output, options: Options, project: str, name: str) -> None:
    home = options.home_folder()
    for key, value in (("codeset", name), ("project", project)):
        if current.read(home, key) != value:
            current.write(home, key, value)
            out.note(f"Setting {value} as current {key}.")


@app.command("list")
def list_codesets(
    ctx: typer.Context,
    project: Project = None,
    label: Annotated[
        str | None, typer.Option("--label", "-l", help="Only with this label.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Of all projects.")] = False,
) -> None:
    """List the codesets of a project: the current one, if one is set and none is named."""
    out, options = output_of(ctx), options_of(ctx)
    if not everything:
        project = project or current.read(options.home_folder(), "project")
    asked = {} if everything else {"project": project, "label": label}
    with Client.of(options) as client:
        found = client.get("/codesets", **asked)
    rows = [
        (each["name"], each["project"], each["description"], ", ".join(each["labels"]), each["url"])
        for each in found["items"]
    ]
    columns = ("name", "project", "description", "labels", "url")
    empty = "No codeset yet. Register one: volant codeset register -n NAME -p PROJECT FOLDER"
    out.document(found, lambda: out.table(columns, rows, empty))


@app.command()
def get(ctx: typer.Context, name: Name = None, project: Project = None) -> None:
    """Show a codeset: its newest version, and what became of the last push."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(_place(options_of(ctx), name, project))
    out.document(found, lambda: _show(out, found))


def _show(out: Output, found: dict[str, Any]) -> None:
    out.line(f"{found['project']}/{found['name']}", "bold")
    if found["description"]:
        out.line(found["description"])
    last = found["last"]
    facts = {
        "url": found["url"],
        "labels": ", ".join(found["labels"]),
        "branch": found["branch"],
        "version": found["head"] or "none yet",
        "commit": f"{last['subject']} ({last['author']}, {ago(last['time'])})" if last else "",
    }
    mirror = found["mirror"]
    if mirror:
        facts["mirror of"] = f"{mirror['url']}, every {mirror['interval_s']:g} s"
        tried = ago(mirror["tried_at"]) if mirror["tried_at"] else "not yet"
        facts["tried" if mirror["error"] else "fetched"] = tried
        facts["error"] = mirror["error"] or ""
    for key, value in facts.items():
        if value:
            out.line(f"{key:<10} {value}")
    if found["decision"]:
        decision = found["decision"]
        out.raw(f"{'last push':<10} {out.status(decision['outcome'])}")
        out.line(f"  {decision['reason']}")


@app.command()
def delete(ctx: typer.Context, name: Named, project: Project = None) -> None:
    """Delete a codeset and all its versions. Refused while a run uses it."""
    out, options = output_of(ctx), options_of(ctx)
    place = _project(options, project)
    with Client.of(options) as client:
        client.delete(f"/codesets/{named(place)}/{named(name)}")
    current.forget(options.home_folder(), "codeset", name)
    done = {"deleted": f"{place}/{name}"}
    out.document(done, lambda: out.line(f"Codeset {name} successfully deleted"))


@app.command("set")
def set_current(ctx: typer.Context, name: Named, project: Project = None) -> None:
    """Make a codeset the one that commands mean which aren't told another."""
    out, options = output_of(ctx), options_of(ctx)
    place = _project(options, project)
    with Client.of(options) as client:
        client.get(f"/codesets/{named(place)}/{named(name)}")
    home = options.home_folder()
    current.write(home, "codeset", name)
    current.write(home, "project", place)
    out.document(
        {"codeset": name, "project": place}, lambda: out.line(f"Current codeset set to {name}.")
    )


@app.command()
def versions(
    ctx: typer.Context,
    name: Name = None,
    project: Project = None,
    version: Version = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
) -> None:
    """List a codeset's versions, which are its commits, newest first."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        at = f"{_place(options_of(ctx), name, project)}/versions"
        found = client.pages(at, limit, version=version)
    rows = [
        (each["version"][:12], each["author"], ago(each["time"]), each["subject"])
        for each in found["items"]
    ]
    columns = ("version", "author", "made", "message")
    out.document(found, lambda: out.table(columns, rows, "No version yet."))


@app.command()
def files(
    ctx: typer.Context,
    path: Annotated[str, typer.Argument(help="A folder in it.")] = "",
    name: Name = None,
    project: Project = None,
    version: Version = None,
) -> None:
    """List a version's files."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        at = f"{_place(options_of(ctx), name, project)}/files"
        found = client.get(at, version=version, below=path)
    rows = [
        (each["path"], "-" if each["bytes"] is None else size(each["bytes"]), each["sha"][:12])
        for each in found["items"]
    ]
    out.document(found, lambda: out.table(("path", "size", "hash"), rows, "No file is there."))


@app.command()
def fetch(ctx: typer.Context, name: Name = None, project: Project = None) -> None:
    """Fetch a mirror now, in the background."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.post(f"{_place(options_of(ctx), name, project)}/fetch")
    out.document(found, lambda: out.line(f"Fetching {found['origin']}."))


@app.command("clone-url")
def clone_url(
    ctx: typer.Context,
    name: Name = None,
    project: Project = None,
    with_token: Annotated[
        bool, typer.Option("--with-token", help="With your token in it: keep that secret.")
    ] = False,
) -> None:
    """Print where git clones a codeset from. It asks for a token as the password."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(_place(options_of(ctx), name, project))
        url = str(found["url"])
        if with_token:
            url = url.replace("://", f"://volant:{client.token}@", 1)
    out.document({"url": url}, lambda: out.line(url))


def _project(options: Options, project: str | None) -> str:
    found = project or current.read(options.home_folder(), "project")
    if not found:
        raise InvalidInput(
            "Which project?", "Name it with --project; `volant project list` shows them."
        )
    return found


def _place(options: Options, name: str | None, project: str | None) -> str:
    found = name or current.read(options.home_folder(), "codeset")
    if not found:
        raise InvalidInput(
            "Which codeset?", "Name it with --name; `volant codeset list` shows them."
        )
    return f"/codesets/{named(_project(options, project))}/{named(found)}"


def _path(made: dict[str, Any]) -> str:
    return f"/codesets/{named(made['project'])}/{named(made['name'])}"
