"""The server settings of the embedded PostgreSQL, as data.

Durability settings are not here to be changed: an acknowledged event must survive a power cut.
Statement, lock and idle timeouts are set per role (see `tidegate.store.roles`), never globally,
because a global statement timeout would also end backups and index builds.
"""

from collections.abc import Mapping

from tidegate.kernel.errors import ConfigurationError

SERVER_SETTINGS: Mapping[str, str] = {
    # where it listens: a Unix socket in a private folder, no network at all
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "120",
    # durability
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_compression": "on",
    # size
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    # queue tables churn: look often, clean early, do not dawdle
    "autovacuum": "on",
    "autovacuum_naptime": "15s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    "autovacuum_vacuum_cost_limit": "1000",
    # one meaning of time
    "timezone": "UTC",
    "log_timezone": "UTC",
    # a bounded log: one file per weekday, overwritten a week later; terse, because the detail line
    # of a constraint error quotes row content
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_file_mode": "0600",
    "log_line_prefix": "%m [%p] %q%u@%d %a ",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "password_encryption": "scram-sha-256",
}
"""Setting -> value with its unit, as PostgreSQL writes it."""

FIXED_SETTINGS = frozenset(
    {
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "listen_addresses",
        "port",
        "unix_socket_directories",
        "unix_socket_permissions",
    }
)
"""What `render_settings` does not let a caller override."""

HOST_BASED_ACCESS = "local all all scram-sha-256\nlocal replication all scram-sha-256\n"
"""pg_hba.conf: password over the Unix socket, nothing else."""


def render_settings(overrides: Mapping[str, str], *, socket_dir: str) -> str:
    """Return the text of the settings file: the defaults above, `overrides`, the socket folder.

    Raises:
        ConfigurationError: an override touches durability or the listening address.
    """
    forbidden = sorted(FIXED_SETTINGS & overrides.keys())
    if forbidden:
        raise ConfigurationError(f"these PostgreSQL settings are fixed: {', '.join(forbidden)}")
    merged = {**SERVER_SETTINGS, **overrides, "unix_socket_directories": socket_dir}
    return "".join(f"{name} = {_quote(value)}\n" for name, value in merged.items())


def _quote(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
