"""Named points at which a test lets a process die or freeze.

`TIDEGATE_CRASH_AT=dispatch.t2s.committed:3` kills at the third pass, `TIDEGATE_FREEZE_AT=...` stops the process until
somebody continues it. Without these variables `reach` does nothing. The process signals itself with SIGKILL or SIGSTOP, so
nothing is flushed, closed or rolled back: what is left is what was durable.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "TIDEGATE_CRASH_AT"
FREEZE_VARIABLE: Final = "TIDEGATE_FREEZE_AT"


class _Trap:
    """One point with the passes that are left until it springs; it springs once."""

    def __init__(self, text: str, number: signal.Signals) -> None:
        self.name, _, passes = text.partition(":")
        self._left = int(passes or 1)
        self._number = number

    def spring(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), self._number)


_traps = [
    _Trap(text, number)
    for text, number in (
        (os.environ.get(VARIABLE, ""), signal.SIGKILL),
        (os.environ.get(FREEZE_VARIABLE, ""), signal.SIGSTOP),
    )
    if text
]


def reach(name: str) -> None:
    """Pass the point `name` (room.step.moment); dies or freezes here when the environment says so."""
    for trap in _traps:
        if trap.name == name:
            trap.spring()
