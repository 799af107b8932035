"""Gateway and worker on two machines share one PostgreSQL that somebody else runs."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from tests.acceptance.installation import Installation, eventually, installed
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.sdk.testing.hostile_process import HostileProcess
from tidegate.store.roles import SUPERUSER

FLOWS = """
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders: {from: [shop], to: erp, since: 2020-01-01, mode: live}
  stock:  {from: erp, to: [shop], mode: live}
"""


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database of its own on a server that Tidegate did not start."""
    name = f"shared_{secrets.token_hex(4)}"
    asyncio.run(_execute(postgres, f"CREATE DATABASE {name}"))
    yield postgres.dsn(SUPERUSER, name)
    asyncio.run(_execute(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(postgres: EmbeddedPostgres, statement: str) -> None:
    connection = await asyncpg.connect(postgres.dsn(SUPERUSER, "postgres"))
    await connection.execute(statement)
    await connection.close()


@contextmanager
def running(installation: Installation, *arguments: str) -> Iterator[None]:
    """Run a command that stays in the foreground; end it as Ctrl-C does."""
    log = installation.folder / "logs" / f"{arguments[0]}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tidegate", *arguments], env=installation.environment(), stdout=output, stderr=output
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(200) == 0, installation.logs()


def share_key(source: Installation, target: Installation) -> None:
    """Bring the root key to the second machine."""
    key_file = target.folder / "keys" / "root.key"
    key_file.unlink()
    shutil.copy2(source.folder / "keys" / "root.key", key_file)


def test_an_order_crosses_two_machines(database_url: str) -> None:
    with (
        HostileProcess(account="shop") as shop,
        HostileProcess(account="erp") as erp,
        installed(database_url) as outside,
        installed(database_url) as inside,
    ):
        share_key(outside, inside)
        shop.control("POST", "/__articles", [{"sku": "TEA"}])
        erp.control("POST", "/__articles", [{"sku": "TEA", "erp_on_hand": 4}])
        for installation in (outside, inside):
            installation.configure({"shop": shop, "erp": erp}, FLOWS + f"public_url: http://127.0.0.1:{outside.port}\n")
        outside.do("migrate")

        with running(outside, "gateway"), running(inside, "worker", "--apply", "1", "--dispatch", "1"):
            eventually(lambda: inside.run("status").status == 0, "the worker does not run", inside)
            for name in ("erp", "shop"):
                inside.do("connect", name, "--yes")
            eventually(lambda: shop.world().articles["art-TEA"].shop_on_hand == 4, "the shop was not told 4", inside)
            shop.control("POST", "/__shop/orders", {"lines": [{"sku": "TEA", "quantity": 1}]})
            eventually(lambda: len(erp.world().erp_orders) == 1, "the order did not cross", inside)

            def sources() -> set[str]:
                found = inside.do("events", "list", "--topic", "order.updated", "--json").json
                return {event["source"] for event in found}

            eventually(lambda: "webhook" in sources(), "the gateway took no webhook", outside)
            assert {lane["connection"] for lane in inside.do("status", "--json").json["lanes"]} == {"shop", "erp"}
            roles = {f["check"]: f["words"] for f in inside.run("doctor", "--json").json}
            assert roles["roles"] == "one login takes on a role per process"
