"""The model of the figures: a random forest. The loop and the plain script both call `fit`."""

import time


def fit(X, y, seed, log_metric):
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier

    began = time.perf_counter()
    model = RandomForestClassifier(n_estimators=30, max_depth=8, random_state=seed, n_jobs=1)
    model.fit(X.to_numpy() if hasattr(X, "to_numpy") else numbers(X), np.asarray(y).astype(str))
    log_metric("fit_s", time.perf_counter() - began)
    return model


def numbers(table):
    """A pyarrow Table as an array [rows, columns]."""
    import numpy as np

    return np.column_stack([table[name].to_numpy() for name in table.column_names])
