"""A step that does nothing."""


def step(inputs, context):
    return {}
