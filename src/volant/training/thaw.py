"""Writes a scikit-learn model of skops' form as a pickle, with the libraries of the
environment that this program is started in: `python thaw.py SOURCE TARGET NOTES`. It knows
no Volant. NOTES gets what is found out on the way, as JSON: `{"frame": whether the model
has to be asked with a DataFrame}`.

MLflow 3 logs scikit-learn models in skops' form, which not every server can open.
"""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_ROWS = 40
_SAME = 1e-6  # of the largest prediction


def main() -> None:
    """What is loaded was written by the step that this environment was made for: all of
    its types are as trusted as the code that trained it."""
    import skops.io as sio  # type: ignore[import-not-found]  # pyright: ignore

    source, target, notes = sys.argv[1:4]
    types: Any = sio.get_untrusted_types(file=source)  # pyright: ignore
    model: Any = sio.load(source, trusted=types)  # pyright: ignore
    Path(target).write_bytes(pickle.dumps(model, protocol=5))
    Path(notes).write_text(json.dumps({"frame": needs_a_frame(model)}))


def needs_a_frame(model: Any) -> bool:
    """Whether a model that was fitted on a DataFrame answers an array of the same numbers
    otherwise, or not at all."""
    names = getattr(model, "feature_names_in_", None)
    if names is None or find_spec("pandas") is None:
        return False
    import numpy as np
    import pandas as pd

    scales = np.array([[0.0], [0.01], [1.0], [100.0]]).repeat(_ROWS // 4, axis=0)
    rows = np.random.default_rng(0).normal(size=(_ROWS, len(names))) * scales
    try:
        told = model.predict(pd.DataFrame(rows, columns=names))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an array has no names
            again = np.asarray(model.predict(rows))
        if again.dtype.kind != "f":
            return not np.array_equal(told, again)
        # Sums are taken in another order where the columns lie otherwise in memory.
        size = float(np.nanmax(np.abs(told)))
        return not np.allclose(told, again, rtol=0, atol=_SAME * size, equal_nan=True)
    except Exception:  # whatever its parts raise of what they can't take
        return True


if __name__ == "__main__":
    main()
