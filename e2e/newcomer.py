"""A newcomer: types `tidegate` commands, counts them, edits two files, and looks at what the systems themselves say."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

COMMAND_SECONDS = 600.0
POLL_SECONDS = 0.5


class Newcomer:
    """Somebody in a new folder. `commands` is what was typed."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.commands: list[str] = []
        self._say = say

    def type(self, *arguments: str) -> str:
        """Type a command and return what it printed. Raises RuntimeError when it fails."""
        self.commands.append("tidegate " + " ".join(arguments))
        return self._run(*arguments)

    def type_json(self, *arguments: str) -> Any:
        """Type a command with --json."""
        return json.loads(self.type(*arguments, "--json"))

    def look(self, *arguments: str) -> Any:
        """Ask for JSON while waiting for something; a person would read the page and type nothing."""
        return json.loads(self._run(*arguments, "--json"))

    def _run(self, *arguments: str) -> str:
        started = time.monotonic()
        environment = {**os.environ, "NO_COLOR": "1"}
        if self.folder.exists():
            environment["TIDEGATE_PROJECT"] = str(self.folder)
        done = subprocess.run(
            [sys.executable, "-m", "tidegate", *arguments],
            capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False, env=environment,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(
                f"tidegate {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
            )
        self._say(f"$ tidegate {' '.join(arguments[:3])}   ({time.monotonic() - started:.1f} s)")
        return done.stdout

    # --- two files -----------------------------------------------------------------------------------------------
    def write_config(self, text: str) -> None:
        """Edit tidegate.yaml."""
        (self.folder / "tidegate.yaml").write_text(text, encoding="utf-8")

    def decide(self, decisions: Mapping[str, str]) -> int:
        """Write decisions behind articles in matches.csv, by their SKU there; return how many were open."""
        path = self.folder / "matches.csv"
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
        out = io.StringIO()
        writer = csv.DictWriter(out, fieldnames=list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "decision": decisions.get(row["sku"], "")})
        path.write_text(out.getvalue(), encoding="utf-8-sig")
        return len(rows)


def wait_for(check: Callable[[], bool], what: str, *, seconds: float = 180.0) -> None:
    """Wait until something is so. Raises TimeoutError that names it."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"in {seconds:.0f} s it did not come to this: {what}")
        time.sleep(POLL_SECONDS)
