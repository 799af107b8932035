"""The API on a database of its own: two tenants with data, keys for them, and calls that need no socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import msgspec

from tidegate.config.versions import record_version
from tidegate.kernel.clock import Clock, SystemClock
from tidegate.kernel.ids import new_id, public_id
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.web.application import build_application
from tidegate.web.database import combiner_on, key_finder_on, key_pool
from tidegate.web.edge import App
from tidegate.web.keys import KEY_CLASS, create_key
from tidegate.web.settings import WebSettings
from tidegate.web.world import World

PEPPER = b"p" * 32
UNBOUNDED = WebSettings(
    key_per_second=100_000, key_burst=100_000, stranger_per_second=100_000, stranger_burst=100_000, acquire_seconds=30
)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """One tenant's things, as ids of the database."""

    tenant_id: UUID
    shop: UUID
    erp: UUID
    event: UUID
    failed: UUID
    """A failed order.create."""
    pending: UUID
    order: UUID
    number: str
    sku: str
    item: UUID
    issue: UUID
    alert: UUID
    run: UUID
    reservation: UUID
    name: str


@dataclass
class ApiBed:
    """The application with its world."""

    app: App
    world: World
    owner: Pool
    key_pool: Pool
    keys: dict[tuple[UUID, tuple[str, ...]], str] = field(default_factory=dict)

    async def key(self, tenant: Tenant, *scopes: str, **more: Any) -> str:
        """Return a key of a tenant with these scopes; the same one for the same question."""
        known = self.keys.get((tenant.tenant_id, scopes))
        if known is not None and not more:
            return known
        async with self.owner.acquire() as conn:
            made = await create_key(
                conn,
                tenant_id=tenant.tenant_id,
                pepper=PEPPER,
                name=more.pop("name", f"key {len(self.keys)} {new_id()}"[:80]),
                scopes=scopes,
                actor="test",
                now=more.pop("now", datetime.now(UTC)),
                **more,
            )
        self.keys[(tenant.tenant_id, scopes)] = made.text.reveal()
        return made.text.reveal()

    async def call(
        self,
        method: str,
        address: str,
        *,
        key: str | None = None,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        once: str | None = None,
        peer: str = "127.0.0.1",
    ) -> Answer:
        """Make one request."""
        given = {name.lower(): value for name, value in (headers or {}).items()}
        if key is not None:
            given.setdefault("authorization", f"Bearer {key}")
        if once is not None:
            given["idempotency-key"] = once
        if json is not None:
            body = msgspec.json.encode(json)
            given.setdefault("content-type", "application/json")
        if body:
            given["content-length"] = str(len(body))
        return await call(self.app, method, address, given, body or b"", peer)


async def call(
    app: App, method: str, address: str, headers: Mapping[str, str], body: bytes, peer: str = "127.0.0.1"
) -> Answer:
    """Call an ASGI application as a server would."""
    parts = urlsplit(address)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": (peer, 50_000),
        "server": ("127.0.0.1", 7481),
    }
    sent: list[Any] = []
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]}
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(start["status"], found, content)


@asynccontextmanager
async def api_bed(
    database: Database,
    owner: Pool,
    *,
    settings: WebSettings = UNBOUNDED,
    clock: Clock | None = None,
    connectors: Mapping[str, Connector] = MappingProxyType({}),
) -> AsyncIterator[ApiBed]:
    """The application over a database."""
    pool = await database.pool(Role.WEB, application_name="test-api", size_min=0, size_max=settings.pool_max)
    keys = await key_pool(database.access(Role.WEB), application_name="test-api-keys")
    world = World(
        pool=pool,
        key_finder=key_finder_on(keys, acquire_seconds=settings.acquire_seconds),
        clock=clock or SystemClock(),
        cell="c0",
        settings=settings,
        keys={KEY_CLASS: PEPPER},
        connectors=connectors,
        project=None,
        combiner=combiner_on(pool),
    )
    try:
        yield ApiBed(app=build_application(world), world=world, owner=owner, key_pool=keys)
    finally:
        await pool.close()
        await keys.close()


def public(kind: str, identifier: UUID) -> str:
    """Return an id as the API shows it."""
    return public_id(kind, "c0", identifier)


