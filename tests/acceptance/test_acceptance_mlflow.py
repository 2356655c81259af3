"""MLflow's own client, unmodified, in an environment of its own, against a real Volant."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("VOLANT_TEST_CACHE") or HERE.parents[1] / ".clients")
CLIENTS = {
    "3": ("mlflow==3.17.2", "scikit-learn==1.7.2", "pandas<3", "lightgbm==4.6.0", "torch==2.9.1"),
    "2": ("mlflow==2.22.5", "scikit-learn==1.6.1", "pandas<3", "lightgbm==4.6.0"),
}

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]


def python_of(packages: tuple[str, ...]) -> Path:
    """The interpreter of an environment with these packages, made once."""
    key = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    folder = CACHE / f"mlflow-{key}"
    python = folder / "bin" / "python"
    if not (folder / "whole").exists():
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "-q", "--clear", "-p", sys.executable, folder], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", python, *packages], check=True)
        (folder / "whole").touch()
    return python


def found_by(program: str, python: Path, tmp_path: Path) -> dict[str, Any]:
    """What a program of MLflow's users prints, run against a Volant of its own."""
    home = tmp_path / "home"
    volant = [sys.executable, "-m", "volant.cli.main", "--home", str(home)]
    up = subprocess.run(
        [*volant, "up", "--detach", "--port", "0", "--format", "json"],
        check=True,
        capture_output=True,
        text=True,
    )
    try:
        environment = {
            **os.environ,
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "MLFLOW_TRACKING_URI": json.loads(up.stdout)["url"],
            "MLFLOW_TRACKING_TOKEN": (home / "token").read_text().strip(),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
            "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(10 << 20),
            "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": str(5 << 20),
        }
        done = subprocess.run(
            [str(python), str(HERE / program)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])
    finally:
        subprocess.run([*volant, "down"], check=False, capture_output=True)


@pytest.mark.parametrize("line", CLIENTS)
def test_what_users_do_with_mlflow(line: str, tmp_path: Path) -> None:
    found = found_by("mlflow_client.py", python_of(CLIENTS[line]), tmp_path)
    assert found.pop("version").startswith(line)
    if line == "3":
        assert found.pop("net") is True
    assert found == {
        "changed param": "INVALID_PARAMETER_VALUE",
        "history": ["0.5", "0.4", "nan", "inf"],
        "artifacts": ["facts.json", "notes"],
        "text": "hello",
        "child": ["child"],
        "batch": 1000,
        "no run": "RESOURCE_DOES_NOT_EXIST",
        "bad filter": "INVALID_PARAMETER_VALUE",
        "autologged": ["training_accuracy_score", "training_f1_score"],
        "same": True,
        "twice": "RESOURCE_ALREADY_EXISTS",
        "elsewhere": "INVALID_PARAMETER_VALUE",
        "evaluated": 0.97,
        "large": True,
        "boosted": 5,
        "project": 1,
    }


def test_workspaces_are_projects(tmp_path: Path) -> None:
    assert found_by("mlflow_workspaces.py", python_of(CLIENTS["3"]), tmp_path) == {
        "at first": ["default"],
        "made": ["red-team", "reds", None],
        "twice": "RESOURCE_ALREADY_EXISTS",
        "changed": "red ones",
        "got": "red ones",
        "root": "INVALID_PARAMETER_VALUE",
        "default again": "INVALID_PARAMETER_VALUE",
        "listed": ["blue-team", "default", "red-team"],
        "nowhere": "RESOURCE_DOES_NOT_EXIST",
        "one name": 3,
        "in blue": ["wine"],
        "text": "hello",
        "artifacts": ["notes"],
        "found": 1,
        "its place": True,
        "runs in default": 0,
        "from default": "RESOURCE_DOES_NOT_EXIST",
        "to default": "RESOURCE_DOES_NOT_EXIST",
        "runs in blue": 0,
        "from blue": "RESOURCE_DOES_NOT_EXIST",
        "to blue": "RESOURCE_DOES_NOT_EXIST",
        "unnamed": "Default 1 True",
        "same": True,
        "logged": 2,
        "registered": ["Iris"],
        "in blue too": [],
        "the name": "RESOURCE_ALREADY_EXISTS",
        "the model": "RESOURCE_DOES_NOT_EXIST",
        "its source": "RESOURCE_DOES_NOT_EXIST",
        "large": True,
        "full": "RESOURCE_CONFLICT",
        "with models": "RESOURCE_CONFLICT",
        "moved": "INVALID_PARAMETER_VALUE",
        "at last": ["blue-team", "default"],
    }
