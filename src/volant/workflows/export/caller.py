"""The program that every exported file carries: start one step of a Volant workflow, show
its log, end as it ends.

Its text is taken over as it is, with the constants filled in, so it needs nothing but
Python 3.9 and its standard library, and has no double braces, dollars or backslashes, which
the other systems would read as their own.
"""

import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

# constants: filled in by program.py
WORKFLOW = ""
VERSION = 1
CODESET = ""  # the input that says for which codeset the run is, as project/name@commit
PARAMETERS: dict[str, str] = {}  # the variable of the environment that has an input's value
# end of constants
PATIENCE_S = 300.0  # how long a server that doesn't answer is asked again


def call(method: str, path: str, body: Any = None, patience_s: float = PATIENCE_S) -> Any:
    """One request to the server that VOLANT_SERVER_URL names."""
    url = os.environ["VOLANT_SERVER_URL"].rstrip("/") + "/api/v1" + path
    token = os.environ.get("VOLANT_TOKEN", "")
    headers = {"authorization": "Bearer " + token, "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    deadline = time.monotonic() + patience_s
    while True:
        try:
            request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - the operator's own server
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            told = error.read().decode("utf-8", "replace")
            if error.code < 500 or time.monotonic() > deadline:
                raise RuntimeError("Volant: " + words_of(told)) from None
        except OSError as error:
            if time.monotonic() > deadline:
                raise RuntimeError("Volant doesn't answer at " + url + ": " + str(error)) from None
        time.sleep(2)


def words_of(told: str) -> str:
    """What an error says, and what to do about it."""
    try:
        error = json.loads(told)
        return str(error["detail"]) + " " + str(error["fix"])
    except (ValueError, KeyError, TypeError):
        return told[:1000]


def run_step(step: str, key: str, inputs: dict[str, str]) -> Any:
    """Do a step and return its outputs. The same key, once more, is the same step: while it
    runs it is followed, and when it has succeeded that was it; a failed one runs again."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `follow` ends
    given = {name: text for name, text in inputs.items() if text != ""}
    body: dict[str, Any] = {"key": key, "version": VERSION, "inputs": given}
    if CODESET in given:
        where, sign, commit = given.pop(CODESET).partition("@")
        if sign and not commit:
            raise ValueError("Nothing stands after the @ of " + where + "@.")
        project, _, name = where.partition("/")
        body.update(project=project, codeset=name, commit=commit or None)
    path = "/workflows/" + urllib.parse.quote(WORKFLOW, "") + "/steps/" + step + "/runs"
    run = "/runs/" + call("POST", path, body)["id"]
    print("Volant: step", step, "is run", run[6:], flush=True)  # noqa: T201
    try:
        follow(run)
    except BaseException:
        cancel(run)
        raise
    state = call("GET", run)["state"]
    if state["status"] != "succeeded":
        error = state.get("error") or {"what": "It ended as " + state["status"], "fix": ""}
        raise RuntimeError(str(error["what"]) + " " + str(error["fix"]))
    ended = state["steps"][0]
    print("Volant: step", step, ended["status"], flush=True)  # noqa: T201
    return ended["outputs"]


def follow(run: str) -> None:
    """Print the log until the run has ended."""
    after, pause_s = "", 0.1
    while True:
        query = "?" + urllib.parse.urlencode({"after": after}) if after else ""
        logs = call("GET", run + "/logs" + query)
        for line in logs["lines"]:
            print(line["text"], flush=True)  # noqa: T201
        if logs["done"]:
            return
        after = logs["after"] or after
        pause_s = 0.1 if logs["lines"] else min(2.0, pause_s * 1.5)
        time.sleep(pause_s)


def cancel(run: str) -> None:
    """Whoever waited for it is gone: so is the step."""
    try:
        call("POST", run + "/cancel", {}, patience_s=5.0)
    except RuntimeError as error:
        print(error, file=sys.stderr, flush=True)  # noqa: T201


def main() -> None:
    """The step and the key are in the environment."""
    inputs = {name: os.environ.get(told, "") for name, told in PARAMETERS.items()}
    try:
        run_step(os.environ["VOLANT_STEP"], os.environ["VOLANT_KEY"], inputs)
    except RuntimeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
