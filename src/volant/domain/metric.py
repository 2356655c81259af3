"""The metrics Volant knows by name, and which way is better."""

from __future__ import annotations

GREATER_IS_BETTER: dict[str, bool] = {
    # classification
    "accuracy": True,
    "balanced_accuracy": True,
    "f1": True,
    "roc_auc": True,
    "log_loss": False,
    # regression
    "rmse": False,
    "mae": False,
    "r2": True,
}

TASK_METRICS: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "balanced_accuracy", "f1", "roc_auc", "log_loss"),
    "regression": ("rmse", "mae", "r2"),
}

_PREFIXES = ("cv_", "train_", "training_", "val_", "valid_", "validation_", "test_", "eval_")
_LESS_IS_BETTER = ("loss", "error", "rmse", "mae", "mse", "mape", "deviance", "perplexity")
_MORE_IS_BETTER = ("acc", "auc", "f1", "precision", "recall", "score", "r2", "iou", "reward")


def plain_name(key: str) -> str:
    """A logged metric's name without what says where it was measured: `val_rmse` is `rmse`."""
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key


def better_when_greater(key: str) -> bool | None:
    """Which way is better for any logged metric: as Volant knows it, else by its words; None
    for one that tells nothing."""
    name = plain_name(key)
    if name in GREATER_IS_BETTER:
        return GREATER_IS_BETTER[name]
    for words, greater in ((_LESS_IS_BETTER, False), (_MORE_IS_BETTER, True)):
        if any(word in name.lower() for word in words):
            return greater
    return None


DEFAULT_METRIC: dict[str, str] = {"classification": "log_loss", "regression": "rmse"}
