"""Manifests as text: YAML with its lines, read strictly, every problem told at once."""
