"""The commented volant.yaml that `volant init` writes."""

from __future__ import annotations

from volant.domain.contract import Contract
from volant.domain.metric import DEFAULT_METRIC, TASK_METRICS
from volant.loops.render import flow, rule_document, scalar
from volant.yamltext.units import duration_text


def volant_yaml(
    name: str,
    dataset: str,
    contract: Contract | None,
    target: str,
    *,
    task: str | None = None,
    metric: str | None = None,
    budget_s: float = 30.0,
    seed: int = 0,
    holdout: float = 0.2,
    description: str = "",
) -> str:
    """A file with every key a user may want: the chosen ones set, the others
    commented out at their defaults, and the contract written out in full.

    It parses to a spec with exactly these facts and defaults for the rest.

    Args:
        name: The loop's name.
        dataset: The dataset's name.
        contract: Written as declared; None leaves it to the first push.
        target: The column to predict.
        task: `classification`, `regression`, or None: found out from the target.
        metric: A metric of that task, or None: the task's default.
        budget_s: Seconds for training.
        seed: Of everything random.
        holdout: The fraction of rows held out.
        description: For people.
    """
    parts = [
        _head(name, description),
        _data(dataset, target, holdout, contract),
        _train(task, metric, budget_s, seed),
        _gate(task),
        _REST,
    ]
    return "\n".join(parts)


def _head(name: str, description: str) -> str:
    text = f"description: {scalar(description)}" if description else '# description: ""'
    return f"""\
# One loop: data comes in, a model is trained, judged, and served if it is better.
# A # before a key makes it a comment that shows a default or an example: delete the #
# to use it.
# `volant plan` shows what would change, `volant apply` changes it.
kind: Loop
name: {scalar(name)}
{text}
"""


def _data(dataset: str, target: str, holdout: float, contract: Contract | None) -> str:
    return f"""\
data:
  dataset: {scalar(dataset)}        # volant data push {dataset} FILE…
  target: {scalar(target)}        # the column to predict
  holdout: {holdout!r}        # fraction of rows kept aside, frozen, to judge every model on
{_contract(contract)}"""


def _contract(contract: Contract | None) -> str:
    if contract is None:
        return """\
  # contract:        # what every row must look like; left out, the first push decides
  #   columns:
  #     a_column: {type: number, nullable: true, min: 0, max: 100}
"""
    rows = [
        f"      {_column_key(column.name)} {flow(rule_document(column))}\n"
        for column in contract.columns
    ]
    return f"""\
  # What every row must look like. Rows that break it go to quarantine, with the reason.
  # type: integer | number | string | boolean | timestamp · nullable: true | false ·
  # min, max: bounds of numbers · values: [all that is allowed] · unique: true
  # These were read off the data given: loosen a range or a list that may grow.
  contract:
    columns:
{"".join(rows)}"""


def _column_key(name: str) -> str:
    text = scalar(name)
    return f"{text}:" if len(text) < 1000 else f"? {text}\n      :"


def _train(task: str | None, metric: str | None, budget_s: float, seed: int) -> str:
    known = TASK_METRICS.get(task or "", ())
    choice = (
        " | ".join(known)
        if known
        else "; ".join(f"{one}: {' | '.join(names)}" for one, names in TASK_METRICS.items())
    )
    default = DEFAULT_METRIC.get(task or "", "rmse")
    metric_line = f"    metric: {metric}" if metric else f"    # metric: {default}"
    task_line = f"    task: {task}" if task else "    # task: classification"
    return f"""\
train:
  automl:
{metric_line}        # {choice}
{task_line}        # classification | regression; left out, the target decides
    budget: {duration_text(budget_s)}        # wall time of the search and the final fit together
    seed: {seed}
  # Or train with your own function instead of automl:
  # call: "train:fit"        # fit in train.py beside this file
  # params: {{}}        # what it gets as parameters
  # tune: {{space: {{depth: {{int: [1, 9]}}}}, trials: 20}}        # or what to search them in
  # metric, task, budget and seed then stand here, without automl
  # memory: 2GB        # training is ended above this
  # timeout: 10m        # training is ended after this
"""


def _gate(task: str | None) -> str:
    example = "accuracy: {min: 0.9}" if task == "classification" else "rmse: {max: 0.75}"
    return f"""\
gate:        # a model is served only if every rule here holds on the held-out rows
  # thresholds:
  #   {example}
  champion:        # against the model that serves now; false: no comparison
    better_by: 0.0        # the least gain in the metric; negative: a tolerated loss
    confidence: 0.95        # one-sided, by paired bootstrap on the same rows
"""


_REST = """\
deploy:
  replicas:
    min: 0        # 0: no process while nobody asks
    max: 1
    idle: 1m        # above min, a replica ends after this long without a request
    # memory: 1GB        # a replica is ended above this
    # target: 16        # requests in flight that one replica is meant to hold
    # spares: 0        # replicas that wait with the model loaded
    # cpu: 1        # cores that one replica may use
  # rollout:        # left out: a new version takes all the traffic at once
  #   shadow: 100        # percent of requests copied to it first, its answers only compared
  #   canary: [10, 50]        # then the percents that it answers, one after the other
  #   bake: 2m        # how long each step lasts
  #   rollback_on: {error_rate: 0.05, p95_ms: 50}        # it is given up above these
  #   sticky: {header: x-user}        # requests of one user stay with one version
  # keep: 0        # versions that served before, still there at /versions/N
  # log: {sample: 1.0, max: 1GB}        # the prediction log; off: none

triggers:
  - data        # every new version of the dataset
  # - cron: "0 2 * * *"        # minute hour day month weekday, in UTC
"""
