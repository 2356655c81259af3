"""Records in YAML, as FuseML's users wrote them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.errors import InvalidInput
from volant.extensions.document import read_extension

SEVERAL = """\
# a Seldon of another cluster
id: seldon-core-production
product: seldon
version: 1.10
zone: production-cluster-001
configuration: {A: 1, B: no, C: }
status: {registered: 2022-01-01}
services:
  - id: API
    resource: seldon-core-api
    category: prediction-serving
    authrequired: true
    extension_id: seldon-core-production
    credentials:
      - id: user-ann
        scope: user
        projects: [alpha, beta]
        users:
          - ann
        configuration:
          CLIENT_KEY: TyGiZff8KqS5xWQ4eag
          INSECURE: False
    endpoints:
      - url: https://production.example.com:6443
        type: external
"""


def test_a_record_with_all_its_parts():
    assert read_extension(SEVERAL, "f.yaml") == {
        "id": "seldon-core-production",
        "product": "seldon",
        "version": "1.10",
        "zone": "production-cluster-001",
        "configuration": {"A": "1", "B": "no", "C": ""},
        "services": [
            {
                "id": "API",
                "resource": "seldon-core-api",
                "category": "prediction-serving",
                "auth_required": True,
                "configuration": {},
                "endpoints": [
                    {
                        "url": "https://production.example.com:6443",
                        "type": "external",
                        "configuration": {},
                    }
                ],
                "credentials": [
                    {
                        "id": "user-ann",
                        "scope": "user",
                        "default": False,
                        "projects": ["alpha", "beta"],
                        "users": ["ann"],
                        "configuration": {
                            "CLIENT_KEY": "TyGiZff8KqS5xWQ4eag",
                            "INSECURE": "False",
                        },
                    }
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("resource:", "resorce:", "f.yaml:10:5: services[0].resorce is not a key"),
        ("scope: user", "scope: usr", "f.yaml:16:16: services[0].credentials[0].scope is 'usr'"),
        ("authrequired: true", "authrequired: often", "must be true or false"),
        ("services:", "servises:", "Did you mean services?"),
        ("url: https://production.example.com:6443", "uri: x", "Did you mean url?"),
        ("[alpha, beta]", "alpha", "projects must be a list"),
        ("id: API", "id: [API]", "services[0].id must be one value"),
        ("zone:", "product:", "stands here twice"),
    ],
)
def test_what_is_wrong_and_where(old, new, says):
    with pytest.raises(InvalidInput) as error:
        read_extension(SEVERAL.replace(old, new), "f.yaml")
    assert says in str(error.value)


@pytest.mark.parametrize("wrong", ["hunter2", "[hunter2]"])
def test_a_secret_in_the_wrong_place_is_not_shown(wrong):
    text = f"services: [{{credentials: [{{configuration: {wrong}}}]}}]"
    with pytest.raises(InvalidInput, match="must be a mapping") as error:
        read_extension(text, "f.yaml")
    assert "hunter2" not in str(error.value) + str(error.value.details)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(InvalidInput):
        assert isinstance(read_extension(text, "f.yaml"), dict)
