"""One process that needs a token: prints it, or the code of its error, as one line of JSON.

python -m tests.tokenchild < request.json
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from typing import Any
from uuid import UUID

from tidegate.kernel.clock import SystemClock
from tidegate.kernel.errors import TidegateError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.client import ask_for_token
from tidegate.sdk.http import Response
from tidegate.sdk.oauth import OAuth
from tidegate.sdk.testing.hostile_connector import CONNECTOR
from tidegate.store.pool import Access, create_pool
from tidegate.store.roles import Role
from tidegate.vault.keys import KeyRing
from tidegate.vault.tokens import TokenKeeper, TokenVault


async def main(request: Mapping[str, Any]) -> dict[str, Any]:
    """Get a token as a lane does."""
    oauth = OAuth(token_path=request["token_url"], previous_survives=request["previous_survives"])
    connector = replace(CONNECTOR, oauth=oauth)
    pool = await create_pool(
        Access(**{**request["access"], "role": Role(request["access"]["role"])}),
        application_name="token",
        size_min=1,
        size_max=2,
    )

    async def ask(form: Mapping[str, str]) -> Response:
        allow = [ip_network("127.0.0.0/8")]
        return await ask_for_token(connector, "http://127.0.0.1:1", form, allow=allow, clock=SystemClock())

    ring = KeyRing({"credential": bytes.fromhex(request["root"])})
    keeper = TokenKeeper(
        pool.acquire,
        TokenVault(ring, UUID(request["tenant_id"]), "shop"),
        oauth,
        settings={"client_id": "app"},
        secrets={"client_secret": Secret("the secret of the app")},
        ask=ask,
        clock=SystemClock(),
    )
    try:
        token, _ = await keeper.access(Secret(request["refused"]) if request.get("refused") else None)
    except TidegateError as error:
        return {"code": error.code}
    finally:
        await pool.close()
    return {"token": token.reveal()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.load(sys.stdin)))))
