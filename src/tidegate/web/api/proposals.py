"""`/v1/proposals`: what waits for a person before it is sent; release it or turn it down, singly or in bulk."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, Router, post
from litestar.di import NamedDependency
from msgspec import Meta

from tidegate.dispatch import approval
from tidegate.dispatch.approval import Selection, Verdict
from tidegate.store.connections import Connection as Conn
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import WRITE_PROBLEMS, answer, body, needs, problems
from tidegate.web.api.identifiers import TEXT, IdempotencyKey, parse_id
from tidegate.web.problems import InvalidPart, ProblemError

FlowName = Literal["orders", "shipments", "payments", "stock", "events"]
PATTERN_CHARS_MAX = 200


class Chosen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which proposals are meant. What is left out narrows nothing down; what is given must all fit."""

    commands: Annotated[tuple[str, ...], Meta(max_length=200, description="These commands, and no numbers")] | None = (
        None
    )
    flows: Annotated[tuple[FlowName, ...], Meta(max_length=3, description="Only of these flows")] | None = None
    connection: (
        Annotated[str, Meta(max_length=40, pattern="^[a-z][a-z0-9_]*$", description="Only what this one would be told")]
        | None
    ) = None
    skus: (
        Annotated[
            tuple[str, ...],
            Meta(max_length=100, description="Only stock numbers of these SKUs; `*` and `?` stand for any letters"),
        ]
        | None
    ) = None


class Approve(Chosen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which proposals are released."""


class Reject(Chosen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which proposals are turned down, and why."""

    reason: Annotated[str, Meta(min_length=1, max_length=500, pattern=TEXT, description="Why; it is kept with them")]


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided. What was chosen and is not in it was no proposal any more."""

    commands: Annotated[tuple[str, ...], Meta(description="Ids of commands")]
    numbers: Annotated[int, Meta(description="Stock numbers")]


_EXAMPLE = Decided(commands=("cmd_c0_06c6vd1t9kfsm3k0b4xk9qk2zw",), numbers=12)
_CHOICE = Approve(flows=("orders",), connection="erp")


@post(
    "/approve",
    **needs("commands:write"),
    status_code=200,
    summary="Approve proposals",
    responses={200: answer(Decided, "What was released", _EXAMPLE), **problems(*WRITE_PROBLEMS)},
)
async def approve(
    desk: NamedDependency[Desk],
    data: Annotated[Approve, body("All orders for the ERP", _CHOICE)],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Release proposals: at most 1,000 in one request, else 422 `too_many`.

    A command is sent as its order stands when it is sent; a stock number is the one that is true then.
    """

    async def effect(conn: Conn) -> Decided:
        selection = await _select(desk, conn, data)
        verdict = await approval.approve(conn, tenant_id=desk.tenant_id, selection=selection, actor=desk.caller.actor)
        return _decided(desk, verdict)

    return await desk.once(idempotency_key, effect)


@post(
    "/reject",
    **needs("commands:write"),
    status_code=200,
    summary="Reject proposals",
    responses={200: answer(Decided, "What was turned down", _EXAMPLE), **problems(*WRITE_PROBLEMS)},
)
async def reject(
    desk: NamedDependency[Desk],
    data: Annotated[Reject, body("Numbers of test articles", Reject(skus=("TEST-*",), reason="test articles"))],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Turn proposals down: at most 1,000 in one request, else 422 `too_many`.

    A command ends cancelled and is not planned again; a stock number is proposed again at the item's next change.
    """

    async def effect(conn: Conn) -> Decided:
        selection = await _select(desk, conn, data)
        verdict = await approval.reject(
            conn, tenant_id=desk.tenant_id, selection=selection, actor=desk.caller.actor, reason=data.reason
        )
        return _decided(desk, verdict)

    return await desk.once(idempotency_key, effect)


def build_router() -> Router:
    """Return the routes of proposals."""
    return Router("/proposals", route_handlers=[approve, reject], tags=["proposals"])


async def _select(desk: Desk, conn: Conn, chosen: Chosen) -> Selection:
    """Return the selection, within bounds. Raises ProblemError 404 or 422, ConfigurationError for no such connection."""
    for pattern in chosen.skus or ():
        if not 0 < len(pattern) <= PATTERN_CHARS_MAX or "\0" in pattern:
            part = InvalidPart(pointer="/skus", message=f"a pattern has 1 to {PATTERN_CHARS_MAX} letters")
            raise ProblemError(422, "value_invalid", "a pattern is not valid", errors=(part,))
    commands = None if chosen.commands is None else tuple(parse_id("cmd", text) for text in chosen.commands)
    selection = Selection(
        commands=commands,
        flows=chosen.flows,
        connection_id=await desk.find_connection(conn, chosen.connection),
        skus=chosen.skus,
    )
    number = await approval.count_chosen(conn, desk.tenant_id, selection)
    if number > approval.WITHIN_ONE_MAX:
        raise ProblemError(
            422,
            "too_many",
            f"{number} proposals are meant, and one request decides {approval.WITHIN_ONE_MAX} at most",
            hint="narrow it down by flow, connection or SKU, or use: tidegate approve",
        )
    return selection


def _decided(desk: Desk, verdict: Verdict) -> Decided:
    return Decided(commands=tuple(desk.public("cmd", each) for each in verdict.commands), numbers=len(verdict.marks))
