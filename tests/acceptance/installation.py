"""A whole installation as its operator has it: the command line, its processes, and two hostile remotes around it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tidegate.runtime.ports import free_port
from tidegate.sdk.testing.hostile_process import HostileProcess

if TYPE_CHECKING:
    import pytest

T = TypeVar("T")
COMMAND_SECONDS = 300.0
EVENTUALLY_SECONDS = 240.0
POLL_SECONDS = 0.1
CONNECTORS = "tidegate.sdk.testing.hostile_connector:CONNECTOR"


class Answer:
    """What a command printed and how it ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Installation:
    """One project folder and the `tidegate` command in it."""

    def __init__(self, folder: Path, database_url: str | None) -> None:
        self.folder = folder
        self._database_url = database_url
        self.port, self.web_port = free_port(), free_port()
        self.first_words = ""
        """What `init` printed."""

    def run(self, *arguments: str, stdin: str | None = None) -> Answer:
        """Run `tidegate ARGUMENTS`, whatever its exit status."""
        done = subprocess.run(
            [sys.executable, "-m", "tidegate", *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            env=self.environment(),
            check=False,
        )
        return Answer(done)

    def environment(self) -> dict[str, str]:
        """Return what the command finds in its environment."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
        if self._database_url is not None:
            environment["TIDEGATE_DATABASE_URL"] = self._database_url
        return {**environment, "TIDEGATE_CONNECTORS": CONNECTORS, "TIDEGATE_PROJECT": str(self.folder)}

    def do(self, *arguments: str, stdin: str | None = None) -> Answer:
        """Run a command that must succeed."""
        answer = self.run(*arguments, stdin=stdin)
        assert answer.status == 0, f"tidegate {' '.join(arguments)}: {answer.out}\n{answer.err}{self.logs()}"
        return answer

    def logs(self) -> str:
        """Return the end of every log file, for a failed test."""
        paths = sorted((self.folder / "logs").glob("*.log"))
        return "".join(
            f"\n--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-25:]) for path in paths
        )

    def report(self) -> str:
        """Return what an operator would look at, for a failed test."""
        commands = (["status"], ["events", "list", "--limit", "15"], ["commands", "list", "--limit", "15"])
        shown = [f"\n$ tidegate {' '.join(command)}\n{self.run(*command).out}" for command in commands]
        return "".join(shown) + self.logs()

    def configure(self, connections: Mapping[str, HostileProcess], flows: str, *, processes: str = "") -> None:
        """Write tidegate.yaml."""
        lines = [
            f"listen: {{host: 127.0.0.1, port: {self.port}, web_port: {self.web_port}}}",
            'network: {allow: ["127.0.0.0/8"]}',
            "connections:",
            *(f"  {name}: {{use: hostile, url: '{remote.base_url}'}}" for name, remote in connections.items()),
            flows,
            processes,
        ]
        (self.folder / "tidegate.yaml").write_text("\n".join(lines) + "\n")


def eventually(check: Callable[[], bool], what: str, installation: Installation | None = None) -> None:
    """Wait until `check` holds; fail with `what` when it does not in time."""
    deadline = time.monotonic() + EVENTUALLY_SECONDS
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(what + (installation.report() if installation is not None else ""))
        time.sleep(POLL_SECONDS)


class InOrder(Generic[T]):
    """What the tests of a file share, made anew for one that stands before one that had it.

    Tests may be shared out over several processes, and what one takes over from another may stand earlier in the file than
    what it did already: a day that has seen the evening is no good for the morning.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[T]]) -> None:
        """`make` opens it."""
        self._make = make
        self._stack = ExitStack()
        self._shared: T | None = None
        self._line = 0

    def of(self, request: pytest.FixtureRequest) -> T:
        """Return what is shared, for the test that asks."""
        line = request.function.__code__.co_firstlineno
        if self._shared is None or line < self._line:
            self.close()
            self._shared = self._stack.enter_context(self._make())
        self._line = line
        return self._shared

    def close(self) -> None:
        """Stop it."""
        self._shared = None
        self._stack.close()


@contextmanager
def installed(database_url: str | None = None) -> Iterator[Installation]:
    """Make a project in a fresh folder, on a shared database or its own; stop what runs there at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tdg-", dir="/tmp"))
    folder.chmod(0o711)
    installation = Installation(folder / "acme", database_url)
    try:
        installation.first_words = installation.do("init", str(installation.folder)).out
        yield installation
    finally:
        installation.run("down")
        shutil.rmtree(folder)
