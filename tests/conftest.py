"""Fixtures for tests that need a whole platform.

Test folders are no packages; what several of them share lies in harness/, which is on
the import path from here on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "harness"))
pytest.register_assert_rewrite("platform_process", "effects")


@pytest.fixture(scope="module")
def platforms():
    """Makes platforms on homes of their own; none of their processes outlives the module."""
    from platform_process import platforms

    with platforms() as make:
        yield make
