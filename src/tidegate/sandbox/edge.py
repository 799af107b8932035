"""What stands before every platform's server: it counts the call, and lets the faults of the world happen to it."""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from tidegate.sandbox.calls import Call
from tidegate.sandbox.faults import CallFault
from tidegate.sandbox.world import CALL, HANDLES, Handles, Place

DRIPS = 10
"""In how many pieces a slow answer comes."""
_BEFORE = frozenset({CallFault.THROTTLED, CallFault.BROKEN, CallFault.EXPIRED})
_OF_THE_BODY = frozenset({hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING, hdrs.CONTENT_TYPE})


def guard(app: web.Application, place: Place) -> Middleware:
    """Return the middleware of one platform."""

    @web.middleware
    async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
        clock = place.clock
        started = clock.monotonic()
        call = place.calls.begin(at=place.now(), method=request.method, path=request.path_qs[:500])
        request[CALL] = call
        fault = place.faults.call(call.number)
        call.fault = fault.value if fault is not None else ""
        status = 0
        try:
            response = await _answer(app, request, handler, call, fault, place)
        except web.HTTPException as error:
            status = error.status
            raise
        else:
            status = 0 if fault in {CallFault.DOWN, CallFault.LOST_REPLIES} else response.status
            return response
        finally:
            place.calls.end(call, status=status, seconds=clock.monotonic() - started)

    return edge


async def _answer(
    app: web.Application, request: web.Request, handler: Handler, call: Call, fault: CallFault | None, place: Place
) -> web.StreamResponse:
    if fault is CallFault.DOWN:
        return _cut(request)
    handles = app[HANDLES]
    place_taken = place.enter()
    if place_taken is False:
        call.is_throttled = True
        return handles.refuse(CallFault.THROTTLED, request)
    try:
        return await _let_in(handles, request, handler, call, fault, place)
    finally:
        if place_taken is not None:
            place_taken.leave()


async def _let_in(
    handles: Handles, request: web.Request, handler: Handler, call: Call, fault: CallFault | None, place: Place
) -> web.StreamResponse:
    if fault in _BEFORE:
        if fault is CallFault.EXPIRED and handles.expire_tokens is not None:
            handles.expire_tokens()
        call.is_throttled = fault is CallFault.THROTTLED
        return handles.refuse(fault, request)
    response = await handler(request)
    match fault:
        case CallFault.LOST_REPLIES:
            return _cut(request)
        case CallFault.BROKEN_AFTER:
            return handles.refuse(fault, request)
        case CallFault.GARBAGE:
            return _garble(response, place.faults.choose("garbage_form", call.number, 4))
        case CallFault.SLOW:
            return await _drip(request, response, place.faults.profile.slow_seconds)
        case _:
            return response


def _cut(request: web.Request) -> web.Response:
    """End the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _garble(response: web.StreamResponse, form: int) -> web.StreamResponse:
    """Return something in place of the answer: a page, half of it, nothing, or noise."""
    whole = response.body if isinstance(response, web.Response) and isinstance(response.body, bytes) else b"{}"
    match form:
        case 0:
            return web.Response(text="<html><body><h1>One moment, please</h1></body></html>", content_type="text/html")
        case 1:
            return web.Response(body=whole[: len(whole) // 2], content_type="application/json")
        case 2:
            return web.Response(body=b"", content_type="application/json")
        case _:
            return web.Response(body=bytes(255 - byte for byte in whole[:512]), content_type="application/json")


async def _drip(request: web.Request, response: web.StreamResponse, seconds: float) -> web.StreamResponse:
    """Send the answer in pieces, over so many seconds."""
    body = response.body if isinstance(response, web.Response) and isinstance(response.body, bytes) else b""
    dripping = web.StreamResponse(status=response.status)
    dripping.content_type = response.content_type
    dripping.content_length = len(body)
    for name, value in response.headers.items():
        if name not in _OF_THE_BODY:
            dripping.headers.add(name, value)
    await dripping.prepare(request)
    size = max(1, -(-len(body) // DRIPS))
    for start in range(0, len(body), size):
        await asyncio.sleep(seconds / DRIPS)
        await dripping.write(body[start : start + size])
    await dripping.write_eof()
    return dripping
