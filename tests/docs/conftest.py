"""Runs what the documentation shows, and compares what is printed.

A block is run when an HTML comment stands before it:

    <!-- run: SEQUENCE -->               ```console: each `$ ` line is typed; the lines
                                         under it must be printed, in this order
    <!-- run: SEQUENCE file=NAME -->     the block's text is written to NAME
    <!-- run: SEQUENCE exit=2 -->        the block's last command ends with 2
    <!-- run: SEQUENCE eventually -->    a question: asked again until the answer fits
    <!-- run: SEQUENCE exit-only -->     what is printed varies, only its success is checked

All blocks of one sequence run in one shell, in one empty folder, from top to bottom.
Numbers, times, ids, hashes and paths may differ, as may spaces; an id that the page
shows stands for the one that was really printed, in later commands too. A line of `…`
is what the page leaves out.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EVENTUALLY_S = 90.0
_BLOCK = re.compile(
    r"<!-- run: (?P<sequence>[\w-]+)(?P<options>[^>]*?) -->\n+"
    r"```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_ID = re.compile(
    r"\b(?:run|batch|push|evt|dec|tok|gate|deploy|upload)-[a-z0-9][a-z0-9.-]*[a-z0-9]\b"
)
_NORMAL = (
    (_ID, "ID"),
    (re.compile(r"vlt_[\w-]+"), "SECRET"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.\d]*(?:Z|\+00:00))?"), "WHEN"),
    (re.compile(r"(?<![\w/.:])/[^\s,;\")]+"), "PATH"),
    (re.compile(r"\b(?=\w*\d)[0-9a-f]{12,64}\b"), "HASH"),
    (re.compile(r"(?<![\w.])(?:\d+(?:\.\d+)?(?:ms|s|m|h|d)\b ?)+"), "TIME "),
    (re.compile(r"[+-]?\d+(?:\.\d+)?(?:e-?\d+)?"), "#"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True)
class Block:
    """One block to run, with the page and line that it begins in."""

    page: str
    line: int
    language: str
    text: str
    options: dict[str, str]

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[tuple[str, list[str]]]:
        """Each command with the lines shown under it."""
        found: list[tuple[str, list[str]]] = []
        going_on = False
        for line in self.text.splitlines():
            if going_on:
                found[-1] = (f"{found[-1][0]}\n{line}", [])
            elif line.startswith("$ "):
                found.append((line[2:], []))
            elif line.strip():
                found[-1][1].append(line)
            going_on = (line.startswith("$ ") or going_on) and line.endswith("\\")
        return found


def blocks(page: str, sequence: str) -> list[Block]:
    """The blocks of one sequence of a page, in order."""
    text = (ROOT / page).read_text()
    found: list[Block] = []
    for match in _BLOCK.finditer(text):
        if match["sequence"] == sequence:
            options = dict(
                (*word.split("=", 1), "")[:2] for word in match["options"].split() if word
            )
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match["language"], match["text"], options))
    return found


def marks(page: str) -> list[str]:
    """The sequences that a page's comments name, block or no block."""
    return re.findall(r"<!-- run: ([\w-]+)", (ROOT / page).read_text())


def normal(line: str) -> str:
    """`line` without what differs from run to run."""
    for pattern, word in _NORMAL:
        line = pattern.sub(word, line)
    return line.strip()


@dataclass
class Reader:
    """Someone who does what a page says, in a shell of their own."""

    folder: Path
    home: Path
    port: int
    known: dict[str, str] = field(default_factory=dict)  # ids of the page → real ones
    shell: subprocess.Popen[str] | None = None
    done: int = 0

    def follow(self, page: str, sequence: str) -> int:
        """Do every block; returns how many there were."""
        every = blocks(page, sequence)
        for block in every:
            if "file" in block.options:
                (self.folder / block.options["file"]).write_text(block.text)
            else:
                self._console(block)
        return len(every)

    def _console(self, block: Block) -> None:
        commands = block.commands()
        for place, (command, shown) in enumerate(commands):
            last = place == len(commands) - 1
            wanted = int(block.options.get("exit", "0")) if last else 0
            deadline = time.monotonic() + EVENTUALLY_S
            while True:
                code, printed = self.type(self._real(command))
                problem = self._compare(shown, printed, block) if code == wanted else "exit code"
                late = "eventually" not in block.options or time.monotonic() > deadline
                late = late or " failed " in printed  # waiting longer won't mend that
                if problem is None or late:
                    break
                time.sleep(0.5)
            assert code == wanted, f"{block.where}: $ {command}\nexit code {code}\n{printed}"
            assert problem is None, f"{block.where}: $ {command}\n{problem}\nprinted:\n{printed}"

    def _real(self, command: str) -> str:
        return _ID.sub(lambda match: self.known.get(match[0], match[0]), command)

    def _compare(self, shown: Sequence[str], printed: str, block: Block) -> str | None:
        if "exit-only" in block.options:
            return None
        lines = iter(printed.splitlines())
        pairs: dict[str, str] = {}
        for want in shown:
            if want.strip() == "…":
                continue
            got = next((line for line in lines if normal(line) == normal(want)), None)
            if got is None:
                return f"not printed: {want}"
            pairs |= dict(zip(_ID.findall(want), _ID.findall(got), strict=True))
        self.known |= pairs
        return None

    def type(self, command: str) -> tuple[int, str]:
        """One command and its Enter; its exit code, and all that it prints."""
        shell = self.shell or self._open()
        assert shell.stdin is not None
        assert shell.stdout is not None
        self.done += 1
        mark = f"<<{self.done}>>"
        typed = self.home / ".typed"  # a file, so that any text gets to `eval` as it is
        typed.write_text(command + "\n")
        shell.stdin.write(f"eval \"$(cat {typed})\" </dev/null 2>&1; printf '\\n{mark}%s\\n' $?\n")
        shell.stdin.flush()
        printed: list[str] = []
        for line in shell.stdout:
            if line.startswith(mark):
                return int(line.removeprefix(mark)), "".join(printed).rstrip("\n")
            printed.append(line)
        raise AssertionError(f"the shell ended at: {command}\n{''.join(printed)}")

    def _open(self) -> subprocess.Popen[str]:
        self.shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self.shell

    def environment(self) -> dict[str, str]:
        """A user's: a home of their own, the installed commands, and a free port."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("VOLANT_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {
            **kept,
            "HOME": str(self.home),
            "PATH": path,
            "VOLANT_PORT": str(self.port),
            "VOLANT_COMPACT_S": "2",
            "NO_COLOR": "1",
        }

    def close(self) -> None:
        """Stop what still runs, and leave."""
        subprocess.run(
            ["volant", "down"], env=self.environment(), capture_output=True, check=False, timeout=90
        )
        if self.shell is not None:
            assert self.shell.stdin is not None
            self.shell.stdin.close()
            self.shell.wait(10)
            assert self.shell.stdout is not None
            self.shell.stdout.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _reader(folder: Path) -> Reader:
    work, home = folder / "work", folder / "home"
    work.mkdir(parents=True)
    home.mkdir()
    return Reader(work, home, _free_port())


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A new user in an empty folder; nothing runs yet."""
    one = _reader(tmp_path)
    yield one
    one.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A user whose Volant runs; the guides share it."""
    one = _reader(tmp_path_factory.mktemp("guides"))
    code, printed = one.type("volant up --detach")
    assert code == 0, printed
    yield one
    one.close()


@pytest.fixture(scope="session")
def docs_tools():
    """The functions above, for tests that look at pages."""
    return {"blocks": blocks, "marks": marks, "normal": normal, "root": ROOT}
