"""What a command loads before it does anything: it is most of what a person waits for."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import sys
sys.argv = ["tidegate", sys.argv[1], "--help"]
from tidegate.app import main
try:
    main()
finally:
    print("aiohttp" in sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["status", "config", "why"])
def test_a_command_that_sends_nothing_loads_no_http_client(command: str) -> None:
    """It took half of the time."""
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, command], capture_output=True, text=True, timeout=200, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.splitlines()[-1] == "False"
