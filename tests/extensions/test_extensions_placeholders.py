from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.errors import NotFound
from volant.extensions.placeholders import Place, placeholder, replaced

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,8}", fullmatch=True)
KNOWN = {"A": "1", "AB": "2", "USER": "u"}


def of(text, known=KNOWN):
    return replaced(text, lambda _place: known)


@pytest.mark.parametrize(
    ("text", "revealed"),
    [
        ("secret://e/s/c/A", "1"),
        ("secret://e/s/c/AB", "2"),
        ("pg://secret://e/s/c/USER:secret://e/s/c/A@host/db", "pg://u:1@host/db"),
        ("secret://e/s/c/A-secret://e/s/c/AB", "1-2"),
        ("secret://e/s/c/Asecret://e/s/c/AB", "12"),
        ("secret://e/s/c/A.example.com", "1.example.com"),
        ("secret://", "secret://"),
        ("secret://e/s", "secret://e/s"),
        ("nothing", "nothing"),
    ],
)
def test_placeholders_in_longer_text(text, revealed):
    assert of(text) == revealed


def test_a_key_that_is_not_there():
    with pytest.raises(NotFound, match="e/s/c have no secret 'PASSWORD'") as error:
        of("secret://e/s/c/PASSWORD")
    assert error.value.fix == "They have: A, AB, USER."
    assert "1" not in str(error.value)


def test_a_secret_that_looks_like_a_placeholder_stays():
    assert of("secret://e/s/c/A", {"A": "secret://e/s/c/A"}) == "secret://e/s/c/A"


@given(
    st.lists(
        st.tuples(st.text(alphabet="abc /:@", max_size=5), NAMES, NAMES, NAMES, NAMES), max_size=4
    ),
)
def test_text_around_any_placeholder_stays(parts):
    known: dict[Place, dict[str, str]] = {}
    text = expected = ""
    for before, *names in parts:
        place = Place(*names[:3])
        known.setdefault(place, {})[names[3]] = f"<{'/'.join(names)}>"
        # What follows must not go on as another key of the same credentials would.
        text += f"{before}{placeholder(*names)} "
        expected += f"{before}<{'/'.join(names)}> "
    assert replaced(text, known.__getitem__) == expected
