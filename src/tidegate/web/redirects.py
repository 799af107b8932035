"""`/oauth/callback`: where a platform sends the browser of a person who allowed our app. It needs no key.

It keeps what came, encrypted, for the command that waits for it, once; it knows no secret, follows nothing, sends nobody
anywhere, and says the same to everything that nobody waits for.
"""

from __future__ import annotations

import re

import structlog

from tidegate.kernel.errors import TransientError
from tidegate.store.sql import query
from tidegate.vault.redirects import digest_of_state, seal_redirect
from tidegate.web.database import writing
from tidegate.web.edge import App, Receive, Scope, Send
from tidegate.web.world import World

PATH = "/oauth/callback"
QUERY_BYTES_MAX = 4096
_STATE = re.compile(r"(?:^|&)state=([A-Za-z0-9_-]{43})(?:&|$)")
_TAKE = query("redirect_take")
_TAKEN = "Tidegate has it. You may close this window and go back to the terminal.\n"
_UNKNOWN = "Nobody waits for this. Run tidegate authorise again, and open the address that it prints.\n"
_AWAY = "The database does not answer. Load this page again in a moment.\n"
_log = structlog.get_logger("web.redirects")


def redirect_app(world: World) -> App:
    """Return the page."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":  # HEAD is what looks ahead: it must not use anything up
            await _answer(send, 405, "only GET\n", (b"allow", b"GET"))
            return
        try:
            is_taken = await _take(world, bytes(scope.get("query_string", b"")))
        except TransientError:
            await _answer(send, 503, _AWAY, (b"retry-after", b"5"))
            return
        await _answer(send, 200 if is_taken else 400, _TAKEN if is_taken else _UNKNOWN)

    return app


async def _take(world: World, raw: bytes) -> bool:
    """Keep a redirect that somebody waits for; return whether somebody does. Raises TransientError."""
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        return False
    found = _STATE.findall(text)
    if len(found) != 1 or len(raw) > QUERY_BYTES_MAX:
        return False
    async with writing(world, None) as conn:
        is_taken = bool(await conn.fetchval(_TAKE, digest_of_state(found[0]), seal_redirect(found[0], text)))
    _log.info("redirect.taken" if is_taken else "redirect.unknown")
    return is_taken


async def _answer(send: Send, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
    body = text.encode()
    fixed = ((b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})
