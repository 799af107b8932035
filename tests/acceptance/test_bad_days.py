"""What an operator meets on a bad day: ports that are taken, a database that is gone, a supervisor that was killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket

from tests.acceptance.installation import Installation, eventually, installed
from tidegate.runtime.postgres_process import find_postmaster
from tidegate.runtime.project import Project
from tidegate.runtime.state import is_alive, read_state

FLOWS = "flows: {}"


def configured(installation: Installation) -> Installation:
    installation.configure({}, FLOWS, processes="processes: {door: 1, apply: 1, dispatch: 1, web: 1}")
    return installation


def test_a_port_that_somebody_else_has_is_named_at_once_and_nothing_is_left_running() -> None:
    with installed() as installation, socket.socket() as stranger:
        configured(installation)
        stranger.bind(("127.0.0.1", installation.port))
        stranger.listen()

        answer = installation.run("up", "--detach")

        assert answer.status == 78
        assert f"listen.port 127.0.0.1:{installation.port}" in answer.err
        assert installation.run("down").out == "nothing was running\n"
        assert find_postmaster(Project(installation.folder).postgres_dir) is None


def test_a_second_installation_on_the_same_port_is_refused() -> None:
    """The kernel would let them share it, and each would refuse the deliveries that are meant for the other."""
    with installed() as first, installed() as second:
        configured(first).do("up", "--detach")
        second.port, second.web_port = first.port, first.web_port

        answer = configured(second).run("up", "--detach")

        assert answer.status == 78
        assert "port" in answer.err
        assert first.run("status").status == 0


def test_a_database_that_is_gone_is_not_replaced_by_an_empty_one() -> None:
    with installed() as installation:
        configured(installation).do("up", "--detach")
        installation.do("down")
        data = Project(installation.folder).postgres_dir
        shutil.rmtree(data.resolve())

        answer = installation.run("up", "--detach")

        assert answer.status == 78
        assert "is not there any more" in answer.err
        assert not data.exists()
        (installation.folder / "data" / "postgres.made").unlink()  # as the hint says
        installation.do("up", "--detach")


def test_down_stops_what_a_killed_supervisor_left() -> None:
    with installed() as installation:
        configured(installation).do("up", "--detach")
        project = Project(installation.folder)
        state = read_state(project.state_file)
        assert state is not None
        os.kill(state.supervisor.pid, signal.SIGKILL)
        eventually(lambda: not is_alive(state.supervisor), "the supervisor lives")
        assert find_postmaster(project.postgres_dir) is not None

        answer = installation.do("down")

        assert answer.out == "stopped what a killed supervisor had left\n"
        assert find_postmaster(project.postgres_dir) is None
        assert installation.do("down").out == "nothing was running\n"


def test_processes_are_shown_while_the_database_is_away() -> None:
    with installed("postgresql://nobody@127.0.0.1:1/nothing") as installation:
        answer = configured(installation).run("status")

        assert answer.status == 75
        assert answer.out.startswith("no processes of this project run here")
        assert "127.0.0.1" in answer.err
