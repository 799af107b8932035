"""`/v1/owners` and `/v1/conflicts`: who may write which field, who wrote it last, and what somebody else wrote over it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from msgspec import Meta

from tidegate.monitor.conflicts import read_conflicts
from tidegate.monitor.ownership import field_rules, read_sku_writers
from tidegate.monitor.settling import Settled, find_conflict, keep_ours, take_theirs
from tidegate.store.connections import Connection as Conn
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, WRITE_PROBLEMS, answer, body, needs, problems
from tidegate.web.api.identifiers import TEXT, IdempotencyKey
from tidegate.web.api.stock import Sku

CONFLICTS_MAX = 500


class OwnedField(msgspec.Struct, frozen=True, kw_only=True):
    """One field, and who may write it."""

    field: str
    owner: Annotated[
        str | None,
        Meta(description="A connection, origin (the channel of the order) or tidegate; null: nobody is named"),
    ]
    told: Annotated[tuple[str, ...], Meta(description="Connections that are told what the owner says")]
    conflict: Annotated[str, Meta(description="Who wins where two differ: owner, newest (of its versions) or person")]
    others: Annotated[str, Meta(description="What becomes of what anybody else says, in words")]


class OwnerList(msgspec.Struct, frozen=True, kw_only=True):
    """The fields, as the newest configuration has them."""

    items: tuple[OwnedField, ...]


class WrittenValue(msgspec.Struct, frozen=True, kw_only=True):
    """A value as it stands, and who wrote it last."""

    field: str
    place: Annotated[str, Meta(description="The location, or the connection that shows it")]
    value: str
    owner: str | None
    writer: Annotated[str, Meta(description="The connection whose event or look it came from, else who did it")]
    source: Annotated[str, Meta(description="The event or command that wrote it; empty where a look read it")]
    at: datetime | None
    is_owner: Annotated[bool, Meta(description="false: it is only compared")]


class WrittenList(msgspec.Struct, frozen=True, kw_only=True):
    """Who wrote which value of a SKU last."""

    items: tuple[WrittenValue, ...]


class ConflictRow(msgspec.Struct, frozen=True, kw_only=True):
    """A field that somebody else wrote."""

    connection: str
    sku: str
    field: Annotated[str, Meta(description="stock, price or price_with_tax")]
    owner: str
    owner_value: Annotated[str | None, Meta(description="Decimal text; null: nothing")]
    other_value: Annotated[str | None, Meta(description="What the connection shows")]
    currency: str
    cause: Annotated[str, Meta(description="changed_there, other_app or price_unsent")]
    rule: Annotated[str, Meta(description="owner: written again; ask: a person decides; show: only shown")]
    becomes: Annotated[str, Meta(description="What becomes of it, in words")]
    since: datetime
    seen_at: datetime


class ConflictList(msgspec.Struct, frozen=True, kw_only=True):
    """Conflicts as the last looks found them, the oldest first."""

    items: tuple[ConflictRow, ...]
    is_cut: Annotated[bool, Meta(description="There are more than these")]


class KeepOurs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which conflict is settled."""

    connection: Annotated[str, Meta(max_length=40, pattern="^[a-z][a-z0-9_]*$", description="The channel")]
    sku: Annotated[str, Meta(min_length=1, max_length=300, pattern=TEXT)]


