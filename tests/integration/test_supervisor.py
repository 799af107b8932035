"""`tidegate up` keeps its processes alive, stops them in order, and cleans up after a supervisor that was killed."""

import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.integration.supervised import record_file

from tidegate.runtime.control import running_state, stop_supervisor
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.runtime.postgres_process import process_exists
from tidegate.runtime.project import Project
from tidegate.runtime.roles import PROCESS_ROLES
from tidegate.runtime.state import RunState, is_alive, read_state
from tidegate.store.roles import SUPERUSER, Role
from tidegate.vault.keys import derive_class_root

pytestmark = pytest.mark.crash
ONE_OF_EACH = dict.fromkeys(PROCESS_ROLES, 1)
TWO_OF_EACH = {**dict.fromkeys(PROCESS_ROLES, 2), "web": 1}


class Up:
    """A supervisor in a process of its own."""

    def __init__(self, project: Path, version: int, *, environment: dict[str, str], **wanted: Any) -> None:
        self.project = Project(project)
        self.wanted = {"processes": ONE_OF_EACH, "postgres_version": version, **wanted}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.supervised", str(project), json.dumps(self.wanted)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def state(self) -> RunState:
        state = read_state(self.project.state_file)
        assert state is not None
        return state

    def record(self, role: str, index: int = 1) -> dict[str, Any]:
        try:
            content = record_file(self.project.folder, role, index).read_text()
        except FileNotFoundError:
            return {"state": "absent", "beats": 0, "pid": 0}
        return dict(json.loads(content))

    def is_serving(self) -> bool:
        """Every child of the state file runs and has reached the database."""
        assert self.process.poll() is None, self.process.communicate()
        state = read_state(self.project.state_file)
        if state is None or state.supervisor.pid != self.process.pid:
            return False
        if len(state.children) != sum(self.wanted["processes"].values()):
            return False
        records = [(child, self.record(child.role, child.index)) for child in state.children]
        return all(record["pid"] == child.pid and record["beats"] > 0 for child, record in records)

    def wait_serving(self) -> "Up":
        wait_for(self.is_serving)
        return self

    def terminate(self) -> tuple[str, str]:
        self.process.terminate()
        return self.process.communicate(timeout=200)


