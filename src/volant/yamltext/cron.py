"""Which cron expressions a manifest may hold."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_FIELD = re.compile(r"[0-9A-Za-z*/,?#-]+")
_SINCE = datetime(2000, 1, 1, tzinfo=UTC)


def why_not(expression: str) -> str | None:
    """Why `expression` isn't a five-field schedule that comes due some day, or None."""
    from croniter import CroniterBadDateError, CroniterError, croniter

    fields = expression.split()
    if len(fields) != 5:
        return f"it has {len(fields)} fields, not 5"
    for field in fields:
        # croniter's H and R draw a time at random: the same file must mean the same.
        if not _FIELD.fullmatch(field) or re.search(r"(?<![a-z])[hr](?![a-z])", field.casefold()):
            return f"the field {field!r} can't be read"
    try:
        croniter(expression, _SINCE).get_next(datetime)
    except CroniterBadDateError:
        return "no such date ever comes"
    except (CroniterError, ValueError, LookupError, ArithmeticError) as error:
        return re.sub(r"^\[.*?\] ", "", str(error)).rstrip(".") or "it can't be read"
    return None
