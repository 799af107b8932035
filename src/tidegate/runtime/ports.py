"""Whether an address is free, and a port that is: doors share their port among themselves, so the kernel lets strangers share it too."""

from __future__ import annotations

import itertools
import os
import socket
from pathlib import Path

from tidegate.kernel.errors import ConfigurationError, TransientError

LOWEST = 10_000
EPHEMERAL_LOWEST = 32_768
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
APART = 97
"""Between the first ports of processes whose ids follow each other."""
_numbers = itertools.count(os.getpid() * APART)


def why_taken(host: str, port: int) -> str | None:
    """Return why nobody else could listen there, None when it is free. Listens for a moment."""
    probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
    except OSError as error:
        return error.strerror or str(error)
    finally:
        probe.close()
    return None


def require_free(name: str, host: str, port: int) -> None:
    """Raise ConfigurationError(code='port_taken') unless the address is free; `name` is the setting it comes from.

    Two installations on one port would share the deliveries, and each would refuse those of the other.
    """
    reason = why_taken(host, port)
    if reason is not None:
        raise ConfigurationError(
            f"{name} {host}:{port}: {reason}",
            code="port_taken",
            hint=f"stop what listens there, or choose another {name} in tidegate.yaml",
        )


def free_port() -> int:
    """Return a port of the loopback that nobody listens at; a process gets each one once.

    It is none of those that the system gives to whoever connects: one of them can be gone before its server listens.
    Raises TransientError when all are taken.
    """
    size = max(1_000, _lowest_ephemeral() - LOWEST)
    for number in itertools.islice(_numbers, size):
        port = LOWEST + number % size
        if why_taken("127.0.0.1", port) is None:
            return port
    raise TransientError("no port of the loopback is free")


def _lowest_ephemeral() -> int:
    try:
        return int(EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return EPHEMERAL_LOWEST
