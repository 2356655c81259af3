"""A run as it goes: its steps in a terminal, redrawn; elsewhere a line for each change."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from volant.cli import attempts, exits
from volant.cli.client import Client, named
from volant.cli.output import Output
from volant.cli.step_tree import tree
from volant.cli.text import STATUS_COLORS, clean, number, pairs, took, word
from volant.errors import NotFound

POLL_S = 0.4
_NAME = 12  # cells for a step's name, at least
ENDED = frozenset({"succeeded", "failed", "cancelled"})
_TOLD = 10  # lines of a step at work, at most, that tell how far its elements are
_MARKS = {
    "succeeded": "✓",
    "failed": "✗",
    "cancelled": "■",
    "skipped": "-",
    "running": "●",
    "queued": "○",
}

View = Mapping[str, Any]


def ended(view: View) -> bool:
    """Whether nothing more will happen in this run."""
    return view["state"]["status"] in ENDED


def steps_of(view: View) -> list[dict[str, Any]]:
    """Every step in the workflow's order, those that haven't begun as queued."""
    states = {step["name"]: step for step in view["state"]["steps"]}
    blank = {"attempt": 0, "started_at": None, "ended_at": None, "outputs": {}, "error": None}
    found = [
        states.get(spec["name"]) or {"name": spec["name"], "status": "queued", **blank}
        for spec in view["workflow"]["steps"]
    ]
    search = view.get("search")
    return [{**step, "search": search} if _searches(step) else step for step in found]


def with_search(client: Client, view: View) -> View:
    """The run, with how far its search is while it searches."""
    if not any(_searches(step) for step in view["state"]["steps"]):
        return view
    with contextlib.suppress(NotFound):  # its first trial hasn't begun
        return {**view, "search": client.get(f"/runs/{named(view['id'])}/search")}
    return view


def _searches(step: Mapping[str, Any]) -> bool:
    return step["name"] == "tune" and step["status"] == "running"


def watch(client: Client, out: Output, run_id: str) -> View:
    """Show the run until it ends, and return it."""
    views = _views(client, run_id)
    if out.json:
        return _last(views)
    return _redrawn(views, out) if out.tty else _told(views, out)


def _views(client: Client, run_id: str) -> Iterator[View]:
    while True:
        view = with_search(client, client.get(f"/runs/{named(run_id)}"))
        yield view
        if ended(view):
            return
        time.sleep(POLL_S)


def _last(views: Iterator[View]) -> View:
    view: View = {}
    for each in views:
        view = each
    return view


def _redrawn(views: Iterator[View], out: Output) -> View:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    view: View = {}
    console = Console(no_color=not out.color, highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        for view in views:
            text = Text("\n").join(
                Text(line, style=STATUS_COLORS.get(status, "")) for line, status in lines(view)
            )
            live.update(text, refresh=True)
    return view


def _told(views: Iterator[View], out: Output) -> View:
    known: dict[str, tuple[str, int]] = {}
    view: View = {}
    for view in views:
        steps = steps_of(view)
        width = max((len(step["name"]) for step in steps), default=0)
        for step in steps:
            now = step["status"], _tenths(step)
            if now != known.get(step["name"], ("queued", 0)):
                out.line(_step(step, width=max(width, _NAME)))
            known[step["name"]] = now
    out.line(_head(view))
    return view


def _tenths(step: Mapping[str, Any]) -> int:
    """How far the elements of a step at work are; 0 for any other step."""
    found = step.get("elements")
    if not found or not found["total"] or step["status"] != "running":
        return 0
    return found["ended"] * _TOLD // found["total"]


def lines(view: View) -> list[tuple[str, str]]:
    """The run in lines, each with the status that colors it."""
    found = [(_head(view), view["state"]["status"])]
    steps = {step["name"]: step for step in steps_of(view)}
    drawn = tree(view["workflow"]["steps"])
    width = max((len(left) + len(name) for left, name in drawn), default=0)
    for left, name in drawn:
        step = steps[name]
        found.append((f"  {_step(step, left, max(width, _NAME))}", step["status"]))
    return found


def _head(view: View) -> str:
    state = view["state"]
    words = [view["id"], view["loop"] or view["workflow"]["name"], state["status"]]
    if state["started_at"]:
        words.append(took(state["started_at"], state["ended_at"]))
    return clean("  ".join(words))


def _step(step: Mapping[str, Any], left: str = "", width: int = _NAME) -> str:
    name = step["name"].ljust(width - len(left))
    words = f"{left}{_MARKS.get(step['status'], '?')} {name} {step['status']:<10}"
    if step["started_at"]:
        words += f" {took(step['started_at'], step['ended_at']):>8}"
    attempt = attempts.number(step)
    if attempt > 1:
        words += f"  attempt {attempt}"
    told = (": " if step["error"] else ", ").join(filter(None, (elements(step), _told_by(step))))
    return clean((words + (f"  {told}" if told else "")).rstrip())


def elements(step: Mapping[str, Any]) -> str:
    """How a step with `foreach` stands: `7 of 10 elements`, `3 of 10 elements failed`;
    nothing for any other step, or when its error says it."""
    found = step.get("elements")
    if not found:
        return ""
    if step["status"] in ("running", "cancelled"):
        at_work = f", {found['running']} at work" if found.get("running") else ""
        return f"{found['ended']} of {found['total']} elements{at_work}"
    if found.get("failed"):
        words = f"{found['failed']} of {found['total']} elements failed"
        return "" if str((step["error"] or {}).get("what")).startswith(words) else words
    return f"{found['total']} element{'' if found['total'] == 1 else 's'}"


def _told_by(step: Mapping[str, Any]) -> str:
    """What a person wants to know of a step, from its error or its outputs. The error of one
    at work is that of the attempt before."""
    if step.get("search"):
        return _so_far(step["search"])
    if step["error"]:
        return str(step["error"].get("what", ""))
    if step.get("cached"):
        return f"cached: as in {step['cached']}"
    outputs = step["outputs"]
    if isinstance(outputs.get("reason"), str):
        return outputs["reason"]
    metrics = outputs.get("metrics")
    if isinstance(metrics, dict):
        return pairs(metrics, 3)
    return ""


def _so_far(search: Mapping[str, Any]) -> str:
    """A search under way: `9 of 20 trials (2 pruned), best val_rmse 0.61 (depth 3)`."""
    if "trials" not in search:
        return ""
    ended = search["complete"] + search["pruned"] + search["failed"]
    words = f"{ended} of {search['trials']} trials"
    others = [f"{search[key]} {key}" for key in ("pruned", "failed") if search[key]]
    words += f" ({', '.join(others)})" if others else ""
    best = search["best"]
    if best is None:
        return words
    told = f"{words}, best {search['metric']} {number(best['value'])}"
    return f"{told} ({pairs(best['params'], 4)})"


def render(view: View, out: Output) -> None:
    """The run as it is now, with how it came about and what to do if it failed."""
    for line, status in lines(view):
        out.raw(_painted(line, status, out))
    for step in steps_of(view):
        for line in attempts.lines(step):
            out.line(clean(line), "dim")
    facts = {"trigger": view["trigger"], "event": view["event_id"], "retry of": view["retry_of"]}
    for key, value in facts.items():
        if value:
            out.line(f"{key}: {value}", "dim")
    told_failure(view, out)
    told_outputs(view, out)
    if view["state"]["status"] in ("failed", "cancelled"):
        out.note(f"See its log: volant logs {view['id']}")


def _painted(line: str, status: str, out: Output) -> str:
    return line.replace(status, out.status(status), 1)


def told_failure(view: View, out: Output) -> None:
    """Why it failed, and what to do, on standard error. A step at work didn't: what its last
    attempt ended of is in its line."""
    steps = [step for step in steps_of(view) if step["status"] != "running"]
    errors = [step["error"] for step in steps if step["error"]]
    error = errors[0] if errors else view["state"]["error"]
    if error:
        out.note(f"Error: {error.get('what', '')}")
        if error.get("fix"):
            out.note(f"Fix: {error['fix']}")


def told_end(view: View, out: Output) -> None:
    """Why it failed, or what it gave."""
    told_failure(view, out)
    told_outputs(view, out)


def told_outputs(view: View, out: Output) -> None:
    """What the workflow gave."""
    for key, value in view.get("outputs", {}).items():
        out.line(f"{key} = {word(value)}")


def refused(view: View) -> bool:
    """Whether a gate of this run said no."""
    return any(step["outputs"].get("passed") is False for step in steps_of(view))


def verdict(view: View) -> int:
    """The exit code for someone who waited for this run."""
    if view["state"]["status"] != "succeeded" or refused(view):
        return exits.FAILED
    return 0
