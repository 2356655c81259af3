"""`python -m benchmarks.serving.layers`: HTTP layers under the same model and batching.

Every layer has the same core in one process; rounds are interleaved over the layers, all of
which run from the first round to the last.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import machine
from benchmarks.line import number
from benchmarks.load import Load, measure, tool
from benchmarks.serving import cores, environments, report, servers, wires
from benchmarks.serving.contestants import prove
from benchmarks.serving.ours import started
from benchmarks.wait import free_port

HERE = Path(__file__).parent
HELLO = HERE.parents[1] / "programs" / "hello.py"
PINS = HERE / "requirements.txt"
OURS = "Volant's protocol on httptools"
LAYERS = {
    OURS: ("ours.py",),
    "uvicorn, raw ASGI": ("asgi.py", "uvicorn"),
    "granian, ASGI": ("asgi.py", "granian"),
    "granian, RSGI": ("rsgi.py",),
}
CONNECTIONS = (1, 16, 64)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of the decision record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.layers")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="volant-bench-") as folder:
        work = Path(folder)
        facts = machine.facts(work)
        with started(work) as ours:
            package = ours.package("forest")
            asked = ours.asked["forest"]
            question = wires.OIP.ask("forest", asked.rows[:1])
            ports: dict[str, int] = {}
            with ExitStack() as stack:
                for name, program in LAYERS.items():
                    port = free_port()
                    log = work / f"{name}.log"
                    command = _command(program, port, package)
                    try:
                        process = stack.enter_context(
                            servers.child(command, _environment(), log, environments.ROOT)
                        )
                        servers.until_answers(process, port, question, log)
                        prove(port, wires.OIP, "forest", asked)
                        ports[name] = port
                    except (servers.NotServing, environments.NotInstalled) as error:
                        print(f"{name}: {error}", flush=True)
                hello = free_port()
                command = [sys.executable, str(HELLO), "app", str(hello)]
                log = work / "hello.log"
                process = stack.enter_context(
                    servers.child(command, servers.environment(), log, work)
                )
                servers.until_answers(process, hello, wires.Question("/", b""), log)
                urls = {name: f"http://127.0.0.1:{port}/" for name, port in ports.items()}
                loads = _rounds(urls, f"http://127.0.0.1:{hello}/", question.body, work, options)
        busy = " The machine was busy." if machine.busy(facts) else ""
        print(
            f"\n{machine.text(facts)}; {cores.text()}; {tool()}; granian {_pinned()}; medians of "
            f"{options.rounds} rounds of {options.seconds:g} s.{busy}\n"
        )
        print(_table(loads))
    return 0


def _command(program: Sequence[str], port: int, package: Path) -> Sequence[str]:
    name, *kind = program
    module = f"benchmarks.serving.layers.{Path(name).stem}"
    return [sys.executable, "-m", module, *kind, str(port), str(package)]


def _environment() -> dict[str, str]:
    """This interpreter and its packages, and behind them granian's."""
    python = environments.python_of("granian", PINS)
    ask = "import json, site; print(json.dumps(site.getsitepackages()))"
    import subprocess

    found = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=True)
    paths = [str(environments.ROOT), *json.loads(found.stdout)]
    return {**servers.environment(), "PYTHONPATH": ":".join(paths)}


def _pinned() -> str:
    lines = PINS.read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith("granian"))


def _rounds(
    urls: dict[str, str], hello: str, body: bytes, work: Path, options: argparse.Namespace
) -> dict[tuple[str, int], list[Load]]:
    loads: dict[tuple[str, int], list[Load]] = {}
    for connections in CONNECTIONS:
        for turn in range(options.rounds + 1):
            for name, url in (*urls.items(), ("uvicorn hello, no model", hello)):
                seconds = options.seconds if turn else 1  # the first warms up
                with cores.on(cores.LOAD):
                    asked = None if url == hello else body
                    load = measure(url, asked, connections, seconds, work)
                if load.failed:
                    raise RuntimeError(f"{name}: {load.failed} of {load.requests} failed")
                if turn:
                    loads.setdefault((name, connections), []).append(load)
    return loads


def _table(loads: dict[tuple[str, int], list[Load]]) -> str:
    heads = ["layer"]
    for c in CONNECTIONS:
        heads += [f"{c}: req/s", "p99 ms", "ours ÷ it"]
    names = list(dict.fromkeys(name for name, _ in loads))
    rows: list[list[str]] = []
    for name in names:
        row = [name]
        for c in CONNECTIONS:
            rate = statistics.median(x.rate for x in loads[name, c])
            own = statistics.median(x.rate for x in loads[OURS, c])
            p99 = statistics.median(x.p99_ms for x in loads[name, c])
            row += [number(rate), number(p99), number(own / rate)]
        rows.append(row)
    return report.markdown(heads, rows)


if __name__ == "__main__":
    sys.exit(main())
