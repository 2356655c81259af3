"""A DAG for Airflow 3."""

from __future__ import annotations

from volant.workflows.export.outline import Outline, fitting
from volant.workflows.export.program import head_of, program_of

FILE = "{name}.py"
_IMPORT = "from airflow.sdk import DAG, Param, task\n"


def airflow(outline: Outline) -> str:
    """One task a step; the DAG run's id is the key under which Volant knows its steps."""
    names = fitting((each.name for each in outline.parameters), r"[^A-Za-z0-9_.-]")
    head = head_of(
        outline,
        "Airflow",
        "Put it into the folder of DAGs. Its tasks need VOLANT_SERVER_URL and VOLANT_TOKEN in",
        "their environment; a task that is cleared after its step succeeded does nothing.",
    )
    params = [
        f"        {names[each.name]!r}: Param({each.default!r}, type='string',"
        f" description={each.description!r}),"
        for each in outline.parameters
    ]
    variables = {task.name: f"step_{number}" for number, task in enumerate(outline.tasks, 1)}
    tasks = [
        f"    {variables[task.name]} = volant_step.override(task_id={task.name!r})({task.name!r})"
        for task in outline.tasks
    ]
    edges = [
        f"    [{', '.join(variables[need] for need in task.needs)}] >> {variables[task.name]}"
        for task in outline.tasks
        if task.needs
    ]
    own = {names[name]: name for name in names}
    comment = "".join(f"# {line}".rstrip() + "\n" for line in head.splitlines())
    return (
        comment
        + program_of(outline, main=False).replace(
            "from typing import Any\n", "from typing import Any\n\n" + _IMPORT, 1
        )
        + "\n\n@task(retries=0)\n"
        + "def volant_step(step: str, **context):\n"
        + f"    names = {own!r}\n"
        + '    given = context["params"]\n'
        + "    inputs = {names[name]: str(given[name]) for name in names if name in given}\n"
        + '    key = context["dag"].dag_id + "/" + context["run_id"]\n'
        + "    return run_step(step, key, inputs)\n\n\n"
        + "with DAG(\n"
        + f"    dag_id={fitting([outline.name], r'[^A-Za-z0-9_.-]')[outline.name]!r},\n"
        + f"    description={outline.description!r},\n"
        + "    schedule=None,\n    catchup=False,\n    tags=['volant'],\n    params={\n"
        + "".join(line + "\n" for line in params)
        + "    },\n):\n"
        + "\n".join(tasks + edges)
        + "\n"
    )
