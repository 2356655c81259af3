"""The data room's work in a step process: ingest a push, release rows, read rows.

What a push leaves behind, in this order: its broken rows in `<dataset>.quarantine`,
then its good rows in `<dataset>`, both keyed by the push's id. A process that dies
anywhere in between runs again from the start and adds only what is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from volant.data.contract import Checked, check
from volant.data.delivery import Delivery, quarantine_rows, read_delivery
from volant.data.outcome import TOP_REASONS, existing_values, rejected, rows_at
from volant.data.release import release
from volant.data.rows import read_quarantine, read_rows
from volant.domain.codec import from_plain, to_plain
from volant.domain.contract import Contract
from volant.errors import InvalidInput
from volant.faults import crash_point
from volant.ports.tables import Tables


def ingest(inputs: Mapping[str, Any], tables: Tables) -> dict[str, Any]:
    """Check a push's files against the contract; append good rows, quarantine the others.

    Inputs: push_id, dataset, files [{path, name}], options {format, delimiter,
    encoding}, contract (None: inferred from these files). Outputs: status, table_version,
    rows_added, rows_total, rows_quarantined, contract (if inferred now), reasons,
    reason, warnings.

    A file that can't be used, or rows that are all broken, give status `rejected` with
    the reason. Raises `ResourceExhausted` on a full disk and `Unavailable`.
    """
    push_id, dataset = str(inputs["push_id"]), str(inputs["dataset"])
    given = inputs.get("contract")
    contract = None if given is None else from_plain(Contract, given)
    try:
        delivery = read_delivery(inputs["files"], inputs.get("options"), contract)
        checked = check(
            delivery.table,
            delivery.contract,
            existing_values(tables, dataset, delivery.contract, push_id),
        )
        return _store(delivery, checked, dataset, push_id, tables)
    except InvalidInput as error:
        return rejected(f"{error.what} {error.fix}")


def _store(
    delivery: Delivery, checked: Checked, dataset: str, push_id: str, tables: Tables
) -> dict[str, Any]:
    broken = quarantine_rows(delivery, checked, push_id)
    if broken.num_rows:
        tables.append(f"{dataset}.quarantine", broken, key=push_id)
    crash_point("ingest.quarantined")
    counts = checked.counts + Counter(one.reason for f in delivery.files for one in f.broken)
    outcome: dict[str, Any] = {
        "rows_quarantined": broken.num_rows,
        "reasons": dict(counts.most_common(TOP_REASONS)),
        "warnings": list(delivery.warnings),
    }
    if not checked.good.num_rows:
        return rejected(_all_broken(delivery.rows, counts)) | outcome
    again = tables.version_of(dataset, push_id) is not None
    version = tables.append(dataset, checked.good, key=push_id)
    crash_point("ingest.appended")
    total = rows_at(tables, dataset, version)
    added = checked.good.num_rows
    if again:  # the contract may have changed since: what was appended counts
        added = total - rows_at(tables, dataset, version - 1)
    contract = to_plain(delivery.contract) if delivery.inferred else None
    return {
        "status": "committed",
        "table_version": version,
        "rows_added": added,
        "rows_total": total,
        "contract": contract,
        "reason": None,
        **outcome,
    }


def _all_broken(rows: int, counts: Counter[str]) -> str:
    worst, times = counts.most_common(1)[0]
    which = "The only row breaks" if rows == 1 else f"All {rows} rows break"
    return (
        f"{which} the contract and went to quarantine; most often: {worst} ({times} times)."
        " Mend the data, or change the contract and release the rows."
    )


__all__ = ["ingest", "read_quarantine", "read_rows", "release"]
