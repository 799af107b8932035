"""Generated database passwords of the embedded cluster, kept in one file that only we can read."""

import json
import secrets
from collections.abc import Iterable
from pathlib import Path

from tidegate.kernel.errors import ConfigurationError
from tidegate.runtime.durable_file import write_private_file

PASSWORD_BYTES = 24


def ensure_passwords(path: Path, roles: Iterable[str]) -> dict[str, str]:
    """Return role -> password, generating and storing those that `path` does not hold yet."""
    known = load_passwords(path) if path.exists() else {}
    missing = [role for role in roles if role not in known]
    if missing:
        known |= {role: secrets.token_urlsafe(PASSWORD_BYTES) for role in missing}
        write_private_file(path, json.dumps(known, indent=1, sort_keys=True))
    return known


def load_passwords(path: Path) -> dict[str, str]:
    """Return role -> password as stored.

    Raises:
        ConfigurationError: the file is absent or damaged, so the cluster cannot be entered.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the database passwords cannot be read from {path}",
            hint="restore that file from the backup that holds the data folder",
        ) from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} does not hold a table of passwords")
    return {str(role): str(password) for role, password in content.items()}
