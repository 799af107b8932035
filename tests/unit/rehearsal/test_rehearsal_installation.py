"""What a rehearsal leaves behind when it is killed, and who cleans it up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tidegate.rehearsal import installation
from tidegate.rehearsal.installation import KNOWN, Installation, sweep
from tidegate.runtime.state import describe_process

IDLE = [sys.executable, "-c", "import sys; sys.stdin.read()"]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(installation, "_short_temp", lambda: str(tmp_path))
    return tmp_path


@pytest.fixture
def idle() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(IDLE, stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def leave(folder: Path, owner: int, *others: int) -> None:
    folder.mkdir()
    known = [describe_process("rehearsal", 0, owner), *(describe_process("sandbox", 1, pid) for pid in others)]
    (folder / KNOWN).write_bytes(msgspec.json.encode(known))


def test_what_a_killed_rehearsal_left_is_ended_and_removed(temporary: Path, idle: subprocess.Popen[bytes]) -> None:
    """Its processes by pid and start time, and its folder; it is said."""
    with subprocess.Popen(IDLE, stdin=subprocess.PIPE) as owner:
        leave(temporary / "tdg-dead", owner.pid, idle.pid)
        owner.kill()
    (found,) = asyncio.run(sweep())
    assert str(owner.pid) in found
    assert idle.wait(10) != 0
    assert not (temporary / "tdg-dead").exists()
    assert asyncio.run(sweep()) == []


def test_one_that_runs_and_what_is_none_is_left_alone(temporary: Path, idle: subprocess.Popen[bytes]) -> None:
    """Also a folder whose list is garbage."""
    leave(temporary / "tdg-lives", idle.pid)
    for name, text in (("tdg-other", None), ("tdg-garbage", b"{"), ("tdg-empty", b"[]")):
        (temporary / name).mkdir()
        if text is not None:
            (temporary / name / KNOWN).write_bytes(text)
    assert asyncio.run(sweep()) == []
    assert len(list(temporary.iterdir())) == 4
    assert idle.poll() is None


def test_each_rehearsal_writes_down_whose_it_is(temporary: Path) -> None:
    """From the first moment on."""
    mine = Installation()
    assert mine.folder.parent == temporary
    assert asyncio.run(sweep()) == []
    assert mine.folder.exists()
