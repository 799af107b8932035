"""Ports that are found are free, different, and nobody's who only connects."""

from __future__ import annotations

import socket

import pytest

from tidegate.kernel.errors import TransientError
from tidegate.runtime import ports


def test_ports_are_free_different_and_not_given_to_whoever_connects() -> None:
    found = [ports.free_port() for _ in range(20)]

    assert len(set(found)) == 20
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert max(found) < min(server.getsockname()[1], client.getsockname()[1])
    for port in found:
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_what_somebody_listens_at_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", ports.free_port())) as server:
        taken = server.getsockname()[1]
        monkeypatch.setattr(ports, "_numbers", iter([taken - ports.LOWEST]))
        with pytest.raises(TransientError):
            ports.free_port()
        monkeypatch.setattr(ports, "_numbers", iter([taken - ports.LOWEST, taken - ports.LOWEST + 1]))
        assert ports.free_port() == taken + 1
