"""What still needs a version: why it can't be retired or deleted now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from volant.domain.deployment import OPEN, RevisionStatus
from volant.domain.model import Stage
from volant.errors import Conflict
from volant.store.schema import deployments, model_versions, revisions

_V, _R, _D = model_versions.c, revisions.c, deployments.c


@dataclass(frozen=True, slots=True)
class Use:
    """One reason, as a sentence, and what to do first."""

    what: str
    fix: str
    details: dict[str, Any] = field(default_factory=dict[str, Any])

    def refusal(self) -> Conflict:
        return Conflict(self.what, self.fix, code="model.in_use", details=self.details)


def served(connection: sa.Connection, name: str) -> dict[int, Use]:
    """The versions that a deployment serves, copies traffic to, or is about to serve."""
    found = (
        sa.select(_D.name, _R.model_version)
        .join(revisions, _R.deployment == _D.name)
        .where(_D.model == name, _R.status.in_([RevisionStatus.LIVE, *OPEN]))
    )
    return {
        version: Use(
            f"Version {version} of {name!r} is served by the deployment {by!r}.",
            f"Deploy another version first, or end it: volant deployments delete {by}.",
        )
        for by, version in connection.execute(found)
    }


def needed(connection: sa.Connection, name: str) -> dict[int, Use]:
    """The versions that serving needs: those of `served`, the champion, and what a rollback
    would bring back."""
    champion = sa.select(_V.version).where(_V.model == name, _V.stage == Stage.CHAMPION)
    uses = {
        version: Use(
            f"Version {version} of {name!r} is the champion.",
            f"Deploy another version first, or retire it: volant models retire {name} {version}.",
        )
        for (version,) in connection.execute(champion)
    }
    return {**_rollbacks(connection, name), **uses, **served(connection, name)}


def parents(connection: sa.Connection, name: str) -> dict[int, Use]:
    """The versions that another one was made to replace."""
    children: dict[int, list[int]] = {}
    statement = sa.select(_V.version, _V.lineage).where(_V.model == name).order_by(_V.version)
    for version, lineage in connection.execute(statement):
        if lineage.parent_version not in (None, version):
            children.setdefault(lineage.parent_version, []).append(version)
    return {
        parent: Use(
            f"Version {parent} of {name!r} is in the lineage of version {of[0]}, which was "
            "made to replace it.",
            f"Delete version {of[0]} first, or keep both.",
            {"model": name, "versions": of[:100]},
        )
        for parent, of in children.items()
    }


def _rollbacks(connection: sa.Connection, name: str) -> dict[int, Use]:
    """Where a rollback goes: the newest revision that was live before, with another
    version. One that was brought back stands where the first with its version stood."""
    uses: dict[int, Use] = {}
    mine = sa.select(_D.name, _D.live_revision, _D.live_version).where(_D.model == name)
    for deployment, live, version in connection.execute(mine).all():
        before = sa.select(_R.model_version).where(
            _R.deployment == deployment,
            _R.status == RevisionStatus.RETIRED,
            _R.model_version != (version or 0),
        )
        if live is not None:
            place = sa.select(sa.func.coalesce(_R.restores, _R.number)).where(
                _R.deployment == deployment, _R.number == live
            )
            before = before.where(_R.number < place.scalar_subquery())
        target = connection.execute(before.order_by(_R.number.desc()).limit(1)).scalar()
        if target is not None:
            uses[target] = Use(
                f"Version {target} of {name!r} is what a rollback of {deployment!r} goes to.",
                f"Deploy another version first, or end it: volant deployments delete {deployment}.",
            )
    return uses