DOCUMENT = """\
tenant: {name}
connections:
  shop: {{use: vendure, url: "https://shop.example"}}
  erp: {{use: tryton, url: "https://erp.example", database: d}}
owns: {{stock.on_hand: erp, shipment: erp}}
flows:
  orders: {{from: [shop], to: erp, since: 2026-01-01, mode: live}}
  shipments: {{from: erp, to: origin, mode: live}}
  stock: {{from: erp, to: [shop], mode: live}}
"""
"""What `add_tenant` puts to work, with the tenant's name."""
ADD_TENANT = "INSERT INTO tenant (tenant_id, name) VALUES ($1, $2)"
ADD_CONNECTION = """
INSERT INTO connection (tenant_id, connection_id, name, connector, external_account) VALUES ($1, $2, $3, $4, $5)
"""
ADD_EVENT = """
INSERT INTO event (tenant_id, event_id, connection_id, source, topic, ordering_key, slot, dedupe_key, body_digest, external_id,
                   data_key_id, body)
VALUES ($1, $2, $3, 'webhook', 'order.updated', 'order:1', 7, $4, $4, '1001:7', $2, '\\x00')
"""
ADD_OUTCOME = """
INSERT INTO event_outcome (tenant_id, event_id, run, outcome, code, entity_kind, entity_id, connector_version,
                           mapping_version, code_version)
VALUES ($1, $2, 0, 'applied', 'applied', 'order', $3, '1', '1', '1')
"""
ADD_ORDER = """
INSERT INTO "order" (tenant_id, order_id, connection_id, external_id, number, order_state, payment_state,
                     fulfillment_state, currency, total_minor, shipping_minor, discount_minor, tax_minor, placed_at,
                     data_key_id, private)
VALUES ($1, $2, $3, $4, $4, 'open', 'paid', 'unfulfilled', 'EUR', 1990, 0, 0, 318, now(), $2, '\\x00')
"""
ADD_LINE = """
INSERT INTO order_line (tenant_id, order_id, line_id, external_id, position, variant_id, sku, title, ordered, current,
                        unit_price, total_minor, location_id)
VALUES ($1, $2, $3, 'l1', 1, $4, $5, 'A shirt', 1, 1, 19.9, 1990, $6)
"""
ADD_COMMAND = """
INSERT INTO command (tenant_id, command_id, connection_id, kind, target_key, entity_id, version, priority, state, code,
                     reason, deadline_at, finished_at, cause_event_id)
VALUES ($1, $2, $3, 'order.create', $4, $5, 1, 20, $6::text, CASE WHEN $6 = 'failed' THEN 'rejected' END,
        CASE WHEN $6 = 'failed' THEN 'no such article' END, now() + interval '1 day',
        CASE WHEN $6 = 'failed' THEN now() END, $7)
"""
ADD_ITEM = "INSERT INTO inventory_item (tenant_id, item_id, sku) VALUES ($1, $2, $3)"
ADD_VARIANT = "INSERT INTO variant (tenant_id, variant_id, sku) VALUES ($1, $2, $3)"
ADD_BILL = "INSERT INTO variant_item (tenant_id, variant_id, item_id, required_qty) VALUES ($1, $2, $3, 1)"
ADD_LOCATION = "INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, 'main')"
ADD_LEVEL = "INSERT INTO stock_level (tenant_id, item_id, location_id) VALUES ($1, $2, $3)"
ADD_ENTRY = """
INSERT INTO stock_entry (tenant_id, item_id, location_id, version, kind, on_hand_delta, committed_delta, on_hand_after,
                         committed_after, unavailable_after, reserved_after, cause_key, order_line_id, actor)
VALUES ($1, $2, $3, 1, 'count', 10, 1, 10, 1, 0, 0, 'c1', $4, 'test')
"""
ADD_MARK = """
INSERT INTO channel_stock (tenant_id, connection_id, item_id, dirty, dirty_at, acked_quantity, acked_at, push_version)
VALUES ($1, $2, $3, true, now(), 8, now(), 1)
"""

