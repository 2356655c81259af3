"""Help, versions and usage errors, in processes of their own as a shell runs them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from volant import __version__
from volant.cli.main import ENTRIES

HEAVY = (
    "numpy",
    "pyarrow",
    "sklearn",
    "fastapi",
    "sqlalchemy",
    "httpx",
    "rich",
    "yaml",
)


def shell(*args, **env):
    return subprocess.run(
        [sys.executable, "-m", "volant.cli.main", *args],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "80", **env},
        check=False,
    )


def test_help_names_every_command_and_the_exit_codes():
    done = shell("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for name, entry in ENTRIES.items():
        assert f"  {name} " in done.stdout
        assert entry.help in done.stdout
    assert "130  interrupted" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_no_arguments_show_the_help():
    done = shell()
    assert done.returncode == 0
    assert "Exit codes:" in done.stdout


@pytest.mark.parametrize("name", [name for name in ENTRIES if name != "demo"])
def test_help_of_each_command(bare, name):
    done = bare(name, "--help")
    assert done.code == 0
    assert "--json" in done.out
    assert "--home" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize("args", [["--help"], ["runs", "--help"], ["data", "push", "--help"]])
def test_help_imports_nothing_heavy(args):
    code = (
        "import sys\nfrom volant.cli.main import main\n"
        f"try: main({args!r})\nexcept SystemExit: pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.strip() == "[]"


def test_version():
    assert shell("--version").stdout == f"volant {__version__}\n"
    assert shell("version").stdout == f"volant {__version__}\n"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["rums"], "Did you mean 'runs'"),
        (["runs", "--nonsense"], "No such option"),
        (["why"], "Missing argument"),
        (["models", "--limit", "x"], "should be a valid integer"),
        (["--format", "xml", "runs"], "xml"),
    ],
)
def test_wrong_usage_exits_2(bare, args, told):
    done = bare(*args)
    assert done.code == 2
    assert told in done.err
    assert done.out == ""


def test_completion_is_offered():
    command = f"{sys.executable} -m volant.cli.main --show-completion"  # it asks for its shell
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit $?"], capture_output=True, text=True, check=True
    )
    assert "_VOLANT_COMPLETE=complete_bash" in done.stdout
    listed = shell(_VOLANT_COMPLETE="complete_bash", COMP_WORDS="volant de", COMP_CWORD="1")
    assert listed.stdout.split() == ["demo", "deploy", "deployments"]
    listed = shell(_VOLANT_COMPLETE="complete_bash", COMP_WORDS="volant data q", COMP_CWORD="2")
    assert listed.stdout.split() == ["quarantine"]


def test_a_word_that_the_terminal_lacks_is_no_failure():
    done = shell("status", "--home", "/nönexistent", PYTHONIOENCODING="ascii")
    assert done.returncode == 6
    assert "\\xf6" in done.stderr
