"""Secrets and people's data occur nowhere in the clear: not in the database's files, its log, our logs, metrics or processes.

A real installation connects a shop whose credentials and customers are canary strings, takes an order through the door to
the ERP, and is then searched, byte by byte, for every canary in the shapes that software likes to give to text.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import asyncpg
import pytest
from tests.acceptance.installation import Installation, eventually, installed

from tidegate.cli.session import open_session
from tidegate.runtime.control import running_state
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.runtime.project import Project
from tidegate.sdk.testing.hostile_process import HostileProcess
from tidegate.store.roles import SUPERUSER

API_KEY = "canary-api-key-7Q2h9ZpLw4"
ALERT_TOKEN = "canary-alert-token-5R8s"
ALERT_URL = f"http://127.0.0.1:9/hook/{ALERT_TOKEN}"
ALERT_MAIL = {
    "kind": "mail", "host": "127.0.0.1", "port": "9", "security": "none", "user": "tide",
    "password": "canary-alert-pass-5R8s", "from": "tide@example.test", "to": "ops@example.test",
}  # fmt: skip
CUSTOMER = {
    "email": "canary.mail+7q2h@example.test",
    "first_name": "Canaryfirst Zoë",
    "last_name": "Canarylast-Ødegård",
    "phone": "+49 421 77700042",
}
ADDRESS = {
    "name": "Canaryname Recipient",
    "street1": "Canarystreet 77/b & Söhne",
    "city": "Canarytown",
    "postal_code": "CY-77042",
    "country_code": "DE",
}
PLAIN_SKU = "VISIBLE-SKU-7Q2H"
"""Not private: it must be found, or the search proves nothing."""
GZIP_HEADS = (b"\x1f\x8b\x08", b"\x78\x9c", b"\x78\x01", b"\x78\xda")
DEFLATED_BYTES_MAX = 1 << 16
INFLATED_BYTES_MAX = 1 << 20
FLOWS = """
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders: {from: [shop], to: erp, since: 2020-01-01, mode: live}
  shipments: {from: erp, to: origin, mode: live}
  stock: {from: erp, to: [shop], mode: live}
