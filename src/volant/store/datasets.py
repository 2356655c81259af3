"""Datasets and their versions."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from volant.domain.contract import Contract
from volant.domain.dataset import Dataset, DatasetVersion
from volant.store.engine import Database
from volant.store.rows import columns, missing, one, page, paged, record, several, values
from volant.store.schema import dataset_versions, datasets


class SqlDatasets:
    """`DatasetRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, dataset: Dataset) -> Dataset:
        with self._database.write() as work:
            work.insert_new(datasets, values(datasets, dataset))
            return find_dataset(work.connection, dataset.name)

    def get(self, name: str) -> Dataset:
        with self._database.read() as connection:
            return find_dataset(connection, name)

    def list(self) -> Sequence[Dataset]:
        statement = sa.select(*columns(datasets)).order_by(datasets.c.name)
        with self._database.read() as connection:
            return several(connection, Dataset, statement)

    def set_contract(self, name: str, contract: Contract) -> None:
        update = sa.update(datasets).where(datasets.c.name == name).values(contract=contract)
        with self._database.write() as work:
            if not work.changed(update):
                raise missing("dataset", name)


class SqlVersions:
    """`VersionRecords` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, dataset: str, version: int) -> DatasetVersion:
        table = dataset_versions
        statement = sa.select(*columns(table)).where(
            table.c.dataset == dataset, table.c.version == version
        )
        with self._database.read() as connection:
            row = one(connection, statement)
        if row is None:
            raise missing("dataset version", f"{dataset} {version}")
        return record(DatasetVersion, row)

    def page(
        self, dataset: str, limit: int, before: str | None = None
    ) -> tuple[Sequence[DatasetVersion], str | None]:
        table = dataset_versions
        statement = sa.select(*columns(table)).where(table.c.dataset == dataset)
        with self._database.read() as connection:
            rows, following = page(connection, statement, table.c.version, limit, before)
        return paged(DatasetVersion, rows), following


def find_dataset(connection: sa.Connection, name: str) -> Dataset:
    """The stored dataset. Raises `NotFound`."""
    row = one(connection, sa.select(*columns(datasets)).where(datasets.c.name == name))
    if row is None:
        names = connection.execute(sa.select(datasets.c.name)).scalars()
        raise missing("dataset", name, names)
    return record(Dataset, row)
