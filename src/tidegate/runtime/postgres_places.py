"""Where a cluster and its socket may lie: reachable for the server's account, short enough."""

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from tidegate.kernel.errors import ConfigurationError
from tidegate.runtime.unprivileged import ServerAccount, can_enter

SOCKET_PATH_BYTES_MAX = 103
"""Longest socket path that fits the socket address of every supported system (macOS: 104 with NUL)."""
SOCKET_NAME = ".s.PGSQL.5432"
PASSABLE = 0o711
"""Mode of folders that others may pass through but not list."""


def place_data_dir(requested: Path, account: ServerAccount, state_root: Path) -> Path:
    """Make sure an empty or existing cluster folder stands at `requested`; return the real one.

    When the account cannot enter the parent of `requested` (a project in root's home), the folder
    is created below `state_root` in a new place, and `requested` becomes a symbolic link to it.

    Raises:
        ConfigurationError: neither place can be entered by the account.
    """
    _make_passable(requested.parent)
    if not os.path.lexists(requested) and not can_enter(requested.parent, account):
        elsewhere = state_root / secrets.token_hex(8) / requested.name
        _make_passable(elsewhere.parent)
        with contextlib.suppress(FileExistsError):  # another starter was quicker: use its place
            requested.symlink_to(elsewhere)
    real = requested.resolve()
    if not can_enter(real.parent, account):
        raise ConfigurationError(
            f"the account {account.name!r} cannot enter {real.parent}",
            hint=f"open the folders above for passing (chmod o+x), or move the data to {state_root}",
        )
    with contextlib.suppress(FileExistsError):  # of an earlier start, or of a starter that was quicker
        real.mkdir(mode=0o700)
    if real.is_dir() and not any(real.iterdir()):  # also when whoever made it was killed before handing it over
        account.own(real)
    return real


def choose_socket_dir(data_dir: Path, account: ServerAccount, run_dir: Path | None) -> Path:
    """Return a private folder (0700, owned by the account) whose socket path is short enough.

    Tried in order: `run_dir`, the folder of the cluster, then a short system folder with a name
    derived from the cluster's path, so that the same cluster always gets the same place.

    Raises:
        ConfigurationError: a folder of that name belongs to somebody else.
    """
    for folder in _socket_dir_candidates(data_dir, account, run_dir):
        if len(os.fsencode(folder / SOCKET_NAME)) > SOCKET_PATH_BYTES_MAX:
            continue
        if can_enter(folder.parent, account) and os.access(_existing(folder.parent), os.W_OK):
            _make_private(folder, account)
            return folder
    raise ConfigurationError("no folder is short enough and writable for the PostgreSQL socket")


def _socket_dir_candidates(data_dir: Path, account: ServerAccount, run_dir: Path | None) -> Iterator[Path]:
    name = f"tidegate-{account.uid}-{_digest(data_dir)}"
    if run_dir is not None:
        yield run_dir.absolute() / "pg"
    else:
        yield data_dir.with_name(f"{data_dir.name}.sock")
    if account.switch:
        yield Path("/run") / name
    elif "XDG_RUNTIME_DIR" in os.environ:
        yield Path(os.environ["XDG_RUNTIME_DIR"]) / name
    yield Path("/tmp") / name  # noqa: S108 - ownership and mode are checked before use


def _make_private(folder: Path, account: ServerAccount) -> None:
    _make_passable(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        account.own(folder)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != account.uid:
        raise ConfigurationError(f"{folder} exists and does not belong to {account.name!r}")
    if stat.S_IMODE(status.st_mode) != 0o700:
        folder.chmod(0o700)


def _make_passable(folder: Path) -> None:
    """Create missing folders so that the server's account can pass through them."""
    if not folder.exists():
        _make_passable(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(PASSABLE)


def _existing(path: Path) -> Path:
    return next(part for part in (path, *path.parents) if part.exists())


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]
