"""Which migrations run, judged from what the database says was applied."""

from dataclasses import replace
from pathlib import Path

import pytest

from tidegate.kernel.errors import ConfigurationError
from tidegate.store.migrate import Migration, load_migrations, plan_migrations

FIRST = Migration(version=1, name="initial", sql="CREATE TABLE a ()")
SECOND = Migration(version=2, name="more", sql="CREATE TABLE b ()")
THIRD = Migration(version=3, name="even_more", sql="CREATE TABLE c ()")


def recorded(*migrations: Migration) -> dict[int, tuple[str, str]]:
    return {m.version: (m.name, m.checksum) for m in migrations}


def test_an_empty_database_gets_everything_in_order() -> None:
    assert plan_migrations([FIRST, SECOND], {}) == [FIRST, SECOND]


def test_only_what_is_missing_runs() -> None:
    assert plan_migrations([FIRST, SECOND, THIRD], recorded(FIRST, SECOND)) == [THIRD]


def test_a_database_ahead_of_the_code_is_left_alone() -> None:
    assert plan_migrations([FIRST], recorded(FIRST, SECOND)) == []


def test_an_edited_applied_migration_is_refused() -> None:
    edited = replace(FIRST, sql="CREATE TABLE a (id int)")

    with pytest.raises(ConfigurationError, match="0001_initial was changed after"):
        plan_migrations([edited, SECOND], recorded(FIRST))


def test_a_hole_between_applied_migrations_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="0002 was never applied although 0003 was"):
        plan_migrations([FIRST, SECOND, THIRD], recorded(FIRST, THIRD))


def test_files_must_be_numbered_without_gaps(tmp_path: Path) -> None:
    (tmp_path / "0001_initial.sql").write_text("SELECT 1")
    (tmp_path / "0003_later.sql").write_text("SELECT 1")

    with pytest.raises(ConfigurationError, match=r"found \[1, 3\]"):
        load_migrations(tmp_path)


def test_a_file_with_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1-initial.sql").write_text("SELECT 1")

    with pytest.raises(ConfigurationError, match=r"1-initial\.sql"):
        load_migrations(tmp_path)


def test_the_released_migrations_load() -> None:
    assert [m.version for m in load_migrations()] == list(range(1, len(load_migrations()) + 1))