def wait_for(condition: Callable[[], bool], *, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not reached in time"
        time.sleep(0.02)


@pytest.fixture
def project(short_dir: Path) -> Path:
    """A project folder as `tidegate init` leaves it."""
    (short_dir / "keys").mkdir(mode=0o700)
    key_file = short_dir / "keys" / "root.key"
    key_file.write_bytes(secrets.token_bytes(32))
    key_file.chmod(0o400)
    return short_dir


@pytest.fixture
def up(project: Path, postgres_version: int) -> Iterator[Callable[..., Up]]:
    """Start supervisors; everything they left behind is ended by pid."""
    started: list[Up] = []

    def start(*, environment: dict[str, str] | None = None, **wanted: Any) -> Up:
        started.append(Up(project, postgres_version, environment=environment or {}, **wanted))
        return started[-1]

    yield start
    print(*(f.read_text() for f in Project(project).logs_dir.iterdir()))
    for one in started:
        state = read_state(one.project.state_file)
        children = state.children if state is not None else ()
        one.process.kill()
        one.process.communicate()
        for child in filter(is_alive, children):
            os.kill(child.pid, signal.SIGKILL)
    EmbeddedPostgres(Project(project).postgres_dir, version=postgres_version).stop("immediate")


def test_each_child_gets_its_own_keys_and_database_user_and_nothing_else(up: Callable[..., Up]) -> None:
    one = up(
        processes=TWO_OF_EACH, environment={"TIDEGATE_DATABASE_URL_DOOR": "postgresql://x:sesame@/y"}
    ).wait_serving()
    root_key = one.project.read_root_key()

    for child in one.state().children:
        role = PROCESS_ROLES[child.role]
        record = one.record(child.role, child.index)
        expected = {name: hashlib.sha256(derive_class_root(root_key, name)).hexdigest() for name in role.key_classes}
        assert record["user"] == role.database_role
        assert record["keys"] == expected
        seen = Path(f"/proc/{child.pid}/environ").read_bytes() + Path(f"/proc/{child.pid}/cmdline").read_bytes()
        assert b"sesame" not in seen
        assert b"postgresql://" not in seen
    assert one.project.state_file.stat().st_mode & 0o777 == 0o600


def test_a_stop_drains_the_children_and_then_stops_the_database(up: Callable[..., Up]) -> None:
    one = up(processes=TWO_OF_EACH).wait_serving()
    state = one.state()
    assert state.postgres_pid is not None

    output, errors = one.terminate()

    assert one.process.returncode == 0
    assert errors == ""
    assert output.splitlines()[0] == "ok postgres", "the database stays where the project is"
    assert [one.record(child.role, child.index)["state"] for child in state.children] == ["drained"] * 7
    assert not any(is_alive(child) for child in state.children)
    assert not process_exists(state.postgres_pid)
    assert not one.project.state_file.exists()


def is_replaced(one: Up, role: str, killed: int) -> bool:
    return one.state().pids(role) != [killed] and one.is_serving()


def test_a_killed_child_is_replaced_and_the_others_stay(up: Callable[..., Up]) -> None:
    one = up().wait_serving()

    for role in PROCESS_ROLES:
        before = {child.role: child.pid for child in one.state().children}
        os.kill(before[role], signal.SIGKILL)
        wait_for(partial(is_replaced, one, role, before[role]))
        after = {child.role: child.pid for child in one.state().children}
        assert {name for name in after if after[name] != before[name]} == {role}

    assert [child.restarts for child in one.state().children] == [1, 1, 1, 1]


def test_a_killed_database_comes_back_and_children_reconnect(up: Callable[..., Up]) -> None:
    one = up().wait_serving()
    state = one.state()
    assert state.postgres_pid is not None
    beats = one.record("apply")["beats"]
    backend = one.record("apply")["backend"]

    os.kill(state.postgres_pid, signal.SIGKILL)
    wait_for(lambda: one.state().postgres_pid not in (state.postgres_pid, None))
    wait_for(lambda: one.record("apply")["backend"] != backend)
    wait_for(lambda: one.record("apply")["beats"] > beats)

    assert [child.pid for child in one.state().children] == [child.pid for child in state.children]


def test_after_a_killed_supervisor_children_drain_and_the_database_is_adopted(up: Callable[..., Up]) -> None:
    first = up(processes=TWO_OF_EACH).wait_serving()
    state = first.state()
    assert state.postgres_pid is not None

    first.process.kill()
    first.process.wait()
    wait_for(lambda: not any(is_alive(child) for child in state.children))
    assert [first.record(child.role, child.index)["state"] for child in state.children] == ["drained"] * 7
    assert process_exists(state.postgres_pid)
    assert running_state(first.project) is None
    second = up(processes=TWO_OF_EACH).wait_serving()

    assert second.state().postgres_pid == state.postgres_pid
    assert not {c.pid for c in second.state().children} & {c.pid for c in state.children}


def test_an_orphan_that_hangs_is_ended_by_the_next_supervisor(up: Callable[..., Up]) -> None:
    first = up(processes={"apply": 1, "door": 1}, drain_seconds=1).wait_serving()
    hanging = next(child for child in first.state().children if child.role == "apply")
    os.kill(hanging.pid, signal.SIGSTOP)
    first.process.kill()
    first.process.wait()

    second = up(processes={"apply": 1, "door": 1}, drain_seconds=1).wait_serving()

    assert not is_alive(hanging)
    assert second.terminate()[0].startswith("ended 1 processes of a supervisor that was killed\n")


def test_a_second_supervisor_is_refused_with_a_hint(up: Callable[..., Up]) -> None:
    first = up(processes={"web": 1}).wait_serving()
    pids = first.state().pids("web")

    second = up(processes={"web": 1})
    _, errors = second.process.communicate(timeout=200)

    assert second.process.returncode == 78
    assert f"already running here (pid {first.process.pid})" in errors
    assert "tidegate status" in errors
    assert first.state().pids("web") == pids
    assert first.is_serving()


def test_stopping_from_another_command(up: Callable[..., Up]) -> None:
    one = up(processes={"web": 1})
    assert stop_supervisor(Project(one.project.folder / "elsewhere")) is False
    one.wait_serving()

    running = running_state(one.project)
    assert running is not None
    assert running.supervisor.pid == one.process.pid
    one.process.send_signal(signal.SIGINT)
    one.process.communicate(timeout=200)

    assert one.process.returncode == 0
    assert stop_supervisor(one.project) is False


def test_a_child_that_does_not_drain_ends_itself_when_its_time_is_over(up: Callable[..., Up]) -> None:
    one = up(processes={"apply": 1}, serve="stubborn", drain_seconds=0.3)
    wait_for(lambda: one.record("apply")["state"] == "running")
    child = one.state().children[0]

    one.terminate()

    assert one.process.returncode == 0
    assert not is_alive(child)


def test_a_crash_loop_is_reported_and_logs_keep_the_secret(up: Callable[..., Up]) -> None:
    one = up(processes={"apply": 1}, serve="crashing")

    def is_reported() -> bool:
        state = read_state(one.project.state_file)
        return state is not None and any(child.crash_looping for child in state.children)

    wait_for(is_reported)
    one.terminate()

    supervisor_log = (one.project.logs_dir / "supervisor.log").read_text()
    assert '"event":"child.crash_looping"' in supervisor_log.replace(": ", ":")
    child_log = (one.project.logs_dir / "apply-1.log").read_text()
    assert "RuntimeError" in child_log
    assert "private text" not in child_log + supervisor_log


def test_an_external_database_is_used_and_left_running(
    up: Callable[..., Up], postgres: EmbeddedPostgres, project: Path
) -> None:
    name = f"external_{secrets.token_hex(4)}"
    run_sql(postgres, f"CREATE DATABASE {name}")
    url = postgres.dsn(SUPERUSER, name)

    one = up(processes={"door": 1, "web": 1}, environment={"TIDEGATE_DATABASE_URL": url}).wait_serving()

    assert one.state().postgres_pid is None
    assert one.record("door")["user"] == Role.DOOR
    assert not Project(project).postgres_dir.exists()
    one.terminate()
    run_sql(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def run_sql(server: EmbeddedPostgres, statement: str) -> None:
    environment = {"PGPASSWORD": server.password(SUPERUSER), "PATH": os.environ["PATH"]}
    program = server.programs().program("psql")
    arguments = ["-h", str(server.socket_dir), "-U", SUPERUSER, "-d", "postgres", "-qc", statement]
    subprocess.run([program, *arguments], check=True, env=environment)
