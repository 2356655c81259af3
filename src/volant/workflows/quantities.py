"""Kubernetes quantities: `500m` of a core, `2Gi` of memory.

The grammar is that of
https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import Decimal

from volant.yamltext.units import byte_count

_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30}))"
    r"(?:[eE]([+-]?[0-9]{1,2})|(n|u|m|k|Ki|[MGTPE]i?|))"
)
_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{unit: Decimal(1000) ** n for n, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** n for n, unit in enumerate("KMGTPE", 1)},
}
_SMALLEST = 2**20  # no step runs in less; `100m` of memory is a tenth of a byte
_LARGEST = 2**60
_MOST_CORES = 100_000

CPU_FORM = "a number of cores: 2, 0.5 or 500m"
MEMORY_FORM = "an amount with a unit, at least 1Mi: 512Mi, 2Gi or 4G"


def cores(text: str) -> float | None:
    """CPU cores, or None when `text` says none that can be had."""
    value = _value(text)
    return float(value) if value is not None and 0 < value <= _MOST_CORES else None


def memory(text: str) -> int | None:
    """Bytes, or None when `text` says none that can be had. `2GiB` is understood too."""
    value = _value(text)
    if value is None:
        value = byte_count(text.strip())
    return int(value) if value is not None and _SMALLEST <= value <= _LARGEST else None


def quantity(text: str) -> bool:
    """Whether `text` is an amount of anything (`nvidia.com/gpu: 1`)."""
    value = _value(text)
    return value is not None and value >= 0


def _value(text: str) -> Decimal | None:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        return None
    number, exponent, suffix = match.groups()
    scale = Decimal(10) ** int(exponent) if exponent else _SUFFIXES[suffix or ""]
    return Decimal(number) * scale
