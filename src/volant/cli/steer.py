"""`volant deploy`, `promote`, `abort`, `rollback`, and what else changes a deployment.

Each is a command of its own and stands under `volant deployments` too.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import Annotated, Any

import typer

from volant.cli.client import Client, named
from volant.cli.deployment_views import ending, settings_told, share
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import ago, number
from volant.errors import Conflict, InvalidInput, StepFailed, Unavailable

deploy_app = new_app()
promote_app = new_app()
abort_app = new_app()
rollback_app = new_app()

_LOOK_S = 0.2
_STAYS = (
    " What you gave of replicas and log holds all the same; volant deployments scale changes it."
)
_WAITING = ("pending", "ready")
_ROLLING = ("shadow", "canary")

Name = Annotated[str, typer.Argument(help="The deployment.")]
Reason = Annotated[str, typer.Option(help="Why, for `volant why`.")]
Wait = Annotated[
    bool | None,
    typer.Option(
        "--wait/--no-wait",
        help="Until it is live; not at all. Else until it has its first traffic.",
    ),
]
Timeout = Annotated[str, typer.Option(metavar="TIME", help="How long to wait, like 10m.")]
Min = Annotated[int | None, typer.Option("--min", min=0, max=64, help="Fewest replicas.")]
Max = Annotated[int | None, typer.Option("--max", min=1, max=64, help="Most replicas.")]
Idle = Annotated[
    str | None, typer.Option(metavar="TIME", help="A replica above the fewest ends after this.")
]
Target = Annotated[
    int | None, typer.Option(min=1, help="Requests in flight meant for one replica.")
]
Spares = Annotated[
    int | None, typer.Option(min=0, max=16, help="Replicas that wait with the model loaded.")
]
Memory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Each replica's limit, like 1GB, or none.")
]
Cpu = Annotated[
    str | None, typer.Option(metavar="CORES", help="Each replica's limit, like 0.5, or none.")
]
Log = Annotated[
    str | None,
    typer.Option(metavar="off|on|SAMPLE", help="The prediction log: off, or a fraction like 0.1."),
]
LogMax = Annotated[str | None, typer.Option(metavar="SIZE", help="The log's bound, like 5GB.")]
Keep = Annotated[
    int | None, typer.Option(min=0, max=20, help="Earlier versions that still answer.")
]


@deploy_app.command()
def deploy(
    ctx: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL[@VERSION]",
            help="A version's number or alias; left out: the newest that its gate didn't refuse.",
        ),
    ],
    *,
    name: Annotated[
        str | None, typer.Option(help="The deployment; the model's name when left out.")
    ] = None,
    canary: Annotated[
        str | None, typer.Option(metavar="PERCENTS", help="Steps that it takes, like 10,50.")
    ] = None,
    bake: Annotated[
        str | None, typer.Option(metavar="TIME", help="A step's time, like 2m.")
    ] = None,
    shadow: Annotated[
        float | None, typer.Option(min=0, max=100, help="Percent to copy to it before.")
    ] = None,
    error_rate: Annotated[
        float | None, typer.Option(min=0, max=1, help="Back when more fail; 0.05 when left out.")
    ] = None,
    p95_ms: Annotated[
        float | None, typer.Option("--p95-ms", help="Back when the 95th percentile is above.")
    ] = None,
    min_requests: Annotated[
        int | None, typer.Option(min=1, help="Judge a step after so many; 20 when left out.")
    ] = None,
    sticky_header: Annotated[
        str | None, typer.Option(metavar="HEADER", help="Its value keeps to one version.")
    ] = None,
    sticky_parameter: Annotated[
        str | None, typer.Option(metavar="NAME", help="As a header, but of the parameters.")
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="All the traffic at once.")] = False,
    min_: Min = None,
    max_: Max = None,
    idle: Idle = None,
    target: Target = None,
    spares: Spares = None,
    memory: Memory = None,
    cpu: Cpu = None,
    log: Log = None,
    log_max: LogMax = None,
    keep: Keep = None,
    wait: Wait = None,
    timeout: Timeout = "2m",
) -> None:
    """Deploy a version of a model by hand, past its gate.

    How it takes over: as the options say, else as the deployment's loop file says. What is
    said of replicas and log holds for the deployment from now on, whatever becomes of the
    version.
    """
    out = output_of(ctx)
    _check_finite(shadow=shadow, error_rate=error_rate, p95_ms=p95_ms)
    rollout = {
        "canary": _percents(canary),
        "bake_s": _seconds(bake, "--bake"),
        "shadow": shadow,
        "error_rate": error_rate,
        "p95_ms": p95_ms,
        "min_requests": min_requests,
        "sticky": _given(header=sticky_header, parameter=sticky_parameter) or None,
    }
    rollout = _given(**rollout)
    if rollout and now:
        raise InvalidInput("--now leaves no steps.", "Give --now, or how it shall take over.")
    replicas = _replicas(
        min=min_, max=max_, idle=idle, target=target, spares=spares, memory=memory, cpu=cpu
    )
    settings = _settings(log, log_max, keep)
    name_of, at, version = model.rpartition("@")
    model = name_of if at else model
    version = version if at else ""
    body = {
        "model": model,
        "version": version or None,
        "rollout": "now" if now else rollout or None,
        "replicas": replicas or None,
        "settings": settings or None,
    }
    deployment = model if name is None else name
    until = _seconds(timeout, "--timeout") or 0.0
    with Client.of(options_of(ctx)) as client:
        found = client.post(f"/deployments/{named(deployment)}/revisions", body)
        stays = _STAYS if replicas or settings else ""
        found = _followed(client, found, wait=wait, timeout_s=until, stays=stays)
    out.document(found, lambda: _tell(out, found))


@promote_app.command()
def promote(ctx: typer.Context, name: Name, reason: Reason = "") -> None:
    """Give the canary or shadow all the traffic now."""
    _verb(ctx, name, "promote", {"reason": reason})


@abort_app.command()
def abort(ctx: typer.Context, name: Name, reason: Reason = "") -> None:
    """Give up the revision that isn't live yet; what is live serves on."""
    _verb(ctx, name, "abort", {"reason": reason})


