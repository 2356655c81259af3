from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from volant.domain.run import StepContext
from volant.training import openmp  # noqa: F401 - before LightGBM is loaded

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("VOLANT_CLIENTS_CACHE") or ROOT / ".clients")
NEEDS = ("accelerate>=1.0", "pillow>=11", "torch>=2.6", "transformers>=4.50")
BUNDLED = {
    "breast_cancer": load_breast_cancer,
    "wine": load_wine,
    "diabetes": load_diabetes,
}


@pytest.fixture(scope="session")
def site() -> Path:
    """The site-packages of an environment with what recipes need, kept in `.clients/`."""
    wanted = hashlib.sha256(f"{NEEDS} {sys.version}".encode()).hexdigest()[:12]
    folder = CACHE / f"hf-{wanted}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "hf.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            uv = shutil.which("uv", path=path)
            assert uv is not None, "uv makes this environment"
            install = ("pip", "install", "--python", str(folder / "bin/python"), *NEEDS)
            for arguments in (("venv", "--python", sys.executable, str(folder)), install):
                subprocess.run([uv, *arguments, "--quiet"], check=True, timeout=1800)
            (folder / "made").touch()
    (found,) = (folder / "lib").glob("python*/site-packages")
    return found


class ListedTables:
    """A `Tables` whose versions are the growing concatenation of a list of batches."""

    def __init__(self, batches: Sequence[pa.Table]) -> None:
        self._batches = list(batches)

    def read(
        self, table: str, *, version: int | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        last = len(self._batches) - 1 if version is None else version
        rows = pa.concat_tables(self._batches[: last + 1], promote_options="permissive")
        return rows.select(columns) if columns else rows

    def append(self, table: str, rows: pa.Table, *, key: str) -> int:
        self._batches.append(rows)
        return len(self._batches) - 1

    def version_of(self, table: str, key: str) -> int | None:
        return None

    def exists(self, table: str) -> bool:
        return True


@pytest.fixture
def tables() -> type[ListedTables]:
    return ListedTables


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    return new_context(tmp_path / "step")


@pytest.fixture
def contexts(tmp_path: Path) -> Callable[[str], StepContext]:
    return lambda name: new_context(tmp_path / name)


def new_context(folder: Path) -> StepContext:
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    return StepContext("run-1", folder.name, 1, folder, folder / "checkpoints")


@pytest.fixture
def bundled() -> Callable[[str], pa.Table]:
    """A scikit-learn data set as a table with the column `target`."""

    def load(name: str) -> pa.Table:
        data: Any = BUNDLED[name]()
        columns = {
            str(c).replace(" ", "_"): data.data[:, i] for i, c in enumerate(data.feature_names)
        }
        return pa.table({**columns, "target": data.target})

    return load


@pytest.fixture
def mixed() -> Callable[..., pa.Table]:
    """Every column type, with holes; `target` depends on them."""

    def make(rows: int = 200, seed: int = 0, task: str = "classification") -> pa.Table:
        rng = np.random.default_rng(seed)
        size = rng.normal(size=rows) * 3
        color = rng.choice(["red", "green", "blue"], size=rows, p=[0.5, 0.3, 0.2])
        flag = rng.random(rows) < 0.4
        when = [
            datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=int(h))
            for h in rng.integers(0, 20_000, rows)
        ]
        signal = size + 2.0 * (color == "red") + flag + rng.normal(size=rows) * 0.3
        holes = rng.random((rows, 3)) < 0.08
        target: Any = np.where(signal > 1.4, "yes", "no") if task == "classification" else signal
        return pa.table(
            {
                "size": pa.array(np.where(holes[:, 0], np.nan, size), from_pandas=True),
                "count": pa.array(rng.integers(0, 50, rows)),
                "color": pa.array(
                    [None if h else str(c) for c, h in zip(color, holes[:, 1], strict=True)]
                ),
                "flag": pa.array(
                    [None if h else bool(f) for f, h in zip(flag, holes[:, 2], strict=True)]
                ),
                "when": pa.array(when, type=pa.timestamp("us", "UTC")),
                "label": pa.array([f"id-{i}" for i in range(rows)]),
                "empty": pa.nulls(rows, pa.float64()),
                "same": pa.array([7] * rows),
                "target": pa.array(target),
            }
        )

    return make


@pytest.fixture
def split_inputs(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def make(**changes: Any) -> dict[str, Any]:
        return {
            "loop": "loop",
            "dataset": "data",
            "tables_root": str(tmp_path / "tables"),
            "table_version": 0,
            "target": "target",
            "holdout": 0.25,
            "seed": 3,
            "holdout_dir": str(tmp_path / "holdouts" / "loop"),
            "task": None,
            **changes,
        }

    return make


@pytest.fixture
def train_inputs() -> Callable[..., dict[str, Any]]:
    def make(path: Path, **changes: Any) -> dict[str, Any]:
        return {
            "train_path": str(path),
            "target": "target",
            "task": "classification",
            "metric": None,
            "budget_s": 1.0,
            "seed": 0,
            "call": None,
            "code_dir": None,
            "params": {},
            "model_name": "model",
            **changes,
        }

    return make
