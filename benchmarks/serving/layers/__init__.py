"""The HTTP layer under the same model and the same batching, measured."""
