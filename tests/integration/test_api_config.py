"""Configuration through the API: what begins to write is asked about, another tenant's is refused, a version is a version."""

from __future__ import annotations

import pytest
from tests.apibed import DOCUMENT, add_tenant, api_bed

from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio


async def test_a_configuration_is_applied_once_and_rolled_back(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    quiet = DOCUMENT.format(name="one").replace("mode: live", "mode: observe")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "config:*", "flows:read")
        dry = await bed.call("POST", "/v1/config", key=key, json={"document": quiet, "dry_run": True}, once="dry")
        applied = await bed.call("POST", "/v1/config", key=key, json={"document": quiet}, once="a")
        again = await bed.call("POST", "/v1/config", key=key, json={"document": quiet}, once="a")
        flows = await bed.call("GET", "/v1/flows", key=key)
        address = "/v1/config/versions/1/rollback"
        asked = await bed.call("POST", address, key=key, json={}, once="b")
        back = await bed.call("POST", address, key=key, json={"consent": True}, once="c")
        versions = await bed.call("GET", "/v1/config/versions", key=key)
        shown = await bed.call("GET", "/v1/config/versions/2", key=key)
        absent = await bed.call("GET", "/v1/config/versions/9", key=key)

    assert (dry.status, dry.json["is_new"], dry.json["version"]) == (200, False, 1)
    assert {change["path"] for change in dry.json["changes"]} >= {"flows.orders.mode", "flows.stock.mode"}
    assert (applied.status, applied.json["is_new"], applied.json["version"]) == (200, True, 2)
    assert again.body == applied.body
    assert {flow["mode"] for flow in flows.json["items"]} == {"observe"}
    assert (asked.status, asked.json["code"]) == (422, "consent_needed")
    assert (back.status, back.json["version"]) == (200, 3)
    assert [item["version"] for item in versions.json["items"]] == [3, 2, 1]
    assert versions.json["items"][0]["applied_by"].startswith("api:")
    assert shown.json["document"].strip() == quiet.strip()
    assert (absent.status, absent.json["code"]) == (404, "version_missing")
    assert await owner_pool.fetchval("SELECT count(*) FROM config_version") == 3


async def test_what_is_not_valid_or_not_ones_own_never_gets_to_work(database: Database, owner_pool: Pool) -> None:
    """A5: the document of another tenant with one's own key; then everything that is no configuration."""
    one = await add_tenant(owner_pool, "one")
    await add_tenant(owner_pool, "two")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(one, "config:write")
        foreign = [
            await bed.call("POST", "/v1/config", key=key, json={"document": text, "consent": True}, once=name)
            for name, text in ((each, DOCUMENT.format(name=each)) for each in ("two", "nobody"))
        ]
        broken = [
            await bed.call("POST", "/v1/config", key=key, json={"document": text, "consent": True}, once=f"k{n}")
            for n, text in enumerate(
                ("{", "a: b", "flows: 1", "\0", "connections: {shop: {}}", "&a [*a]", "- 1\n" * 1000)
            )
        ]

    assert {(answer.status, answer.json["code"]) for answer in foreign} == {(422, "tenant_foreign")}
    assert {answer.status for answer in broken} == {422}
    assert all(answer.json["detail"] for answer in broken)
    assert await owner_pool.fetchval("SELECT count(*) FROM config_version") == 2
    assert await owner_pool.fetchval("SELECT count(*) FROM tenant") == 2


async def test_a_flow_is_moved_in_place_and_asks_before_it_writes(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    address = "/v1/flows/stock/mode"
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "flows:*", "config:read")
        quiet = await bed.call("POST", address, key=key, json={"mode": "observe"}, once="a")
        asked = await bed.call("POST", address, key=key, json={"mode": "live"}, once="b")
        dry = await bed.call("POST", address, key=key, json={"mode": "live", "dry_run": True}, once="c")
        live = await bed.call("POST", address, key=key, json={"mode": "live", "consent": True}, once="d")
        one = await bed.call(
            "POST", address, key=key, json={"mode": "propose", "skus": [tenant.sku], "consent": True}, once="e"
        )
        odd = [
            await bed.call("POST", address, key=key, json=body, once=f"odd{n}")
            for n, body in enumerate(
                ({"mode": "on"}, {"mode": "live", "groups": ["nobody"]}, {"mode": "live", "skus": [""]})
            )
        ]
        nowhere = await bed.call("POST", "/v1/flows/returns/mode", key=key, json={"mode": "live"}, once="f")
        flows = await bed.call("GET", "/v1/flows", key=key)
        shown = await bed.call("GET", "/v1/config/versions/4", key=key)

    assert (quiet.status, quiet.json["config_version"]) == (200, 2)
    assert (asked.status, asked.json["code"]) == (422, "consent_needed")
    assert (dry.status, dry.json["dry_run"]) == (200, True)
    assert (live.status, live.json["config_version"]) == (200, 3)
    assert (one.status, one.json["config_version"]) == (200, 4)
    assert [answer.status in (400, 404, 422) for answer in odd] == [True, True, True]
    assert nowhere.status == 400
    assert {flow["name"]: flow["mode"] for flow in flows.json["items"]}["stock"] == "live"
    assert f"sku:{tenant.sku}" in shown.json["document"]
