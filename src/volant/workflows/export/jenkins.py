"""A declarative Jenkinsfile."""

from __future__ import annotations

from collections.abc import Sequence

from volant.workflows.export.outline import Outline, Task, fitting
from volant.workflows.export.program import head_of, program_of

FILE = "Jenkinsfile"


def jenkins(outline: Outline) -> str:
    """One stage a step. Declarative pipelines have no graph, so steps that could run side
    by side do so level by level. The build's tag is the key under which Volant knows it."""
    names = fitting((each.name for each in outline.parameters), r"[^A-Za-z0-9_]", filler="_")
    head = head_of(
        outline,
        "Jenkins",
        "It needs a credential of the kind `Secret text` called volant-token, the variable",
        "VOLANT_SERVER_URL in Jenkins' environment, and python3 on its agents.",
    )
    lines = [f"// {line}".rstrip() for line in head.splitlines()]
    lines += ["pipeline {", "    agent any"]
    if outline.parameters:
        lines.append("    parameters {")
        lines += [
            f"        string(name: {_quoted(names[each.name])},"
            f" defaultValue: {_quoted(each.default)}, description: {_quoted(each.description)})"
            for each in outline.parameters
        ]
        lines.append("    }")
    lines += [
        "    environment {",
        "        VOLANT_TOKEN = credentials('volant-token')",
        '        VOLANT_KEY = "${env.BUILD_TAG}"',
    ]
    lines += [
        f'        {each.variable} = "${{params.{names[each.name]}}}"' for each in outline.parameters
    ]
    lines += ["    }", "    stages {", "        stage('The program') {", "            steps {"]
    lines.append(
        f"                writeFile file: 'volant_step.py', text: '''{_escaped(outline)}'''"
    )
    lines += ["            }", "        }"]
    for number, level in enumerate(outline.levels(), 1):
        lines += _level(number, level)
    lines += ["    }", "}"]
    return "\n".join(lines) + "\n"


def _level(number: int, tasks: Sequence[Task]) -> list[str]:
    if len(tasks) == 1:
        return _stage(tasks[0], " " * 8)
    lines = [f"        stage('Side by side {number}') {{", "            parallel {"]
    for task in tasks:
        lines += _stage(task, " " * 16)
    return [*lines, "            }", "        }"]


def _stage(task: Task, indent: str) -> list[str]:
    return [
        f"{indent}stage({_quoted(task.name)}) {{",
        f"{indent}    steps {{",
        f"{indent}        withEnv([{_quoted(f'VOLANT_STEP={task.name}')}]) {{",
        f"{indent}            sh 'python3 volant_step.py'",
        f"{indent}        }}",
        f"{indent}    }}",
        f"{indent}}}",
    ]


def _quoted(text: str) -> str:
    """A text of Groovy in which nothing is replaced."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


def _escaped(outline: Outline) -> str:
    return program_of(outline).replace("\\", "\\\\").replace("'''", "\\'\\'\\'")
