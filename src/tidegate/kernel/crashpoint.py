"""Named points at which a test lets a process die: `TIDEGATE_CRASH_AT=dispatch.t2s.committed:3` kills at the third pass.

Without that variable `reach` does nothing. The process ends itself with SIGKILL, so nothing is flushed, closed or rolled
back: what is left is what was durable.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "TIDEGATE_CRASH_AT"

_name, _, _pass = os.environ.get(VARIABLE, "").partition(":")
_left = int(_pass or 1)


def reach(name: str) -> None:
    """Pass the point `name` (room.step.moment); dies here when the environment says so."""
    global _left
    if name != _name:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
