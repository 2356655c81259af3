"""Dagster: ops of a job. With `PEER_ISOLATED`, by its multiprocess executor, whose processes
fork from a server that has imported this file: the fastest way that it has."""

import os

from dagster import DagsterInstance, execute_job, graph, multiprocess_executor, op, reconstructable
from timing import main

WIDTH = 10
EXECUTOR = multiprocess_executor.configured(
    {"max_concurrent": 2, "start_method": {"forkserver": {}}}, name="forks"
)


@op
def noop(number):
    return number


@op
def first():
    return 0


@graph
def chained():
    number = first()
    for index in range(WIDTH - 1):
        number = noop.alias(f"s{index}")(number)


@graph
def fanned():
    for index in range(WIDTH):
        first.alias(f"s{index}")()


def chain():
    return chained.to_job(name="chain", executor_def=EXECUTOR)


def fan():
    return fanned.to_job(name="fan", executor_def=EXECUTOR)


JOBS = {"chain": chain, "fan": fan}


def run(shape, cached):
    with DagsterInstance.get() as instance:
        if os.environ.get("PEER_ISOLATED"):
            job = reconstructable(JOBS[shape])
            with execute_job(job, instance=instance) as result:
                assert result.success
        else:
            assert JOBS[shape]().execute_in_process(instance=instance).success


if __name__ == "__main__":
    main(run)
