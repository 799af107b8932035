"""What a supervisor tells a child: one line through the child's standard input, which then stays open.

Keys and addresses travel this way only, never by environment or arguments, which other processes can
read. The end of the stream means that the supervisor is gone.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tidegate.kernel.errors import ConfigurationError
from tidegate.store.context import Context
from tidegate.store.pool import Access
from tidegate.store.roles import Role

HANDOVER_BYTES_MAX = 1_000_000
_CHUNK_BYTES = 65_536


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a child needs. Holds keys and passwords: never print it."""

    role: str
    index: int
    cell: str
    project: str | None
    database_role: Role
    dsn: str
    assume_role: bool
    keys: Mapping[str, bytes]
    options: Mapping[str, Any]
    entry: str
    connectors_entry: str | None
    supervisor_pid: int
    drain_seconds: float
    """How long the child may go on after it was told to stop."""

    def __repr__(self) -> str:
        """Name the child, show nothing else."""
        return f"Handover({self.role}-{self.index})"

    def encode(self) -> bytes:
        """Return the line to send."""
        return msgspec.json.encode(self) + b"\n"

    def context(self) -> Context:
        """Build the context of the child's main function."""
        connectors = load_function(self.connectors_entry)() if self.connectors_entry else {}
        return Context(
            role=self.role,
            index=self.index,
            cell=self.cell,
            access=Access(role=self.database_role, dsn=self.dsn, assume_role=self.assume_role),
            keys=dict(self.keys),
            connectors=connectors,
            project=Path(self.project) if self.project else None,
            options=dict(self.options),
        )


def read_handover(descriptor: int) -> Handover | None:
    """Read the line from the supervisor, leaving the stream open behind it; None when it ends before.

    Raises:
        ConfigurationError: something else came.
    """
    received = b""
    while not received.endswith(b"\n"):
        chunk = os.read(descriptor, _CHUNK_BYTES)
        received += chunk
        if not chunk or len(received) > HANDOVER_BYTES_MAX:
            return None
    try:
        return msgspec.json.decode(received, type=Handover)
    except msgspec.DecodeError as error:
        raise ConfigurationError("a child process is started by `tidegate up`, not by hand") from error


def load_function(entry: str) -> Callable[..., Any]:
    """Import `module:function`.

    Raises:
        ConfigurationError: the module has no such function.
    """
    module_name, _, name = entry.partition(":")
    function = getattr(importlib.import_module(module_name), name, None)
    if not callable(function):
        raise ConfigurationError(f"{entry} is not a function")
    return function  # type: ignore[no-any-return]
