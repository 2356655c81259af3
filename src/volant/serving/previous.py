"""What was live before: where a rollback goes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from volant.domain.deployment import Revision, RevisionStatus
from volant.ports.records import RevisionRecords

_LOOKED_AT = 200


def previous(revisions: RevisionRecords, live: Revision) -> Revision | None:
    """The revision that a rollback from `live` brings back: the newest that was live
    before it with another version. A revision that was brought back stands where the
    first one with its version stood, so that rolling back again goes further back."""
    below = live.restores or live.number
    for revision in revisions.retired(live.deployment, _LOOKED_AT, below):
        if revision.model_version != live.model_version:
            return revision
    return None


def brought_back(
    target: Revision, key: str, now: datetime, *, asked_by: str | None = None
) -> Revision:
    """A new revision with the version of `target`, to be live at once."""
    return replace(
        target,
        number=0,
        key=key,
        status=RevisionStatus.PENDING,
        created_at=now,
        activated_at=None,
        reason=None,
        rollout=None,
        step=None,
        percent=None,
        since=None,
        restores=target.restores or target.number,
        asked_by=asked_by,
    )
