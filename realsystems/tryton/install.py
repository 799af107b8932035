"""Install the ERP's packages, pinned by hash, into a virtual environment of their own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
INSTALL_TIMEOUT_SECONDS = 900


def install(venv: Path) -> bool:
    """Make sure that `venv` holds exactly what the requirements name; return whether it had to be installed.

    Raises subprocess.CalledProcessError when pip fails; a half installed environment is completed the next time.
    """
    installed = venv / "requirements.sha256"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if installed.exists() and installed.read_text() == digest:
        return False
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    subprocess.run(
        [
            str(venv / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--require-hashes",
            "-r",
            str(REQUIREMENTS),
        ],
        check=True,
        timeout=INSTALL_TIMEOUT_SECONDS,
    )
    installed.write_text(digest)
    return True
