"""`import volant` in a notebook, against a real server over a plain platform."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

import volant as library
from volant import notebook
from volant.domain.model import Field
from volant.domain.tracking import Metric, TrackingStatus
from volant.errors import InvalidInput, NotFound, Unauthenticated, Unavailable

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def logged_out(monkeypatch):
    monkeypatch.setattr(notebook, "_sessions", [])


@pytest.fixture
def server(serving, platform):
    return serving.url


@pytest.fixture
def tracked(platform):
    experiment = platform.experiments.create("wine")
    ids = []
    for depth in (2, 6):
        run = platform.tracked_runs.create(
            experiment.id, name="r", user="me", started_at=NOW + timedelta(minutes=depth)
        )
        platform.tracked_runs.log(
            run.id, [Metric("rmse", 1 / depth, 0, 1)], [("depth", str(depth))]
        )
        ids.append(run.id)
    platform.tracked_runs.update(ids[0], status=TrackingStatus.FINISHED, ended_at=NOW)
    return ids


def test_importing_it_is_light():
    code = (
        "import volant, sys; print(volant.__version__);"
        "print([m for m in ('pandas', 'numpy', 'httpx', 'typer', 'volant.notebook')"
        " if m in sys.modules]); print(volant.login.__name__, 'runs' in dir(volant))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["0.1.0", "[]", "login True"]
    with pytest.raises(AttributeError, match="no attribute 'logn'"):
        _ = library.logn


def test_runs_are_a_data_frame(server, tracked):
    session = library.login(server, "vol_viewer")
    assert "vol_viewer" not in repr(session)
    frame = library.runs("wine")
    assert frame["run_id"].tolist() == tracked[::-1]
    assert frame["metrics.rmse"].tolist() == [1 / 6, 1 / 2]
    assert frame["params.depth"].tolist() == ["6", "2"]
    assert str(frame["started_at"].dtype) == "datetime64[ns, UTC]"
    assert frame["ended_at"].isna().tolist() == [True, False]
    assert library.runs(filter="params.depth = '2'")["run_id"].tolist() == tracked[:1]
    assert library.runs("wine", order="metrics.rmse DESC", limit=1)["run_id"][0] == tracked[0]
    assert library.runs("wine", "metrics.rmse > 9").empty
    listed = library.experiments().set_index("experiment")
    assert listed.loc["wine", ["runs", "metric", "best"]].tolist() == [2, "rmse", 1 / 6]
    with pytest.raises(NotFound, match="wein"):
        library.runs("wein")
    with pytest.raises(InvalidInput, match="Invalid filter"):
        library.runs("wine", "rmse ~ 2")


def test_models_are_a_data_frame(server):
    library.login(server, "vol_viewer")
    frame = library.models("wine-quality")
    assert frame["version"].tolist() == [2, 1]
    assert frame["metrics.accuracy"].tolist() == pytest.approx([0.92, 0.91])
    assert library.models()["stage"].tolist() == ["refused", "champion"]


def test_predict_keeps_the_index_and_names_the_classes(server, endpoint):
    library.login(server, "vol_viewer")
    data = pd.DataFrame(
        {"color": ["red", "white"], "x": [1, None], "extra": [0, 0]}, index=["a", "b"]
    )
    frame = library.predict("wine-quality", data)
    assert frame.index.tolist() == ["a", "b"]
    assert frame.columns.tolist() == ["prediction", "probability_bad", "probability_good"]
    assert frame["probability_good"].tolist() == [0.75, 0.75]
    body = endpoint.requests[0][1]
    assert [(t["name"], t["data"]) for t in body["inputs"]] == [
        ("x", [1.0, None]),
        ("color", ["red", "white"]),
    ]
    assert library.predict("wine-quality", [{"x": 2.5, "color": "red"}])["prediction"][0] == 2.5
    with pytest.raises(InvalidInput, match="lacks the column color"):
        library.predict("wine-quality", data.drop(columns="color"))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "NoneType is no table"),
        ("x,color", "str is no table"),
        (7, "int is no table"),
        ([[1, "red"]], "Item 0 of the list is list, not a row"),
        ([{"x": 1, "color": "red"}, "x"], "Item 1 of the list is str"),
        (pd.Series({"x": 1}), "Item 0 of the Series"),
        ({"x": [1, 2], "color": ["red", "red"]}, "Row 0 has list as its 'x'"),
        ([{"x": pd.Series([1])}], "Row 0 has Series as its 'x'"),
        (pd.DataFrame({"y": [1]}), "row 0 lacks the column x, color. It has y, which"),
        (pd.DataFrame({7: [1]}), "row 0 lacks the column x, color. It has 7, which"),
        ({"y": 1}, "row 0 lacks the column x, color. It has y, which"),
        ({}, r"row 0 lacks the column x, color\. The model wants"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "has 2 columns named 'x'"),
        (pd.DataFrame([dict.fromkeys(map(str, range(900)), 0)]), r"It has .{,99}19, which"),
    ],
)
def test_predict_refuses_what_are_no_rows(server, endpoint, data, told):
    library.login(server, "vol_viewer")
    with pytest.raises(InvalidInput, match=told) as caught:
        library.predict("wine-quality", data)
    assert caught.value.fix
    assert not endpoint.requests


def test_predict_takes_numbered_columns_by_their_numbers(server, endpoint, platform):
    inputs = (Field("0", "number", nullable=True), Field("1", "integer", nullable=True))
    platform.models.versions = [
        replace(each, signature=replace(each.signature, inputs=inputs))
        for each in platform.models.versions
    ]
    library.login(server, "vol_viewer")
    table = pd.DataFrame([[1.5, None, 9], [2.5, 4, 9]], index=["a", "b"])
    frame = library.predict("wine-quality", table)
    assert frame["prediction"].tolist() == [1.5, 2.5]
    assert frame.index.tolist() == ["a", "b"]
    sent = [(t["name"], t["data"]) for t in endpoint.requests[0][1]["inputs"]]
    assert sent == [("0", [1.5, 2.5]), ("1", [None, 4])]
    with pytest.raises(InvalidInput, match=r"row 0 lacks the column 0, 1\. It has 2, which"):
        library.predict("wine-quality", table[[2]])  # all may be null, but not all at once


def test_predict_takes_one_row_and_none(server, endpoint):
    library.login(server, "vol_viewer")
    frame = library.predict("wine-quality", {"x": 2.5, "color": "red"})
    assert frame["prediction"].tolist() == [2.5]
    rows = ({"x": x, "color": "red"} for x in (1.5, 3.5))
    assert library.predict("wine-quality", rows)["prediction"].tolist() == [1.5, 3.5]
    assert library.predict("wine-quality", []).empty


@pytest.mark.parametrize("limit", [0, -1, "a", 2.5, True])
def test_a_limit_that_is_none_is_refused(server, tracked, limit):
    library.login(server, "vol_viewer")
    with pytest.raises(InvalidInput, match="which is no number of runs"):
        library.runs("wine", limit=limit)


def test_without_a_login_the_homes_own_server_is_found(server, tmp_path, tracked):
    with pytest.raises(Unauthenticated, match=r"Not logged in\. Volant is not running") as told:
        library.runs()
    assert "volant.login()" in told.value.fix
    home = tmp_path / "home"
    home.mkdir()
    (home / "server.json").write_text(f'{{"url": "{server}"}}')
    (home / "token").write_text("vol_viewer\n")
    assert len(library.runs()) == 2
    assert library.login().url == server


def test_what_is_wrong_is_told(server, monkeypatch):
    with pytest.raises(Unauthenticated, match="no token"):
        library.login(server)
    with pytest.raises(Unauthenticated):
        library.login(server, "vol_nobody")
    with pytest.raises(Unavailable, match="not running on http"):
        library.login("http://127.0.0.1:9", "vol_viewer")
    monkeypatch.setattr(notebook, "find_spec", lambda _: None)
    with pytest.raises(InvalidInput, match="need pandas") as told:
        library.models()
    assert told.value.fix == "pip install pandas"
