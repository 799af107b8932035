"""The hostile remote in a process of its own, and a small blocking hand on its `/__` routes. For tests that kill things."""

from __future__ import annotations

import http.client
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tidegate.sdk.testing.hostile_world import World

STOP_SECONDS = 10.0


class HostileProcess:
    """A context manager: starts the remote, ends it at the end. `base_url` stays the same over `kill()` and `start()`."""

    def __init__(self, state: Path | None = None, *, account: str = "hostile") -> None:
        """`state` is the file that keeps the world over a restart."""
        self._state = state
        self._account = account
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def base_url(self) -> str:
        """Address of the remote."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id, None when it is not running."""
        return self._process.pid if self._process is not None else None

    def __enter__(self) -> HostileProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the remote and wait until it listens; on the same port as before, when there was a before."""
        command = [sys.executable, "-m", "tidegate.sdk.testing.hostile", "--port", str(self._port)]
        command += ["--account", self._account]
        if self._state is not None:
            command += ["--state", str(self._state)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own module
        if self._process.stdout is None or not (line := self._process.stdout.readline()):
            raise RuntimeError("the hostile remote did not start")
        self._port = int(line.strip().rpartition(":")[2])

    def stop(self) -> None:
        """End it in good order; the state is written."""
        if self._process is not None:
            self._process.terminate()
            self._wait()

    def kill(self) -> None:
        """End it at once; what happened in the last fifth of a second may be missing in the state file."""
        if self._process is not None:
            self._process.kill()
            self._wait()

    def _wait(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.wait(STOP_SECONDS)
            if process.stdout is not None:
                process.stdout.close()

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call a `/__` route and return its JSON. Raises RuntimeError for a refusal."""
        parts = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=STOP_SECONDS)
        try:
            connection.request(method, path, body=None if body is None else msgspec.json.encode(body))
            response = connection.getresponse()
            raw = msgspec.json.decode(response.read())
        finally:
            connection.close()
        if response.status // 100 != 2:
            raise RuntimeError(f"{method} {path} was refused: {raw}")
        return raw

    def world(self) -> World:
        """Return the world as it is now."""
        return msgspec.convert(self.control("GET", "/__state"), World)
