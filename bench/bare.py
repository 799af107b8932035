"""The raw limit, frozen: what uvicorn, an HMAC and two group-committing connections do on this machine, nothing else.

It writes the same rows into the same kind of tables as the door, with plain bodies and constant metadata: no accounts,
no encryption, no deadlines, no counters, no wake-ups. Do not tune it: it is the yardstick.

    python -m bench.bare < {"dsn":..,"port":..,"secret":..,"tenant_id":..,"connection_id":..,"data_key_id":..}
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
from typing import Any
from uuid import UUID

import asyncpg
import uvicorn

from tidegate.kernel.ids import new_id

BATCH_MAX = 256
LANES = 2
INSERT = """
WITH incoming AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::bytea[], $5::smallint[])
        AS i (event_id, dedupe_key, body_digest, body, slot)
), deduped AS (
    INSERT INTO event_dedupe (tenant_id, connection_id, dedupe_key, event_id, body_digest)
    SELECT $6, $7, dedupe_key, event_id, body_digest FROM incoming ON CONFLICT DO NOTHING RETURNING event_id
), stored AS (
    INSERT INTO event (tenant_id, event_id, connection_id, source, topic, ordering_key, slot, dedupe_key, body_digest,
                       data_key_id, body)
    SELECT $6, event_id, $7, 'webhook', 'order.updated', 'order:1', slot, dedupe_key, body_digest, $8, body
    FROM deduped JOIN incoming USING (event_id)
)
INSERT INTO event_queue (slot, tenant_id, event_id) SELECT slot, $6, event_id FROM deduped JOIN incoming USING (event_id)
"""


class Bare:
    """A raw ASGI application."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.key = base64.b64decode(order["secret"].removeprefix("whsec_"))
        self.constants = [UUID(order[name]) for name in ("tenant_id", "connection_id", "data_key_id")]
        self.waiting: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self.lanes = [asyncio.create_task(self.commit()) for _ in range(LANES)]
            await send({"type": "lifespan.startup.complete"})
            await receive()
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = dict(scope["headers"])
        signed = b".".join((headers[b"webhook-id"], headers[b"webhook-timestamp"], body))
        expected = b"v1," + base64.b64encode(hmac.digest(self.key, signed, "sha256"))
        status = 401
        if hmac.compare_digest(headers[b"webhook-signature"], expected):
            stored = asyncio.get_running_loop().create_future()
            self.waiting.put_nowait((stored, headers[b"webhook-id"], body))
            await stored
            status = 200
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

    async def commit(self) -> None:
        connection = await asyncpg.connect(self.order["dsn"])
        while True:
            batch = [await self.waiting.get()]
            while len(batch) < BATCH_MAX and not self.waiting.empty():
                batch.append(self.waiting.get_nowait())
            rows = sorted(
                (hashlib.sha256(event_id).digest(), new_id(), hashlib.sha256(body).digest(), body)
                for _, event_id, body in batch
            )
            await connection.fetch(
                INSERT,
                [row[1] for row in rows],
                [row[0] for row in rows],
                [row[2] for row in rows],
                [row[3] for row in rows],
                [row[0][0] for row in rows],
                *self.constants,
            )
            for stored, _, _ in batch:
                if not stored.done():
                    stored.set_result(None)


def main() -> None:
    order = json.loads(sys.stdin.readline())
    uvicorn.run(
        Bare(order),
        host="127.0.0.1",
        port=order["port"],
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
