"""localstripe as a process on the loopback, in memory."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from realsystems.statedir import default_state_dir
from realsystems.tryton.install import install

API_KEY = "sk_test_12345"
"""It takes any key that begins with sk_."""
START_SECONDS = 30.0
STOP_SECONDS = 10.0
# Its own command listens on every interface and keeps its books in the temporary folder.
_RUN = """
import sys
from aiohttp import web
from localstripe import resources
from localstripe.server import app
resources.store.dump_to_disk = lambda: None
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""


class LocalStripe:
    """A context manager: installs it where it is not yet, starts it with empty books, ends it at the end."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self.venv = default_state_dir() / "localstripe" / "venv"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> LocalStripe:
        self.venv.parent.mkdir(parents=True, exist_ok=True)
        install(self.venv, Path(__file__).with_name("requirements.txt"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [str(self.venv / "bin" / "python"), "-c", _RUN, str(self.port)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self._end()
                raise RuntimeError("localstripe did not start")
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def call(self, method: str, path: str, **form: str) -> Any:
        """Make one request and return its JSON. Raises urllib.error.HTTPError for a refusal."""
        data = urllib.parse.urlencode(form).encode() if method == "POST" else None
        query = "?" + urllib.parse.urlencode(form) if form and method == "GET" else ""
        request = urllib.request.Request(
            self.url + path + query, data=data, method=method, headers={"Authorization": f"Bearer {API_KEY}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def everything(self, path: str) -> list[Any]:
        """Return all objects of a list."""
        found: list[Any] = self.call("GET", path, limit="1000000")["data"]
        return found

    def _answers(self) -> bool:
        try:
            self.call("GET", "/v1/events", limit="1")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(STOP_SECONDS)
