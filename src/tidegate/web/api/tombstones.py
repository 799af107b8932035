"""`/v1/tombstones`: articles that were deleted over there, what takes their place, and forgetting them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from msgspec import Meta

from tidegate.kernel.ids import public_id
from tidegate.store.connections import Connection as Conn
from tidegate.sync import tombstones
from tidegate.sync.matches import Deleted, read_deleted
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, WRITE_PROBLEMS, answer, body, needs, problems
from tidegate.web.api.identifiers import TEXT, Connection, IdempotencyKey
from tidegate.web.api.lists import EXAMPLE_CURSOR, Cursor, Limit, read_cursor, write_cursor
from tidegate.web.problems import ProblemError

LIST = "tombstones"
ConnectionName = Annotated[str, Meta(max_length=40, pattern="^[a-z][a-z0-9_]*$", description="Where it was deleted")]
Article = Annotated[str, Meta(min_length=1, max_length=300, pattern=TEXT)]


class Tombstone(msgspec.Struct, frozen=True, kw_only=True):
    """An article that was deleted over there."""

    connection: str
    external_id: str
    sku: Annotated[
        str, Meta(description="Of the article of ours that it stands for: orders that name it are taken as before")
    ]
    title: str
    gone_at: Annotated[datetime, Meta(description="When that became known")]
    event_id: Annotated[str | None, Meta(description="The event that told of it")]
    replaced_by: Annotated[str | None, Meta(description="The article that is bound in its place")]
    waiting: Annotated[tuple[str, ...], Meta(description="Articles with its SKU that wait for a person")]


class TombstonePage(msgspec.Struct, frozen=True, kw_only=True):
    """Deleted articles, newest first."""

    items: tuple[Tombstone, ...]
    next_cursor: Annotated[str | None, Meta(description="For the next page; null on the last one")]


class RelinkArticle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which article takes the place of which."""

    connection: ConnectionName
    external_id: Annotated[Article, Meta(description="The deleted article")]
    successor: Annotated[Article, Meta(description="null: the only one that waits for it")] | None = None


class ArticleRelinked(msgspec.Struct, frozen=True, kw_only=True):
    """Which article stands for ours now."""

    connection: str
    external_id: str
    sku: str
    successor: str
    commands: Annotated[int, Meta(description="Commands that had waited for the binding and go out")]
    is_new: Annotated[bool, Meta(description="false: it stood for ours before")]


class ForgetArticle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which deleted article is forgotten."""

    connection: ConnectionName
    external_id: Annotated[Article, Meta(description="The deleted article")]


class ArticleForgotten(msgspec.Struct, frozen=True, kw_only=True):
    """What was forgotten."""

    connection: str
    external_id: str
    sku: Annotated[str, Meta(description="What it stood for")]


_STONE = Tombstone(
    connection="shop",
    external_id="4711",
    sku="TS-RED-M",
    title="T-shirt, red, M",
    gone_at=datetime.fromisoformat("2026-11-27T10:00:00+00:00"),
    event_id="evt_c0_06c6vd1t9kfsm3k0b4xk9qk2zw",
    replaced_by=None,
    waiting=("4899",),
)
_RELINKED = ArticleRelinked(
    connection="shop", external_id="4711", sku="TS-RED-M", successor="4899", commands=0, is_new=True
)


@get(
    "/tombstones",
    **needs("matches:read"),
    summary="List deleted articles",
    responses={
        200: answer(TombstonePage, "Deleted articles", TombstonePage(items=(_STONE,), next_cursor=EXAMPLE_CURSOR)),
        **problems(*READ_PROBLEMS),
    },
)
async def list_tombstones(
    desk: NamedDependency[Desk], limit: Limit = 50, cursor: Cursor = None, connection: Connection = None
) -> TombstonePage:
    """Articles that were deleted over there, newest first: nothing is told there, and orders that name them are taken as before."""
    behind = _read_position(cursor)
    async with desk.reading() as conn:
        await desk.find_connection(conn, connection)
        found = await read_deleted(conn, desk.tenant_id, connection, limit=limit + 1, behind=behind)
    more = None
    if len(found) > limit:
        last = found[limit - 1]
        more = write_cursor(LIST, f"{last.gone_at.isoformat()} {last.connection} {last.external_id}")
    return TombstonePage(items=tuple(_stone(each, desk.cell) for each in found[:limit]), next_cursor=more)


@post(
    "/tombstones/relink",
    **needs("matches:write"),
    status_code=200,
    summary="Bind what took the place",
    responses={200: answer(ArticleRelinked, "It is bound", _RELINKED), **problems(*WRITE_PROBLEMS)},
)
async def relink_article(
    desk: NamedDependency[Desk],
    data: Annotated[
        RelinkArticle,
        body("What was made anew", RelinkArticle(connection="shop", external_id="4711", successor="4899")),
    ],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Bind an open article in the place of a deleted one. It is told its number, and what had waited for the binding goes out."""

    async def effect(conn: Conn) -> ArticleRelinked:
        await desk.find_connection(conn, data.connection)
        done = await tombstones.relink(
            conn,
            tenant_id=desk.tenant_id,
            config=await desk.read_config(conn),
            connectors=desk.world.connectors,
            connection=data.connection,
            external_id=data.external_id,
            successor=data.successor,
            actor=desk.caller.actor,
        )
        return ArticleRelinked(**{name: getattr(done, name) for name in ArticleRelinked.__struct_fields__})

    return await desk.once(idempotency_key, effect)


@post(
    "/tombstones/forget",
    **needs("matches:write"),
    status_code=200,
    summary="Forget a deleted article",
    responses={
        200: answer(
            ArticleForgotten, "It is forgotten", ArticleForgotten(connection="shop", external_id="4711", sku="TS-RED-M")
        ),
        **problems(*WRITE_PROBLEMS),
    },
)
async def forget_article(
    desk: NamedDependency[Desk],
    data: Annotated[ForgetArticle, body("A deleted article", ForgetArticle(connection="shop", external_id="4711"))],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Let a deleted article stand for nothing any more: should it come back, it is a new one. What took its place stays.

    409 `tombstone_in_use` while open orders name it by another SKU than ours.
    """

    async def effect(conn: Conn) -> ArticleForgotten:
        await desk.find_connection(conn, data.connection)
        done = await tombstones.forget(
            conn,
            tenant_id=desk.tenant_id,
            connection=data.connection,
            external_id=data.external_id,
            actor=desk.caller.actor,
        )
        return ArticleForgotten(**{name: getattr(done, name) for name in ArticleForgotten.__struct_fields__})

    return await desk.once(idempotency_key, effect)


def build_router() -> Router:
    """Return the routes of deleted articles."""
    return Router("/", route_handlers=[list_tombstones, relink_article, forget_article], tags=["matches"])


def _read_position(cursor: str | None) -> tuple[datetime, str, str] | None:
    after = read_cursor(LIST, cursor)
    if after is None:
        return None
    try:
        at, connection, external_id = after.split(" ", 2)
        return datetime.fromisoformat(at), connection, external_id
    except ValueError:
        raise ProblemError(404, "cursor_unknown", "no list has this position") from None


def _stone(one: Deleted, cell: str) -> Tombstone:
    plain = {name: getattr(one, name) for name in Tombstone.__struct_fields__ if name != "event_id"}
    return Tombstone(event_id=public_id("evt", cell, one.event_id) if one.event_id is not None else None, **plain)
