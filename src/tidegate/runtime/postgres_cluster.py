"""Creates a database cluster with initdb: checksummed, UTF-8, password-only, whole or not at all."""

import shutil
import subprocess
from pathlib import Path

from tidegate.kernel.errors import ConfigurationError
from tidegate.runtime.durable_file import sync_folder
from tidegate.runtime.postgres_binaries import PostgresBinaries
from tidegate.runtime.postgres_settings import HOST_BASED_ACCESS
from tidegate.runtime.unprivileged import ServerAccount

SETTINGS_FILE = "tidegate.conf"
INITDB_TIMEOUT_SECONDS = 120.0
SERVER_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""The whole environment of the server's programs: nothing of ours leaks into it."""
_ERROR_TAIL_CHARS = 2000
_FIRST_VERSION_WITH_BUILTIN_LOCALE = 17


def ensure_cluster(
    data_dir: Path,
    *,
    programs: PostgresBinaries,
    account: ServerAccount,
    superuser: str,
    password: str,
) -> None:
    """Create the cluster in the empty folder `data_dir` unless it exists already.

    Raises:
        ConfigurationError: initdb failed, or the cluster was made by another major version.
    """
    if not (data_dir / "PG_VERSION").exists():
        _create(data_dir, programs, account, superuser=superuser, password=password)
    found = (data_dir / "PG_VERSION").read_text().strip()
    if found != str(programs.version):
        raise ConfigurationError(
            f"{data_dir} was created by PostgreSQL {found}, not {programs.version}",
            hint=f"run it with version {found}, or dump it and restore into a new folder",
        )


def _create(
    data_dir: Path,
    programs: PostgresBinaries,
    account: ServerAccount,
    *,
    superuser: str,
    password: str,
) -> None:
    """Work in a folder beside the target and rename it: a killed initdb leaves no half cluster."""
    staging = data_dir.with_name(data_dir.name + ".new")
    password_file = data_dir.with_name(data_dir.name + ".initpw")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    account.own(staging)
    account.write(password_file, password)
    try:
        _run_initdb(staging, password_file, programs, account, superuser=superuser)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    finally:
        password_file.unlink()
    account.write(staging / "pg_hba.conf", HOST_BASED_ACCESS)
    configuration = (staging / "postgresql.conf").read_text()
    include = f"\ninclude_if_exists = '{SETTINGS_FILE}'\n"
    account.write(staging / "postgresql.conf", configuration + include)
    staging.rename(data_dir)  # replaces the empty folder
    sync_folder(data_dir.parent)


def _run_initdb(
    folder: Path,
    password_file: Path,
    programs: PostgresBinaries,
    account: ServerAccount,
    *,
    superuser: str,
) -> None:
    result = subprocess.run(  # noqa: S603 - the bundled program, our own arguments
        [
            programs.program("initdb"),
            f"--pgdata={folder}",
            f"--username={superuser}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--data-checksums",
            "--encoding=UTF8",
            *_locale_arguments(programs.version),
            "--no-instructions",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd="/",
        env=SERVER_ENVIRONMENT,
        umask=0o077,
        timeout=INITDB_TIMEOUT_SECONDS,
        check=False,
        **account.popen_identity(),
    )
    if result.returncode != 0:
        raise ConfigurationError(f"initdb failed: {result.stderr.strip()[-_ERROR_TAIL_CHARS:]}")


def _locale_arguments(version: int) -> list[str]:
    """Order by code point everywhere; the built-in provider knows letters beyond ASCII as well."""
    if version >= _FIRST_VERSION_WITH_BUILTIN_LOCALE:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C"]
