"""Several web processes of one project: one port, and one count of what a caller asked."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.kernel.errors import ConfigurationError
from tidegate.web.app import listen
from tidegate.web.buckets import Buckets, SharedBuckets, buckets_for

BURST = 300
TAKE = """
import sys
from pathlib import Path
from tidegate.web.buckets import SharedBuckets
buckets = SharedBuckets(Path(sys.argv[1]), per_second=1, burst=300, callers_max=100)
print("ready", flush=True)
sys.stdin.readline()
print(sum(buckets.take("a", 1.0).allowed for _ in range(300)))
"""


def test_processes_count_together(tmp_path: Path) -> None:
    """Each asks as often as one alone may: together they get what one gets, give or take who was stopped while it counted."""
    path = tmp_path / "keys.rates"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TAKE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    granted = [int(process.communicate("go\n", timeout=60)[0]) for process in processes]
    assert BURST <= sum(granted) <= BURST + 20, granted
    assert not SharedBuckets(path, per_second=1, burst=BURST, callers_max=100).look("a", 1.5).allowed


def test_shared_buckets_grant_what_buckets_grant(tmp_path: Path) -> None:
    own = Buckets(per_second=0.7, burst=3, callers_max=100)
    shared = buckets_for(tmp_path, "keys", per_second=0.7, burst=3, callers_max=100)
    assert isinstance(shared, SharedBuckets)
    for step in range(200):
        caller, now = "abc"[step % 3], step * 0.31
        assert shared.look(caller, now) == own.look(caller, now)
        assert shared.take(caller, now) == own.take(caller, now)


def test_nobody_waits_for_locks_where_there_are_none(tmp_path: Path) -> None:
    buckets = SharedBuckets(tmp_path / "keys.rates", per_second=0.001, burst=2, callers_max=8)
    os.close(buckets._file)  # what is left of it is the memory: it counts on, and can be locked no more
    assert [buckets.take("a", 1.0).allowed for _ in range(3)] == [True, True, False]
    assert not buckets._can_lock


def test_a_moment_of_another_run_of_the_machine_counts_for_nothing(tmp_path: Path) -> None:
    before = SharedBuckets(tmp_path / "keys.rates", per_second=0.001, burst=1, callers_max=8)
    assert before.take("a", 1_000_000.0).allowed
    after = SharedBuckets(tmp_path / "keys.rates", per_second=0.001, burst=1, callers_max=8)
    assert after.take("a", 5.0).allowed
    assert not after.take("a", 6.0).allowed


def test_a_full_shelf_forgets_who_was_silent_longest(tmp_path: Path) -> None:
    buckets = SharedBuckets(tmp_path / "keys.rates", per_second=0.001, burst=1, callers_max=8)
    for number in range(9):
        assert buckets.take(str(number), float(number + 1)).allowed
    assert not buckets.look("8", 10.0).allowed
    assert not buckets.look("1", 10.0).allowed
    assert buckets.look("0", 10.0).allowed


def test_web_processes_share_a_port_and_strangers_do_not() -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        with pytest.raises(ConfigurationError, match="in use"):
            listen("127.0.0.1", stranger.getsockname()[1])
    with listen("127.0.0.1", 0) as first, listen("127.0.0.1", first.getsockname()[1]) as second:
        assert first.getsockname() == second.getsockname()
