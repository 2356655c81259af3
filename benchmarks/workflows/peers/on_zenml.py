"""ZenML: steps of a pipeline on its local orchestrator, in one process one after the other."""

from timing import main
from zenml import pipeline, step

WIDTH = 10


@step
def first() -> int:
    return 0


@step
def noop(number: int) -> int:
    return number


@pipeline
def chain():
    number = first()
    for _ in range(WIDTH - 1):
        number = noop(number)


@pipeline
def fan():
    for _ in range(WIDTH):
        first()


PIPELINES = {"chain": chain, "fan": fan}


def run(shape, cached):
    PIPELINES[shape].with_options(enable_cache=cached)()


if __name__ == "__main__":
    main(run)
