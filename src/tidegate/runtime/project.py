"""The project folder: where configuration, keys, data, logs and run-time state of an installation lie."""

import os
from dataclasses import dataclass
from pathlib import Path

from tidegate.kernel.errors import ConfigurationError

ROOT_KEY_BYTES_MIN = 32
_OTHERS_MAY_READ = 0o077


@dataclass(frozen=True)
class Project:
    """Paths below one project folder."""

    folder: Path

    @property
    def config_file(self) -> Path:
        """The YAML file."""
        return self.folder / "tidegate.yaml"

    @property
    def first_login_file(self) -> Path:
        """The login that `init` made, until `up` has taken it into the database: a hash, no password."""
        return self.folder / "keys" / "login.json"

    @property
    def root_key_file(self) -> Path:
        """The key that everything secret hangs on."""
        return self.folder / "keys" / "root.key"

    @property
    def postgres_dir(self) -> Path:
        """The embedded cluster (a symbolic link when it had to move)."""
        return self.folder / "data" / "postgres"

    @property
    def run_dir(self) -> Path:
        """State of the running supervisor."""
        return self.folder / "run"

    @property
    def state_file(self) -> Path:
        """Pids of the running processes, see `tidegate.runtime.state`."""
        return self.run_dir / "state.json"

    @property
    def lock_file(self) -> Path:
        """Locked while a supervisor runs."""
        return self.run_dir / "supervisor.lock"

    @property
    def logs_dir(self) -> Path:
        """One file per process, rotated."""
        return self.folder / "logs"

    def read_root_key(self) -> bytes:
        """Return the root key.

        Raises:
            ConfigurationError: absent, too short, or readable by others.
        """
        path = self.root_key_file
        try:
            mode, key = path.stat().st_mode, path.read_bytes()
        except OSError as error:
            hint = (
                "run it as the user whose project this is"
                if isinstance(error, PermissionError)
                else "restore it from your backup: what is stored here cannot be read with any other key"
            )
            raise ConfigurationError(f"the root key {path} cannot be read: {error.strerror}", hint=hint) from error
        if mode & _OTHERS_MAY_READ:
            raise ConfigurationError(f"others may read the root key {path}", hint=f"chmod 0400 {path}")
        if len(key) < ROOT_KEY_BYTES_MIN:
            raise ConfigurationError(
                f"the root key {path} has only {len(key)} bytes", hint="restore it from your backup"
            )
        return key

    def require_cluster(self) -> None:
        """Refuse to go on with nothing where a database was: an empty one in its place would look like all is well.

        Raises:
            ConfigurationError: a database was made here, and its folder is empty or gone.
        """
        if self._cluster_note.exists() and not (self.postgres_dir / "PG_VERSION").exists():
            raise ConfigurationError(
                f"the database that was in {self.postgres_dir} is not there any more",
                code="cluster_missing",
                hint=f"mount or restore it; to begin with an empty one, remove {self._cluster_note}",
            )

    def note_cluster(self) -> None:
        """Note that a database was made here."""
        self._cluster_note.touch(mode=0o600)

    @property
    def _cluster_note(self) -> Path:
        return self.postgres_dir.with_name("postgres.made")

    def make_folders(self) -> None:
        """Create the folders for state and logs, closed to others except for passing through `run`."""
        for folder, mode in ((self.run_dir, 0o711), (self.logs_dir, 0o700)):
            if not folder.exists():
                folder.mkdir(parents=True)
                folder.chmod(mode)
        if not os.access(self.run_dir, os.W_OK):
            raise ConfigurationError(f"{self.run_dir} is not writable")
