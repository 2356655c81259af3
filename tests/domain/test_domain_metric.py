from __future__ import annotations

import pytest

from volant.domain.metric import better_when_greater, plain_name


@pytest.mark.parametrize(
    ("key", "greater"),
    [
        ("rmse", False),
        ("val_rmse", False),
        ("cv_r2", True),
        ("train_loss", False),
        ("validation_Error", False),
        ("test_top5_acc", True),
        ("log_loss", False),
        ("epoch", None),
        ("speed", None),
    ],
)
def test_which_way_is_better(key: str, greater: bool | None) -> None:
    assert better_when_greater(key) is greater


def test_a_plain_name_is_without_where_it_was_measured() -> None:
    assert plain_name("val_log_loss") == "log_loss"
    assert plain_name("cv_") == ""
    assert plain_name("accuracy") == "accuracy"
