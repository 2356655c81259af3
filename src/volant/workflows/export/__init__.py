"""Registered workflows as files of other schedulers, whose tasks have Volant do the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from volant.workflows.export import airflow, argo, github_actions, jenkins, tekton
from volant.workflows.export.outline import Outline

TARGETS: Mapping[str, tuple[Callable[[Outline], str], str]] = {
    "airflow": (airflow.airflow, airflow.FILE),
    "argo": (argo.argo, argo.FILE),
    "tekton": (tekton.tekton, tekton.FILE),
    "github-actions": (github_actions.github_actions, github_actions.FILE),
    "jenkins": (jenkins.jenkins, jenkins.FILE),
}


def export(outline: Outline, to: str) -> tuple[str, str]:
    """The text, and how its file is usually called. `to` is one of `TARGETS`."""
    make, file = TARGETS[to]
    return make(outline), file.format(name=outline.name)
