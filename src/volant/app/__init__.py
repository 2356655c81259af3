"""The composition root of the control plane."""

from volant.app.platform import Platform, open_platform

__all__ = ["Platform", "open_platform"]
