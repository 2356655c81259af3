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

DEFAULT_METRIC: dict[str, str] = {"classification": "log_loss", "regression": "rmse"}
