"""Does a loop fit the dataset that it names, as it is now?"""

from __future__ import annotations

from volant.domain.contract import ColumnRule, Contract
from volant.domain.dataset import Dataset
from volant.domain.loop import LoopSpec
from volant.errors import Conflict, InvalidInput
from volant.yamltext.problems import nearest


def check_target(spec: LoopSpec, dataset: Dataset) -> None:
    """Raises `InvalidInput` when the dataset is known to have no such column."""
    known = spec.data.contract or dataset.contract
    if known is None or known.column(spec.data.target) is not None:
        return
    names = [column.name for column in known.columns]
    guess = nearest(spec.data.target, names)
    raise InvalidInput(
        f"data.target {spec.data.target!r} isn't a column of the dataset {dataset.name}.",
        f"Did you mean {guess}?" if guess else f"Use one of: {', '.join(names[:20])}.",
        code="loop.unknown_target",
        details={"dataset": dataset.name, "columns": names},
    )


def check_types(declared: Contract, dataset: Dataset) -> None:
    """Raises `Conflict` when a column that holds data would change its type: the rows
    that are stored already can't."""
    if dataset.contract is None or dataset.latest_version is None:
        return
    for column in declared.columns:
        old = dataset.contract.column(column.name)
        if old is not None and old.type != column.type:
            raise Conflict(
                f"The contract makes {column.name!r} a {column.type.value}, but the "
                f"{dataset.rows:,} rows in the dataset {dataset.name} hold it as a "
                f"{old.type.value}.",
                f"Write type: {old.type.value}, or push to a dataset with another name.",
                code="loop.contract_conflict",
                details={
                    "dataset": dataset.name,
                    "column": column.name,
                    "stored": old.type.value,
                    "declared": column.type.value,
                },
            )


def warnings(declared: Contract, dataset: Dataset) -> list[str]:
    """What the declared contract changes for a dataset that holds data, for a person."""
    if dataset.contract is None or dataset.latest_version is None:
        return []
    found: list[str] = []
    for column in declared.columns:
        old = dataset.contract.column(column.name)
        if old is None:
            found.append(
                f"The column {column.name!r} is new in the contract; rows pushed before have "
                f"no value there."
            )
        elif _stricter(old, column):
            found.append(
                f"The rule for {column.name!r} is stricter than the one that the "
                f"{dataset.rows:,} rows in {dataset.name} passed; they aren't checked again."
            )
    found.extend(
        f"The column {old.name!r} is in the dataset {dataset.name} but not in the contract."
        for old in dataset.contract.columns
        if declared.column(old.name) is None
    )
    return found


def _stricter(old: ColumnRule, new: ColumnRule) -> bool:
    return (
        (old.nullable and not new.nullable)
        or (new.unique and not old.unique)
        or (new.min is not None and (old.min is None or new.min > old.min))
        or (new.max is not None and (old.max is None or new.max < old.max))
        or (new.values is not None and not (old.values and set(old.values) <= set(new.values)))
    )
