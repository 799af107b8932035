"""What the command line says without a database: help, errors, times, tables."""

from __future__ import annotations

import json
import os
import re
import stat
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import asyncpg
import msgspec
import pytest

from tidegate.cli.checks_machine import check_root_key
from tidegate.cli.connect import describe_unreachable
from tidegate.cli.failures import describe_failure
from tidegate.cli.init import make_project
from tidegate.cli.main import COMMANDS, main
from tidegate.cli.output import print_json, print_table, safe, show, show_seconds
from tidegate.cli.session import find_project
from tidegate.config import parse
from tidegate.kernel.errors import (
    AuthenticationError,
    ConfigurationError,
    InvariantError,
    RejectedError,
    TransientError,
)
from tidegate.kernel.moments import parse_moment
from tidegate.runtime.project import Project
from tidegate.sdk.connector import Connector
from tidegate.sdk.testing.hostile_connector import CONNECTOR
from tidegate.web.passwords import matches

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(lambda: {CONNECTOR.name: CONNECTOR}, list(arguments))
    return int(ended.value.code or 0)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys) -> None:
    module, _, function = COMMANDS[name].partition(":")
    command = getattr(import_module(f"tidegate.cli.{module}"), function)

    assert run(name, "--help") == 0

    text = capsys.readouterr().out
    assert text.startswith(f"Usage: tidegate {name}")
    for inner in getattr(command, "commands", {}):
        assert run(name, inner, "--help") == 0
        assert "Usage:" in capsys.readouterr().out


def test_the_help_shows_the_way_in(capsys) -> None:
    assert run("--help") == 0

    text = capsys.readouterr().out
    assert text.index("tidegate init") < text.index("tidegate up") < text.index("tidegate connect")
    assert [name for name in COMMANDS if name not in text] == []


def test_an_unknown_command_is_a_usage_error(capsys) -> None:
    assert run("upp") == 64
    assert "No such command 'upp'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (
            ConfigurationError("no file", hint="make one"),
            78,
            ["error: no file", "next: make one", "code: configuration"],
        ),
        (AuthenticationError("refused"), 77, ["error: refused"]),
        (TransientError("later"), 75, ["error: later"]),
        (InvariantError("impossible"), 70, ["error: impossible"]),
        (asyncpg.UndefinedTableError("no such table"), 75, ["the database refused", "tidegate doctor"]),
        (ConnectionRefusedError(111, "Connection refused"), 75, ["Connection refused"]),
        (KeyError("canary"), 70, ["Tidegate has a bug: KeyError", "TIDEGATE_DEBUG=1"]),
    ],
)
def test_errors_say_what_happened_and_what_next(error: Exception, status: int, words: list[str]) -> None:
    failure = describe_failure(error)

    assert failure.exit_status == status
    assert [word for word in words if word not in failure.text] == []
    assert "canary" not in failure.text


def test_the_nearest_project_upward_is_found(tmp_path: Path) -> None:
    (tmp_path / "tidegate.yaml").touch()
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)

    assert find_project(None, start=inner).folder == tmp_path
    with pytest.raises(ConfigurationError, match=r"has no tidegate\.yaml"):
        find_project(inner)


def test_init_makes_a_project_that_is_valid_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "acme"

    project = make_project(folder, today=NOW)

    assert parse(project.config_file.read_text()).tenant == "main"
    assert "since: 2026-11-20" in project.config_file.read_text()
    assert stat.S_IMODE(project.root_key_file.stat().st_mode) == 0o400
    assert len(project.read_root_key()) == 32
    assert stat.S_IMODE((folder / "keys").stat().st_mode) == 0o700
    assert "/keys/" in (folder / ".gitignore").read_text()


def test_init_never_overwrites(tmp_path: Path) -> None:
    project = make_project(tmp_path / "acme", today=NOW)
    key = project.read_root_key()

    with pytest.raises(ConfigurationError) as caught:
        make_project(tmp_path / "acme", today=NOW)

    assert caught.value.code == "project_exists"
    assert project.read_root_key() == key


def test_the_template_with_everything_switched_on_is_valid(tmp_path: Path) -> None:
    text = make_project(tmp_path / "acme", today=NOW).config_file.read_text()

    switched_on = re.sub(r"^# ?(?=( *)([a-z_.]+:|- \{))", "", text, flags=re.MULTILINE)
    config = parse(switched_on.replace("\n shop:", "\n  shop:").replace("\n erp:", "\n  erp:"))

    assert set(config.connections) == {"shop", "erp"}
    assert config.flows.orders is not None
    assert config.flows.orders.mode == "observe"
    assert config.flows.orders.since == NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    assert len(config.overrides) == 2


def test_a_root_key_that_others_may_read_is_found(tmp_path: Path) -> None:
    project = make_project(tmp_path / "acme", today=NOW)
    assert check_root_key(project).verdict == "ok"

    project.root_key_file.chmod(0o444)
    finding = check_root_key(project)

    assert finding.verdict == "fail"
    assert finding.fix is not None
    assert "chmod 0400" in finding.fix


