"""A model that is unloaded: what a replica has in its place."""

from __future__ import annotations

from collections.abc import Sequence

from volant.serving.datatypes import Array
from volant.serving.description import Description
from volant.serving.query import Answer
from volant.serving.refusal import Refusal


class Absent:
    """Predicts nothing; the service refuses before it is asked."""

    description = Description("", (), None, "", "", ())

    def predict(self, feeds: Sequence[Array]) -> Answer:
        """Raises `Refusal` (503)."""
        raise Refusal(503, "The model isn't loaded.")
