"""A whole Tidegate in a temporary folder: its project, its processes, and the hand that kills them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tidegate.kernel.errors import ConfigurationError
from tidegate.runtime.ports import free_port
from tidegate.runtime.project import Project
from tidegate.runtime.state import ProcessState, describe_process, is_alive, read_state

COMMAND_SECONDS = 300.0
LAST_WORDS = 3000
PREFIX = "tdg-"
TEMP_PATH_MAX = 40
"""Characters; the path of a socket has about a hundred at most."""
KNOWN = "processes.json"
"""In the folder: whose it is, and what was started beside the installation."""


class Killed(msgspec.Struct, frozen=True, kw_only=True):
    """A process of ours that was killed."""

    role: str
    index: int
    """Its number among those of its role."""
    pid: int


class Installation:
    """One project, from `init` to `down`. Nothing outside of its folder is touched."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_short_temp()))
        self.folder.chmod(0o711)  # the server's own account passes through
        self._known: list[ProcessState] = []
        self.note("rehearsal", os.getpid())
        self.project = Project(self.folder / "rehearsal")
        self.port, self.web_port = free_port(), free_port()

    def note(self, role: str, pid: int) -> None:
        """Write down a process that ends with this one, for whoever cleans up after a kill -9; the first one is our own."""
        self._known.append(describe_process(role, len(self._known), pid))
        (self.folder / KNOWN).write_bytes(msgspec.json.encode(self._known))

    async def init(self) -> None:
        """Make the project."""
        await self.run("init", str(self.project.folder))

    def configure(self, text: str, files: Mapping[str, str]) -> None:
        """Write tidegate.yaml and the files that it names."""
        self.project.config_file.write_text(text, encoding="utf-8")
        for name, content in files.items():
            path = self.project.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")

    async def up(self) -> None:
        """Start everything and wait until it is ready. Raises ConfigurationError with what was said when it is not."""
        await self.run("up", "--detach", in_project=True)

    async def connect(self, name: str, answers: Mapping[str, str]) -> str | None:
        """Connect a system; what is secret goes by standard input. Return the address of its webhooks, where it shows one."""
        said = await self.run(
            "connect", name, "--yes", "--create-missing", "--json", "--from-json", "-",
            stdin=msgspec.json.encode(dict(answers)), in_project=True,
        )  # fmt: skip
        try:
            webhook = msgspec.json.decode(said[said.index("{") :], type=dict[str, Any]).get("webhook") or {}
        except (ValueError, msgspec.DecodeError) as error:
            raise ConfigurationError(f"`tidegate connect {name}` said no JSON: {said[-500:]}") from error
        return str(webhook["url"]) if "url" in webhook else None

    async def close(self) -> None:
        """Stop everything and remove the folder. Safe to repeat."""
        if not self.folder.exists():
            return
        try:
            if self.project.config_file.exists():
                await self.run("down", in_project=True)
        finally:
            await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def run(self, *arguments: str, stdin: bytes | None = None, in_project: bool = False) -> str:
        """Run a `tidegate` command and return what it printed. Raises ConfigurationError when it fails."""
        place = ("--project", str(self.project.folder)) if in_project else ()
        return await run_command(*arguments, *place, stdin=stdin)

    def kill(self, role: str) -> Killed | None:
        """Kill -9 one of our own processes of a role; return which one, None when there is none just now."""
        living = self._living(role)
        if not living:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(living[0].pid, signal.SIGKILL)
        return living[0]

    def is_back(self, killed: Killed) -> bool:
        """Return whether another process lives in the place of a killed one."""
        return any(each.index == killed.index and each.pid != killed.pid for each in self._living(killed.role))

    def _living(self, role: str) -> list[Killed]:
        state = read_state(self.project.state_file)
        if state is None or not is_alive(state.supervisor):
            return []
        if role == "postgres":
            return [] if state.postgres_pid is None else [Killed(role=role, index=1, pid=state.postgres_pid)]
        return [
            Killed(role=role, index=child.index, pid=child.pid)
            for child in state.children
            if child.role == role and is_alive(child)
        ]


async def run_command(*arguments: str, stdin: bytes | None = None) -> str:
    """Run a `tidegate` command and return what it printed. Raises ConfigurationError when it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tidegate", *arguments,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env=environment(), start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(process.communicate(stdin), COMMAND_SECONDS)
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    text = output.decode(errors="replace")
    if process.returncode:
        raise ConfigurationError(
            f"`tidegate {arguments[0]}` in the rehearsal ended with {process.returncode}:\n{text.strip()[-LAST_WORDS:]}",
            code="rehearsal_failed",
            hint="the platforms are simulated, the configuration is yours: look at what the message names",
        )
    return text


async def sweep() -> list[str]:
    """Clean up after rehearsals that were killed: end what they started, remove their folders. Return what was found, in words."""
    found = []
    for folder in _folders():
        known = _read_known(folder)
        if not known or is_alive(known[0]):
            continue
        for process in known[1:]:
            if is_alive(process):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process.pid, signal.SIGKILL)
        project = Project(folder / "rehearsal")
        if project.config_file.exists():
            with contextlib.suppress(ConfigurationError):
                await run_command("down", "--project", str(project.folder))
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        found.append(f"cleaned up after a rehearsal that was killed (pid {known[0].pid})")
    return found


def _folders() -> list[Path]:
    return list(Path(_short_temp()).glob(f"{PREFIX}*"))


def _read_known(folder: Path) -> list[ProcessState]:
    """Return the processes of a rehearsal of ours, its own first; nothing for a folder that is none."""
    try:
        if folder.stat().st_uid != os.getuid():
            return []
        return msgspec.json.decode((folder / KNOWN).read_bytes(), type=list[ProcessState])
    except (OSError, msgspec.DecodeError):
        return []


def environment() -> dict[str, str]:
    """Return our environment without what names the user's installation."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    return {**kept, "NO_COLOR": "1"}


def _short_temp() -> str:
    """Return the folder for temporary files, or another one where its path is too long for a socket below it."""
    usual = tempfile.gettempdir()
    is_short = len(usual) <= TEMP_PATH_MAX or not Path("/tmp").is_dir()  # noqa: S108 - mkdtemp makes a folder of our own in it
    return usual if is_short else "/tmp"  # noqa: S108 - see above
