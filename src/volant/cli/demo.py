"""`volant demo`: the whole loop, once, on real data, told as it happens.

It does what a user would: writes files, calls `volant`'s own commands and HTTP API.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from volant.cli import demo_data
from volant.cli.client import Client, find_server
from volant.cli.demo_screen import Screen
from volant.cli.options import Options
from volant.cli.output import output_of
from volant.errors import StepFailed, VolantError

LOOP = "tumours"
DATASET = "biopsies"
BUDGET_S = 6
CLIENTS = 8  # that ask without pause while the model is replaced
# Rows of the three deliveries; what is left of 569 asks the model questions.
DAYS = (150, 270, 119)


def run(ctx: typer.Context, *, keep: bool) -> None:
    """Tell the story; leave nothing behind unless `keep`."""
    screen = Screen(color=output_of(ctx).color or sys.stdout.isatty())
    folder = Path(tempfile.mkdtemp(prefix="volant-demo-"))
    story = Story(screen, folder)
    try:
        story.tell()
        story.farewell(keep)
    except KeyboardInterrupt:
        screen.say("Stopped. Nothing is left behind.", "yellow")
        raise SystemExit(130) from None
    finally:
        if not (keep and story.complete):
            story.clean()


class Story:
    """Five chapters over one home folder that is the demo's own."""

    def __init__(self, screen: Screen, folder: Path) -> None:
        self.screen = screen
        self.folder = folder
        self.home = folder / "home"
        self.complete = False
        self._table = demo_data.rows()

    def tell(self) -> None:
        """All chapters, in order."""
        self._start()
        with Client(*find_server(Options(home=self.home))) as client:
            self._client = client
            self._first_data()
            self._first_model()
            self._first_answer()
            self._more_data()
            self._corrupted_data()
            self._why()
        self.complete = True

    def clean(self) -> None:
        """Stop the platform and remove the folder."""
        if (self.home / "server.json").exists():
            self._volant("down", "--home", str(self.home), check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def farewell(self, keep: bool) -> None:
        """Where everything is, and what to try next."""
        screen = self.screen
        screen.chapter(f"That was one turn and two more, in {screen.elapsed:.0f} s")
        if not keep:
            screen.say(
                "Everything was stopped and removed. `volant demo --keep` leaves it running."
            )
            screen.say("Your own data next:", "bold")
            screen.command("volant init --from data.csv --target COLUMN")
            screen.command("volant up --detach && volant apply && volant data push NAME data.csv")
            return
        screen.say(f"It runs on. API: {self._client.url}/api/v1 (token in {self.home}/token)")
        screen.say("Try:", "bold")
        screen.command(f"export VOLANT_HOME={self.home}")
        for command in ("status", f"why {LOOP}", "models", f"data quarantine {DATASET}", "down"):
            screen.command(f"volant {command}")

    # chapters

    def _start(self) -> None:
        screen = self.screen
        screen.chapter("A platform, in one command")
        first = demo_data.write(self.folder / "day1.csv", self._day(0, demo_data.broken))
        screen.command(f"volant init --from {first.name} --target {demo_data.TARGET}")
        self._init(first)
        screen.command("volant up --detach && volant apply")
        began = time.monotonic()
        with screen.wait("starting"):
            self._volant("up", "--detach", "--home", str(self.home), "--port", "0")
        took = time.monotonic() - began
        self._volant("apply", str(self.folder / "volant.yaml"), "--home", str(self.home))
        screen.fact(f"API, workers, scheduler and model server run after {took:.1f} s")

    def _init(self, first: Path) -> None:
        names = ("--name", LOOP, "--dataset", DATASET)
        path = self.folder / "volant.yaml"
        self._volant(
            "init",
            "--from",
            str(first),
            "--target",
            demo_data.TARGET,
            *names,
            "--output",
            str(path),
        )
        written = path.read_text().replace("budget: 30s", f"budget: {BUDGET_S}s", 1)
        path.write_text(written.replace("idle: 1m", "idle: 1s", 1))

    def _first_data(self) -> None:
        screen = self.screen
        screen.chapter("Data arrives, some of it broken")
        push = self._push(self.folder / "day1.csv")
        screen.fact(f"{push['rows_added']} rows are version {push['version']} of {DATASET}")
        broken = self._client.get(f"/datasets/{DATASET}/quarantine", push=push["id"])["items"]
        screen.say(f"{len(broken)} rows broke the contract and wait in quarantine:")
        rows = [(str(row["row_number"]), row["reasons"][0]) for row in broken]
        screen.table(("line", "reason"), rows)
        self._first_push = push

    def _first_model(self) -> None:
        self.screen.chapter("The commit starts the loop: split, train, evaluate, register, deploy")
        run = self._turn(self._first_push)
        gate = self._outputs(run, "evaluate")
        self.screen.fact(f"Gate: {gate['reason']}")

    def _first_answer(self) -> None:
        screen = self.screen
        screen.chapter("The model answers (Open Inference Protocol)")
        with screen.wait("nobody asks: its replica ends"):
            view = self._idle()
        self._url = view["infer_url"]
        self._question = _question(self._table[-1])
        began = time.monotonic()
        answer = _ask(self._url, self._question)
        took = (time.monotonic() - began) * 1000
        truth = self._table[-1][-1]
        screen.say(f"POST {self._url}")
        screen.fact(
            f"{answer!r} after {took:.0f} ms, from zero replicas"
            f" (a row it never saw; in truth {truth})"
        )

    def _idle(self) -> Mapping[str, Any]:
        deadline = time.monotonic() + 20
        while True:
            view = self._client.get(f"/deployments/{LOOP}")
            if not view["replicas"] or time.monotonic() > deadline:
                return view
            time.sleep(0.1)

    def _more_data(self) -> None:
        screen = self.screen
        screen.chapter("More data: a challenger, while clients keep asking")
        path = demo_data.write(self.folder / "day2.csv", self._day(1))
        with Clients(self._url, self._question, CLIENTS) as clients:
            run = self._turn(self._push(path))
        self._verdict(run)
        screen.fact(
            f"{clients.answered} requests from {CLIENTS} clients meanwhile, {clients.failed} failed"
        )

    def _corrupted_data(self) -> None:
        self.screen.chapter("A batch with corrupted labels")
        path = demo_data.write(
            self.folder / "day3.csv", demo_data.with_flipped_labels(self._day(2))
        )
        run = self._turn(self._push(path))
        self._verdict(run)

    def _why(self) -> None:
        screen = self.screen
        screen.chapter("Why did it do that?")
        screen.command(f"volant why {LOOP}")
        page = self._client.get(f"/loops/{LOOP}/decisions", limit=20)
        rows = [(d["kind"], d["outcome"], d["reason"]) for d in reversed(page["items"])]
        screen.table(("decision", "outcome", "reason"), rows)

    # what the chapters are made of

    def _day(self, day: int, extra: Any = None) -> list[list[str]]:
        start = sum(DAYS[:day])
        rows = self._table[start : start + DAYS[day]]
        return rows + (extra(rows) if extra else [])

    def _push(self, path: Path) -> Mapping[str, Any]:
        self.screen.command(f"volant data push {DATASET} {path.name}")
        told = self._volant(
            "data", "push", DATASET, str(path), "--wait", "--json", "--home", str(self.home)
        )
        return self._client.get(f"/pushes/{_push_id(json.loads(told))}")

    def _turn(self, push: Mapping[str, Any]) -> Mapping[str, Any]:
        """Follow the run that the push's version started."""
        client = self._client
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for item in client.get("/runs", loop=LOOP, limit=10)["items"]:
                run = client.get(f"/runs/{item['id']}")
                if run["workflow"]["inputs"].get("dataset_version") == push["version"]:
                    path = f"/runs/{run['id']}"
                    return self._ended(
                        run["id"], self.screen.follow(lambda path=path: client.get(path)["state"])
                    )
            time.sleep(0.05)
        raise StepFailed("The commit started no run within 30 s.", "See `volant why`.")

    def _ended(self, run_id: str, state: Mapping[str, Any]) -> Mapping[str, Any]:
        if state["status"] != "succeeded":
            told = (state.get("error") or {}).get("what", "")
            raise StepFailed(f"The run {run_id} ended as {state['status']}. {told}", "")
        return state

    def _outputs(self, state: Mapping[str, Any], step: str) -> Mapping[str, Any]:
        return next(s["outputs"] for s in state["steps"] if s["name"] == step)

    def _verdict(self, state: Mapping[str, Any]) -> None:
        gate = self._outputs(state, "evaluate")
        live = self._client.get(f"/deployments/{LOOP}")["live_version"]
        if gate["passed"]:
            self.screen.fact(f"Accepted: {gate['reason']}")
        else:
            self.screen.say(f"✗ Refused: {gate['reason']}", "yellow")
        self.screen.say(f"Version {live} serves.")

    def _volant(self, *arguments: str, check: bool = True) -> str:
        command = [sys.executable, "-m", "volant.cli.main", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and done.returncode:
            told = (done.stderr or done.stdout).strip()
            raise VolantError(f"volant {arguments[0]} failed: {told}", "")
        return done.stdout


class Clients:
    """Clients that ask one question without pause, each on its own connection."""

    def __init__(self, url: str, question: bytes, count: int) -> None:
        self.answered = 0
        self.failed = 0
        self._url, self._question = url, question
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        import httpx

        answered = failed = 0
        with httpx.Client(timeout=30, trust_env=False) as http:
            while not self._done.wait(0.02):
                try:
                    ok = http.post(self._url, content=self._question).status_code == 200
                except httpx.HTTPError:
                    ok = False
                answered, failed = answered + ok, failed + (not ok)
        with self._lock:
            self.answered += answered
            self.failed += failed


def _question(row: list[str]) -> bytes:
    inputs = [
        {"name": name, "shape": [1], "datatype": "FP64", "data": [float(cell)]}
        for name, cell in zip(demo_data.COLUMNS[:-1], row[:-1], strict=True)
    ]
    return json.dumps({"inputs": inputs}).encode()


def _ask(url: str, question: bytes) -> Any:
    import httpx

    answer = httpx.post(url, content=question, timeout=30, trust_env=False).json()
    return next(o["data"][0] for o in answer["outputs"] if o["name"] == "prediction")


def _push_id(told: Mapping[str, Any]) -> str:
    return str(told.get("push", told)["id"])
