"""A table's columns for a model over columns."""

import pyarrow as pa
import pytest

from volant.data.cast import cast
from volant.data.filerows import plain_column
from volant.domain.model import Field
from volant.errors import InvalidInput
from volant.serving.batch_columns import ColumnRows
from volant.serving.batch_rows import Tools
from volant.serving.description import Description, Tensor


def reader(*, nullable=True):
    columns = tuple(Field(name, "number", nullable) for name in ("area", "rooms"))
    about = Description(
        "regression", columns, None, "native", "m", (Tensor("x", (0, 1), "float64"),)
    )
    return ColumnRows(about, Tools(cast, plain_column), "in.csv")


def test_a_table_with_none_of_the_model_s_columns_is_refused():
    with pytest.raises(InvalidInput, match=r"has none of the model's columns") as told:
        reader().read(pa.table({"foo": [1], "bar": [2]}), {})
    assert told.value.fix == "The model wants: area, rooms; it has: foo, bar."
    assert told.value.error_code == "missing_column"


def test_the_nearest_column_is_named():
    with pytest.raises(InvalidInput, match='Did you mean "Rooms"'):
        reader(nullable=False).read(pa.table({"area": [1], "Rooms": [2]}), {})
