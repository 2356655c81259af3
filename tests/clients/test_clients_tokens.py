"""Where more than this machine's own users can come, a deployment asks for a token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]


def test_a_client_with_a_token_is_answered_and_others_are_not(
    platforms, environment, command, deployed, tmp_path
):
    # An address of this machine alone, and none of those where no token is due.
    platform = platforms().start("--host", "127.0.0.2")
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps(deployed(platform, tmp_path, "blend")))
    token = platform.cli("tokens", "create", "reader", "--role", "viewer").json["secret"]
    told = command([environment("triton"), PROGRAMS / "triton_tokens.py", facts, token])
    assert told.splitlines()[-1] == "fine"
