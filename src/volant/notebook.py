"""Volant in a notebook: `import volant; volant.login(); volant.runs("wine")`.

Every function asks the server that `login` found; without a login it finds the one of this
machine by itself. Tables are pandas' DataFrames, so pandas must be installed here.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from itertools import repeat
from numbers import Integral
from typing import TYPE_CHECKING, Any

from volant.cli.client import Client, find_server, named
from volant.cli.experiments import find, title
from volant.cli.options import Options
from volant.cli.predict import ask, inputs_of, reachable
from volant.cli.tracked_table import columns_of
from volant.errors import InvalidInput, Unauthenticated, Unavailable

if TYPE_CHECKING:
    import pandas as pd

_EVERY = 10**9


@dataclass(frozen=True)
class Session:
    """A login: the server and, unseen, the token."""

    url: str
    token: str = field(repr=False)


_lock = threading.Lock()
_sessions: list[Session] = []


def login(url: str | None = None, token: str | None = None) -> Session:
    """Log in to a server, for all calls that follow in this process.

    Args:
        url: Such as `http://127.0.0.1:8400`. When absent, VOLANT_SERVER_URL, else the
            server that runs on VOLANT_HOME (`~/.volant`).
        token: When absent, VOLANT_TOKEN, else, for the home's own server, the home's.

    Raises:
        Unauthenticated: there is no token, or the server refuses it.
        Unavailable: no server answers.
    """
    if url is not None and token is not None:
        session = Session(url.rstrip("/"), token)
    else:
        found, known = find_server(Options(server_url=url))
        session = Session(found, token or known)
    with Client(session.url, session.token) as client:
        client.get("/status")
    with _lock:
        _sessions[:] = [session]
    return session


def experiments() -> pd.DataFrame:
    """Experiments with the newest runs first: name, runs, newest, metric, best, id."""
    frame = _pandas().DataFrame
    with _client() as client:
        found = client.pages("/experiments", _EVERY)["items"]
    rows = [
        {
            "experiment": title(each["experiment"]),
            "runs": each["runs"],
            "newest": _time(each["newest"]),
            "metric": each["metric"],
            "best": each["best"],
            "experiment_id": each["experiment"]["id"],
        }
        for each in found
    ]
    return frame(rows, columns=["experiment", "runs", "newest", "metric", "best", "experiment_id"])


def runs(
    experiment: str | None = None,
    filter: str | None = None,
    *,
    order: str | Sequence[str] | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """Tracked runs, newest first: `run_id`, name, status, times, and a column for each
    `metrics.KEY`, `params.KEY` and `tags.KEY`.

    Args:
        experiment: Its name, with its project before it (`red/wine`) outside the default
            one; all experiments when absent.
        filter: MLflow's grammar: `"metrics.rmse < 0.7 AND params.depth = '3'"`.
        order: `"metrics.rmse ASC"`, or several; of each experiment's runs.
        limit: At most so many of each experiment, 1 or more; all when absent.

    Raises `NotFound` for an unknown experiment, `InvalidInput` for a filter that can't be
    read and a limit that is none.
    """
    frame = _pandas().DataFrame
    most = _most(limit)
    orders = [order] if isinstance(order, str) else order
    with _client() as client:
        if experiment is None:
            chosen = client.pages("/experiments", _EVERY)["items"]
        else:
            chosen = [find(client, experiment)]
        found: list[Mapping[str, Any]] = []
        names: list[str] = []
        for each in chosen:
            path = f"/experiments/{each['experiment']['id']}/runs"
            page = client.pages(path, most, filter=filter, order=orders)["items"]
            found += page
            names += [title(each["experiment"])] * len(page)
    columns = columns_of(found)
    table = frame({"run_id": columns.pop("run_id"), "experiment": names, **columns})
    for name in ("started_at", "ended_at"):
        table[name] = _pandas().to_datetime(table[name], utc=True)
    return table


def _most(limit: Any) -> int:
    if limit is None:
        return _EVERY
    if isinstance(limit, bool) or not isinstance(limit, Integral) or int(limit) < 1:
        raise InvalidInput(
            f"limit is {limit!r:.80}, which is no number of runs.",
            "Give a whole number from 1 on, or leave it out for all runs.",
        )
    return int(limit)


def models(name: str | None = None) -> pd.DataFrame:
    """Versions of models, newest first, with a column for each `metrics.KEY`."""
    frame = _pandas().DataFrame
    path = "/models" if name is None else f"/models/{named(name)}/versions"
    with _client() as client:
        found = client.pages(path, _EVERY)["items"]
    rows = [
        {
            "model": each["model"],
            "version": each["version"],
            "stage": each["stage"],
            "created_at": _time(each["created_at"]),
            "run": each["lineage"]["run_id"],
            "dataset": each["lineage"]["dataset"],
            "dataset_version": each["lineage"]["dataset_version"],
            **{f"metrics.{key}": value for key, value in each["metrics"].items()},
        }
        for each in found
    ]
    return frame(rows)


def predict(
    deployment: str, data: pd.DataFrame | Mapping[str, Any] | Iterable[Mapping[str, Any]]
) -> pd.DataFrame:
    """Ask a deployed model: a prediction for each row, under the index of `data`.

    Columns are those of the model's outputs; `probabilities` become one column for each
    class, `probability_CLASS`. Columns that the model doesn't know aren't sent; a column
    numbered 0 is the model's `0`.

    Args:
        deployment: Its name; a loop's has the loop's.
        data: A table; or one row as a mapping of its columns to their values; or several.

    Raises `InvalidInput` for anything else, for rows with none of the model's columns or
    without one that may not be null, for two columns of one name, for a value of another type,
    and for a model that takes tensors; `Conflict` when nothing is live there.
    """
    pandas = _pandas()
    table: Any = data if isinstance(data, pandas.DataFrame) else pandas.DataFrame(_given(data))
    session = _session()
    with _client() as client:
        deployed = client.get(f"/deployments/{named(deployment)}")
        fields = inputs_of(client, deployed)
        path = f"/models/{named(deployed['model'])}/versions/{deployed['live_version']}"
        signature = client.get(path)["signature"]
    if not fields:
        raise InvalidInput(
            f"The model of {deployment} takes tensors, not a table's columns.",
            "Ask it in the Open Inference Protocol: see docs/serving-protocol.md.",
        )
    deployed = {**deployed, "infer_url": reachable(deployed["infer_url"], session.url)}
    answers = list(ask(deployed, session.token, fields, _rows(table, fields)))
    spread = [_spread(answer, signature.get("classes")) for answer in answers]
    return pandas.DataFrame(spread, index=table.index)


def _given(data: Any) -> list[Mapping[str, Any]]:
    """The rows of what isn't a table. Raises `InvalidInput` for what holds none."""
    rows: Any = [data] if isinstance(data, Mapping) else data
    kind = type(data).__name__
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise _no_rows(f"{kind} is no table and holds no rows.")
    found: list[Any] = list(rows)
    for place, row in enumerate(found):
        if not isinstance(row, Mapping):
            raise _no_rows(f"Item {place} of the {kind} is {type(row).__name__}, not a row.")
        for name, value in row.items():
            if isinstance(value, list | tuple | set | Mapping) or getattr(value, "ndim", 0):
                held = type(value).__name__
                raise _no_rows(f"Row {place} has {held} as its {name!r}, not one value.")
    return found


