"""Registered models as MLflow's registry has them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from volant.domain.event import Event
from volant.domain.model import Stage
from volant.domain.query import Comparison, Order, Search
from volant.domain.registered import RegisteredModel
from volant.errors import Conflict, NotFound
from volant.store.engine import Database, Write
from volant.store.events import emit
from volant.store.experiments import pairs_of, upsert_pairs
from volant.store.models import CHALLENGER, CHAMPION, set_alias, uris_of
from volant.store.owners import hold_project
from volant.store.prepared import found_by
from volant.store.registered_tables import model_facts, model_tags, version_facts, version_tags
from volant.store.schema import aliases, deployments, loops, model_versions, models
from volant.store.searching import compared, compared_time, in_pairs, ordered, page_of

PLATFORMS_OWN = (CHAMPION, CHALLENGER)
_PROMPT = "mlflow.prompt.is_prompt"
# MLflow's 3.x client adds one of these to each search: it means those without the tag, too.
_NO_PROMPT = {(_PROMPT, "!=", "true"), (_PROMPT, "=", "false")}
_UPDATED = sa.func.coalesce(
    model_facts.c.updated_at, models.c.created_at, type_=models.c.created_at.type
)
_SELECT = sa.select(
    models.c.name,
    models.c.created_at,
    _UPDATED.label("updated_at"),
    sa.func.coalesce(model_facts.c.description, "").label("description"),
    models.c.project,
).outerjoin_from(models, model_facts, model_facts.c.model == models.c.name)
_ATTRIBUTES: dict[str, Any] = {
    "name": models.c.name,
    "creation_timestamp": models.c.created_at,
    "last_updated_timestamp": _UPDATED,
}
_FIELDS = [column.name for column in _SELECT.selected_columns]
_ONE = found_by(_SELECT, model=models.c.name)
_ITS_TAGS = found_by(
    sa.select(model_tags.c.key, model_tags.c.value), model_tags.c.key, model=model_tags.c.model
)
_ITS_ALIASES = found_by(
    sa.select(aliases.c.alias, aliases.c.version), aliases.c.alias, model=aliases.c.model
)


class SqlRegisteredModels:
    """`RegisteredModels` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, model: RegisteredModel) -> RegisteredModel:
        row = {
            "name": model.name,
            "created_at": model.created_at,
            "latest_version": 0,
            "project": model.project,
        }
        with self._database.write() as work:
            hold_project(work, model.project)
            if not work.insert_new(models, row):
                raise _taken(work, model.name, model.project)
            describe(work, model.name, model.description)
            upsert_pairs(work, model_tags, model.name, model.tags)
            return find_model(work.connection, model.name)

    def get(self, name: str) -> RegisteredModel:
        with self._database.read() as connection:
            return find_model(connection, name)

    def change(
        self,
        name: str,
        *,
        new_name: str | None = None,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        without: str | None = None,
        aliases: Mapping[str, int | None] | None = None,
    ) -> RegisteredModel:
        with self._database.write() as work:
            locked = sa.select(models.c.name).where(models.c.name == name).with_for_update()
            if work.execute(locked).scalar() is None:
                raise no_model(name)
            describe(work, name, description)
            upsert_pairs(work, model_tags, name, tags or {})
            if without is not None:
                c = model_tags.c
                work.execute(sa.delete(model_tags).where(c.model == name, c.key == without))
            _point(work, name, aliases or {})
            if new_name is not None and new_name != name:
                _rename(work, name, new_name)
                name = new_name
            return find_model(work.connection, name)

    def delete(self, name: str, event: Event) -> None:
        with self._database.write() as work:
            find_model(work.connection, name)
            refuse_if_used(work, name)
            uris = uris_of(work.connection, name)
            for table in (aliases, model_versions):
                work.execute(sa.delete(table).where(table.c.model == name))
            work.execute(sa.delete(models).where(models.c.name == name))
            emit(work, replace(event, data={**event.data, "uris": uris}))

    def search(self, search: Search) -> tuple[Sequence[RegisteredModel], bool]:
        statement = _SELECT.where(*(self._condition(each) for each in search.where))
        if search.project is not None:
            statement = statement.where(models.c.project == search.project)
        orders = [*search.order, Order("attribute", "name")]
        statement = ordered(statement, orders, _ATTRIBUTES, {"tag": model_tags}, models.c.name)
        statement = statement.limit(search.limit + 1).offset(search.offset)
        with self._database.read() as connection:
            rows, more = page_of(connection.execute(statement).mappings().all(), search.limit)
            return _whole(connection, rows), more

    def _condition(self, comparison: Comparison) -> sa.ColumnElement[Any]:
        sqlite = self._database.is_sqlite
        if comparison.entity == "tag":
            if (comparison.key, comparison.op, comparison.value) in _NO_PROMPT:
                prompt = Comparison("tag", _PROMPT, "=", "true")
                return sa.not_(in_pairs(model_tags, models.c.name, prompt, sqlite))
            return in_pairs(model_tags, models.c.name, comparison, sqlite)
        column = _ATTRIBUTES[comparison.key]
        if comparison.key.endswith("_timestamp"):
            return compared_time(column, comparison)
        return compared(column, comparison, sqlite)


def describe(work: Write, name: str, description: str | None) -> None:
    """Note that a model changed, and its new description if there is one."""
    row = {"model": name, "description": description or "", "updated_at": datetime.now(UTC)}
    changed = ["updated_at"] if description is None else ["updated_at", "description"]
    work.upsert(model_facts, [row], changed)


