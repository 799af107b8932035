"""Where the real systems keep their files: one state folder, outside version control."""

from __future__ import annotations

import os
from pathlib import Path

STATE_DIR_VARIABLE = "TIDEGATE_REAL_DIR"


def default_state_dir() -> Path:
    """Return the absolute state folder: `$TIDEGATE_REAL_DIR`, else `.real` in the repository."""
    chosen = os.environ.get(STATE_DIR_VARIABLE)
    return Path(chosen).resolve() if chosen else Path(__file__).resolve().parent.parent / ".real"
