"""The steps that are built in, by the name that `uses:` gives them."""

from __future__ import annotations

from collections.abc import Mapping

# What each one writes, whatever a manifest declares; None: what the manifest declares, or
# what can't be known beforehand.
USES: Mapping[str, tuple[str, ...] | None] = {
    # of a loop
    "ingest": None,
    "release": None,
    "split": None,
    "tune": None,
    "train": None,
    "evaluate": None,
    "register": None,
    "deploy": None,
    "batch": (
        *("model", "version", "rows", "predicted", "rejected", "output", "rejected_path"),
        *("dataset", "file", "reason", "push"),
    ),
    # of a manifest
    "builder": None,
    "trainer": None,
    "predictor": None,
    "converter": None,
    "pass": None,  # its inputs
    "loop": ("model", "version", "url", "passed", "run"),
}

# They change something outside of their outputs: done again is not the same as taken over.
EFFECTS = frozenset({"ingest", "release", "register", "deploy", "batch", "predictor", "loop"})
