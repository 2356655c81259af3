"""`volant`: one command, many verbs. This module is what the console script calls."""

from __future__ import annotations

import io
import json
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from volant import __version__
from volant.cli import exits
from volant.cli.lazy import Entry, LazyGroup
from volant.cli.options import Format, Options, add_global_options
from volant.errors import VolantError

_START, _LOOP, _SERVE, _LOOK, _RUN = "Start", "Loops", "Serving", "See", "Platform"
_WORK = "Workflows"

ENTRIES: dict[str, Entry] = {
    "demo": Entry("volant.cli.hooks:demo_app", "See the whole loop turn once.", _START),
    "init": Entry("volant.cli.init:app", "Write a volant.yaml for a file of data.", _START),
    "up": Entry("volant.cli.up:up_app", "Start Volant.", _START),
    "down": Entry("volant.cli.up:down_app", "Stop Volant.", _START),
    "plan": Entry("volant.cli.apply:plan_app", "Show what applying a loop would change.", _LOOP),
    "apply": Entry("volant.cli.apply:apply_app", "Create or change a loop.", _LOOP),
    "loops": Entry("volant.cli.loops:app", "List, show and delete loops.", _LOOP),
    "data": Entry("volant.cli.data:app", "Push, list and inspect data.", _LOOP),
    "run": Entry("volant.cli.run:app", "Run a loop now.", _LOOP),
    "predict": Entry("volant.cli.predict:app", "Ask a deployed model.", _LOOP),
    "deploy": Entry("volant.cli.steer:deploy_app", "Deploy a version by hand.", _SERVE),
    "promote": Entry("volant.cli.steer:promote_app", "Give a canary all the traffic.", _SERVE),
    "abort": Entry("volant.cli.steer:abort_app", "Give up what isn't live yet.", _SERVE),
    "rollback": Entry("volant.cli.steer:rollback_app", "Back to what was live before.", _SERVE),
    "app": Entry("volant.cli.app:app", "Try a deployed model in a browser.", _SERVE),
    "batch": Entry("volant.cli.batch:app", "Predict a whole file or dataset.", _LOOP),
    "workflow": Entry("volant.cli.workflow:app", "Register, assign and run workflows.", _WORK),
    "codeset": Entry("volant.cli.codeset:app", "Code that workflows run, in git.", _WORK),
    "project": Entry("volant.cli.project:app", "What belongs together, and to whom.", _WORK),
    "application": Entry("volant.cli.application:app", "What workflows put to work.", _WORK),
    "extension": Entry("volant.cli.extension:app", "Outside services for steps.", _WORK),
    "runnable": Entry("volant.cli.runnable:app", "Steps described once, used often.", _WORK),
    "status": Entry("volant.cli.status:app", "The platform at a glance.", _LOOK),
    "runs": Entry("volant.cli.runs:app", "List, show, compare and steer runs.", _LOOK),
    "logs": Entry("volant.cli.logs:app", "What a run's steps wrote.", _LOOK),
    "why": Entry("volant.cli.why:app", "Why the platform did what it did.", _LOOK),
    "experiments": Entry("volant.cli.experiments:app", "Tracked runs, compared.", _LOOK),
    "models": Entry("volant.cli.models:app", "List and show models.", _LOOK),
    "deployments": Entry("volant.cli.deployments:app", "What is served, and where.", _LOOK),
    "predictions": Entry("volant.cli.predictions:app", "What a deployment predicted last.", _LOOK),
    "events": Entry("volant.cli.events:app", "What happened, newest first.", _LOOK),
    "tokens": Entry("volant.cli.tokens:app", "List, create and revoke tokens.", _RUN),
    "version": Entry("volant.cli.hooks:version_app", "Print the version.", _RUN),
}


class Commands(LazyGroup):
    """The commands of `volant`."""

    entries = ENTRIES


_EPILOG = "\nExit codes:\n" + "".join(
    f"  {line}\n" for line in (exits.__doc__ or "").splitlines()[2:] if line
)

app = typer.Typer(
    cls=Commands,
    name="volant",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    invoke_without_command=True,
    epilog=_EPILOG,
)


@app.callback()
def root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """From new data to a better model in production.

    Start: volant init --from data.csv --target COLUMN; volant up --detach;
    volant apply; volant data push NAME data.csv.
    """
    if version:
        sys.stdout.write(f"volant {__version__}\n")
    elif ctx.invoked_subcommand is None:
        sys.stdout.write(ctx.get_help() + "\n")


def main(args: list[str] | None = None) -> None:
    """Run `volant` and leave the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal lacks is no failure
    command = typer.main.get_command(app)
    add_global_options(command)
    options = Options()
    try:
        command.main(args, prog_name="volant", obj=options)
    except VolantError as error:
        _fail(error, options)
    except Exception as error:
        if options.verbose:
            traceback.print_exc()
        _fail(_unforeseen(error), options)


def _fail(error: VolantError, options: Options) -> NoReturn:
    if options.format is not Format.TABLE:
        written(error, options.format)
    exits.tell(error, color=options.color, verbose=options.verbose)
    sys.exit(exits.exit_code(error))


def written(error: VolantError, form: Format) -> None:
    """`error` on standard output, in the form that was asked for."""
    from volant.cli import forms

    if form is Format.CSV:
        facts = (type(error).code, error.error_code, error.what, error.fix)
        sys.stdout.write(forms.csv_text(("kind", "code", "what", "fix"), [facts]))
    else:
        plain = json.loads(json.dumps({"error": error.to_dict()}, default=str))
        sys.stdout.write(forms.text_of(plain, form))


def _unforeseen(error: Exception) -> VolantError:
    return VolantError(
        f"volant met an unexpected error: {type(error).__name__}: {error}",
        "Run the command again with -v to see where.",
        code="internal",
    )


if __name__ == "__main__":
    main()
