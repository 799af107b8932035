"""The kinds of child processes: which database role they have, which keys they hold, where their code starts."""

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.store.roles import Role


@dataclass(frozen=True, kw_only=True)
class ProcessRole:
    """One kind of child process."""

    database_role: Role
    key_classes: tuple[str, ...]
    """Classes of keys it is given; it cannot derive others."""
    entry: str
    """`module:function` of its `async serve(context, stop)`."""


PROCESS_ROLES: Mapping[str, ProcessRole] = {
    "door": ProcessRole(database_role=Role.DOOR, key_classes=("intake",), entry="tidegate.intake.door:serve"),
    "web": ProcessRole(database_role=Role.WEB, key_classes=("alert", "api_key"), entry="tidegate.web.app:serve"),
    "apply": ProcessRole(database_role=Role.APPLY, key_classes=("intake",), entry="tidegate.sync.worker:serve"),
    "dispatch": ProcessRole(
        database_role=Role.DISPATCH,
        key_classes=("intake", "credential"),
        entry="tidegate.runtime.outbound:serve",
    ),
}
"""In the order in which they are started."""

CONNECTORS_ENTRY = "tidegate.app:connectors"
"""`module:function` that returns the connectors; the composition root is the only importer of them."""
