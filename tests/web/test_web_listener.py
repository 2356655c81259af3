"""Where the server may listen, and what is told when it can't."""

from __future__ import annotations

import json
import os
import socket

import pytest

from volant.errors import Conflict, InvalidInput
from volant.web.listener import Address, bind, check, is_loopback
from volant.web.server import remove_record, write_record


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.4", False),
        ("localhost.example", False),
    ],
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected


def test_beyond_this_machine_needs_tls_or_a_word(tmp_path):
    with pytest.raises(InvalidInput, match="in the clear") as caught:
        check(Address("0.0.0.0"))
    assert "--insecure" in caught.value.fix
    check(Address("0.0.0.0", insecure=True))
    (tmp_path / "cert.pem").touch()
    (tmp_path / "key.pem").touch()
    check(Address("0.0.0.0", tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem"))


def test_tls_needs_both_files(tmp_path):
    with pytest.raises(InvalidInput, match="certificate and its key"):
        check(Address(tls_cert=tmp_path / "cert.pem"))
    with pytest.raises(InvalidInput, match=r"no file .*cert\.pem"):
        check(Address(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem"))


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none(port):
    with pytest.raises(InvalidInput, match="is not a port"):
        check(Address(port=port))


def test_urls_and_names():
    assert Address("0.0.0.0").url(8400) == "http://127.0.0.1:8400"
    assert Address("::1").url(1) == "http://[::1]:1"
    assert Address("127.0.0.2").names() == {"127.0.0.1", "localhost", "[::1]", "127.0.0.2"}
    assert Address("192.168.1.4").names() is None


def test_port_0_is_any_that_is_free(tmp_path):
    with bind(Address(port=0), tmp_path) as listener:
        assert listener.getsockname()[1] > 0


def test_a_port_that_another_program_holds(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        holder.settimeout(0)
        with pytest.raises(Conflict, match=f"Port {port} .* another program") as caught:
            bind(Address(port=port), tmp_path)
    assert "--port" in caught.value.fix
    assert caught.value.error_code == "port_in_use"


def test_a_port_that_our_own_volant_holds(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        write_record(tmp_path / "server.json", f"http://127.0.0.1:{port}")
        with pytest.raises(Conflict, match=f"pid {os.getpid()}") as caught:
            bind(Address(port=port), tmp_path)
    assert "volant down" in caught.value.fix


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host"])
def test_an_address_that_is_not_ours(tmp_path, host):
    with pytest.raises(InvalidInput, match="not an address of this machine"):
        bind(Address(host, 0), tmp_path)


def test_only_our_own_record_is_removed(tmp_path):
    record = tmp_path / "server.json"
    write_record(record, "http://127.0.0.1:1")
    assert json.loads(record.read_text())["pid"] == os.getpid()
    remove_record(record)
    assert not record.exists()
    for content in ('{"pid": 1}', "", "[]"):
        record.write_text(content)
        remove_record(record)
        assert record.exists()