def _no_rows(what: str) -> InvalidInput:
    return InvalidInput(
        what,
        'Give a pandas.DataFrame, one row like {"x": 1}, or a list of such rows; columns as'
        " lists become a table with pandas.DataFrame(data).",
        code="no_rows",
    )


def _rows(
    table: pd.DataFrame, fields: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Of the columns that the model doesn't know only the names, for the message about those
    that lack."""
    places = _places(table, fields)
    names = [field["name"] for field in fields if field["name"] in places]
    wanted = set(names)
    others = dict.fromkeys(name for name in places if name not in wanted)
    integers = {field["name"] for field in fields if field["type"] == "integer"}
    known = table.iloc[:, [places[name] for name in names]]
    cells = known.itertuples(index=False, name=None) if names else repeat((), len(table))
    for place, row in enumerate(cells):
        values = {
            name: _plain(value, integer=name in integers)
            for name, value in zip(names, row, strict=True)
        }
        yield f"row {place}", {**values, **others}


def _places(table: pd.DataFrame, fields: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The columns' places by their names as text, since pandas numbers what has none. Raises
    `InvalidInput` where several are called as one of the model's."""
    found = [str(name) for name in table.columns]
    times = Counter(found)
    for name in (each["name"] for each in fields):
        if times[name] > 1:
            raise InvalidInput(
                f"The table has {times[name]} columns named {name!r}.",
                "Rename or drop all but one of them.",
                code="column_duplicated",
            )
    return {name: place for place, name in enumerate(found)}


def _plain(value: Any, *, integer: bool) -> Any:
    """A cell as JSON has it: what pandas takes for missing is null, and an integer that a
    missing value beside it made a float is one again."""
    if value is None or value != value or type(value).__name__ in ("NaTType", "NAType"):  # noqa: PLR0124
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "item"):
        value = value.item()
    if integer and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _spread(answer: Mapping[str, Any], classes: Sequence[Any] | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in answer.items():
        if name == "probabilities" and classes and len(classes) == len(value):
            found |= {f"probability_{c}": v for c, v in zip(classes, value, strict=True)}
        else:
            found[name] = value
    return found


def _session() -> Session:
    with _lock:
        if _sessions:
            return _sessions[0]
    try:
        return login()
    except (Unavailable, Unauthenticated) as error:
        raise Unauthenticated(
            f"Not logged in. {error.what}",
            'Call volant.login(), or volant.login("http://HOST:8400", token="…") for a server'
            " elsewhere; `volant up` starts one here.",
            code="not_logged_in",
        ) from error


def _client() -> Client:
    session = _session()
    return Client(session.url, session.token)


def _pandas() -> Any:
    if find_spec("pandas") is None:
        raise InvalidInput(
            "Tables need pandas, which isn't installed here.",
            "pip install pandas",
            code="no_pandas",
        )
    import pandas

    return pandas


def _time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None
