"""Run a package installer, and say in words why it failed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

INSTALL_TIMEOUT_SECONDS = 900
LAST_LINES = 3
LINE_MAX = 300
"""An installer says last why it gave up, and what it says may be long."""
# How pip and npm say that nobody answered: names that do not resolve, refused or silent connections, proxies, TLS.
NO_ANSWER = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|SOCKET_TIMEOUT|FETCH_ERROR"
    r"|NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|ConnectionReset"
    r"|Failed to establish a new connection|Temporary failure in name resolution|Network is unreachable"
    r"|network (?:connectivity|timeout)|\b50[234] (?:Bad|Service|Gateway)"
)


class PackagesUnavailableError(RuntimeError):
    """An installer failed; the message says what it said."""


class RegistryUnreachableError(PackagesUnavailableError):
    """The package registry did not answer."""


def run_installer(arguments: Sequence[str], *, registry: str, folder: Path | None = None) -> None:
    """Run an installer to its end; `registry` is what people call the place that it asks.

    Raises RegistryUnreachableError when nobody answers there, PackagesUnavailableError when it fails otherwise.
    """
    try:
        ended = subprocess.run(
            arguments, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=INSTALL_TIMEOUT_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise RegistryUnreachableError(f"{registry} took longer than {INSTALL_TIMEOUT_SECONDS} s") from error
    if ended.returncode != 0:
        raise explain_failure(f"{ended.stdout}\n{ended.stderr}".strip(), registry)


def explain_failure(said: str, registry: str) -> PackagesUnavailableError:
    """Return the error for an installer that failed and `said` something."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("WARNING: Retrying")]
    last_words = "\n".join(f"  {line[:LINE_MAX]}" for line in lines[-LAST_LINES:])
    if NO_ANSWER.search(said):
        return RegistryUnreachableError(f"{registry} does not answer:\n{last_words}")
    return PackagesUnavailableError(f"the packages of {registry} could not be installed:\n{last_words}")
