"""Versions of registered models as MLflow's registry has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from volant.domain.event import Event
from volant.domain.model import ModelVersion
from volant.domain.query import Comparison, Search
from volant.domain.registered import OldStage, RegisteredVersion
from volant.errors import NotFound
from volant.store.engine import Database, Write
from volant.store.events import emit
from volant.store.model_use import needed, parents
from volant.store.models import insert_version, uris_of
from volant.store.prepared import found_by
from volant.store.registered_models import describe, no_model
from volant.store.registered_tables import version_facts, version_tags
from volant.store.schema import aliases, model_versions, models
from volant.store.searching import compared, compared_time, ordered, page_of

_V, _F = model_versions.c, version_facts.c
_UPDATED = sa.func.coalesce(_F.updated_at, _V.created_at, type_=_V.created_at.type)


def _text(column: Any) -> Any:
    return sa.func.coalesce(column, "")


_SELECT = sa.select(
    _V.model,
    _V.version,
    _V.created_at,
    _UPDATED.label("updated_at"),
    _V.uri,
    _F.old_stage,
    _text(_F.description).label("description"),
    _text(_F.user).label("user"),
    _text(_F.source).label("source"),
    _text(_F.run_id).label("run_id"),
    _text(_F.model_id).label("model_id"),
    _V.lineage,
).outerjoin_from(
    model_versions,
    version_facts,
    sa.and_(_F.model == _V.model, _F.version == _V.version),
)
_ATTRIBUTES: dict[str, Any] = {
    "name": _V.model,
    "version_number": _V.version,
    "run_id": _text(_F.run_id),
    "source_path": _text(_F.source),
    "source": _text(_F.source),
    "model_id": _text(_F.model_id),
    "creation_timestamp": _V.created_at,
    "last_updated_timestamp": _UPDATED,
}


class SqlRegisteredVersions:
    """`RegisteredVersions` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, version: ModelVersion, told: RegisteredVersion, event: Event
    ) -> RegisteredVersion:
        name = version.model
        with self._database.write() as work:
            newest = _NEWEST.rows(work.connection, model=name)
            if not newest:
                raise no_model(name)
            number = newest[0][0] + 1
            insert_version(work, replace(version, version=number))
            _tell(
                work,
                name,
                number,
                {
                    "description": told.description,
                    "user": told.user,
                    "source": told.source,
                    "run_id": told.run_id,
                    "model_id": told.model_id,
                },
            )
            _set_tags(work, name, number, told.tags)
            describe(work, name, None)
            emit(work, replace(event, data={**event.data, "version": number}))
            return _find(work.connection, name, number)

    def get(self, name: str, version: int) -> RegisteredVersion:
        with self._database.read() as connection:
            return _find(connection, name, version)

    def by_alias(self, name: str, alias: str) -> RegisteredVersion | None:
        with self._database.read() as connection:
            bearer = _BEARER.rows(connection, model=name, alias=alias)
            return _find(connection, name, bearer[0][0]) if bearer else None

    def change(
        self,
        name: str,
        version: int,
        *,
        description: str | None = None,
        old_stage: OldStage | None = None,
        archive_others: bool = False,
        tags: Mapping[str, str] | None = None,
        without: str | None = None,
    ) -> RegisteredVersion:
        with self._database.write() as work:
            _find(work.connection, name, version)
            if old_stage is not None and archive_others:
                others = sa.update(version_facts).where(
                    _F.model == name, _F.old_stage == old_stage, _F.version != version
                )
                work.execute(others.values(old_stage=OldStage.ARCHIVED))
            changed = {"description": description, "old_stage": old_stage}
            _tell(work, name, version, {k: v for k, v in changed.items() if v is not None})
            _set_tags(work, name, version, tags or {})
            if without is not None:
                c = version_tags.c
                gone = sa.delete(version_tags).where(
                    c.model == name, c.version == version, c.key == without
                )
                work.execute(gone)
            return _find(work.connection, name, version)

    def delete(self, name: str, version: int, event: Event) -> None:
        with self._database.write() as work:
            work.execute(sa.select(models.c.name).where(models.c.name == name).with_for_update())
            _find(work.connection, name, version)
            for uses in (needed(work.connection, name), parents(work.connection, name)):
                if version in uses:
                    raise uses[version].refusal()
            uris = uris_of(work.connection, name, version)
            for table in (aliases, model_versions):
                c = table.c
                work.execute(sa.delete(table).where(c.model == name, c.version == version))
            describe(work, name, None)
            emit(work, replace(event, data={**event.data, "uris": uris}))

    def uses(self, name: str) -> Mapping[int, str]:
        with self._database.read() as connection:
            return {version: use.what for version, use in needed(connection, name).items()}

    def search(self, search: Search) -> tuple[Sequence[RegisteredVersion], bool]:
        statement = _SELECT.where(*(self._condition(each) for each in search.where))
        if search.project is not None:
            own = sa.select(models.c.name).where(models.c.project == search.project)
            statement = statement.where(_V.model.in_(own))
        statement = ordered(statement, search.order, _ATTRIBUTES, {}, _V.model)
        statement = statement.order_by(_UPDATED.desc(), _V.model, _V.version.desc())
        statement = statement.limit(search.limit + 1).offset(search.offset)
        with self._database.read() as connection:
            rows, more = page_of(connection.execute(statement).mappings().all(), search.limit)
            return _whole(connection, rows), more

    def _condition(self, comparison: Comparison) -> sa.ColumnElement[Any]:
        sqlite = self._database.is_sqlite
        if comparison.entity == "tag":
            return _tagged(comparison, sqlite)
        column = _ATTRIBUTES[comparison.key]
        if comparison.key.endswith("_timestamp"):
            return compared_time(column, comparison)
        return compared(column, comparison, sqlite)


