import pytest
from pydantic import ValidationError

from volant.settings import Settings


def test_the_environment_is_read_and_what_is_given_wins(monkeypatch, tmp_path):
    monkeypatch.setenv("VOLANT_PORT", "9001")
    monkeypatch.setenv("volant_workers", "3")
    monkeypatch.setenv("VOLANT_SECRET_KEY", "hidden")
    monkeypatch.setenv("VOLANT_NOBODY", "is no setting")
    settings = Settings(home=tmp_path)
    assert (settings.port, settings.workers, settings.home) == (9001, 3, tmp_path)
    assert "hidden" not in repr(settings)
    assert Settings(port=9002).port == 9002


def test_a_wrong_value_is_named(monkeypatch):
    monkeypatch.setenv("VOLANT_PORT", "many")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert caught.value.errors()[0]["loc"] == ("port",)
