"""A loop → the workflow that turns it once: split, train, evaluate, register, deploy."""

from __future__ import annotations

from volant.domain.codec import to_plain
from volant.domain.loop import Loop, LoopSpec, TrainSpec
from volant.domain.metric import TASK_METRICS
from volant.domain.recipe import TASKS
from volant.domain.workflow import StepSpec, WorkflowSpec

STEPS = ("split", "train", "evaluate", "register", "deploy")

# Beyond the budget, training imports libraries, converts the model and writes its
# files; a user's own function isn't held to the budget, so it gets longer.
_MARGIN_S = 180.0
_CALL_MARGIN_S = 3600.0
_RECIPE_S = 86_400.0
_LIGHT_S = 900.0  # split and evaluate: seconds for most tables, minutes for the largest
_DEPLOY_S = 300.0  # until it has traffic; what its rollout does then isn't waited for
# Work that was lost with its process is done again by the engine and isn't counted here.
# Training that fails, hangs or eats its memory would do so again with the same seed.
_ONCE_MORE = 1
_STORES = 3  # register and deploy wait for a database or a replica that is busy


def compile_loop(
    loop: Loop, *, dataset_version: int | None = None, table_version: int | None = None
) -> WorkflowSpec:
    """The workflow of one turn on one version of the dataset.

    Text that isn't ours (the target, the callable's parameters, a path) is passed
    through the workflow's inputs, so that braces in it are never read as expressions.

    Args:
        loop: The applied loop.
        dataset_version: Volant's number of the data's version (None: not known yet,
            as for a plan).
        table_version: The table's own number of it.
    """
    spec = loop.spec
    task = task_of(spec)
    inputs = {
        "dataset": spec.data.dataset,
        "dataset_version": dataset_version,
        "table_version": table_version,
        "target": spec.data.target,
        "params": dict(spec.train.params),
        "code_dir": loop.code_dir,
    }
    if spec.train.tune is not None:
        inputs["tune"] = to_plain(spec.train.tune)
    steps = (
        _split(spec, task),
        *_tune(spec),
        _train(spec),
        _evaluate(spec),
        _register(spec),
        _deploy(spec),
    )
    return WorkflowSpec(name=loop.name, steps=steps, inputs=inputs, description=spec.description)


def task_of(spec: LoopSpec) -> str | None:
    """The declared task, else the one that the loop's metrics belong to."""
    if spec.train.task is not None:
        return spec.train.task
    if spec.train.recipe is not None:
        return TASKS[spec.train.recipe]
    searched = spec.train.tune.metric if spec.train.tune else None
    named = [spec.train.metric, searched, *(threshold.metric for threshold in spec.gate.thresholds)]
    return next((task for task, known in TASK_METRICS.items() for m in named if m in known), None)


def _split(spec: LoopSpec, task: str | None) -> StepSpec:
    return StepSpec(
        name="split",
        uses="split",
        inputs={
            "loop": spec.name,
            "dataset": "{{ inputs.dataset }}",
            "table_version": "{{ inputs.table_version }}",
            "target": "{{ inputs.target }}",
            "holdout": spec.data.holdout,
            "seed": spec.train.seed,
            "task": task,
        },
        retries=_ONCE_MORE,
        timeout_s=_LIGHT_S,
        memory_bytes=spec.train.memory_bytes,
    )


def _tune(spec: LoopSpec) -> tuple[StepSpec, ...]:
    """The search, if the loop has one. It has no timeout of its own: each trial has the one
    of a training, and none begins after `tune.timeout`."""
    train, tune = spec.train, spec.train.tune
    if tune is None:
        return ()
    step = StepSpec(
        name="tune",
        uses="tune",
        inputs={
            "train_path": "{{ steps.split.outputs.train_path }}",
            "target": "{{ inputs.target }}",
            "task": "{{ steps.split.outputs.task }}",
            "metric": train.metric,
            "seed": train.seed,
            "call": train.call,
            "code_dir": "{{ inputs.code_dir }}",
            "params": "{{ inputs.params }}",
            "tune": "{{ inputs.tune }}",
            "trial_timeout_s": train_timeout(train),
            "model_name": spec.name,
        },
        needs=("split",),
        memory_bytes=train.memory_bytes,
    )
    return (step,)