def _tagged(comparison: Comparison, sqlite: bool) -> sa.ColumnElement[Any]:
    c = version_tags.c
    found = sa.exists().where(c.model == _V.model, c.version == _V.version, c.key == comparison.key)
    if comparison.op == "IS NULL":
        return ~found
    if comparison.op == "IS NOT NULL":
        return found
    return found.where(compared(c.value, comparison, sqlite))


# Built once: making a statement takes longer than SQLite needs to answer it.
_FIELDS = [column.name for column in _SELECT.selected_columns]
_A, _T = aliases.c, version_tags.c
_ONE = found_by(_SELECT, model=_V.model, version=_V.version)
_BEARER = found_by(sa.select(_A.version), model=_A.model, alias=_A.alias)
_NEWEST = found_by(sa.select(models.c.latest_version).with_for_update(), model=models.c.name)
_ITS_TAGS = found_by(sa.select(_T.key, _T.value), model=_T.model, version=_T.version)
_ITS_ALIASES = found_by(sa.select(_A.alias), _A.alias, model=_A.model, version=_A.version)
_NAMES = sa.bindparam("names", expanding=True)
_TAGS = sa.select(version_tags).where(version_tags.c.model.in_(_NAMES))
_ALIASES = sa.select(aliases).where(aliases.c.model.in_(_NAMES)).order_by(aliases.c.alias)


def _find(connection: sa.Connection, name: str, version: int) -> RegisteredVersion:
    asked = {"model": name, "version": version}
    rows = _ONE.rows(connection, **asked)
    if not rows:
        raise NotFound(
            f"Model Version (name={name[:250]}, version={version}) not found.",
            f"`volant models show {name[:250]}` lists its versions.",
            code="model.not_found",
        )
    tags = dict(_ITS_TAGS.rows(connection, **asked))
    pointing = [alias for (alias,) in _ITS_ALIASES.rows(connection, **asked)]
    return _one(dict(zip(_FIELDS, rows[0], strict=True)), tags, pointing)


def _tell(work: Write, name: str, version: int, changed: Mapping[str, Any]) -> None:
    """Set facts of a version; the row is made when it is the first time."""
    blank = dict.fromkeys(("description", "user", "source", "run_id", "model_id"), "")
    now = {"updated_at": datetime.now(UTC)}
    row = {"model": name, "version": version, "old_stage": OldStage.NONE, **blank}
    work.upsert(version_facts, [{**row, **changed, **now}], [*changed, *now])


def _set_tags(work: Write, name: str, version: int, tags: Mapping[str, str]) -> None:
    rows = [{"model": name, "version": version, "key": k, "value": v} for k, v in tags.items()]
    work.upsert(version_tags, rows, ["value"])


def _whole(connection: sa.Connection, rows: Sequence[sa.RowMapping]) -> list[RegisteredVersion]:
    named = {"names": list({row["model"] for row in rows})}
    tags: dict[tuple[str, int], dict[str, str]] = {}
    for row in connection.execute(_TAGS, named):
        tags.setdefault((row.model, row.version), {})[row.key] = row.value
    pointing: dict[tuple[str, int], list[str]] = {}
    for row in connection.execute(_ALIASES, named):
        pointing.setdefault((row.model, row.version), []).append(row.alias)
    keys = [(row["model"], row["version"]) for row in rows]
    return [
        _one(row, tags.get(key, {}), pointing.get(key, ()))
        for row, key in zip(rows, keys, strict=True)
    ]


def _one(
    row: Mapping[Any, Any], tags: Mapping[str, str], pointing: Sequence[str]
) -> RegisteredVersion:
    """A version that the platform trained has no facts of its own: its lineage tells."""
    fields = {key: row[key] for key in row if key != "lineage"}
    fields["old_stage"] = row["old_stage"] or OldStage.NONE
    fields["source"] = row["source"] or row["uri"]
    fields["run_id"] = row["run_id"] or row["lineage"].tracking_run or ""
    return RegisteredVersion(**fields, tags=dict(tags), aliases=tuple(pointing))
