"""Volant: one package that turns new data into a better model in production.

For notebooks: `login`, `experiments`, `runs`, `models` and `predict`, see `volant.notebook`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Imported when they are first used: `import volant` stays light. `__init__.pyi` tells types.
_NOTEBOOK = ("experiments", "login", "models", "predict", "runs")


def __getattr__(name: str) -> Any:
    if name in _NOTEBOOK:
        return getattr(import_module("volant.notebook"), name)
    raise AttributeError(f"module 'volant' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_NOTEBOOK])