def _train(spec: LoopSpec) -> StepSpec:
    train = spec.train
    params = "{{ inputs.params }}" if train.tune is None else "{{ steps.tune.outputs.params }}"
    search = {} if train.tune is None else {"search": "{{ steps.tune.outputs.search }}"}
    if train.recipe is not None:
        search = {"recipe": train.recipe}
    return StepSpec(
        name="train",
        uses="train",
        inputs={
            "train_path": "{{ steps.split.outputs.train_path }}",
            "target": "{{ inputs.target }}",
            "task": "{{ steps.split.outputs.task }}",
            "metric": train.metric,
            "budget_s": train.budget_s,
            "seed": train.seed,
            "call": train.call,
            "code_dir": "{{ inputs.code_dir }}",
            "params": params,
            **search,
            "model_name": spec.name,
        },
        needs=("split",) if train.tune is None else ("split", "tune"),
        timeout_s=train_timeout(train),
        memory_bytes=train.memory_bytes,
    )


def train_timeout(train: TrainSpec) -> float:
    """Seconds after which the training step is ended."""
    if train.timeout_s is not None:
        return train.timeout_s
    if train.recipe is not None:
        return train.budget_s + _RECIPE_S
    return train.budget_s + (_MARGIN_S if train.call is None else _CALL_MARGIN_S)


def _evaluate(spec: LoopSpec) -> StepSpec:
    return StepSpec(
        name="evaluate",
        uses="evaluate",
        inputs={
            "model_dir": "{{ steps.train.outputs.model_dir }}",
            "holdout_path": "{{ steps.split.outputs.holdout_path }}",
            "holdout_sha256": "{{ steps.split.outputs.holdout_sha256 }}",
            "target": "{{ inputs.target }}",
            "task": "{{ steps.split.outputs.task }}",
            "metric": "{{ steps.train.outputs.metric }}",
            "gate": to_plain(spec.gate),
            "seed": spec.train.seed,
        },
        needs=("split", "train"),
        retries=_ONCE_MORE,
        timeout_s=_LIGHT_S,
        memory_bytes=spec.train.memory_bytes,
    )


def _register(spec: LoopSpec) -> StepSpec:
    train = ("model_dir", "params", "signature", "runtime", "code_hash", "environment_hash")
    return StepSpec(
        name="register",
        uses="register",
        inputs={
            "model": spec.name,
            "dataset": "{{ inputs.dataset }}",
            "dataset_version": "{{ inputs.dataset_version }}",
            "holdout_sha256": "{{ steps.split.outputs.holdout_sha256 }}",
            **{name: f"{{{{ steps.train.outputs.{name} }}}}" for name in train},
            "metrics": "{{ steps.evaluate.outputs.metrics }}",
            "passed": "{{ steps.evaluate.outputs.passed }}",
        },
        needs=("split", "train", "evaluate"),
        retries=_STORES,
        timeout_s=_LIGHT_S,
    )


def _deploy(spec: LoopSpec) -> StepSpec:
    return StepSpec(
        name="deploy",
        uses="deploy",
        inputs={
            "deployment": spec.name,
            "model": spec.name,
            "version": "{{ steps.register.outputs.version }}",
            "replicas": to_plain(spec.replicas),
            "settings": {
                "rollout": to_plain(spec.rollout),
                "keep": spec.keep,
                "log": to_plain(spec.log),
            },
        },
        needs=("evaluate", "register"),
        when="{{ steps.evaluate.outputs.passed }}",
        retries=_STORES,
        timeout_s=_DEPLOY_S,
    )