def find_model(connection: sa.Connection, name: str) -> RegisteredModel:
    """The model; raises `NotFound`."""
    found = _ONE.rows(connection, model=name)
    if not found:
        raise no_model(name)
    row = dict(zip(_FIELDS, found[0], strict=True))
    tags = dict(_ITS_TAGS.rows(connection, model=name))
    return RegisteredModel(
        **row, tags=tags, aliases=dict(_ITS_ALIASES.rows(connection, model=name))
    )


def no_model(name: str) -> NotFound:
    return NotFound(
        f"Registered Model with name={name[:250]} not found.",
        "`volant models` lists them.",
        code="model.not_found",
    )


def _taken(work: Write, name: str, project: str) -> Conflict:
    """A name is one model's in all projects: deployments and loops know it by that alone."""
    owner = work.execute(sa.select(models.c.project).where(models.c.name == name)).scalar_one()
    if owner == project:
        return Conflict(
            f"Registered Model (name={name}) already exists.",
            "Register a version of it, or choose another name.",
            code="already_exists",
        )
    return Conflict(
        f"Registered Model (name={name}) already exists in the workspace {owner!r}.",
        "Names of registered models are unique over all workspaces: choose another name, or"
        f" work in {owner!r}.",
        code="already_exists",
        details={"model": name, "project": owner},
    )


def refuse_if_used(work: Write, name: str) -> None:
    """Raises `Conflict` while a deployment serves the model or a loop trains it."""
    by = work.execute(sa.select(deployments.c.name).where(deployments.c.model == name)).scalar()
    if by is not None:
        raise Conflict(
            f"The model {name!r} is served by the deployment {by!r}.",
            f"End it first: volant deployments delete {by}.",
            code="model.in_use",
        )
    if work.execute(sa.select(loops.c.name).where(loops.c.name == name)).scalar() is not None:
        raise Conflict(
            f"The loop {name!r} trains this model.",
            f"Delete the loop first: volant loops delete {name}.",
            code="model.in_use",
        )


def _point(work: Write, name: str, wanted: Mapping[str, int | None]) -> None:
    c = aliases.c
    for alias, version in wanted.items():
        if alias in PLATFORMS_OWN:
            _refuse_by_hand(work, name, alias, version)
        if version is None:
            work.execute(sa.delete(aliases).where(c.model == name, c.alias == alias))
            continue
        v = model_versions.c
        there = sa.select(v.version).where(v.model == name, v.version == version)
        if work.execute(there).scalar() is None:
            raise NotFound(
                f"Model Version (name={name}, version={version}) not found.",
                f"`volant models --model {shlex.quote(name)}` lists its versions.",
                code="model.not_found",
            )
        set_alias(work, name, alias, version)


def _refuse_by_hand(work: Write, name: str, alias: str, version: int | None) -> None:
    """The platform's own aliases follow what serves, once anything does or did."""
    c, v = aliases.c, model_versions.c
    now = work.execute(sa.select(c.version).where(c.model == name, c.alias == alias)).scalar()
    if now == version:
        return
    served = (
        sa.select(deployments.c.name).where(deployments.c.model == name),
        sa.select(loops.c.name).where(loops.c.name == name),
        sa.select(v.model).where(v.model == name, v.stage == Stage.CHAMPION),
    )
    if not any(work.execute(each.limit(1)).scalar() is not None for each in served):
        return
    to = "VERSION" if version is None else version
    raise Conflict(
        f"The alias {alias!r} of {name!r} follows what serves and isn't moved by hand.",
        f"Deploy the version (volant deploy '{name}@{to}'), or go back (volant rollback); any "
        "other alias is yours."
        if alias == CHAMPION
        else "A new candidate takes it, and loses it when it is deployed; any other alias is "
        "yours.",
        code="model.alias_follows",
        details={"model": name, "alias": alias, "version": now},
    )


def _rename(work: Write, name: str, new: str) -> None:
    """Under a new name with all its rows: those that point at it come over one table
    after the other, since neither database can defer these constraints here."""
    refuse_if_used(work, name)
    old = work.execute(sa.select(models).where(models.c.name == name)).mappings().one()
    if not work.insert_new(models, {**old, "name": new}):
        raise _taken(work, new, old["project"])
    held = work.execute(sa.select(aliases).where(aliases.c.model == name)).mappings().all()
    work.execute(sa.delete(aliases).where(aliases.c.model == name))
    beside = (version_facts, version_tags)
    kept = {
        table: work.execute(sa.select(table).where(table.c.model == name)).mappings().all()
        for table in beside
    }
    for table in beside:
        work.execute(sa.delete(table).where(table.c.model == name))
    for table in (model_versions, model_facts, model_tags):
        work.execute(sa.update(table).where(table.c.model == name).values(model=new))
    for table, rows in ((aliases, held), *kept.items()):
        if rows:
            work.execute(sa.insert(table), [{**row, "model": new} for row in rows])
    work.execute(sa.delete(models).where(models.c.name == name))


def _whole(connection: sa.Connection, rows: Sequence[sa.RowMapping]) -> list[RegisteredModel]:
    names = [row["name"] for row in rows]
    tags = pairs_of(connection, model_tags, names)
    pointing: dict[str, dict[str, int]] = {}
    statement = sa.select(aliases).where(aliases.c.model.in_(names)).order_by(aliases.c.alias)
    for row in connection.execute(statement):
        pointing.setdefault(row.model, {})[row.alias] = row.version
    return [
        RegisteredModel(
            **row, tags=tags.get(row["name"], {}), aliases=pointing.get(row["name"], {})
        )
        for row in rows
    ]