ADD_ISSUE = """
INSERT INTO issue (tenant_id, issue_id, connection_id, fingerprint, class, operation, code, first_seen_at, last_seen_at,
                   seen, standing)
VALUES ($1, $2, $3, $4, 'rejected', 'order.create', 'rejected', now(), now(), 1, 1)
"""
ADD_ISSUE_MEMBER = """
INSERT INTO issue_member (tenant_id, issue_id, subject_id, kind, failed_at) VALUES ($1, $2, $3, 'command', now())
"""
ADD_RUN = """
INSERT INTO sync_run (tenant_id, run_id, kind, requested_by, finished_at) VALUES ($1, $2, 'drift', 'test', now())
"""
ADD_ALERT = """
INSERT INTO alert (tenant_id, alert_id, rule, subject, severity, state, since, fired_at, value, threshold, cause)
VALUES ($1, $2, 'calls_failing', 'erp', 'warning', 'firing', now(), now(), 1, 0.5, 'it fails')
"""


ADD_RESERVATION = """
INSERT INTO reservation (tenant_id, reservation_id, state, asked, due_at, actor, ended_at, ended_by)
VALUES ($1, $2, 'released', '[["' || $3::text || '",1]]', now(), 'test', now(), 'test')
"""


async def add_tenant(owner: Pool, name: str) -> Tenant:
    """Make a tenant with two connections, an event, an order, two commands and an item."""
    tenant, shop, erp, event, order, line = (new_id() for _ in range(6))
    item, variant, place, failed, pending = (new_id() for _ in range(5))
    issue, alert, run, reservation = new_id(), new_id(), new_id(), new_id()
    sku, number = f"SHIRT-{name}", f"{name}-1001"
    document = DOCUMENT.format(name=name)
    await owner.execute(ADD_TENANT, tenant, name)
    async with owner.acquire() as conn:
        await record_version(conn, document, applied_by="test")
    await owner.execute(ADD_CONNECTION, tenant, shop, "shop", "vendure", "a")
    await owner.execute(ADD_CONNECTION, tenant, erp, "erp", "tryton", "b")
    await owner.execute(ADD_EVENT, tenant, event, shop, event.bytes * 2)
    await owner.execute(ADD_OUTCOME, tenant, event, order)
    await owner.execute(ADD_LOCATION, tenant, place)
    await owner.execute(ADD_ITEM, tenant, item, sku)
    await owner.execute(ADD_VARIANT, tenant, variant, sku)
    await owner.execute(ADD_BILL, tenant, variant, item)
    await owner.execute(ADD_ORDER, tenant, order, shop, number)
    await owner.execute(ADD_LINE, tenant, order, line, variant, sku, place)
    await owner.execute(ADD_LEVEL, tenant, item, place)
    await owner.execute(ADD_ENTRY, tenant, item, place, line)
    await owner.execute(ADD_MARK, tenant, shop, item)
    await owner.execute(ADD_COMMAND, tenant, failed, erp, f"order:{order}", order, "failed", event)
    await owner.execute(ADD_COMMAND, tenant, pending, erp, f"order:{new_id()}", new_id(), "pending", event)
    await owner.execute(ADD_ISSUE, tenant, issue, erp, issue.bytes)
    await owner.execute(ADD_ISSUE_MEMBER, tenant, issue, failed)
    await owner.execute(ADD_ALERT, tenant, alert)
    await owner.execute(ADD_RUN, tenant, run)
    await owner.execute(ADD_RESERVATION, tenant, reservation, sku)
    return Tenant(
        tenant_id=tenant,
        shop=shop,
        erp=erp,
        event=event,
        failed=failed,
        pending=pending,
        order=order,
        number=number,
        sku=sku,
        item=item,
        issue=issue,
        alert=alert,
        run=run,
        reservation=reservation,
        name=name,
    )


async def add_events(owner: Pool, tenant: Tenant, number: int) -> Sequence[UUID]:
    """Add events that nobody has applied yet, one after the other."""
    events = [new_id() for _ in range(number)]
    for event in events:
        await owner.execute(ADD_EVENT, tenant.tenant_id, event, tenant.shop, event.bytes * 2)
    return events


class HandClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.passed = 0.0
        self._start = datetime.now(UTC)

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return 1000.0 + self.passed
