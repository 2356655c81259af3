"""The steps that are built in for manifests, by the name that `uses:` gives them. A loop's
own steps aren't among them: they need what only a loop declares."""

from __future__ import annotations

from collections.abc import Mapping

# What each one writes, whatever a manifest declares; None: what the manifest declares, or
# what can't be known beforehand.
USES: Mapping[str, tuple[str, ...] | None] = {
    "batch": (
        *("model", "version", "rows", "predicted", "rejected", "output", "rejected_path"),
        *("warnings", "dataset", "file", "reason"),
        *("push", "dataset_version", "rows_added", "rows_quarantined"),
    ),
    "builder": None,
    "trainer": None,
    "predictor": None,
    "converter": None,
    "pass": None,  # its inputs
    "loop": ("model", "version", "url", "passed", "run"),
}

RUNNABLE = "runnable/"  # what the name of a registered one begins with

# They change something outside of their outputs: done again is not the same as taken over.
EFFECTS = frozenset({"batch", "predictor", "loop"})
