"""Models that were fitted on DataFrames, on an installation of requirements.lock alone, which
has no pandas."""

from __future__ import annotations

import pickle
import subprocess

import numpy as np
import pandas as pd
import pytest
from plain_installation import plain_installation
from platform_process import own
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import ElasticNet
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

RNG = np.random.default_rng(1)
FRAME = pd.DataFrame({"area": RNG.uniform(20, 120, 300), "rooms": RNG.integers(1, 6, 300)})
RENT = 200 + 9 * FRAME["area"] + 40 * FRAME["rooms"]

# How it is served, and a model of that kind.
MODELS = {
    "linear": ("onnx", make_pipeline(StandardScaler(), ElasticNet(alpha=0.01))),
    # Rounded to float32 by ONNX, a row may fall on a threshold's other side.
    "forest": ("native", make_pipeline(StandardScaler(), RandomForestRegressor(5, random_state=1))),
}


@pytest.fixture(scope="module")
def platform(platforms, tmp_path_factory):
    python = plain_installation(tmp_path_factory.mktemp("plain") / "venv")
    missing = subprocess.run([python, "-c", "import pandas"], capture_output=True, check=False)
    assert b"No module named 'pandas'" in missing.stderr
    platform = platforms()
    platform.program = [str(python), "-m", "volant.cli.main"]
    platform.start()
    FRAME.to_csv(platform.folder / "rows.csv", index=False)
    return platform


def register(platform, name, model, **more):
    path = platform.folder / f"{name}.pkl"
    path.write_bytes(pickle.dumps(model))
    words = ["models", "register", path, "--name", own(name), "--trust-pickle"]
    return platform.cli(*words, "--example", "rows.csv", **more)


@pytest.mark.parametrize("name", MODELS)
def test_numbers_are_registered_served_and_scored(platform, name):
    kind, model = MODELS[name]
    expected = model.fit(FRAME, RENT).predict(FRAME)
    register(platform, name, model)
    runtime = platform.get(f"/models/{own(name)}/versions/1")["runtime"]
    assert runtime["kind"] == kind, runtime
    platform.cli("deploy", own(name))
    row = {column: float(value) for column, value in FRAME.iloc[0].items()}
    assert platform.predict(own(name), row) == pytest.approx(expected[0], rel=1e-4)
    platform.cli("batch", own(name), "--input", "rows.csv", "--output", f"{name}-scored.csv")
    scored = pd.read_csv(platform.folder / f"{name}-scored.csv")
    assert scored["prediction"].to_numpy() == pytest.approx(expected, rel=1e-4)


def test_columns_by_name_are_told_to_need_pandas(platform):
    chosen = [("hot", OneHotEncoder(handle_unknown="ignore"), ["rooms"])]
    model = make_pipeline(ColumnTransformer(chosen, remainder="passthrough"), ElasticNet())
    told = register(platform, "chosen", model.fit(FRAME, RENT), code=None)
    assert told.code != 0
    assert "pandas is not installed" in told.err
    assert "pip install 'volant[mlflow]'" in told.err


def test_tables_of_a_notebook_tell_what_is_missing(platform):
    code = f"from volant import notebook\nnotebook.login({platform.url!r})\nnotebook.models()"
    done = subprocess.run(
        [platform.program[0], "-c", code],
        capture_output=True,
        text=True,
        env=platform.environment(VOLANT_TOKEN=(platform.home / "token").read_text().strip()),
        check=False,
    )
    assert "Tables need pandas, which isn't installed here." in done.stderr, done
