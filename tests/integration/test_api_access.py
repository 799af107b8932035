"""SECURITY A2, A5, A6, A7: every route against every scope, and two tenants against each other.

A new route without an entry in `NEEDS` fails here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from tests.apibed import ApiBed, Tenant, add_tenant, api_bed, public

from tidegate.kernel.ids import new_id
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.web.application import build_litestar
from tidegate.web.scopes import SCOPES, is_allowed

pytestmark = pytest.mark.asyncio

NEEDS: Mapping[tuple[str, str], str] = {
    ("GET", "/v1/status"): "status:read",
    ("GET", "/v1/events"): "events:read",
    ("GET", "/v1/events/{event_id}"): "events:read",
    ("POST", "/v1/events/{event_id}/replay"): "events:replay",
    ("GET", "/v1/commands"): "commands:read",
    ("GET", "/v1/commands/{command_id}"): "commands:read",
    ("POST", "/v1/commands/{command_id}/retry"): "commands:write",
    ("POST", "/v1/commands/{command_id}/cancel"): "commands:write",
    ("GET", "/v1/orders"): "orders:read",
    ("GET", "/v1/orders/{reference}"): "orders:read",
    ("GET", "/v1/orders/{reference}/why"): "orders:read",
    ("GET", "/v1/stock"): "stock:read",
    ("GET", "/v1/stock/{sku}"): "stock:read",
    ("GET", "/v1/stock/{sku}/why"): "stock:read",
    ("GET", "/v1/stock/{sku}/history"): "stock:read",
    ("GET", "/v1/stock/{sku}/writers"): "stock:read",
    ("POST", "/v1/stock/{sku}/adjustments"): "stock:write",
    ("GET", "/v1/oversold"): "stock:read",
    ("POST", "/v1/oversold/{sku}/decisions"): "stock:write",
    ("GET", "/v1/reservations"): "stock:read",
    ("POST", "/v1/reservations"): "stock:reserve",
    ("POST", "/v1/reservations/batch"): "stock:reserve",
    ("GET", "/v1/reservations/{reservation_id}"): "stock:read",
    ("POST", "/v1/reservations/{reservation_id}/claim"): "stock:reserve",
    ("POST", "/v1/reservations/{reservation_id}/release"): "stock:reserve",
    ("GET", "/v1/connections"): "connections:read",
    ("GET", "/v1/lanes"): "connections:read",
    ("GET", "/v1/flows"): "flows:read",
    ("POST", "/v1/flows/{flow}/mode"): "flows:write",
    ("GET", "/v1/config/versions"): "config:read",
    ("GET", "/v1/config/versions/{number}"): "config:read",
    ("POST", "/v1/config"): "config:write",
    ("POST", "/v1/config/versions/{number}/rollback"): "config:write",
    ("GET", "/v1/plan"): "plan:read",
    ("GET", "/v1/owners"): "config:read",
    ("GET", "/v1/conflicts"): "drift:read",
    ("POST", "/v1/conflicts/ours"): "drift:heal",
    ("POST", "/v1/conflicts/theirs"): "stock:write",
    ("GET", "/v1/drift"): "drift:read",
    ("POST", "/v1/drift/runs"): "drift:run",
    ("POST", "/v1/drift/heal"): "drift:heal",
    ("GET", "/v1/looks"): "runs:read",
    ("POST", "/v1/looks/pause"): "drift:run",
    ("POST", "/v1/looks/resume"): "drift:run",
    ("GET", "/v1/tombstones"): "matches:read",
    ("POST", "/v1/tombstones/relink"): "matches:write",
    ("POST", "/v1/tombstones/forget"): "matches:write",
    ("GET", "/v1/runs"): "runs:read",
    ("GET", "/v1/runs/{run_id}"): "runs:read",
    ("POST", "/v1/proposals/approve"): "commands:write",
    ("POST", "/v1/proposals/reject"): "commands:write",
    ("GET", "/v1/issues"): "issues:read",
    ("GET", "/v1/issues/{issue_id}"): "issues:read",
    ("POST", "/v1/issues/{issue_id}"): "issues:write",
    ("GET", "/v1/issues/{issue_id}/retry"): "issues:read",
    ("POST", "/v1/issues/{issue_id}/retry"): "issues:write",
    ("GET", "/v1/alerts"): "alerts:read",
    ("POST", "/v1/alerts/{alert_id}/acknowledge"): "alerts:write",
}
"""Method and address -> the one scope that opens it."""
KEYS_INSIDE = {"/v1/reservations/batch"}
"""Writes of several things, each of which has an idempotency key of its own in the body."""


def address_of(path: str, tenant: Tenant) -> str:
    """Return an address with the ids of a tenant in it."""
    return path.format(
        event_id=public("evt", tenant.event),
        command_id=public("cmd", tenant.failed),
        reference=public("ord", tenant.order),
        sku=tenant.sku,
        number=1,
        flow="stock",
        run_id=public("run", tenant.run),
        issue_id=public("iss", tenant.issue),
        alert_id=public("alr", tenant.alert),
        reservation_id=public("res", tenant.reservation),
    )


async def described(bed: ApiBed) -> Mapping[str, Any]:
    """Return the description of the API."""
    answer = await bed.call("GET", "/v1/openapi.json")
    assert answer.status == 200
    found: Mapping[str, Any] = answer.json
    return found


def operations(description: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in description["paths"].items()
        for method, operation in item.items()
    }


def body_of(operation: Mapping[str, Any]) -> Any:
    """Return a body that fits: the example of the description."""
    if "requestBody" not in operation:
        return None
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return schema["examples"][0]


async def test_every_route_has_its_scope_and_is_described(database: Database, owner_pool: Pool) -> None:
    """A7: the description, the router and the table above name the same routes."""
    async with api_bed(database, owner_pool) as bed:
        served = {
            (str(method), route.path_format.rstrip("/"))
            for route in build_litestar(bed.world).routes
            if route.path.startswith("/v1/")
            for method in getattr(route, "methods", ())
            if method != "OPTIONS"
        }
        description = await described(bed)

    assert set(operations(description)) == set(NEEDS)
    assert served - {("GET", "/v1/openapi.json"), ("GET", "/v1/{path}")} == set(NEEDS)
    assert set(NEEDS.values()) <= set(SCOPES)


async def test_a_key_opens_what_its_scope_opens_and_nothing_else(database: Database, owner_pool: Pool) -> None:
    """A2: each single scope on every route; denied is the default."""
    tenant = await add_tenant(owner_pool, "one")
    wrong = []
    async with api_bed(database, owner_pool) as bed:
        description = await described(bed)
        for scope in (*SCOPES, "*:read", *sorted({f"{name.partition(':')[0]}:*" for name in SCOPES})):
            key = await bed.key(tenant, scope)
            for (method, path), operation in operations(description).items():
                needed = NEEDS[method, path]
                answer = await bed.call(
                    method,
                    address_of(path, tenant),
                    key=key,
                    json=body_of(operation),
                    once=str(new_id()) if method == "POST" else None,
                )
                is_open = answer.status not in (401, 403)
                if is_open != is_allowed([scope], needed) or answer.status >= 500:
                    wrong.append((scope, method, path, answer.status, answer.body[:200]))

    assert wrong == []


async def test_without_a_key_nothing_is_open(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        statuses = {(await bed.call(method, address_of(path, tenant))).status for method, path in NEEDS}

    assert statuses == {401}


async def test_what_belongs_to_another_tenant_is_not_there(database: Database, owner_pool: Pool) -> None:
    """A5: the ids of one tenant with the key of the other, on every route that takes one: the answer of an id of nobody."""
    one, two = await add_tenant(owner_pool, "one"), await add_tenant(owner_pool, "two")
    taking = [
        (method, path) for method, path in NEEDS if "{" in path and "{number}" not in path and "{flow}" not in path
    ]
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(two, *SCOPES)
        description = await described(bed)
        before = await everything(owner_pool)
        answers = {}
        for method, path in taking:
            body = body_of(operations(description)[method, path])
            once = str(new_id()) if method == "POST" else None
            answer = await bed.call(method, address_of(path, one), key=key, json=body, once=once)
            answers[method, path] = (answer.status, answer.json["code"][-8:])
        after = await everything(owner_pool)

    assert len(taking) >= 9
    assert set(answers.values()) == {(404, "_unknown")}
    assert after == before


async def everything(owner_pool: Pool) -> Any:
    """Return what a write could have changed."""
    tables = ("command", "event_queue", "channel_stock", "audit_log")
    rows = [await owner_pool.fetch(f"SELECT t::text AS row FROM {table} t ORDER BY 1") for table in tables]
    return [[row["row"] for row in found if "key.created" not in row["row"]] for found in rows]


SAID = "unknown: jane.doe@example.test, call +49 30 1234567"
QUOTING = (
    "UPDATE command SET reason = $1",
    "UPDATE event_parked SET reason = $1",
    "UPDATE connection SET state_reason = $1",
    "UPDATE poll_cursor SET last_error = $1",
    "UPDATE lane_state SET snooze_reason = $1, snoozed_until = clock_timestamp() + interval '1 hour'",
    "UPDATE sync_read SET error = $1",
    "UPDATE alert SET cause = $1",
)
"""Where words of other systems are kept as they were said."""


async def test_people_that_other_systems_quote_are_masked(database: Database, owner_pool: Pool) -> None:
    """P7: on every route, as on the pages."""
    tenant = await add_tenant(owner_pool, "one")
    for statement in QUOTING:
        await owner_pool.execute(statement, SAID)
    leaking, masking = [], 0
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "*:read")
        for method, path in NEEDS:
            if method == "GET":
                answer = await bed.call("GET", address_of(path, tenant), key=key)
                assert answer.status < 500
                masking += "[e-mail]" in answer.body.decode() and "[phone]" in answer.body.decode()
                if "jane.doe" in answer.body.decode() or "1234567" in answer.body.decode():
                    leaking.append(path)

    assert leaking == []
    assert masking >= 5


async def test_lists_hold_what_is_ones_own(database: Database, owner_pool: Pool) -> None:
    """A5: nothing of the other tenant is in any list, with any filter that names it."""
    one, two = await add_tenant(owner_pool, "one"), await add_tenant(owner_pool, "two")
    traces = [one.sku, one.number, public("evt", one.event), public("cmd", one.failed), public("ord", one.order)]
    asked = (
        "/v1/events", "/v1/commands", "/v1/orders", f"/v1/orders?number={one.number}", "/v1/stock",
        f"/v1/stock?prefix={one.sku}", "/v1/connections", "/v1/lanes", "/v1/status",
    )  # fmt: skip
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(two, "*:read")
        seen = b"".join([(await bed.call("GET", address, key=key)).body for address in asked])

    assert public("evt", two.event).encode() in seen
    assert [trace for trace in traces if trace.encode() in seen] == []


async def test_answers_hold_the_described_fields_and_no_others(database: Database, owner_pool: Pool) -> None:
    """A6: what is given out is what the description says, field by field; nothing sealed or private is in it."""
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "*:read")
        description = await described(bed)
        for (method, path), operation in operations(description).items():
            if method != "GET":
                continue
            answer = await bed.call("GET", address_of(path, tenant), key=key)
            if answer.status == 200:
                schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
                assert extra_fields(answer.json, schema, description) == [], path
            assert not {b"private", b"ciphertext", b"secret", b"payload", b"tenant"} & set(answer.body.split(b'"'))


def extra_fields(value: Any, schema: Mapping[str, Any], description: Mapping[str, Any]) -> list[str]:
    """Return the fields of a value that its schema does not name."""
    if "$ref" in schema:
        schema = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for choice in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        if choice != {"type": "null"}:
            return extra_fields(value, choice, description) if value is not None else []
    if isinstance(value, list):
        return [name for item in value for name in extra_fields(item, schema["items"], description)]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    known = schema["properties"]
    extra = [name for name in value if name not in known]
    return extra + [
        name
        for field, part in value.items()
        if field in known
        for name in extra_fields(part, known[field], description)
    ]


async def test_fields_that_do_not_exist_are_refused(database: Database, owner_pool: Pool) -> None:
    """A6: in bodies and in queries."""
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, *SCOPES)
        description = await described(bed)
        for (method, path), operation in operations(description).items():
            address = address_of(path, tenant)
            body = body_of(operation)
            once = str(new_id()) if method == "POST" else None
            query = await bed.call(method, f"{address}?tenant_id=1", key=key, json=body, once=once)
            assert query.status == 400, path
            assert query.json["errors"] == [{"pointer": "?tenant_id", "message": "there is no such parameter"}]
            if body is not None:
                more = {**msgspec.to_builtins(body), "tenant_id": "1"}
                answer = await bed.call(method, address, key=key, json=more, once=once)
                assert answer.status == 400, path
                assert "tenant_id" in answer.json["errors"][0]["message"]


async def test_every_operation_is_described_in_full(database: Database, owner_pool: Pool) -> None:
    """Summary, description, an example of every answer and request, and the errors."""
    async with api_bed(database, owner_pool) as bed:
        description = await described(bed)
    for (method, path), operation in operations(description).items():
        place = f"{method} {path}"
        assert operation["summary"], place
        assert len(operation["description"]) > 20, place
        assert operation["security"] == [{"key": [NEEDS[method, path]]}], place
        assert {"400", "401", "403", "404", "429", "503"} <= set(operation["responses"]), place
        if method == "POST":
            assert {"409", "413", "422"} <= set(operation["responses"]), place
            assert path in KEYS_INSIDE or any(
                each["name"] == "Idempotency-Key" and each["required"] for each in operation["parameters"]
            ), place
        for status, response in operation["responses"].items():
            content = next(iter(response["content"].values()))
            assert content["examples"], f"{place} {status}"
        for parameter in operation.get("parameters", ()):
            assert parameter["description"], place
        if "requestBody" in operation:
            assert operation["requestBody"]["content"]["application/json"]["schema"]["examples"], place
