"""`/v1/reservations`: units that are held for a cart, a checkout or a quote, until a time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import structlog
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta

from tidegate.inventory import decide
from tidegate.inventory.reserve import ReservationState
from tidegate.monitor import reservations_view as view
from tidegate.sync.combiner import Wish
from tidegate.sync.reservations import Answer, Keep, Reply
from tidegate.web.api.desk import JSON, Desk, key_reused, respond_kept
from tidegate.web.api.documents import READ_PROBLEMS, WRITE_PROBLEMS, answer, body, needs, problems
from tidegate.web.api.identifiers import (
    IDEMPOTENCY_KEY,
    IDEMPOTENCY_KEY_CHARS_MAX,
    TEXT,
    IdempotencyKey,
    id_pattern,
    parse_id,
)
from tidegate.web.api.lists import EXAMPLE_CURSOR, Cursor, Limit, read_id_cursor, write_cursor
from tidegate.web.problems import MEDIA_TYPE, InvalidPart, Problem, ProblemError, ShortLine, as_problem, build_problem

LIST = "reservations"
LINES_MAX = 100
BATCH_MAX = 200
QUANTITY_MAX = 1_000_000
SECONDS_MAX = 30 * 86_400
SECONDS_DEFAULT = 900
_log = structlog.get_logger("web.api")
State = Literal["held", "claimed", "released", "expired"]
ReservationId = Annotated[str, PathParameter(description="Id of a reservation.", pattern=id_pattern("res"))]
Reference = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=120,
        pattern=TEXT,
        description="Your own name of it, such as the cart's id. One reservation of a name is held at a time: asked for again "
        "with the same lines it is the same one. An order that carries the name claims it.",
    ),
]


class ReserveLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units of one article. A bundle holds what it is made of."""

    sku: Annotated[str, Meta(min_length=1, max_length=200, pattern=TEXT)]
    quantity: Annotated[int, Meta(ge=1, le=QUANTITY_MAX)]


class ReserveUnits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to hold: all of it, or nothing."""

    lines: Annotated[tuple[ReserveLine, ...], Meta(min_length=1, max_length=LINES_MAX)]
    expires_in: Annotated[
        int, Meta(ge=1, le=SECONDS_MAX, description="Seconds until the units are free again by themselves")
    ] = SECONDS_DEFAULT
    location: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=200,
                pattern=TEXT,
                description="Name of a location. Left out: where there is some",
            ),
        ]
        | None
    ) = None
    reference: Reference | None = None


class ReserveOne(ReserveUnits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One reservation of several, with a key of its own."""

    idempotency_key: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=IDEMPOTENCY_KEY_CHARS_MAX,
            pattern=IDEMPOTENCY_KEY,
            description="Names this reservation: asked for again under the same key, in whatever company, it gets the same "
            "outcome and has no further effect.",
        ),
    ]


