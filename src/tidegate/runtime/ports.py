"""Whether an address is free: doors share their port among themselves, so the kernel lets strangers share it too."""

from __future__ import annotations

import socket

from tidegate.kernel.errors import ConfigurationError


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
