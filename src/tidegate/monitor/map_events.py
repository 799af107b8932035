"""Orders and shipments of the past as maps see them, with what was sent. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from tidegate.commerce.commands import CommandKind, CreateFulfillment, CreateOrder, Payload
from tidegate.config import Config
from tidegate.dispatch.payloads import ARTICLES_OF_SKUS, preview_action
from tidegate.dispatch.records import ConnectionRow, Unbuildable
from tidegate.kernel.errors import ConfigurationError
from tidegate.mapping.apply import Refused
from tidegate.mapping.paths import Flow
from tidegate.mapping.preview import MapEvent, Preview
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.vault.bodies import BodyCipher

_ORDERS = query("map_orders")
_SHIPMENTS = query("map_shipments")
_CALLS = query("map_calls")
_CONNECTION = "SELECT connection_id FROM connection WHERE tenant_id = $1 AND name = $2"
KIND_OF = {"orders": CommandKind.ORDER_CREATE, "shipments": CommandKind.FULFILLMENT_CREATE}


async def read_map_events(
    conn: Connection,
    tenant_id: UUID,
    config: Config,
    cipher: BodyCipher,
    *,
    flow: Flow,
    limit: int,
    number: str | None = None,
) -> list[MapEvent]:
    """Return the newest `limit` orders or shipments of a flow, oldest first; of one order number where it is given.

    What has nothing left is left out. Raises ConfigurationError when the configuration has no such flow.
    """
    orders = config.flows.orders
    if orders is None or (flow == "shipments" and config.flows.shipments is None):
        raise ConfigurationError(f"there is no flow {flow!r} in tidegate.yaml", code="flow_missing")
    statement = _ORDERS if flow == "orders" else _SHIPMENTS
    rows = await conn.fetch(statement, tenant_id, orders.target, list(orders.sources), limit, number)
    sent = await _read_sent(conn, tenant_id, flow, rows, cipher)
    found = []
    for row in reversed(rows):
        draft = await preview_action(
            conn, _connection(tenant_id, row), KIND_OF[flow], row["entity_id"], cipher, cell=config.cell
        )
        if isinstance(draft, Unbuildable):
            continue
        payload, is_draft = sent.get(row["entity_id"], (None, False))
        found.append(
            MapEvent(
                name=row["name"],
                draft=payload if payload is not None and is_draft else draft.payload,
                facts=draft.facts,
                sent=payload,
            )
        )
    return found


async def _read_sent(
    conn: Connection, tenant_id: UUID, flow: Flow, rows: Sequence[Any], cipher: BodyCipher
) -> dict[UUID, tuple[CreateOrder | CreateFulfillment, bool]]:
    """Return what was sent by entity, and whether it was sent as drafted: then it is what a map begins with."""
    connections, entities = [row["connection_id"] for row in rows], [row["entity_id"] for row in rows]
    calls = await conn.fetch(_CALLS, tenant_id, KIND_OF[flow], connections, entities)
    await cipher.opener(conn, [(tenant_id, call["data_key_id"]) for call in calls])
    found = {}
    for call in calls:
        plain = cipher.open(tenant_id, call["data_key_id"], "call", call["call_id"], call["payload"])
        payload = msgspec.json.decode(plain, type=list[Payload])[0]
        if isinstance(payload, CreateOrder | CreateFulfillment):
            found[call["entity_id"]] = (payload, call["map_digest"] is None)
    return found


async def with_articles(
    conn: Connection, tenant_id: UUID, config: Config, previews: Sequence[Preview]
) -> list[Preview]:
    """Return the previews, those refused whose map or hook names an article that the target does not have."""
    wanted = sorted({sku for preview in previews for sku in _unresolved(preview)})
    target = config.flows.orders.target if config.flows.orders is not None else ""
    connection_id = await conn.fetchval(_CONNECTION, tenant_id, target)
    rows = await conn.fetch(ARTICLES_OF_SKUS, tenant_id, connection_id, wanted) if wanted and connection_id else []
    known = {row["sku"] for row in rows}
    found = []
    for preview in previews:
        missing = [sku for sku in _unresolved(preview) if sku not in known]
        if missing:
            reason = f"not known in {target}: {', '.join(missing[:5])}"
            refused = Refused(code="sku_unbound", reason=reason)
            found.append(msgspec.structs.replace(preview, refused=refused))
        else:
            found.append(preview)
    return found


def _unresolved(preview: Preview) -> list[str]:
    if not isinstance(preview.payload, CreateOrder):
        return []
    return [line.sku for line in preview.payload.lines if not line.item_external_id]


def _connection(tenant_id: UUID, row: Any) -> ConnectionRow:
    return ConnectionRow(
        tenant_id=tenant_id,
        connection_id=row["connection_id"],
        name=row["connection"],
        connector=row["connector"],
        external_account=row["external_account"],
        settings=msgspec.json.decode(row["settings"]),
    )