"""


def shapes_of(text: str) -> set[bytes]:
    """Return the byte strings that betray a text: encodings, escapes, hex, base64 at each of its three alignments."""
    raw = text.encode()
    shapes = {raw, text.encode("utf-16-le"), text.encode("utf-16-be"), raw.hex().encode(), raw.hex().upper().encode()}
    shapes |= {quote(text).encode(), quote_plus(text).encode(), quote(text, safe="").encode()}
    shapes |= {json.dumps(text)[1:-1].encode(), raw.lower(), raw.upper()}
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(b"\0" * before + raw)
            start = -(-before * 4 // 3)
            shapes.add(encoded[start:].rstrip(b"=")[:-1])
    return {shape for shape in shapes if len(shape) >= 6}


def find(content: bytes, needles: dict[bytes, str]) -> set[str]:
    """Return the names of the canaries in `content`, also inside of compressed parts of it."""
    found = {name for needle, name in needles.items() if needle in content}
    for part in inflated(content):
        found |= {f"{name} (compressed)" for needle, name in needles.items() if needle in part}
    return found


def inflated(content: bytes) -> Iterator[bytes]:
    """Yield what can be decompressed out of `content`."""
    for head in GZIP_HEADS:
        position = content.find(head)
        while position >= 0:
            try:
                part = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(
                    content[position : position + DEFLATED_BYTES_MAX], INFLATED_BYTES_MAX
                )
            except zlib.error:
                part = b""
            if part:
                yield part
            position = content.find(head, position + 1)


def test_the_search_finds_each_shape() -> None:
    needles = dict.fromkeys(shapes_of("canary.mail+7q2h@example.test"), "x")
    text = b"canary.mail+7q2h@example.test"

    for hidden in (
        text,
        text.decode().encode("utf-16-le"),
        base64.b64encode(b"a" + text + b"bc"),
        base64.b64encode(b"ab" + text),
        base64.b64encode(text + b"z"),
        text.hex().encode(),
        quote(text.decode()).encode(),
        b"junk" + zlib.compress(b"before " + text * 3),
    ):
        assert find(b"noise " + hidden + b" noise", needles), hidden
    assert not find(b"nothing here", needles)


@pytest.fixture
def used() -> Iterator[tuple[Installation, dict[bytes, str]]]:
    """An installation through which an order with canaries has gone, and the shapes to search for."""
    with HostileProcess(account="shop") as shop, HostileProcess(account="erp") as erp, installed() as tidegate:
        shop.control("PUT", "/__settings", {"api_key": API_KEY})
        shop.control("POST", "/__articles", [{"sku": PLAIN_SKU}])
        erp.control("POST", "/__articles", [{"sku": PLAIN_SKU, "erp_on_hand": 9}])
        tidegate.configure({"shop": shop, "erp": erp}, FLOWS)
        tidegate.do("up", "--detach")
        tidegate.do("connect", "erp", "--yes")
        tidegate.do("connect", "shop", "--from-json", "-", "--yes", stdin=json.dumps({"api_key": API_KEY}))
        tidegate.do("alerts", "add", "hook", "--from-json", "-", stdin=json.dumps({"url": ALERT_URL}))
        tidegate.do("alerts", "add", "mail", "--from-json", "-", stdin=json.dumps(ALERT_MAIL))
        assert tidegate.run("alerts", "test").status == 1  # nobody listens there
        order = {"lines": [{"sku": PLAIN_SKU, "quantity": 2}], "customer": CUSTOMER, "address": ADDRESS}
        shop.control("POST", "/__shop/orders", order)
        eventually(lambda: len(erp.world().erp_orders) == 1, "the order did not arrive", tidegate)
        (erp_order,) = erp.world().erp_orders.values()
        erp.control("POST", "/__erp/ship", {"reference": erp_order.reference, "tracking": "T1"})
        eventually(lambda: len(shop.world().fulfillments) == 1, "the shipment did not arrive", tidegate)
        ((url, secret),) = shop.world().subscriptions.items()
        private = {"alert token": ALERT_TOKEN, "alert password": ALERT_MAIL["password"]}
        private |= {"API key": API_KEY, "webhook secret": secret, "webhook path": url.rpartition("/")[2]}
        private |= {f"customer {name}": value for name, value in CUSTOMER.items()}
        private |= {f"address {name}": value for name, value in ADDRESS.items() if name != "country_code"}
        needles = {shape: name for name, value in private.items() for shape in shapes_of(value)}
        needles |= dict.fromkeys(key_shapes((tidegate.folder / "keys" / "root.key").read_bytes()), "root key")
        yield tidegate, needles


def key_shapes(key: bytes) -> set[bytes]:
    return {key, key.hex().encode(), base64.b64encode(key)[:40], base64.urlsafe_b64encode(key)[:40]}


@pytest.mark.asyncio
async def test_no_canary_is_found_anywhere(used: tuple[Installation, dict[bytes, str]]) -> None:
    tidegate, needles = used
    project = Project(tidegate.folder)
    control = {PLAIN_SKU.encode(): "control"}
    hits: dict[str, set[str]] = {}

    tables = await dump_tables(project)
    hits |= {f"table {name}": find(content, needles) for name, content in tables.items()}
    hits |= {f"process {name}": find(content, needles) for name, content in processes_of(project).items()}
    url = f"http://127.0.0.1:{tidegate.web_port}/metrics"
    hits["metrics"] = find(await asyncio.to_thread(lambda: urllib.request.urlopen(url).read()), needles)
    for command in (
        ["status"],
        ["why", "order", "SHOP-1001"],
        ["events", "list"],
        ["commands", "list"],
        ["doctor"],
        ["alerts", "targets"],
        ["alerts", "test"],
    ):
        answer = await asyncio.to_thread(tidegate.run, *command)
        hits[f"tidegate {command[0]}"] = find((answer.out + answer.err).encode(), needles)
    await checkpoint(project)
    await asyncio.to_thread(tidegate.do, "down")
    files = files_of(project)
    hits |= {f"file {path}": find(path.read_bytes(), needles) for path in files}

    assert {place: found for place, found in hits.items() if found} == {}
    assert any(find(content, control) for content in tables.values())
    assert any(find(path.read_bytes(), control) for path in files)
    assert len(files) > 100


async def dump_tables(project: Project) -> dict[str, bytes]:
    """Return every table as `pg_dump` would write it."""
    async with open_session(project) as session:
        rows = await session.conn.fetch(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
        )
        dumps = {}
        for (name,) in rows:
            output = io.BytesIO()
            await session.conn.copy_from_query(f'SELECT * FROM "{name}"', output=output)
            dumps[name] = output.getvalue()
        return dumps


def processes_of(project: Project) -> dict[str, bytes]:
    """Return environment and arguments of every process."""
    state = running_state(project)
    assert state is not None
    pids = [state.supervisor.pid, *(child.pid for child in state.children)]
    assert state.postgres_pid is not None
    pids.append(state.postgres_pid)
    return {
        f"{pid} {part}": Path(f"/proc/{pid}/{part}").read_bytes() for pid in pids for part in ("environ", "cmdline")
    }


async def checkpoint(project: Project) -> None:
    """Have the server write everything it holds in memory into its files."""
    postgres = EmbeddedPostgres(project.postgres_dir, run_dir=project.run_dir)
    connection = await asyncpg.connect(postgres.dsn(SUPERUSER, "postgres"))
    await connection.execute("CHECKPOINT")
    await connection.close()


def files_of(project: Project) -> list[Path]:
    """Return every file of the project but the root key and the programs."""
    folders = [project.folder, project.postgres_dir.resolve()]
    found = {path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    return sorted(path for path in found if path != project.root_key_file and ".pgbin" not in str(path))
