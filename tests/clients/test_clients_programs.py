"""Clients that others wrote, unchanged, in environments of their own: see `programs/`."""

from __future__ import annotations

from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("client", "program"),
    [
        ("triton", "triton_http.py"),
        ("triton", "triton_grpc.py"),
        ("triton", "triton_versions.py"),
        ("kserve", "kserve_clients.py"),
        ("mlserver", "mlserver_codecs.py"),
    ],
)
def test_a_client_asks_all_that_it_can(client, program, environment, command, served):
    told = command([environment(client), PROGRAMS / program, served.facts])
    assert told.splitlines()[-1] == "fine"
