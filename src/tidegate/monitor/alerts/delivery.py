"""Telling one target: plain webhooks by our own guarded client, everything else through apprise in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import msgspec
from aiohttp.resolver import ThreadedResolver

from tidegate import __version__
from tidegate.monitor.alerts.addresses import Target
from tidegate.monitor.alerts.post import Answer, Letter
from tidegate.sdk.egress import Network, guarded_socket_factory

DEADLINE_SECONDS = 20.0
"""For one try, from the first look-up of a name until the answer."""
ANSWER_BYTES_MAX = 4096
_TONES: Mapping[tuple[str, str], str] = {
    ("resolved", ""): "success",
    ("firing", "critical"): "failure",
    ("reminder", "critical"): "failure",
    ("firing", "warning"): "warning",
    ("reminder", "warning"): "warning",
}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is told, as text, and for programs."""

    key: str
    """The same for every try: a receiver that knows it has seen the message."""
    kind: str
    """firing, reminder, resolved or test."""
    severity: str
    title: str
    body: str
    tenant: str
    cell: str
    alerts: tuple[str, ...] = ()
    """Public ids."""


async def tell(target: Target, message: Message, allow: Sequence[Network]) -> Answer:
    """Tell a target something, in bounded time. Private addresses are refused unless `allow` has them. Raises nothing."""
    if target.kind == "webhook":
        return await _post_webhook(target, message, allow)
    if target.kind == "heartbeat":
        return await beat(target, allow)
    return await _post_apprise(target, message, allow)


async def beat(target: Target, allow: Sequence[Network]) -> Answer:
    """Call a heartbeat address: somebody else misses it when we are gone. Raises nothing."""
    return await _exchange("GET", target, allow, content=None, headers={})


async def _post_webhook(target: Target, message: Message, allow: Sequence[Network]) -> Answer:
    headers = {"Content-Type": "application/json", "Idempotency-Key": message.key}
    return await _exchange("POST", target, allow, content=msgspec.json.encode(message), headers=headers)


async def _exchange(
    method: str, target: Target, allow: Sequence[Network], *, content: bytes | None, headers: Mapping[str, str]
) -> Answer:
    blocked: list[str] = []
    connector = aiohttp.TCPConnector(
        limit=1,
        force_close=True,
        resolver=ThreadedResolver(),
        socket_factory=guarded_socket_factory(allow, blocked.append),
    )
    try:
        async with (
            asyncio.timeout(DEADLINE_SECONDS),
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as http,
            http.request(
                method,
                target.url.reveal(),
                data=content,
                headers={"User-Agent": f"tidegate/{__version__}", **headers},
                allow_redirects=False,
            ) as answer,
        ):
            await answer.content.read(ANSWER_BYTES_MAX)
            status = answer.status
    except TimeoutError:
        return Answer(ok=False, words=f"no answer within {DEADLINE_SECONDS:.0f} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        if blocked:
            words = f"{blocked[-1]} is a private address: allow its network under network.allow in tidegate.yaml"
            return Answer(ok=False, words=words)
        return Answer(ok=False, words=_reason(error))
    if 200 <= status < 300:
        return Answer(ok=True, words=f"taken ({status})")
    return Answer(
        ok=False, words=f"it answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")
    )


def _reason(error: Exception) -> str:
    """Return why, without the address: it is a secret, and libraries like to quote it."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "there is no such host"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "nothing listens there"
    return f"the exchange broke ({type(error).__name__})"


async def _post_apprise(target: Target, message: Message, allow: Sequence[Network]) -> Answer:
    tone = _TONES.get((message.kind, message.severity)) or _TONES.get((message.kind, ""), "info")
    letter = Letter(
        url=target.url.reveal(),
        title=message.title,
        body=message.body,
        tone=tone,
        allow=tuple(str(network) for network in allow),
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tidegate.monitor.alerts.post",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_environment(),
    )
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            output, _ = await process.communicate(msgspec.json.encode(letter))
    except TimeoutError:
        return Answer(ok=False, words=f"no answer within {DEADLINE_SECONDS:.0f} s")
    finally:
        await _end(process)
    try:
        return msgspec.json.decode(output, type=Answer)
    except msgspec.DecodeError:
        return Answer(ok=False, words="the process that posts it ended without an answer")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _environment() -> dict[str, Any]:
    """Return the little that the interpreter needs: no proxies, no addresses of databases, no home of apprise."""
    kept = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in kept if name in os.environ}
