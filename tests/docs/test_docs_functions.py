"""The guides' training functions, with rows of pandas' and, where that isn't installed, of
pyarrow's."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pyarrow as pa
import pytest
from sklearn.datasets import load_wine

from volant.domain.run import StepContext
from volant.training.callable import CallSpec, call_fit
from volant.training.schema import features_of
from volant.training.train import wrapped

DOCS = Path(__file__).parents[2] / "docs"
PARAMS = {
    "checkpoints": {"epochs": 60},
    "training": {"neighbours": 7},
    "tuning": {"rate": 0.1, "depth": 2, "rounds": 3},
    "experiments": {"depth": 1},
}
_CODE = re.compile(r"<!-- run: \S+ file=train\.py -->\n+```python\n(.*?)^```$", re.DOTALL | re.M)


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    wine = load_wine()
    columns = {name: pa.array(wine.data[:, i]) for i, name in enumerate(wine.feature_names)}
    return pa.table({**columns, "cultivar": pa.array(["abc"[kind] for kind in wine.target])})


def test_each_guide_with_a_function_is_here():
    found = {path.stem for path in DOCS.glob("*.md") if _CODE.search(path.read_text())}
    assert found == set(PARAMS)


@pytest.mark.parametrize("form", ["frame", "table"])
@pytest.mark.parametrize("guide", list(PARAMS))
def test_a_guides_function_takes_rows_of_either_kind(guide, form, rows, tmp_path, monkeypatch):
    (source,) = _CODE.findall((DOCS / f"{guide}.md").read_text())
    module = f"guide_{guide}_{form}"
    # Nobody is there who would store a checkpoint.
    (tmp_path / f"{module}.py").write_text(
        re.sub(r"^( +)checkpoint\(\)$", r"\1pass", source, flags=re.M)
    )
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setenv("VOLANT_CHECKPOINT_DIR", str(kept))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    if form == "table":
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == "pandas" else find(name)
        )
    spec = CallSpec(f"{module}:fit", tmp_path, "cultivar", "classification", 0, PARAMS[guide])
    context = StepContext("run-1", "train", 1, tmp_path, kept)
    features = features_of(rows, "cultivar")
    returned = call_fit(spec, rows, features, context)
    assert returned.form == form
    pipeline, _ = wrapped(returned, rows, features, spec)
    truth = rows.column("cultivar").to_numpy(zero_copy_only=False)
    assert (pipeline.predict(rows) == truth).mean() > 0.9