@rollback_app.command()
def rollback(
    ctx: typer.Context,
    name: Name,
    to: Annotated[
        str | None, typer.Option(metavar="REVISION|vVERSION", help="Like 3, or v2.")
    ] = None,
    *,
    reason: Reason = "",
    wait: Wait = None,
    timeout: Timeout = "2m",
) -> None:
    """Back to what was live before, at once: no canary, no gate.

    While a canary goes, it is aborted: what was live before it still is.
    """
    out = output_of(ctx)
    until = _seconds(timeout, "--timeout") or 0.0
    with Client.of(options_of(ctx)) as client:
        found = client.post(f"/deployments/{named(name)}/rollback", {"to": to, "reason": reason})
        if found["status"] != "aborted":
            found = _followed(client, found, wait=wait, timeout_s=until)
    out.document(found, lambda: _tell(out, found))


def scale(
    ctx: typer.Context,
    name: Name,
    *,
    min_: Min = None,
    max_: Max = None,
    idle: Idle = None,
    target: Target = None,
    spares: Spares = None,
    memory: Memory = None,
    cpu: Cpu = None,
    log: Log = None,
    log_max: LogMax = None,
    keep: Keep = None,
) -> None:
    """Change how many replicas serve, what they log and what is kept; the rest stays.

    A loop of this name sets what its file says when it deploys again.
    """
    out = output_of(ctx)
    replicas = _replicas(
        min=min_, max=max_, idle=idle, target=target, spares=spares, memory=memory, cpu=cpu
    )
    settings = _settings(log, log_max, keep)
    if not replicas and not settings:
        raise InvalidInput("Nothing to change was given.", "Give --min, --max or another.")
    path = f"/deployments/{named(name)}"
    with Client.of(options_of(ctx)) as client:
        found: dict[str, Any] = {}
        told: list[str] = []
        if replicas:  # first: what can't be of settings is refused here
            found = client.patch(f"{path}/replicas", replicas)
            limits = found["limits"]
            told.append(f"{name} has {limits['min']} to {limits['max']} replicas now.")
        if settings:
            found = client.patch(f"{path}/settings", settings)
            told.append(f"{name}: {settings_told(found['settings'])}.")
    out.document(found, lambda: out.line("\n".join(told)))


def load(ctx: typer.Context, name: Name) -> None:
    """Load the model that was unloaded; its replicas start."""
    _load(ctx, name, "load", f"{name} loads its model.")


def unload(ctx: typer.Context, name: Name) -> None:
    """Take the model out of memory: the deployment answers 503 until it is loaded again."""
    _load(ctx, name, "unload", f"{name} has unloaded its model.")


def _load(ctx: typer.Context, name: str, verb: str, told: str) -> None:
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.post(f"/deployments/{named(name)}/{verb}", {})
    out.document(found, lambda: out.line(told))


