"""Which operating-system user the embedded PostgreSQL runs as, and what that user can reach.

PostgreSQL refuses to run as root. When Tidegate is started as root the server gets an existing
unprivileged account; everybody else runs the server as themselves.
"""

import contextlib
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from tidegate.kernel.errors import ConfigurationError
from tidegate.runtime.durable_file import write_private_file

PREFERRED_ACCOUNTS = ("tidegate", "postgres", "nobody")
"""Accounts tried in this order when neither the data nor the project belongs to an ordinary user."""


class PopenIdentity(TypedDict, total=False):
    """The identity arguments of `subprocess.Popen`."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, kw_only=True)
class ServerAccount:
    """The account the database server runs as. `switch` is True when we must change to it."""

    name: str
    uid: int
    gid: int
    switch: bool

    def own(self, path: Path) -> None:
        """Hand `path` itself (not its content) to this account; does nothing when not switching."""
        if self.switch:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def write(self, path: Path, content: str) -> None:
        """Write a whole file of mode 0600 that belongs to this account."""
        if self.switch:
            write_private_file(path, content, uid=self.uid, gid=self.gid)
        else:
            write_private_file(path, content)

    def popen_identity(self) -> PopenIdentity:
        """Keyword arguments that make `subprocess` run a program as this account, without groups."""
        if not self.switch:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def choose_account(data_dir: Path) -> ServerAccount:
    """Pick the account for the cluster in `data_dir` (which may not exist yet).

    Not root: the current user. As root: the owner of the nearest existing folder at or above
    `data_dir` when that is an ordinary user with a name, else the first of
    `PREFERRED_ACCOUNTS` that exists. An existing cluster therefore keeps its owner.

    Raises:
        ConfigurationError: as root, when none of the accounts exists.
    """
    if os.geteuid() != 0:
        uid = os.geteuid()
        return ServerAccount(name=_account_name(uid), uid=uid, gid=os.getegid(), switch=False)
    owner = _nearest_existing(data_dir).stat().st_uid
    for entry in _candidates(owner):
        return ServerAccount(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, switch=True)
    raise ConfigurationError(
        "PostgreSQL does not run as root and no unprivileged account was found",
        hint="create one (`useradd --system tidegate`) or start Tidegate as an ordinary user",
    )


def can_enter(folder: Path, account: ServerAccount) -> bool:
    """Whether `account` may pass through every existing folder from the root down to `folder`.

    Judged by permission bits alone, without supplementary groups: the server is started with none.
    """
    if not account.switch:
        return os.access(_nearest_existing(folder), os.X_OK)
    resolved = folder.resolve()
    return all(_may_search(part.stat(), account) for part in (resolved, *resolved.parents) if part.exists())


def _may_search(status: os.stat_result, account: ServerAccount) -> bool:
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _candidates(owner_uid: int) -> list[pwd.struct_passwd]:
    found: list[pwd.struct_passwd] = []
    if owner_uid != 0:
        with contextlib.suppress(KeyError):  # a bare number: initdb insists on a named account
            found.append(pwd.getpwuid(owner_uid))
    for name in PREFERRED_ACCOUNTS:
        with contextlib.suppress(KeyError):
            found.append(pwd.getpwnam(name))
    return [entry for entry in found if entry.pw_uid != 0]


def _account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _nearest_existing(path: Path) -> Path:
    resolved = path.resolve()
    return next(part for part in (resolved, *resolved.parents) if part.exists())
