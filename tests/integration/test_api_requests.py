"""What is asked wrongly, hugely or with bad intent is answered in words (SECURITY G9, G12), and lists hold together."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import msgspec
import pytest
from tests.apibed import Answer, ApiBed, add_events, add_tenant, api_bed, public
from tests.integration.test_api_access import NEEDS, address_of, described

from tidegate.kernel.ids import new_id
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.web.problems import Problem
from tidegate.web.scopes import SCOPES
from tidegate.web.settings import WebSettings

pytestmark = pytest.mark.asyncio

GARBAGE = (
    "' OR 1=1 --", "1); DROP TABLE api_key; --", "\0", "\x01\x7f", "%", "_", "\\", '"', "../../../etc/passwd", "{0.__class__}",
    "${jndi:ldap://x}", "<script>alert(1)</script>", "\u202e", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "null", "NaN", "-1", "0", "1e400", "99999999999999999999", "true", "[]", "evt_c0_" + "0" * 26, "evt_c0_" + "z" * 26,
    "00000000-0000-0000-0000-000000000000", "x" * 3_000, "ord_", "_", "\u00e4" * 50,
)  # fmt: skip
LEAKS = (
    b"Traceback",
    b"asyncpg",
    b"SELECT ",
    b"postgres",
    b"psycopg",
    b'File "',
    b"tidegate_web",
    b"row-level",
    b".py",
)


def check(answer: Answer, place: object) -> None:
    """An answer is good, or a problem that says nothing of the inside."""
    assert answer.status < 500, (place, answer.body)
    assert not [leak for leak in LEAKS if leak in answer.body], (place, answer.body)
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json", place
        problem = msgspec.json.decode(answer.body, type=Problem)
        assert problem.status == answer.status
        assert problem.type == f"urn:tidegate:problem:{problem.code}"
        assert problem.request_id == answer.headers["x-request-id"]


async def test_garbage_in_addresses_and_queries(database: Database, owner_pool: Pool) -> None:
    """G12: SQL, control characters, huge and odd values, in every place that takes one."""
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, *SCOPES)
        description = await described(bed)
        for method, path in NEEDS:
            operation = description["paths"][path][method.lower()]
            names = (
                [each["name"] for each in operation["parameters"] if each["in"] == "query"]
                if "parameters" in operation
                else []
            )
            for value in GARBAGE:
                written = quote(value, safe="")
                if "{" in path:
                    head, _, tail = path.partition("{")
                    address = head + written + tail.partition("}")[2]
                    check(
                        await bed.call(method, address, key=key, once="g", json={} if method == "POST" else None),
                        (path, value),
                    )
                for name in names:
                    check(await bed.call(method, f"{path}?{name}={written}", key=key), (path, name, value))
        assert await owner_pool.fetchval("SELECT count(*) FROM api_key") == 1


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b'"text"', b"1", b"\xff\xfe", b'{"reason": "\\u0000"}', b'{"reason": "\\ud800"}',
        b'{"reason": ""}', b'{"reason": null}', b'{"reason": 1}', b'{"reason": "' + b"x" * 501 + b'"}', b"[" * 100_000,
        b'{"reason":' * 5_000, b'{"reason": "a", "reason": "b", "more": 1}', b'{"reason": "line\\nbreak"}', b"reason=x",
    ],
)  # fmt: skip
async def test_garbage_in_bodies(database: Database, owner_pool: Pool, body: bytes) -> None:
    tenant = await add_tenant(owner_pool, "one")
    address = f"/v1/commands/{public('cmd', tenant.failed)}/cancel"
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "commands:write")
        answer = await bed.call(
            "POST", address, key=key, body=body, once="a", headers={"content-type": "application/json"}
        )
        check(answer, body[:50])

    assert answer.status == 400
    assert await owner_pool.fetchval("SELECT state FROM command WHERE command_id = $1", tenant.failed) == "failed"


async def test_a_body_that_is_too_large_or_no_json_is_refused(database: Database, owner_pool: Pool) -> None:
    """G1: by its length, and by what comes when it does not say its length."""
    tenant = await add_tenant(owner_pool, "one")
    address = f"/v1/commands/{public('cmd', tenant.failed)}/cancel"
    huge = b'{"reason": "' + b"x" * (1 << 20) + b'"}'
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "commands:write")
        said = await bed.call(
            "POST", address, key=key, body=huge, once="a", headers={"content-type": "application/json"}
        )
        text = await bed.call(
            "POST", address, key=key, body=b'{"reason":"x"}', once="a", headers={"content-type": "text/plain"}
        )
        check(said, "huge")
        check(text, "text")

    assert (said.status, said.json["code"]) == (413, "body_too_large")
    assert (text.status, text.json["code"]) == (415, "unsupported_media_type")


async def test_a_list_is_read_to_its_end_whatever_comes_meanwhile(database: Database, owner_pool: Pool) -> None:
    """G9: each item that was there once, in order, and the limit holds."""
    tenant = await add_tenant(owner_pool, "one")
    there = {public("evt", event) for event in [tenant.event, *await add_events(owner_pool, tenant, 24)]}
    seen: list[str] = []
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "events:read")
        cursor, pages = "", 0
        while cursor is not None:
            answer = await bed.call("GET", f"/v1/events?limit=10{cursor and '&cursor=' + cursor}", key=key)
            seen += [item["id"] for item in answer.json["items"]]
            cursor = answer.json["next_cursor"]
            pages += 1
            await add_events(owner_pool, tenant, 3)
        most = await bed.call("GET", "/v1/events?limit=200", key=key)
        more = await bed.call("GET", "/v1/events?limit=201", key=key)

    assert pages == 3
    assert sorted(seen) == sorted(there)
    assert seen == sorted(seen, reverse=True)
    assert len(most.json["items"]) == 34
    assert more.status == 400


async def test_every_address_says_its_methods(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "status:read")
        allowed = {
            path: (await bed.call("OPTIONS", address_of(path, tenant), key=key)).headers["allow"] for _, path in NEEDS
        }
        stranger = await bed.call("OPTIONS", "/v1/events")

    assert stranger.status == 401
    for path, allow in allowed.items():
        assert set(allow.split(", ")) == {"OPTIONS"} | {method for method, each in NEEDS if each == path}


async def test_a_cursor_serves_its_own_list_only(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    await add_events(owner_pool, tenant, 2)
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "*:read")
        cursor = (await bed.call("GET", "/v1/events?limit=1", key=key)).json["next_cursor"]
        elsewhere = [
            await bed.call("GET", f"/v1/{name}?cursor={cursor}", key=key) for name in ("commands", "orders", "stock")
        ]

    assert {(answer.status, answer.json["code"]) for answer in elsewhere} == {(404, "cursor_unknown")}


async def test_filters_of_lists(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    counted = {
        "/v1/events?connection=shop": 1,
        "/v1/events?connection=erp": 0,
        "/v1/events?outcome=applied": 1,
        "/v1/events?outcome=quarantined": 0,
        "/v1/events?topic=order.updated&since=2020-01-01T00:00:00Z": 1,
        "/v1/events?since=2999-01-01T00:00:00%2B01:00": 0,
        "/v1/events?since=0001-01-01T00:00:00Z": 1,
        "/v1/commands?state=failed": 1,
        "/v1/commands?kind=order.cancel": 0,
        "/v1/orders?number=one-1001&payment_state=paid&order_state=open": 1,
        "/v1/orders?fulfillment_state=fulfilled": 0,
        "/v1/stock?prefix=SHIRT": 1,
        "/v1/stock?prefix=shirt": 0,
    }
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "*:read")
        found = {address: len((await bed.call("GET", address, key=key)).json["items"]) for address in counted}
        unknown = await bed.call("GET", "/v1/events?connection=nobody", key=key)

    assert found == counted
    assert (unknown.status, unknown.json["code"]) == (404, "connection_unknown")


async def test_what_the_database_makes_wait_too_long_is_503(database: Database, owner_pool: Pool) -> None:
    """G9: statements of this process end by the server's clock; the caller is told to come again."""
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed, owner_pool.acquire() as conn:
        key = await bed.key(tenant, "events:read")
        assert await bed.world.pool.fetchval("SHOW statement_timeout") == "5s"
        async with conn.transaction():
            await conn.execute("LOCK TABLE event IN ACCESS EXCLUSIVE MODE")
            answer = await bed.call("GET", "/v1/events", key=key)

    assert (answer.status, answer.json["code"]) == (503, "busy")
    assert answer.headers["retry-after"] == "1"