def test_config_check_prints_places(tmp_path: Path, capsys) -> None:
    project = make_project(tmp_path / "acme", today=NOW)
    project.config_file.write_text("connections: {shop: {use: hostil}}\n")

    assert run("config", "check", "--project", str(project.folder)) == 78

    text = capsys.readouterr().err
    assert "tidegate.yaml:1:27: there is no connector 'hostil'; did you mean 'hostile'?" in text


def test_config_schema_is_json(capsys) -> None:
    assert run("config", "schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Tidegate configuration"


def test_commands_without_a_running_database_say_how_to_start_it(tmp_path: Path, capsys) -> None:
    project = make_project(tmp_path / "acme", today=NOW)

    assert run("status", "--project", str(project.folder)) == 78

    assert "next: start it with: tidegate up" in capsys.readouterr().err


def test_down_is_safe_to_repeat(tmp_path: Path, capsys) -> None:
    project = make_project(tmp_path / "acme", today=NOW)

    assert run("down", "--project", str(project.folder)) == 0
    assert capsys.readouterr().out == "nothing was running\n"


def test_gateway_needs_a_shared_database(tmp_path: Path, capsys) -> None:
    assert "TIDEGATE_DATABASE_URL" not in os.environ
    assert run("gateway", "--project", str(tmp_path)) == 78
    assert "TIDEGATE_DATABASE_URL is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-01T10:00:00+00:00", datetime(2026, 11, 1, 10, tzinfo=UTC)),
        ("2h", NOW - timedelta(hours=2)),
        ("90s", NOW - timedelta(seconds=90)),
        ("3d", NOW - timedelta(days=3)),
    ],
)
def test_moments_are_dates_or_distances(text: str, moment: datetime) -> None:
    assert parse_moment(text, now=NOW) == moment


@pytest.mark.parametrize("text", ["yesterday", "2 h", "", "2026-13-01"])
def test_other_words_are_no_moments(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_moment(text, now=NOW)


def test_what_others_sent_cannot_steer_the_terminal(capsys) -> None:
    assert safe("a\x1b[31mb\r\u202ec") == "a\ufffd[31mb\ufffd\ufffdc"

    print_table(("name",), [["\x1b]0;title\x07[bold]x[/bold]"]], empty="none")

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]x[/bold]" in out


def test_values_are_shown_as_people_read_them() -> None:
    assert (show(None), show(True), show(3)) == ("-", "yes", "3")
    assert [show_seconds(seconds) for seconds in (0.0421, 4.25, 180, 7200, 172_800)] == [
        "42 ms", "4.25 s", "3 min", "2 h", "2 d"
    ]  # fmt: skip


def test_a_wide_table_is_not_broken_in_a_pipe(capsys) -> None:
    print_table(("words",), [["x" * 500]], empty="none")

    assert "x" * 500 in capsys.readouterr().out


def test_known_projects_have_the_documented_places() -> None:
    project = Project(Path("/p"))

    assert project.root_key_file == Path("/p/keys/root.key")
    assert project.config_file == Path("/p/tidegate.yaml")


HOSTILE = "a\x9b31m\x7f\u202e\u2028\x1b[2J\nevt_c0_forged  shop  webhook\tapplied"
"""Moves the cursor, turns the direction of writing and begins a line of its own."""


def test_json_output_cannot_steer_a_terminal(capsys) -> None:
    print_json({"id": HOSTILE})

    text = capsys.readouterr().out
    assert not set(text) & set("\x9b\x7f\u202e\u2028\x1b")
    assert json.loads(text) == {"id": HOSTILE}


def test_what_another_system_sent_stays_in_its_line() -> None:
    assert len(show(HOSTILE).splitlines()) == 1
    assert not set(show(HOSTILE)) & set("\x9b\x7f\u202e\u2028\x1b\n\t")


def test_a_system_that_cannot_be_reached_is_named_with_its_address() -> None:
    refused = TransientError("the request was not sent", code="not_sent_connect")

    failure = describe_failure(describe_unreachable("shop", "http://127.0.0.1:1", refused))

    assert "shop (http://127.0.0.1:1): nothing listens there" in failure.text
    assert "check the url of shop in tidegate.yaml" in failure.text
    assert failure.exit_status == 75


def test_an_error_with_foreign_words_cannot_steer_a_terminal() -> None:
    assert "\x1b" not in describe_failure(RejectedError(HOSTILE)).text


def test_init_prints_a_password_once_and_keeps_its_hash_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is gone after the first `up`; the password itself is nowhere."""
    assert run("init", str(tmp_path / "acme")) == 0

    words = next(line for line in capsys.readouterr().out.splitlines() if "sign in as admin" in line)
    password = words.rpartition(" ")[2]
    kept = Project(tmp_path / "acme").first_login_file
    assert len(password) == 29
    assert kept.stat().st_mode & 0o777 == 0o400
    assert password not in kept.read_text()
    stored = msgspec.json.decode(kept.read_bytes())
    assert matches(stored["password_hash"], password)
    assert not matches(stored["password_hash"], password + "x")


def test_an_interrupted_command_has_no_question(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C at a script's command, whose input is no terminal."""

    def interrupted() -> dict[str, Connector]:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        main(interrupted, ["config", "schema"])

    assert ended.value.code == 130
    assert capsys.readouterr().err.strip() == "stopped"
