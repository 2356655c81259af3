"""Artifact URIs and the proxy's paths, one for the other."""

from __future__ import annotations

SCHEME = "mlflow-artifacts:/"
REGISTRY = "volant/"  # the subtree of what the registry holds


def place_of(artifact_uri: str) -> str:
    """The proxy's path of an artifact URI."""
    if artifact_uri.startswith("artifacts:/"):
        return REGISTRY + artifact_uri.removeprefix("artifacts:/")
    return artifact_uri.removeprefix("mlflow-artifacts:").lstrip("/")


def uri_of(artifact_uri: str) -> str:
    """An artifact URI as a client can open it."""
    if artifact_uri.startswith("artifacts:/"):
        return SCHEME + place_of(artifact_uri)
    return artifact_uri
