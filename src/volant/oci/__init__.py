"""Models in container registries: pushed and pulled as artifacts, and made into images that
serve them. It speaks the registry's HTTP API (OCI distribution 1.1) itself; there is no
container engine in it, and nothing of a model is loaded or run."""
