"""Install the ERP's packages, pinned by hash, into a virtual environment of their own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from realsystems.packages import PackagesUnavailableError, run_installer

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def install(venv: Path, requirements: Path = REQUIREMENTS) -> bool:
    """Make sure that `venv` holds exactly what `requirements` names; return whether it had to be installed.

    Raises PackagesUnavailableError when pip fails; a half installed environment is completed the next time.
    """
    installed = venv / "requirements.sha256"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if installed.exists() and installed.read_text() == digest:
        return False
    _make_environment(venv)
    run_installer(
        [
            str(venv / "bin" / "python"),
            *("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"),
            *("-r", str(requirements)),
        ],
        registry="the Python package index",
    )
    installed.write_text(digest)
    return True


def _make_environment(venv: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(venv)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise PackagesUnavailableError(f"`python -m venv` failed: {(made.stdout or made.stderr).strip()}")
