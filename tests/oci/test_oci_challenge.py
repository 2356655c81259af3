from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.oci.challenge import best_challenge, parse_challenges


def test_a_registrys_bearer_challenge():
    header = (
        'Bearer realm="https://auth.example.com/token",service="registry.example.com",'
        'scope="repository:samalba/my-app:pull,push",error="invalid_token"'
    )
    (found,) = parse_challenges(header)
    assert found.scheme == "bearer"
    assert found.params == {
        "realm": "https://auth.example.com/token",
        "service": "registry.example.com",
        "scope": "repository:samalba/my-app:pull,push",
        "error": "invalid_token",
    }


@pytest.mark.parametrize(
    ("header", "schemes"),
    [
        ('Basic realm="a, b", Bearer realm="c"', ["basic", "bearer"]),
        ("Basic", ["basic"]),
        ("Negotiate, Basic realm=x", ["negotiate", "basic"]),
        ('BEARER Realm = "x" , Service=y', ["bearer"]),
        ("", []),
        ('"', []),
    ],
)
def test_several_and_odd_ones(header, schemes):
    assert [found.scheme for found in parse_challenges(header)] == schemes


def test_quotes_within_quotes():
    (found,) = parse_challenges(r'Basic realm="a \"b\" \\c"')
    assert found.params["realm"] == r'a "b" \c'


def test_bearer_is_taken_before_basic_wherever_it_stands():
    found = best_challenge(['Basic realm="x"', 'Digest a=b, Bearer realm="y"'])
    assert found is not None
    assert (found.scheme, found.params["realm"]) == ("bearer", "y")
    assert best_challenge(["Digest realm=x"]) is None


@given(st.text(alphabet=' ,="\\abc-\t', max_size=60))
def test_no_header_hangs_or_fails(header):
    parse_challenges(header)
