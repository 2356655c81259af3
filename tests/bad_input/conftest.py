"""What a stranger is told of bad input, judged the same way everywhere."""

from __future__ import annotations

import pytest


class Stranger:
    """Someone who types `volant …` on one platform's home."""

    def __init__(self, platform) -> None:
        self.platform = platform
        self.folder = platform.folder

    def types(self, *words, code=0, **environment):
        """What the terminal shows, all of it."""
        told = self.platform.shell(
            *words, "--home", str(self.platform.home), code=code, **environment
        )
        text = told.out + told.err
        assert "Traceback" not in text, text
        return text

    def is_refused(self, *words, code, says, fix=""):
        """One sentence with the offending value, one with what to do."""
        text = self.types(*words, code=code)
        what, _, remedy = text.partition("Fix: ")
        assert "Error: " in what, text
        assert remedy.strip(), text
        for part in [says] if isinstance(says, str) else says:
            assert part in what, text
        assert fix in remedy, text
        return text

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


@pytest.fixture(scope="module")
def platform(platforms):
    return platforms().start()


@pytest.fixture(scope="module")
def stranger(platform):
    return Stranger(platform)
