"""Make ERP databases: `tryton_base` once, every other one as a copy of it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from realsystems.tryton.install import REQUIREMENTS
from realsystems.worldpg import WorldPostgres

BASE_DATABASE = "tryton_base"
BUILDING_DATABASE = "tryton_building"
MODULES = ("sale", "stock", "web_shop")
ADMIN_EMAIL = "admin@example.com"
ACTIVATION_TIMEOUT_SECONDS = 600
SEED = Path(__file__).with_name("seed.py")

# The ERP creates its whole schema in one transaction and asks the catalogue about foreign keys as it
# goes. In an empty database the planner takes foreign keys for rare and joins them by nested loops:
# 12 of 70 seconds. It plans well once it has statistics of a catalogue that is full of them.
SHOW_PLANNER_A_FULL_CATALOGUE = """
CREATE SCHEMA full_catalogue;
DO $$
BEGIN
  CREATE TABLE full_catalogue.table_0 (id integer PRIMARY KEY);
  FOR i IN 1..250 LOOP
    EXECUTE format(
      'CREATE TABLE full_catalogue.table_%s (id serial PRIMARY KEY, name text, note text,
         a integer REFERENCES full_catalogue.table_0,
         b integer REFERENCES full_catalogue.table_0,
         c integer REFERENCES full_catalogue.table_%s)', i, i - 1);
  END LOOP;
END $$;
ANALYZE pg_constraint, pg_depend, pg_class, pg_attribute, pg_attrdef, pg_index, pg_namespace, pg_type;
DROP SCHEMA full_catalogue CASCADE
"""


def create_erp_database(world: WorldPostgres, venv: Path, name: str) -> None:
    """Create an ERP database as a copy of `tryton_base` if it is missing, building the base first if needed.

    A copy takes a second. The base takes about a minute, nearly all of it inside the ERP's own module
    activation: activated modules, company, warehouse, REST keys. It is built again when its recipe has
    changed: packages, modules or what the seed makes. An interrupted build leaves no base and starts over;
    a second process waits for the first one's.
    """
    with _locked(world):
        if not world.has_database(name):
            _make_base(world, venv)
            world.create_database(name, template=BASE_DATABASE)


def make_base(world: WorldPostgres, venv: Path) -> bool:
    """Build `tryton_base` if it is missing or of another recipe; return whether that was so."""
    with _locked(world):
        return _make_base(world, venv)


def has_current_recipe(world: WorldPostgres, database: str) -> bool:
    """Tell whether an ERP database that exists was made, itself or what it is a copy of, as one is made today."""
    return bool(read_facts(world, database).get("recipe") == _recipe())


@contextlib.contextmanager
def _locked(world: WorldPostgres) -> Iterator[None]:
    with (world.folder / "tryton.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _recipe() -> str:
    """Return a digest of everything that decides what is in a base."""
    digest = hashlib.sha256(" ".join(MODULES).encode())
    for path in (REQUIREMENTS, SEED):
        digest.update(b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def read_facts(world: WorldPostgres, database: str) -> dict[str, Any]:
    """Return the ids and the keys of an ERP database; they travel inside it, so that copies keep them."""
    facts: dict[str, Any] = json.loads(world.query(database, "SELECT facts FROM realsystem_facts"))
    return facts


def _make_base(world: WorldPostgres, venv: Path) -> bool:
    exists = world.has_database(BASE_DATABASE)
    if exists and has_current_recipe(world, BASE_DATABASE):
        return False
    if exists:
        world.drop_database(BASE_DATABASE)
    _build_base(world, venv)
    return True


def _build_base(world: WorldPostgres, venv: Path) -> None:
    world.drop_database(BUILDING_DATABASE)
    world.create_database(BUILDING_DATABASE)
    world.query(BUILDING_DATABASE, SHOW_PLANNER_A_FULL_CATALOGUE)
    environment = {**os.environ, "TRYTOND_DATABASE_URI": world.dsn(BUILDING_DATABASE)}
    admin_password, connector_password = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    _activate_modules(venv, environment, admin_password)
    seeded = _run([str(venv / "bin" / "python"), str(SEED), admin_password, connector_password], environment)
    _store_facts(world, {**json.loads(seeded), "recipe": _recipe()})
    world.rename_database(BUILDING_DATABASE, BASE_DATABASE)


def _activate_modules(venv: Path, environment: dict[str, str], password: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        password_file = Path(folder) / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        _run(
            [
                str(venv / "bin" / "trytond-admin"),
                "--database",
                BUILDING_DATABASE,
                "--all",
                "--activate-dependencies",
                "--email",
                ADMIN_EMAIL,
                "--update",
                *MODULES,
            ],
            {**environment, "TRYTONPASSFILE": str(password_file)},
        )


def _store_facts(world: WorldPostgres, facts: dict[str, Any]) -> None:
    literal = json.dumps(facts).replace("'", "''")
    world.query(
        BUILDING_DATABASE,
        f"CREATE TABLE realsystem_facts AS SELECT '{literal}'::jsonb AS facts",
    )


def _run(arguments: list[str], environment: dict[str, str]) -> str:
    completed = subprocess.run(
        arguments,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=ACTIVATION_TIMEOUT_SECONDS,
    )
    if completed.returncode != 0:
        raise RuntimeError(f"{Path(arguments[0]).name} failed: {completed.stderr[-2000:]}")
    return completed.stdout
