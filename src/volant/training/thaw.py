"""Writes a scikit-learn model of skops' form as a pickle, with the libraries of the
environment that this program is started in: `python thaw.py SOURCE TARGET`. It knows no
Volant.

MLflow 3 logs scikit-learn models in skops' form, which not every server can open.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """What is loaded was written by the step that this environment was made for: all of
    its types are as trusted as the code that trained it."""
    import skops.io as sio  # type: ignore[import-not-found]  # pyright: ignore

    source, target = sys.argv[1:3]
    types: Any = sio.get_untrusted_types(file=source)  # pyright: ignore
    model: Any = sio.load(source, trusted=types)  # pyright: ignore
    Path(target).write_bytes(pickle.dumps(model, protocol=5))


if __name__ == "__main__":
    main()