class TakeTheirs(KeepOurs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which conflict is settled, and where the difference is posted."""

    location: (
        Annotated[str, Meta(min_length=1, max_length=200, pattern=TEXT, description="null: the only one")] | None
    ) = None


class ConflictSettled(msgspec.Struct, frozen=True, kw_only=True):
    """What a person's word did."""

    connection: str
    sku: str
    kept: Annotated[str, Meta(description="ours or theirs")]
    told: Annotated[int, Meta(description="Numbers that are told anew")]
    posted: Annotated[int, Meta(description="Units that on_hand was changed by")]
    location: str | None
    is_new: Annotated[bool, Meta(description="false: it was settled so before, or is being told already")]


_AT = datetime.fromisoformat("2026-11-27T10:00:00+00:00")
_RULE = OwnedField(
    field="stock.on_hand",
    owner="erp",
    told=(),
    conflict="owner",
    others="movements of others are ignored (not_owner); what an owner counts otherwise is drift",
)
_VALUE = WrittenValue(
    field="stock.on_hand",
    place="main",
    value="41",
    owner="erp",
    writer="erp",
    source="evt_c0_01kb3m0000e00000000000000b",
    at=_AT,
    is_owner=True,
)
_CONFLICT = ConflictRow(
    connection="shop",
    sku="TS-RED-M",
    field="stock",
    owner="tidegate",
    owner_value="7",
    other_value="99",
    currency="",
    cause="changed_there",
    rule="ask",
    becomes="it waits for a person: settle it",
    since=_AT,
    seen_at=_AT,
)


_OURS = ConflictSettled(connection="shop", sku="TS-RED-M", kept="ours", told=1, posted=0, location=None, is_new=True)
_THEIRS = ConflictSettled(
    connection="shop", sku="TS-RED-M", kept="theirs", told=0, posted=92, location="main", is_new=True
)


@get(
    "/owners",
    **needs("config:read"),
    summary="List owners of fields",
    responses={200: answer(OwnerList, "Owners", OwnerList(items=(_RULE,))), **problems(*READ_PROBLEMS)},
    tags=["config"],
)
async def list_owners(desk: NamedDependency[Desk]) -> OwnerList:
    """Which system owns each field, who is told of it, and which rule decides where two differ."""
    async with desk.reading() as conn:
        config = await desk.read_config(conn)
    names = OwnedField.__struct_fields__
    rules = field_rules(config)
    return OwnerList(items=tuple(OwnedField(**{name: getattr(rule, name) for name in names}) for rule in rules))


@get(
    "/stock/{sku:str}/writers",
    **needs("stock:read"),
    summary="Show who wrote the values of a SKU",
    responses={200: answer(WrittenList, "Writers", WrittenList(items=(_VALUE,))), **problems(*READ_PROBLEMS)},
    tags=["stock"],
)
async def show_writers(desk: NamedDependency[Desk], sku: Sku) -> WrittenList:
    """Each number and price of a SKU as it stands, its owner, who wrote it last, and the event or command that did."""
    async with desk.reading() as conn:
        config = await desk.read_config(conn)
        found = await read_sku_writers(conn, desk.tenant_id, sku, config)
    names = WrittenValue.__struct_fields__
    return WrittenList(items=tuple(WrittenValue(**{name: getattr(one, name) for name in names}) for one in found))


@get(
    "/conflicts",
    **needs("drift:read"),
    summary="List conflicts",
    responses={
        200: answer(ConflictList, "Conflicts", ConflictList(items=(_CONFLICT,), is_cut=False)),
        **problems(*READ_PROBLEMS),
    },
    tags=["drift"],
)
async def list_conflicts(desk: NamedDependency[Desk]) -> ConflictList:
    """Fields that somebody else wrote, as the last looks found them, with the declared rule.

    `POST /v1/conflicts/ours` and `/v1/conflicts/theirs` settle one, `POST /v1/drift/heal` lets the owner win in many.
    """
    async with desk.reading() as conn:
        config = await desk.read_config(conn)
        found = await read_conflicts(conn, desk.tenant_id, config, limit=CONFLICTS_MAX + 1)
    rows = tuple(
        ConflictRow(
            **{name: getattr(one, name) for name in ConflictRow.__struct_fields__ if not name.endswith("_value")},
            owner_value=_text(one.owner_value),
            other_value=_text(one.other_value),
        )
        for one in found[:CONFLICTS_MAX]
    )
    return ConflictList(items=rows, is_cut=len(found) > CONFLICTS_MAX)


@post(
    "/conflicts/ours",
    **needs("drift:heal"),
    status_code=200,
    summary="Settle a conflict: ours counts",
    responses={200: answer(ConflictSettled, "It is told anew", _OURS), **problems(*WRITE_PROBLEMS)},
    tags=["drift"],
)
async def settle_ours(
    desk: NamedDependency[Desk],
    data: Annotated[KeepOurs, body("The number of one SKU", KeepOurs(connection="shop", sku="TS-RED-M"))],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Tell a channel our number of one SKU once more, in the usual way. The next look shows what became of it."""

    async def effect(conn: Conn) -> ConflictSettled:
        await desk.find_connection(conn, data.connection)
        config = await desk.read_config(conn)
        conflict = await find_conflict(conn, desk.tenant_id, config, connection=data.connection, sku=data.sku)
        return _settled(await keep_ours(conn, desk.tenant_id, conflict, actor=desk.caller.actor))

    return await desk.once(idempotency_key, effect)


@post(
    "/conflicts/theirs",
    **needs("stock:write"),
    status_code=200,
    summary="Settle a conflict: theirs counts",
    responses={200: answer(ConflictSettled, "It is posted", _THEIRS), **problems(*WRITE_PROBLEMS)},
    tags=["drift"],
)
async def settle_theirs(
    desk: NamedDependency[Desk],
    data: Annotated[
        TakeTheirs, body("The number of one SKU", TakeTheirs(connection="shop", sku="TS-RED-M", location="main"))
    ],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Take what somebody wrote over there for a count: the difference is posted to on_hand, once per look, and every channel is told.

    409 `not_owner` where another system counts the goods, `is_kit` for what is made of others, `conflict_outdated` when the item
    was counted or corrected after the look that found the conflict.
    """

    async def effect(conn: Conn) -> ConflictSettled:
        await desk.find_connection(conn, data.connection)
        config = await desk.read_config(conn)
        conflict = await find_conflict(conn, desk.tenant_id, config, connection=data.connection, sku=data.sku)
        place, actor = data.location, desk.caller.actor
        return _settled(await take_theirs(conn, desk.tenant_id, config, conflict, location=place, actor=actor))

    return await desk.once(idempotency_key, effect)


def _settled(done: Settled) -> ConflictSettled:
    return ConflictSettled(**{name: getattr(done, name) for name in ConflictSettled.__struct_fields__})


def _text(value: Decimal | None) -> str | None:
    return None if value is None else f"{value.normalize():f}"


def build_router() -> Router:
    """Return the routes."""
    return Router("/", route_handlers=[list_owners, show_writers, list_conflicts, settle_ours, settle_theirs])
