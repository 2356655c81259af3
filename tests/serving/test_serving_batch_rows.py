"""Answers and the rows that they belong to."""

import numpy as np
import pyarrow as pa
import pytest

from volant.serving.batch_rows import ChunkPredictor, OutputTable
from volant.serving.description import Description, Output
from volant.serving.query import Answer


def described(*outputs, classes=None):
    return Description("custom", (), classes, "code", "code", (), outputs=outputs)


ONE = described(Output("prediction", "FP32", (-1,)))


class Plain:
    """A reader whose rows are their own numbers."""

    def read(self, rows, rejected):
        self._values = rows.column("x").to_numpy()
        return self

    def groups(self, places):
        return (places,)

    def feeds(self, places):
        return [self._values[places]]


def predicted(predict, values):
    def answer(feeds):
        return Answer((np.asarray(predict(feeds[0]), dtype=np.float32),))

    rows = pa.table({"x": values})
    return ChunkPredictor(answer, ONE, Plain(), only=False).predict(rows)


@pytest.mark.parametrize("predict", [lambda x: np.repeat(x, 3), lambda x: x[:0], lambda x: 5.0])
def test_an_answer_of_another_number_of_rows_is_no_answer(predict):
    found = predicted(predict, [1.0, 2.0, 3.0])
    assert found.output.num_rows == 0
    assert sorted(found.rejected) == [0, 1, 2]
    assert "values of 'prediction' to 1 rows" in found.rejected[0]


def test_rows_that_are_answered_alone_keep_their_own_value():
    def drops_large(x):
        return x[x < 10] * 2

    found = predicted(drops_large, [1.0, 20.0, 3.0, 4.0])
    assert found.output.to_pylist() == [
        {"x": x, "prediction": 2 * x} for x in (1.0, 3.0, 4.0)
    ]  # fmt: skip
    assert list(found.rejected) == [1]


def test_a_column_that_is_named_like_a_prediction_gives_way():
    output = OutputTable(ONE, only=False)
    assert output.named(["a", "prediction"]) == ["a", "input_prediction"]
    names = ["prediction", "input_prediction", "input_prediction_2"]
    assert output.named(names) == [
        "input_prediction_3", "input_prediction", "input_prediction_2"
    ]  # fmt: skip
    # One that begins later finds its name taken.
    assert output.named(["prediction", "input_prediction"], ["input_prediction"]) == [
        "input_prediction", "input_input_prediction"
    ]  # fmt: skip


def test_the_types_are_the_same_where_no_row_was_predicted():
    about = described(
        Output("prediction", "BYTES", (-1,)),
        Output("probabilities", "FP32", (-1, 2)),
        Output("boxes", "FP32", (-1, 2, 4)),
        Output("count", "INT64", (-1,)),
        classes=("a", "b"),
    )
    output = OutputTable(about, only=False)
    rows = pa.table({"id": [7]})
    answer = Answer(
        (
            np.array(["a"], dtype=object),
            np.zeros((1, 2), np.float32),
            np.zeros((1, 2, 4), np.float32),
            np.array([3]),
        )
    )
    full = output.of(rows, [(np.array([0]), answer)])
    assert output.of(rows, []).schema == full.schema == output.schema(rows.schema)
    assert full.column_names == [
        "id", "prediction", "probability_a", "probability_b", "boxes", "count"
    ]  # fmt: skip
