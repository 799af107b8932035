"""A log file that never grows without bound, written by exactly one process."""

import contextlib
import io
import os
from pathlib import Path
from typing import TextIO, cast

LOG_BYTES_MAX = 10_000_000
"""Size at which a new file is begun."""
LOG_FILES_MAX = 5
"""Files kept, the one being written included."""


def open_log(path: Path, *, redirect: tuple[int, ...] = ()) -> TextIO:
    """Open a rotating log as a text stream; see `RotatingLog`."""
    return cast("TextIO", RotatingLog(path, redirect=redirect))


class RotatingLog(io.TextIOBase):
    """A text stream into `path`; `path.1` is the previous file, and so on.

    When the disk is full or the folder gone, lines are dropped and counted: logging never stops the work.
    """

    def __init__(self, path: Path, *, bytes_max: int = LOG_BYTES_MAX, redirect: tuple[int, ...] = ()) -> None:
        """Append to `path`. `redirect` names file descriptors (1, 2) that shall follow the current file."""
        super().__init__()
        self.dropped = 0
        self._path = path
        self._bytes_max = bytes_max
        self._redirect = redirect
        self._file: TextIO | None = None
        self._size = 0
        self._open()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Append a whole line (or several)."""
        try:
            if self._size + len(text) > self._bytes_max and self._size > 0:
                self._rotate()
            if self._file is None:
                self._open()
            if self._file is not None:
                self._size += self._file.write(text)
                self._file.flush()
        except OSError:
            self.dropped += 1
            self._close_file()
        return len(text)

    def close(self) -> None:
        """Close the file."""
        self._close_file()
        super().close()

    def _rotate(self) -> None:
        self._close_file()
        for number in range(LOG_FILES_MAX - 1, 0, -1):
            older = self._numbered(number)
            newer = self._numbered(number - 1) if number > 1 else self._path
            with contextlib.suppress(FileNotFoundError):
                newer.rename(older)
        self._open()

    def _open(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")
        self._size = os.fstat(descriptor).st_size
        for target in self._redirect:
            os.dup2(descriptor, target)

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