async def test_when_the_database_is_away_everything_says_so(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, *SCOPES)
        await bed.world.pool.close()
        await bed.key_pool.close()
        answers = [
            await bed.call(
                method, address_of(path, tenant), key=key, once=str(new_id()), json={} if method == "POST" else None
            )
            for method, path in NEEDS
        ]

    assert {(answer.status, answer.json["code"]) for answer in answers} == {(503, "database_away")}
    assert {answer.headers["retry-after"] for answer in answers} == {"5"}


async def test_orders_by_number_and_by_the_channels_id(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "orders:read")
        by_id = await bed.call("GET", f"/v1/orders/{public('ord', tenant.order)}", key=key)
        by_number = await bed.call("GET", f"/v1/orders/{tenant.number}", key=key)
        why = await bed.call("GET", f"/v1/orders/{tenant.number}/why", key=key)
        await owner_pool.execute('UPDATE "order" SET connection_id = $1 WHERE false', tenant.erp)
        stock = await bed.call("GET", f"/v1/stock/{tenant.sku}", key=await bed.key(tenant, "stock:read"))

    assert by_id.json == by_number.json
    assert by_id.json["lines"][0]["unit_price"] == "19.9"
    assert [step["kind"] for step in why.json["steps"]][:1] == ["received"]
    assert stock.json["levels"][0]["available"] == 9
    assert stock.json["channels"][0]["was_told"] == 8


async def test_a_slow_body_has_a_deadline(database: Database, owner_pool: Pool) -> None:
    """G1: a body that does not come ends the request."""
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool, settings=WebSettings(body_seconds=0.05)) as bed:
        key = await bed.key(tenant, "commands:write")
        status = await drip(bed, f"/v1/commands/{public('cmd', tenant.failed)}/cancel", key)

    assert status == 408


async def drip(bed: ApiBed, address: str, key: str) -> int:
    """Send a request whose body never comes to its end; return the status of the answer."""
    sent = []

    async def receive() -> dict[str, object]:
        await asyncio.sleep(30)
        return {"type": "http.request", "body": b"", "more_body": True}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    headers = {
        "authorization": f"Bearer {key}",
        "idempotency-key": "a",
        "content-type": "application/json",
        "content-length": "9",
    }
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": address, "raw_path": address.encode(),
        "query_string": b"", "root_path": "", "headers": [(n.encode(), v.encode()) for n, v in headers.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 7481),
    }  # fmt: skip
    await bed.app(scope, receive, send)  # type: ignore[arg-type]
    return int(str(sent[0]["status"]))
