"""The expression language: what it accepts, what it answers, what it refuses."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.domain.workflow import ExtensionBinding
from volant.errors import InvalidInput
from volant.workflows.evaluation import Scope, evaluate, render, render_text
from volant.workflows.expressions import (
    MAX_DEPTH,
    MAX_LENGTH,
    Chain,
    Compare,
    Literal,
    Not,
    Reference,
    nearest,
    parse_condition,
    parse_template,
    references_in,
)

SCOPE = Scope(
    {
        "x": 1,
        "name": "wine",
        "nested": {"a": {"b": [10, 20]}},
        "empty": "",
        "no": " False\n",
        "yes": "true",
        "ten": "10\n",
    },
    {"gate": {"passed": True, "metrics": {"rmse": 0.5}, "none": None}},
)


def value_of(text):
    return evaluate(parse_condition(text, "when"), SCOPE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("inputs.x", 1),
        ("{{ inputs.x }}", 1),
        ("{{steps.gate.outputs.metrics.rmse}}", 0.5),
        ("inputs.nested.a.b.1", 20),
        ("steps.gate.outputs", SCOPE.outputs["gate"]),
        ("not inputs.empty", True),
        ("not not inputs.empty", False),
        ("inputs.x == 1", True),
        ("inputs.x == 1.0", True),
        ("inputs.x == true", False),
        ("inputs.x != 'wine'", True),
        ('inputs.name == "wine" and steps.gate.outputs.passed', True),
        ("false or inputs.x", True),
        ("false and inputs.missing_but_never_read == 1", False),
        ("false or true and false", False),
        ("(false or true) and not (true and false)", True),
        ("not inputs.x == 2", True),
        ("{{ inputs.x }} == {{ inputs.x }}", True),
        ("steps.gate.outputs.none == null", True),
        ("-1.5e3", -1500.0),
        ("not inputs.no", True),
        ("not inputs.yes", False),
        ("inputs.no or inputs.empty", False),
        ("inputs.no == false", True),
        ("inputs.yes == true and true == inputs.yes", True),
        ("inputs.yes == 1", False),
        ("inputs.ten == 10", True),
        ("10.0 == inputs.ten", True),
        ("inputs.ten == '10'", False),
        ("inputs.ten != 11", True),
        ("inputs.name == null", False),
        (r"'it\'s\n\"\\'", "it's\n\"\\"),
    ],
)
def test_values(text, value):
    result = value_of(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "and",
        "inputs.x ==",
        "inputs.x = 1",
        "inputs.x === 1",
        "(inputs.x",
        "inputs.x)",
        "{{ inputs.x",
        "inputs.x inputs.x",
        "'open",
        "1 == 2 == 3",
        "inputs.x + 1",
        "__import__('os')",
        "inputs",
        "inputs.",
        "steps.gate",
        "steps.gate.output.x",
        "outputs.x",
        "inputs.x; 1",
        "not " * (MAX_DEPTH + 1) + "inputs.x",
        "(" * 5000,
        "inputs.x or " * MAX_LENGTH + "inputs.x",
    ],
)
def test_refused(text):
    with pytest.raises(InvalidInput) as caught:
        parse_condition(text, "steps.deploy.when")
    assert "steps.deploy.when" in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("{{ inputs.nested }}", {"a": {"b": [10, 20]}}),
        (" {{ inputs.x }}", " 1"),
        ("{{ inputs.name }}-{{ inputs.x }}", "wine-1"),
        ("{{ steps.gate.outputs.metrics }}!", '{"rmse": 0.5}!'),
        ("{{ steps.gate.outputs.none }}.", "null."),
        ("{{ '{{' }} }}", "{{ }}"),
        ("{{ '}}' }}", "}}"),
        ("plain } text {", "plain } text {"),
        ({"a": ["{{ inputs.x }}", 2.5, None]}, {"a": [1, 2.5, None]}),
        (("{{ inputs.x }}",), [1]),
    ],
)
def test_rendering(value, result):
    assert render(value, SCOPE, "inputs.x") == result


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ("{{ inputs.nam }}", "name"),
        ("{{ steps.gate.outputs.pased }}", "passed"),
        ("{{ steps.gates.outputs.x }}", "gate"),
        ("{{ inputs.nested.a.c }}", "b"),
        ("{{ inputs.nested.a.b.7 }}", "0"),
        ("{{ inputs.x.y }}", "none to refer to"),
    ],
)
def test_a_missing_value_names_what_is_there(value, known):
    with pytest.raises(InvalidInput) as caught:
        render(value, SCOPE, "steps.a.inputs.v")
    assert known in caught.value.fix


def test_the_message_points_at_the_character():
    with pytest.raises(InvalidInput) as caught:
        parse_condition("inputs.x == %", "when")
    assert caught.value.details["position"] == 12


def test_nearest_without_a_close_one_lists_them():
    assert nearest("zzz", ["b", "a"]) == "Known names: a, b."


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,8}", fullmatch=True)
texts = st.text().filter(lambda text: "{{" not in text)


@given(st.dictionaries(names, json_values, min_size=1), st.data())
def test_one_expression_keeps_any_value_as_it_is(inputs, data):
    name = data.draw(st.sampled_from(sorted(inputs)))
    assert render(f"{{{{ inputs.{name} }}}}", Scope(inputs, {}), "x") == inputs[name]


# `{{{` begins an expression that begins with a brace.
@given(texts.filter(lambda text: not text.endswith("{")), texts, json_values)
def test_text_around_an_expression_stays(before, after, value):
    rendered = render(before + "{{inputs.v}}" + after, Scope({"v": value}, {}), "x")
    if before or after:
        middle = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        assert rendered == before + middle + after
    else:
        assert rendered == value


@given(json_values)
def test_what_has_no_expression_is_unchanged(value):
    if not list_of_strings(value, "{{"):
        assert render(value, SCOPE, "x") == value


def list_of_strings(value, part):
    return part in json.dumps(value, ensure_ascii=False)


@given(st.text())
def test_any_text_parses_or_is_refused(text):
    for parse in (parse_condition, parse_template):
        with contextlib.suppress(InvalidInput):
            parse(text, "when")


literals = st.one_of(
    st.booleans().map(Literal),
    st.none().map(Literal),
    st.integers(-(10**9), 10**9).map(Literal),
    st.text().map(Literal),
    st.lists(names, min_size=1, max_size=3).map(lambda path: Reference(("inputs", *path))),
)
expressions = st.recursive(
    literals,
    lambda inner: st.one_of(
        inner.map(Not),
        st.tuples(inner, inner, st.booleans()).map(lambda parts: Compare(*parts)),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)).map(
            lambda parts: Chain(parts[0], tuple(parts[1]))
        ),
    ),
    max_leaves=8,
)


def written(expression):
    match expression:
        case Literal(str() as text):
            escaped = text.replace("\\", "\\\\").replace("'", "\\'")
            return f"'{escaped}'"
        case Literal(value):
            return (
                {None: "null", True: "true", False: "false"}.get(value, str(value))
                if (value is None or isinstance(value, bool))
                else str(value)
            )
        case Reference():
            return str(expression)
        case Not(operand):
            return f"(not {written(operand)})"
        case Compare(left, right, equal):
            return f"({written(left)} {'==' if equal else '!='} {written(right)})"
        case Chain(word, operands):
            return "(" + f" {word} ".join(map(written, operands)) + ")"


@given(expressions)
def test_what_is_written_is_read_back(expression):
    text = written(expression)
    if len(text) <= MAX_LENGTH:
        assert parse_condition(text, "when") == expression


@given(expressions)
def test_references_are_found_at_any_depth(expression):
    text = "{{ " + written(expression) + " }}"
    if len(text) <= MAX_LENGTH:
        found = [str(reference) for reference in references_in({"a": [text]}, "x")]
        assert len(found) == text_count(expression)


def text_count(expression):
    match expression:
        case Reference():
            return 1
        case Not(operand):
            return text_count(operand)
        case Compare(left, right):
            return text_count(left) + text_count(right)
        case Chain(_, operands):
            return sum(map(text_count, operands))
    return 0


CODE = {"project": "p", "name": "c", "version": "1f", "url": "http://g/p/c"}
BOUND = Scope(
    {"code": CODE, "my-code": {**CODE, "path": "/project"}, "notes": {"url": "u", "name": "n"}},
    {},
    {"my-store": ExtensionBinding("e", "s3", zone="lab", url="http://s", cfg={"KEY": "k"})},
    {"size": [1, 2]},
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ item }}", {"size": [1, 2]}),
        ("{{ item.size.1 }}", 2),
        ("{{ item.size }} of", "[1, 2] of"),
        ("{{ extensions.my-store.url }}", "http://s"),
        ("{{ extensions.my-store.cfg.KEY }}/{{ extensions.my-store.zone }}", "k/lab"),
        ("{{ extensions.my-store.product }}", ""),
        ("{{ inputs.code }}", CODE),
        ("{{ inputs.my-code.name }}-{{ inputs.my-code.version }}", "c-1f"),
        ("from {{ inputs.code }}", "from http://g/p/c:1f"),
        ("from {{ inputs.my-code }}", "from http://g/p/c:1f"),
        ("from {{ inputs.notes }}", 'from {"url": "u", "name": "n"}'),
    ],
)
def test_items_extensions_and_codesets(text, value):
    assert render(text, BOUND, "x") == value
    as_text = render_text(text, BOUND, "x")
    if isinstance(value, str):
        assert as_text == value
    elif value is CODE:
        assert as_text == "http://g/p/c:1f"
    else:
        assert as_text == json.dumps(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extensions.my-store", "extensions.NAME.url"),
        ("extensions.my-store.cfg", "extensions.NAME.cfg.KEY"),
        ("extensions.my-store.cfg.a.b", "extensions.NAME.cfg.KEY"),
        ("extensions.my-store.url.x", "extensions.NAME.url"),
        ("extension.my-store.url", "Did you mean 'extensions'?"),
        ("extensions.my-stor.url", "Did you mean 'my-store'?"),
        ("extensions.my-store.uri", "Did you mean 'url'?"),
        ("extensions.my-store.cfg.KEE", "Did you mean 'KEY'?"),
        ("item.sise", "Did you mean 'size'?"),
        ("items", "Did you mean 'item'?"),
    ],
)
def test_extensions_and_items_that_are_not_there(text, said):
    with pytest.raises(InvalidInput) as caught:
        evaluate(parse_condition(text, "when"), BOUND)
    assert said in caught.value.fix


def test_a_long_text_is_told_in_part():
    with pytest.raises(InvalidInput) as caught:
        parse_template("a" * 5000 + "{{ 1 + }}" + "b" * 5000, "run")
    assert len(str(caught.value)) < 500
    assert "1 + }}" in caught.value.what