class ReserveSeveral(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What several ask for. Each is held or refused by itself."""

    reservations: Annotated[tuple[ReserveOne, ...], Meta(min_length=1, max_length=BATCH_MAX)]


class ClaimReservation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For which order. Nothing: for one that will name the reservation."""

    connection: (
        Annotated[str, Meta(min_length=1, max_length=40, pattern="^[a-z][a-z0-9_]*$", description="Its channel")] | None
    ) = None
    order: (
        Annotated[
            str, Meta(min_length=1, max_length=200, pattern=TEXT, description="Its number, or its id in the channel")
        ]
        | None
    ) = None


class ReservationNow(msgspec.Struct, frozen=True, kw_only=True, rename={"due_at": "expires_at"}):
    """What a reservation is after a request."""

    id: str
    state: State
    due_at: Annotated[
        datetime, Meta(description="When it expires; of a claim that awaits its order, when it is waited for no longer")
    ]
    awaits_order: Annotated[
        bool, Meta(description="Claimed, and its order has not come in yet: its units stand committed until then")
    ]


class ReservationOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one reservation of several: `reservation` or `problem`."""

    idempotency_key: str
    status: Annotated[int, Meta(description="What a request of its own would have been answered with: 201 is held")]
    replayed: Annotated[bool, Meta(description="It was decided before, and is told again")] = False
    reservation: ReservationNow | None = None
    problem: Problem | None = None


class ReservationOutcomes(msgspec.Struct, frozen=True, kw_only=True):
    """One for each that was asked for, in the same order."""

    outcomes: tuple[ReservationOutcome, ...]


class _WrittenOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A ReservationOutcome whose document is written already."""

    idempotency_key: str
    status: int
    replayed: bool = False
    reservation: msgspec.Raw | None = None
    problem: msgspec.Raw | None = None


class HeldUnits(msgspec.Struct, frozen=True, kw_only=True):
    """Units of an item that are held now."""

    sku: Annotated[str, Meta(description="Of the item: a part, where the line is a bundle")]
    location: str
    units: int


class AskedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line as it was asked for."""

    sku: str
    quantity: int


class ReservationDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One reservation."""

    id: str
    state: State
    reference: str | None
    lines: tuple[AskedLine, ...]
    holds: Annotated[tuple[HeldUnits, ...], Meta(description="Empty when it holds nothing any more")]
    location: Annotated[str | None, Meta(description="Where it was to be held; null: anywhere")]
    created_at: datetime
    expires_at: datetime
    awaits_order: bool
    order_id: Annotated[str | None, Meta(description="The order that has it")]
    channel: Annotated[str | None, Meta(description="Of the order that it was claimed for")]
    order: Annotated[str | None, Meta(description="What that order is called there")]
    actor: Annotated[str, Meta(description="Who made it")]
    ended_at: datetime | None
    ended_by: str | None


class ReservationPage(msgspec.Struct, frozen=True, kw_only=True):
    """Reservations, newest first."""

    items: tuple[ReservationDetail, ...]
    next_cursor: Annotated[str | None, Meta(description="For the next page; null on the last one")]


_AT = datetime.fromisoformat("2026-11-27T10:00:00+00:00")
_UNTIL = datetime.fromisoformat("2026-11-27T10:15:00+00:00")
_STATE = ReservationNow(id="res_c0_06c6vd1t9kfsm3k0b4xk9qk2zw", state="held", due_at=_UNTIL, awaits_order=False)
_WISH = ReserveUnits(
    lines=(ReserveLine(sku="TS-RED-M", quantity=2), ReserveLine(sku="GIFT-SET", quantity=1)), reference="cart-1729"
)
_WISHES = ReserveSeveral(
    reservations=(
        ReserveOne(
            idempotency_key="cart-1729", lines=(ReserveLine(sku="TS-RED-M", quantity=2),), reference="cart-1729"
        ),
        ReserveOne(idempotency_key="cart-1730", lines=(ReserveLine(sku="GIFT-SET", quantity=3),)),
    )
)
_OUTCOMES = ReservationOutcomes(
    outcomes=(
        ReservationOutcome(idempotency_key="cart-1729", status=201, reservation=_STATE),
        ReservationOutcome(
            idempotency_key="cart-1730",
            status=409,
            problem=build_problem(
                ProblemError(
                    409,
                    "insufficient_stock",
                    "there is not enough: GIFT-SET: 3 wanted, 1 available",
                    hint="nothing was held; ask for what is available, or leave the line out",
                    shortages=(ShortLine(sku="GIFT-SET", wanted=3, available=1),),
                ),
                "req_c0_06c6vd1t9kfsm3k0b4xk9qk2zw",
            ),
        ),
    )
)
_DETAIL = ReservationDetail(
    id=_STATE.id,
    state="held",
    reference="cart-1729",
    lines=(AskedLine(sku="TS-RED-M", quantity=2),),
    holds=(HeldUnits(sku="TS-RED-M", location="main", units=2),),
    location=None,
    created_at=_AT,
    expires_at=_UNTIL,
    awaits_order=False,
    order_id=None,
    channel=None,
    order=None,
    actor="api:checkout",
    ended_at=None,
    ended_by=None,
)


@post(
    "/",
    **needs("stock:reserve"),
    status_code=201,
    summary="Reserve units",
    responses={201: answer(ReservationNow, "They are held", _STATE), **problems(*WRITE_PROBLEMS)},
)
async def reserve_units(
    desk: NamedDependency[Desk],
    data: Annotated[ReserveUnits, body("A cart", _WISH)],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Hold units for a while: all lines or nothing, parts of bundles added up before they are compared.

    409 `insufficient_stock` says per line what was wanted and what is available. Until it is claimed, released or expires,
    nobody else can have the units: channels are told fewer. Safety stock of a level is never held.
    """
    keep = _keep(desk, idempotency_key, await desk.digest(), 201)
    return _respond(await desk.world.combiner.reserve(desk.tenant_id, _wish_of(desk, data), keep))


@post(
    "/batch",
    **needs("stock:reserve"),
    status_code=200,
    summary="Reserve units for several",
    responses={200: answer(ReservationOutcomes, "What became of each", _OUTCOMES), **problems(*WRITE_PROBLEMS)},
)
async def reserve_several(
    desk: NamedDependency[Desk], data: Annotated[ReserveSeveral, body("Two carts", _WISHES)]
) -> Response[Any]:
    """Many reservations in one request, decided in their order, each as if it had come alone: it is held or refused by itself.

    Each has an idempotency key of its own, so the request needs none; send those without an outcome again, in whatever
    company. A body that is not valid is refused as a whole, and nothing is done. It counts as one request.
    """
    asked = [
        (_wish_of(desk, each), _keep(desk, each.idempotency_key, desk.digest_part(_content_of(each)), 201))
        for each in data.reservations
    ]
    replies = await desk.world.combiner.reserve_each(desk.tenant_id, asked)
    if isinstance(replies[0], Exception) and all(isinstance(reply, Exception) for reply in replies):
        raise replies[0]
    outcomes = [_outcome(desk, each, reply) for each, reply in zip(data.reservations, replies, strict=True)]
    return Response(content=msgspec.json.encode({"outcomes": outcomes}), status_code=200, media_type=JSON)


@post(
    "/{reservation_id:str}/claim",
    **needs("stock:reserve"),
    status_code=200,
    summary="Claim a reservation",
    responses={
        200: answer(
            ReservationNow, "The order has it", msgspec.structs.replace(_STATE, state="claimed", awaits_order=True)
        ),
        **problems(*WRITE_PROBLEMS),
    },
)
async def claim_reservation(
    desk: NamedDependency[Desk],
    reservation_id: ReservationId,
    data: Annotated[
        ClaimReservation, body("An order that the shop just took", ClaimReservation(connection="shop", order="1001"))
    ],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Turn what is held into what is committed, for an order that is there or on its way.

    Where the order has come in already, it stands committed by itself and the reservation just ends. Else the units stand
    committed until it comes, for 24 hours at most. An order that carries the reservation's id or reference claims it by
    itself: then this request is not needed, and does no harm.
    """
    wanted = parse_id("res", reservation_id)
    if (data.connection is None) != (data.order is None):
        part = InvalidPart(pointer="/order", message="name the order together with its connection, or neither")
        raise ProblemError(422, "value_invalid", "half of an order is named", errors=(part,))
    connection_id = None
    if data.connection is not None:
        async with desk.reading() as conn:
            connection_id = await desk.find_connection(conn, data.connection)
    ask = decide.Claim(wanted, desk.caller.actor, connection_id, data.order)
    keep = _keep(desk, idempotency_key, await desk.digest(), 200)
    return _respond(await desk.world.combiner.change(desk.tenant_id, ask, keep))


@post(
    "/{reservation_id:str}/release",
    **needs("stock:reserve"),
    status_code=200,
    summary="Release a reservation",
    responses={
        200: answer(ReservationNow, "It holds nothing", msgspec.structs.replace(_STATE, state="released")),
        **problems(*(status for status in WRITE_PROBLEMS if status != 415)),
    },
)
async def release_reservation(
    desk: NamedDependency[Desk], reservation_id: ReservationId, idempotency_key: IdempotencyKey
) -> Response[Any]:
    """Give back what it holds, also of a claim whose order has not come. What ended before stays as it ended.

    What an order has comes back when the order is cancelled: 409 `reservation_claimed`.
    """
    ask = decide.Release(parse_id("res", reservation_id), desk.caller.actor)
    keep = _keep(desk, idempotency_key, await desk.digest(), 200)
    return _respond(await desk.world.combiner.change(desk.tenant_id, ask, keep))


@get(
    "/",
    **needs("stock:read"),
    summary="List reservations",
    responses={
        200: answer(ReservationPage, "Reservations", ReservationPage(items=(_DETAIL,), next_cursor=EXAMPLE_CURSOR)),
        **problems(*READ_PROBLEMS),
    },
)
async def list_reservations(
    desk: NamedDependency[Desk],
    limit: Limit = 50,
    cursor: Cursor = None,
    in_state: Annotated[
        ReservationState | None, QueryParameter(name="state", description="Only in this state.")
    ] = None,
    sku: Annotated[
        str | None,
        QueryParameter(
            description="Only those that hold units of this SKU.", min_length=1, max_length=200, pattern=TEXT
        ),
    ] = None,
    reference: Annotated[
        str | None, QueryParameter(description="Only with this name.", min_length=1, max_length=120, pattern=TEXT)
    ] = None,
) -> ReservationPage:
    """Reservations, newest first. Those that ended are kept for 30 days."""
    chosen = view.ReservationFilter(state=in_state, sku=sku, reference=reference, before=read_id_cursor(LIST, cursor))
    async with desk.reading() as conn:
        found = await view.list_reservations(conn, desk.tenant_id, chosen, limit + 1)
    items = tuple(_detail(desk, each) for each in found[:limit])
    more = write_cursor(LIST, found[limit - 1].reservation_id) if len(found) > limit else None
    return ReservationPage(items=items, next_cursor=more)


@get(
    "/{reservation_id:str}",
    **needs("stock:read"),
    summary="Show a reservation",
    responses={200: answer(ReservationDetail, "One reservation", _DETAIL), **problems(*READ_PROBLEMS)},
)
async def show_reservation(desk: NamedDependency[Desk], reservation_id: ReservationId) -> ReservationDetail:
    """What one reservation was asked for, what it holds, and how it ended."""
    wanted = parse_id("res", reservation_id)
    async with desk.reading() as conn:
        found = await view.read_reservation(conn, desk.tenant_id, wanted)
    return _detail(desk, found)


def build_router() -> Router:
    """Return the routes of reservations."""
    return Router(
        "/reservations",
        route_handlers=[
            reserve_units,
            reserve_several,
            list_reservations,
            show_reservation,
            claim_reservation,
            release_reservation,
        ],
        tags=["reservations"],
    )


_STATUS = {"sku_unknown": 422, "location_unknown": 422, "reservation_unknown": 404}
"""Status of refusals; all others are in conflict with the present state: 409."""


def _wish_of(desk: Desk, data: ReserveUnits) -> Wish:
    return Wish(
        lines=tuple((line.sku, line.quantity) for line in data.lines),
        seconds=data.expires_in,
        actor=desk.caller.actor,
        location=data.location,
        reference=data.reference,
    )


def _content_of(asked: ReserveOne) -> bytes:
    """Return what is asked for, however it was written. Another optional field belongs in it only where it is given. Pure."""
    lines = [(line.sku, line.quantity) for line in asked.lines]
    return msgspec.json.encode((lines, asked.expires_in, asked.location, asked.reference))


def _keep(desk: Desk, idempotency_key: str, digest: bytes, status: int) -> Keep:
    """Return how the answer of this request is written and kept, in the transaction of its effect."""

    def write(result: decide.Result) -> Answer:
        if isinstance(result, decide.Refusal):
            problem = ProblemError(
                _STATUS.get(result.code, 409),
                result.code,
                result.words,
                hint=result.hint,
                shortages=tuple(
                    ShortLine(sku=each.sku, wanted=each.wanted, available=each.available) for each in result.shortages
                ),
            )
            document = msgspec.json.encode(build_problem(problem, desk.request_id))
            return Answer(problem.status, MEDIA_TYPE, document)
        state = ReservationNow(
            id=desk.public("res", result.reservation_id),
            state=result.state.value,
            due_at=result.due_at,
            awaits_order=result.awaits_order,
        )
        return Answer(status, JSON, msgspec.json.encode(state))

    return Keep(desk.caller.key_id, idempotency_key, digest, write)


def _respond(reply: Reply) -> Response[Any]:
    """Return the response of a decided request. Raises ProblemError when its key belongs to another request."""
    if reply.is_other_request or reply.answer is None:
        raise key_reused()
    kept = reply.answer
    return respond_kept(kept.status, kept.media_type, kept.body, is_replayed=reply.is_replayed)


def _outcome(desk: Desk, asked: ReserveOne, reply: Reply | Exception) -> _WrittenOutcome:
    """Return what one of several is told."""
    if isinstance(reply, Reply) and reply.answer is not None and not reply.is_other_request:
        kept, document = reply.answer, msgspec.Raw(reply.answer.body)
        is_good = kept.media_type == JSON
        return _WrittenOutcome(
            idempotency_key=asked.idempotency_key,
            status=kept.status,
            replayed=reply.is_replayed,
            reservation=document if is_good else None,
            problem=None if is_good else document,
        )
    problem = as_problem(reply) if isinstance(reply, Exception) else key_reused()
    if problem.status == 500:
        _log.error("web.failed", error_class=type(reply).__name__, request_id=desk.request_id, exc_info=reply)
    return _WrittenOutcome(
        idempotency_key=asked.idempotency_key,
        status=problem.status,
        problem=msgspec.Raw(msgspec.json.encode(build_problem(problem, desk.request_id))),
    )


def _detail(desk: Desk, found: view.ReservationView) -> ReservationDetail:
    return ReservationDetail(
        id=desk.public("res", found.reservation_id),
        state=found.state,
        reference=found.reference,
        lines=tuple(AskedLine(sku=sku, quantity=quantity) for sku, quantity in found.asked),
        holds=tuple(HeldUnits(sku=each.sku, location=each.location, units=each.units) for each in found.holds),
        location=found.location,
        created_at=found.created_at,
        expires_at=found.due_at,
        awaits_order=found.awaits_order,
        order_id=_public_order(desk, found.order_id),
        channel=found.channel,
        order=found.order_reference,
        actor=found.actor,
        ended_at=found.ended_at,
        ended_by=found.ended_by,
    )


def _public_order(desk: Desk, order_id: UUID | None) -> str | None:
    return desk.public("ord", order_id) if order_id is not None else None
