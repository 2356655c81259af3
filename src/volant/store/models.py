"""Models and their versions, aliases and stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from volant.domain.event import MODEL_PROMOTED, MODEL_RETIRED, Event
from volant.domain.model import STAGE_TRANSITIONS, ModelVersion, Stage
from volant.errors import Conflict, InvalidInput
from volant.store.engine import Database, Write
from volant.store.events import emit
from volant.store.model_use import served
from volant.store.prepared import Prepared
from volant.store.rows import columns, missing, one, page, values
from volant.store.schema import aliases, model_versions, models

CHAMPION = "champion"
CHALLENGER = "challenger"

_FIELDS = [column for column in columns(model_versions) if column.name != "run_id"]


class SqlModels:
    """`ModelRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, version: ModelVersion, event: Event) -> ModelVersion:
        """As the port says; the event's data gets the number given as `version`."""
        if version.stage not in (Stage.CANDIDATE, Stage.REFUSED):
            raise InvalidInput(
                f"A new version of {version.model} can't be registered as {version.stage.value}.",
                "Register it as candidate or refused; activating a revision makes it champion.",
            )
        with self._database.write() as work:
            newest = _lock_model(work, version)
            stored = _of_run(work.connection, version.model, version.lineage.run_id)
            if stored is not None:
                return stored
            number = newest + 1
            insert_version(work, replace(version, version=number))
            if version.stage is Stage.CANDIDATE:
                set_alias(work, version.model, CHALLENGER, number)
            emit(work, replace(event, data={**event.data, "version": number}))
            return _find(work.connection, version.model, number)

    def prepare(self, version: ModelVersion, event: Event) -> ModelVersion:
        table, name, number = model_versions, version.model, version.version
        candidate = values(table, version, run_id=version.lineage.run_id, stage=Stage.CANDIDATE)
        kept = ("seq", "model", "version", "run_id", "created_at", "params")
        with self._database.write() as work:
            _lock(work, name)
            guarded = sa.update(table).where(
                table.c.model == name,
                table.c.version == number,
                table.c.run_id == version.lineage.run_id,
                table.c.stage == Stage.REGISTERED,
            )
            changed = {key: value for key, value in candidate.items() if key not in kept}
            if not work.changed(guarded.values(changed)):
                stored = _find(work.connection, name, number)
                if stored.uri == version.uri:
                    return stored
                raise Conflict(
                    f"{name} version {number} is {stored.stage.value}, not registered only.",
                    "It was prepared already: deploy it.",
                    code="model.prepared",
                )
            set_alias(work, name, CHALLENGER, number)
            emit(work, event)
            return _find(work.connection, name, number)

    def retire(self, model: str, version: int, event: Event) -> ModelVersion:
        with self._database.write() as work:
            _lock(work, model)
            stage = _find(work.connection, model, version).stage
            if stage is not Stage.RETIRED:
                _check_move(model, version, stage, Stage.RETIRED)
                uses = served(work.connection, model)
                if version in uses:
                    raise uses[version].refusal()
                _move(work, model, version, stage, Stage.RETIRED)
                _drop_aliases(work, model, version, CHALLENGER, CHAMPION)
                emit(work, replace(event, data={**event.data, "was": stage.value}))
            return _find(work.connection, model, version)

    def holds(self, uri: str) -> bool:
        table = model_versions
        with self._database.read() as connection:
            direct = sa.select(table.c.seq).where(table.c.uri == uri).limit(1)
            return connection.execute(direct).scalar() is not None

    def get(self, model: str, version: int) -> ModelVersion:
        with self._database.read() as connection:
            return _find(connection, model, version)

    def by_alias(self, model: str, alias: str) -> ModelVersion:
        statement = sa.select(aliases.c.version).where(
            aliases.c.model == model, aliases.c.alias == alias
        )
        with self._database.read() as connection:
            number = connection.execute(statement).scalar()
            if number is None:
                raise missing("model version", f"{model}@{alias}")
            return _find(connection, model, number)

    def champion(self, model: str) -> ModelVersion | None:
        statement = sa.select(*_FIELDS).where(
            model_versions.c.model == model, model_versions.c.stage == Stage.CHAMPION
        )
        with self._database.read() as connection:
            row = one(connection, statement)
            return None if row is None else _versions(connection, [row])[0]

    def page(
        self, limit: int, before: str | None = None, *, model: str | None = None
    ) -> tuple[Sequence[ModelVersion], str | None]:
        statement = sa.select(*_FIELDS)
        if model is not None:
            statement = statement.where(model_versions.c.model == model)
        with self._database.read() as connection:
            rows, following = page(connection, statement, model_versions.c.seq, limit, before)
            return _versions(connection, rows), following


def promote(work: Write, model: str, version: int, told: Event) -> None:
    """Make a version its model's champion in an open transaction: stage and alias moved,
    the old champion retired, the alias `challenger` taken off it, an event for each of
    the two beside `told`, which tells why. Does nothing to one that is champion already.
    Raises `NotFound`, or `Conflict` when the version's stage doesn't allow it."""
    table = model_versions
    _lock(work, model)
    stage = _find(work.connection, model, version).stage
    if stage is Stage.CHAMPION:
        return
    _check_move(model, version, stage, Stage.CHAMPION)
    champion = sa.select(table.c.version).where(
        table.c.model == model, table.c.stage == Stage.CHAMPION
    )
    old = work.execute(champion).scalar()
    # The old one first: the partial unique index allows one champion at any moment.
    if old is not None:
        _move(work, model, old, Stage.CHAMPION, Stage.RETIRED)
        emit(work, _moved(told, MODEL_RETIRED, model, old, Stage.CHAMPION))
    _move(work, model, version, stage, Stage.CHAMPION)
    set_alias(work, model, CHAMPION, version)
    _drop_aliases(work, model, version, CHALLENGER)
    emit(work, _moved(told, MODEL_PROMOTED, model, version, stage))


def uris_of(connection: sa.Connection, model: str, version: int | None = None) -> list[str]:
    """Where the files of a model's versions are, or of one; a prepared version has those
    that it was registered with, too."""
    statement = sa.select(model_versions.c.uri, model_versions.c.runtime).where(
        model_versions.c.model == model
    )
    if version is not None:
        statement = statement.where(model_versions.c.version == version)
    found: list[str] = []
    for uri, runtime in connection.execute(statement):
        found += [uri, *([runtime["registered_uri"]] if "registered_uri" in runtime else [])]
    return found


def _lock(work: Write, model: str) -> None:
    work.execute(sa.select(models.c.name).where(models.c.name == model).with_for_update())


def _check_move(model: str, version: int, stage: Stage, to: Stage) -> None:
    if to not in STAGE_TRANSITIONS[stage]:
        raise Conflict(
            f"{model} version {version} is {stage.value} and can't become {to.value}.",
            _INSTEAD.get((stage, to), "Register a new version."),
            code="model.stage",
            details={"model": model, "version": version, "stage": stage.value, "to": to.value},
        )


_INSTEAD = {
    (Stage.REGISTERED, Stage.CHAMPION): "Prepare it first: volant models prepare.",
    (Stage.REGISTERED, Stage.RETIRED): "It never served: delete it, or leave it.",
    (Stage.REFUSED, Stage.RETIRED): "It never served: delete it, or leave it.",
}


def _move(work: Write, model: str, version: int, stage: Stage, to: Stage) -> None:
    """Guarded by the stage; the caller holds the model's lock."""
    table = model_versions
    work.execute(
        sa.update(table)
        .where(table.c.model == model, table.c.version == version, table.c.stage == stage)
        .values(stage=to)
    )


def _moved(told: Event, kind: str, model: str, version: int, stage: Stage) -> Event:
    """One event tells of a version's new stage, once for each event that is its reason."""
    word = kind.rpartition(".")[2]
    return Event(
        id=f"evt-{word}-{told.id.removeprefix('evt-')}",
        type=kind,
        source="volant/registry",
        subject=f"model/{model}",
        time=told.time,
        data={"model": model, "version": version, "was": stage.value, "because": told.id},
    )


def _drop_aliases(work: Write, model: str, version: int, *names: str) -> None:
    c = aliases.c
    work.execute(
        sa.delete(aliases).where(c.model == model, c.alias.in_(names), c.version == version)
    )


def set_alias(work: Write, model: str, alias: str, version: int) -> None:
    """Point an alias at a version, whatever it pointed at before. The caller holds the
    model's lock."""
    moved = (
        sa.update(aliases)
        .where(aliases.c.model == model, aliases.c.alias == alias)
        .values(version=version)
    )
    if not work.changed(moved):
        work.execute(sa.insert(aliases).values(model=model, alias=alias, version=version))


def _lock_model(work: Write, version: ModelVersion) -> int:
    """Make the model if it is new and lock its row; returns its newest version's number."""
    work.insert_new(
        models, {"name": version.model, "created_at": version.created_at, "latest_version": 0}
    )
    locked = (
        sa.select(models.c.latest_version).where(models.c.name == version.model).with_for_update()
    )
    return work.execute(locked).scalar_one()


def insert_version(work: Write, version: ModelVersion) -> None:
    """Store a numbered version; the caller holds the model's lock."""
    row = values(model_versions, version, run_id=version.lineage.run_id)
    work.insert(model_versions, row)
    _NUMBERED.run(work.connection, [{"model": version.model, "number": version.version}])


_NUMBERED = Prepared(
    lambda _: (
        sa.update(models)
        .where(models.c.name == sa.bindparam("model"))
        .values(latest_version=sa.bindparam("number"))
    )
)


def _find(connection: sa.Connection, model: str, version: int) -> ModelVersion:
    statement = sa.select(*_FIELDS).where(
        model_versions.c.model == model, model_versions.c.version == version
    )
    row = one(connection, statement)
    if row is None:
        raise missing("model version", f"{model} {version}")
    return _versions(connection, [row])[0]


def _of_run(connection: sa.Connection, model: str, run_id: str) -> ModelVersion | None:
    statement = sa.select(*_FIELDS).where(
        model_versions.c.model == model, model_versions.c.run_id == run_id
    )
    row = one(connection, statement)
    return None if row is None else _versions(connection, [row])[0]


def _versions(connection: sa.Connection, rows: Sequence[sa.RowMapping]) -> list[ModelVersion]:
    names: dict[tuple[str, int], list[str]] = {}
    of_these = aliases.c.model.in_({row["model"] for row in rows})
    for alias in connection.execute(sa.select(aliases).where(of_these).order_by(aliases.c.alias)):
        names.setdefault((alias.model, alias.version), []).append(alias.alias)
    versions: list[ModelVersion] = []
    for row in rows:
        fields = {column.name: row[column.name] for column in _FIELDS}
        own = tuple(names.get((row["model"], row["version"]), ()))
        versions.append(ModelVersion(**fields, aliases=own))
    return versions
