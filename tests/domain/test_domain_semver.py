"""Versions and constraints, against their definitions."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.domain.semver import Constraint, Version, problem, satisfies

NUMBERS = st.integers(0, 4)
CORES = st.tuples(NUMBERS, NUMBERS, NUMBERS)
PRE = st.lists(st.sampled_from(["alpha", "beta", "1", "2", "11", "rc-1"]), max_size=3).map(tuple)
VERSIONS = st.builds(lambda core, pre: Version(*core, pre), CORES, PRE)


@pytest.mark.parametrize(
    ("wanted", "inside", "outside"),
    [
        (">=1.2, <2", ["1.2", "1.2.0", "1.99.9"], ["1.1.9", "2.0.0", "2.0.0-rc.1"]),
        (">= 1.2.0 < 1.3", ["1.2.3"], ["1.3.0"]),
        ("~1.4", ["1.4.0", "1.4.9"], ["1.5.0", "1.3.9"]),
        ("~1", ["1.0.0", "1.9.9"], ["2.0.0"]),
        ("~>1.4.2", ["1.4.2", "1.4.9"], ["1.4.1", "1.5.0"]),
        ("^2", ["2.0.0", "2.9.1"], ["3.0.0", "1.9.9"]),
        ("^0.2.3", ["0.2.3", "0.2.9"], ["0.3.0", "0.2.2"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4", "0.0.2"]),
        ("^0.0", ["0.0.5"], ["0.1.0"]),
        ("^0", ["0.9.9"], ["1.0.0"]),
        ("1.x", ["1.0.0", "1.9.0"], ["2.0.0", "0.9.0"]),
        ("1.2.*", ["1.2.9"], ["1.3.0"]),
        ("*", ["0.0.0", "99.1.2"], ["1.0.0-rc.1"]),
        ("=1.2", ["1.2.0", "1.2.7"], ["1.3.0"]),
        ("1.2.3", ["1.2.3", "v1.2.3", "1.2.3+build.7"], ["1.2.4"]),
        ("!=1.2.3", ["1.2.4"], ["1.2.3"]),
        ("!=1.2", ["1.3.0"], ["1.2.9"]),
        (">1.2", ["1.3.0"], ["1.2.9"]),
        ("<=1.2", ["1.2.9"], ["1.3.0"]),
        ("=>1.2,=<1.4", ["1.4.9"], ["1.5.0"]),
        ("1.2 - 2.3", ["1.2.0", "2.3.9"], ["2.4.0", "1.1.0"]),
        ("1.2.3 || ^3", ["1.2.3", "3.4.0"], ["2.0.0"]),
        (">=1.2.3-rc.1", ["1.2.3-rc.2", "1.2.3", "1.3.0"], ["1.2.3-beta", "1.3.0-rc.2"]),
        (">=v1.1,<v2.5", ["1.20.2", "v2.4.9"], ["2.5.0"]),
        (">*", [], ["1.0.0"]),
        ("<x", [], ["0.0.0"]),
    ],
)
def test_a_constraint_and_what_it_allows(wanted, inside, outside):
    assert [each for each in inside if not satisfies(each, wanted)] == []
    assert [each for each in outside if satisfies(each, wanted)] == []


@pytest.mark.parametrize(
    "text",
    ["", "||", ">=", "1.2.3.4", "1,", ",1", "1.x.3", ">1 <", "^^1", "1 || ", "1-rc", ">" * 600],
)
def test_what_is_no_constraint(text):
    with pytest.raises(ValueError, match=r"no constraint|no version|longer"):
        Constraint.parse(text)


@pytest.mark.parametrize("text", ["1.2.3.4", "x1", "01.2", "1.2.3-01", "1.2.3-", "-1", "1.2 "[:0]])
def test_what_is_no_version(text):
    assert Version.parse(text) is None


def test_a_version_that_is_not_semantic_is_only_ever_equal():
    assert satisfies("2021-04 LTS", "2021-04 LTS")
    assert not satisfies("2021-04 LTS", ">=1")
    assert not satisfies("1.2.3", "2021-04 LTS")
    assert problem("2021-04 LTS") is None
    assert "'^^1'" in (problem("^^1") or "")


def test_the_order_of_the_specification():
    # semver.org, section 11
    ordered = "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2"
    ordered += " 1.0.0-beta.11 1.0.0-rc.1 1.0.0 2.0.0 2.1.0 2.1.1"
    versions = [Version.parse(each) for each in ordered.split()]
    assert None not in versions
    assert sorted(set(versions)) == versions  # type: ignore[type-var]


@given(VERSIONS)
def test_text_and_back(version):
    assert Version.parse(str(version)) == version
    assert Version.parse(f"v{version}+b.1") == version


@given(VERSIONS, VERSIONS)
def test_primitives_say_what_the_order_says(version, bound):
    release = Version(*version.core)
    for operator, holds in (
        (">=", release >= bound),
        (">", release > bound),
        ("<=", release <= bound),
        ("<", release < bound),
        ("=", release == bound),
        ("!=", release != bound),
    ):
        assert Constraint.parse(f"{operator}{bound}").allows(release) is holds


@given(CORES, CORES, st.integers(1, 3))
def test_caret_tilde_and_wildcards_by_their_definitions(core, of, given_numbers):
    version, base = Version(*core), of[:given_numbers]
    text = ".".join(map(str, base))
    kept = next((i for i, number in enumerate(base) if number), len(base) - 1) + 1
    above = version.core >= (*base, 0, 0)[:3]
    assert Constraint.parse(f"^{text}").allows(version) is (above and core[:kept] == base[:kept])
    kept = min(len(base), 2)
    assert Constraint.parse(f"~{text}").allows(version) is (above and core[:kept] == base[:kept])
    assert Constraint.parse(text).allows(version) is (core[: len(base)] == base)
    assert Constraint.parse(f"!={text}").allows(version) is (core[: len(base)] != base)


@given(CORES, st.lists(st.sampled_from(["^1", "~2.1", ">=1.2", "<3", "!=2", "1.x", ">2.1.1"])))
def test_and_binds_closer_than_or(core, parts):
    version = Version(*core)
    parts = parts or ["*"]
    each = [Constraint.parse(part).allows(version) for part in parts]
    assert Constraint.parse(", ".join(parts)).allows(version) is all(each)
    assert Constraint.parse(" ".join(parts)).allows(version) is all(each)
    assert Constraint.parse(" || ".join(parts)).allows(version) is any(each)


@given(st.text(alphabet="0123456789.xX*<>=~^!|, -vabc+", max_size=30))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(ValueError):
        Constraint.parse(text).allows(Version(1, 2, 3))
