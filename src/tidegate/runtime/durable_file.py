"""Files that appear whole or not at all, private to their owner, and are on disk when we return."""

import os
import secrets
from pathlib import Path


def write_private_file(path: Path, content: str, *, uid: int = -1, gid: int = -1) -> None:
    """Replace `path` by `content` with mode 0600: new file, fsync, rename, fsync of the folder.

    A symbolic link standing at `path` is replaced, never followed. `uid` and `gid` set the owner
    (-1 keeps the current one). Safe to repeat.
    """
    staging = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(staging, flags, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchown(file.fileno(), uid, gid)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staging.rename(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and new names inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
