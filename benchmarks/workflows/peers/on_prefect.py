"""Prefect: tasks of a flow, in threads as it does by default or, with `PEER_ISOLATED`, in a
pool of processes. Its server is one that it starts by itself for the process that asks."""

import os

from prefect import flow, task
from prefect.cache_policies import INPUTS
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from timing import main

WIDTH = 10
ISOLATED = bool(os.environ.get("PEER_ISOLATED"))
RUNNER = ProcessPoolTaskRunner(max_workers=2) if ISOLATED else ThreadPoolTaskRunner(max_workers=10)


@task
def noop(number):
    return number


@task(cache_policy=INPUTS, persist_result=True)
def kept(number):
    return number


@flow(task_runner=RUNNER)
def chain(cached):
    step, number = (kept if cached else noop), 0
    for _ in range(WIDTH):
        number = step.submit(number)
    number.result()


@flow(task_runner=RUNNER)
def fan(cached):
    step = kept if cached else noop
    for future in [step.submit(number) for number in range(WIDTH)]:
        future.result()


if __name__ == "__main__":
    main(lambda shape, cached: {"chain": chain, "fan": fan}[shape](cached))