def revisions(
    ctx: typer.Context,
    name: Name,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
) -> None:
    """List what was asked for on a deployment, newest first, and how it ended."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.pages(f"/deployments/{named(name)}/revisions", limit)
    columns = ("revision", "version", "status", "share", "requests", "errors", "asked", "reason")
    out.document(found, lambda: out.table(columns, [_row(each) for each in found["items"]]))


def _row(found: dict[str, Any]) -> tuple[str, ...]:
    numbers = found.get("numbers") or {}
    by = f"by {found['asked_by']}" if found.get("asked_by") else ""
    return (
        str(found["number"]),
        str(found["model_version"]),
        found["status"],
        share(found),
        number(numbers.get("requests")),
        number(numbers.get("errors")),
        " ".join(part for part in (ago(found["created_at"]), by) if part),
        ending(found),
    )


def _verb(ctx: typer.Context, name: str, verb: str, body: dict[str, Any]) -> None:
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.post(f"/deployments/{named(name)}/{verb}", body)
    out.document(found, lambda: _tell(out, found))


def _followed(
    client: Client,
    found: dict[str, Any],
    *,
    wait: bool | None,
    timeout_s: float,
    stays: str = "",
) -> dict[str, Any]:
    """The revision once it is where the caller waits for. Raises when it gets nowhere;
    `stays` tells then what is changed nevertheless."""
    going = _WAITING if wait is None else (*_WAITING, *_ROLLING) if wait else ()
    path = f"/deployments/{named(found['deployment'])}/revisions/{found['number']}"
    deadline = time.monotonic() + timeout_s
    while found["status"] in going:
        if time.monotonic() >= deadline:
            raise Unavailable(
                f"Revision {found['number']} of {found['deployment']} is still "
                f"{found['status']} after {timeout_s:g} s.",
                f"It goes on by itself; see: volant deployments revisions {found['deployment']}",
                code="still_going",
            )
        time.sleep(_LOOK_S)
        found = client.get(path)
    if found["status"] == "failed":
        log = f"volant deployments show {found['deployment']}"
        raise StepFailed(
            found["reason"], f"See its state: {log}{stays and '.'}{stays}", code="deploy_failed"
        )
    if found["status"] == "aborted":
        again = f"Deploy it again if it is still wanted.{stays}"
        raise Conflict(found["reason"] or "It was aborted.", again, code="deploy_aborted")
    return found


def _tell(out: Output, found: dict[str, Any]) -> None:
    status = found["status"]
    head = f"Revision {found['number']} of {found['deployment']} (version {found['model_version']})"
    share = f"{found['percent']:g} %" if found.get("percent") is not None else ""
    rest = {
        "live": "is live.",
        "canary": f"is a canary: it answers {share} of the requests.",
        "shadow": f"is a shadow: it gets a copy of {share} of the requests.",
        "aborted": "was aborted.",
        "retired": "was live, and isn't any more.",
    }.get(status, f"is {status}.")
    out.line(f"{head} {rest}")
    if status in _ROLLING:
        out.note(f"See how it does: volant deployments revisions {found['deployment']}")


def _percents(text: str | None) -> list[float] | None:
    if text is None:
        return None
    found = [_number(part.strip().removesuffix("%")) for part in text.split(",")]
    if None in found:
        raise InvalidInput(f"--canary {text!r} is no list of percents.", "Give them like 10,50.")
    return [each for each in found if each is not None]


def _number(text: str) -> float | None:
    """None for what is none, and for those that no file can hold (nan, inf)."""
    with suppress(ValueError):
        found = float(text)
        return found if math.isfinite(found) else None
    return None


def _check_finite(**options: float | None) -> None:
    for name, value in options.items():
        if value is not None and not math.isfinite(value):
            option = name.replace("_", "-")
            raise InvalidInput(f"--{option} {value} is no number.", "Give a number, like 0.05.")


def _seconds(text: str | None, option: str) -> float | None:
    from volant.yamltext.units import DURATION_FORM, seconds

    if text is None:
        return None
    found = seconds(text)
    if found is None:
        raise InvalidInput(f"{option} {text!r} is no duration.", f"Give {DURATION_FORM}.")
    return found


def _size(text: str, option: str, otherwise: str = "") -> int:
    from volant.yamltext.units import SIZE_FORM, byte_count

    found = byte_count(text)
    if found is None:
        raise InvalidInput(f"{option} {text!r} is no size.", f"Give {SIZE_FORM}{otherwise}.")
    return found


def _replicas(*, memory: str | None, cpu: str | None, **options: Any) -> dict[str, Any]:
    """The options as the API names them; those left out are left out there too, and null
    is no limit."""
    idle = _seconds(options.pop("idle"), "--idle")
    found = _given(**options, idle_s=idle)
    if memory is not None:
        none = memory == "none"
        found["memory_bytes"] = None if none else _size(memory, "--memory", "; or none, no limit")
    if cpu is not None:
        cores = None if cpu == "none" else _number(cpu)
        if cores is None and cpu != "none":
            raise InvalidInput(
                f"--cpu {cpu!r} is no number of cores.", "Give one like 0.5; or none, no limit."
            )
        found["cpu"] = cores
    return found


def _settings(log: str | None, log_max: str | None, keep: int | None) -> dict[str, Any]:
    """The options as the API names them."""
    if log == "off" and log_max is not None:
        raise InvalidInput("--log off has no bound.", "Leave --log-max out.")
    wanted: str | dict[str, Any] | None = "off" if log == "off" else None
    if wanted is None and (log is not None or log_max is not None):
        wanted = {}
        if log is not None:
            wanted["sample"] = 1.0 if log == "on" else _number(log)
            if wanted["sample"] is None:
                raise InvalidInput(
                    f"--log {log!r} is neither off nor on nor a fraction.",
                    "Give off, on, or the fraction of the requests to log, like 0.1.",
                )
        if log_max is not None:
            wanted["max_bytes"] = _size(log_max, "--log-max")
    return _given(log=wanted, keep=keep)


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
