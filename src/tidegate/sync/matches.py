"""Open articles and decisions about them: read, check, carry out. Everything of an import is in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from tidegate.config import Config
from tidegate.config.roles import is_channel
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import new_id
from tidegate.sdk.connector import Connector, Variant
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.catalogue_store import make_variants
from tidegate.sync.match_decide import Article, Known, Step, decide_matches
from tidegate.sync.match_file import Decision, Fault, refuse_file, written
from tidegate.sync.open_matches import OpenMatch
from tidegate.sync.rebinding import Followed, Move, follow_bindings, lock_catalogue, moves_of

_OPEN = query("matches_open")
_DELETED = query("matches_deleted")
_CLOSE = query("matches_close")
_DECISIONS = query("matches_decisions")
_DECIDE = query("matches_decide")
_FORGET = query("matches_forget")
_CONNECTIONS = query("matches_connections")
_BINDINGS = query("bindings_of")
_ADD_BINDINGS = query("bindings_add")
_UNBIND = query("rebind_unbind")
_UNBOUND_VARIANTS = query("rebind_unbound_variants")
_VARIANTS = query("variants_sold")
_LIKE = query("variants_like")
_KNOWN = query("variants_known")
_SKUS = query("matches_skus")
_REOPEN = query("matches_reopen")
_SKU_OF = "SELECT sku FROM variant WHERE tenant_id = $1 AND variant_id = $2"
_AUDIT = query("audit_add")
AUDITED_MAX = 200
"""Steps that an audit row names; the rest is counted."""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What came of reading decisions in."""

    steps: tuple[Step, ...]
    """What was done, or with a dry run would be."""
    unchanged: int
    """Decisions that were carried out before."""
    lines: int = 0
    """Order lines that stand for another article of ours now."""
    commands: int = 0
    """Commands that had waited and go out."""


async def read_open(conn: Connection, tenant_id: UUID, connection: str | None = None) -> tuple[OpenMatch, ...]:
    """Return the open articles, of one connection or of all. Reads only."""
    rows = await conn.fetch(_OPEN, tenant_id, connection)
    return tuple(OpenMatch(**{**row, "candidates": tuple(row["candidates"])}) for row in map(dict, rows))


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """An article that was deleted over there."""

    connection: str
    external_id: str
    sku: str
    """Of the article of ours that it stands for: orders that name it are taken as before."""
    title: str
    gone_at: datetime
    """When that became known."""
    event_id: UUID | None
    """The fact that told of it, as long as it is kept."""
    replaced_by: str | None
    """The article that is bound in its place."""
    waiting: tuple[str, ...]
    """Articles with its SKU that wait for a person."""


async def read_deleted(
    conn: Connection,
    tenant_id: UUID,
    connection: str | None = None,
    *,
    limit: int,
    behind: tuple[datetime, str, str] | None = None,
) -> tuple[Deleted, ...]:
    """Return articles that were deleted over there, newest first. Reads only.

    `behind`: moment, connection and article of the one that the list goes on after.
    """
    rows = await conn.fetch(_DELETED, tenant_id, connection, limit, *(behind or (None, None, None)))
    return tuple(Deleted(**{**row, "waiting": tuple(row["waiting"])}) for row in map(dict, rows))


async def read_settled(conn: Connection, tenant_id: UUID) -> dict[tuple[str, str], str]:
    """Return the decisions that were read in, as they are written in a file, by (connection, external id). Reads only."""
    rows = await conn.fetch(_DECISIONS, tenant_id, None)
    return {(row["connection"], row["external_id"]): written(row["decision"], row["sku"]) for row in rows}


async def import_decisions(
    conn: Connection,
    *,
    tenant_id: UUID,
    config: Config,
    connectors: Mapping[str, Connector],
    decisions: Sequence[Decision],
    faults: Sequence[Fault] = (),
    actor: str,
    name: str,
    dry_run: bool = False,
) -> Imported:
    """Check all decisions, then carry all of them out; safe to repeat.

    `faults` were found in the file already; `name` is what people call it. Raises ConfigurationError, naming rows and
    columns, when one cannot be carried out; ConflictError while a number of a rebound article is being sent. Nothing has
    changed then.
    """
    async with conn.transaction():
        await lock_catalogue(conn, tenant_id)
        known = await _known(conn, tenant_id, decisions)
        steps, found = decide_matches(decisions, known)
        problems = sorted([*faults, *found], key=lambda fault: fault.line)
        if problems:
            raise refuse_file(name, problems)
        imported = Imported(steps=tuple(steps), unchanged=len(decisions) - len(steps))
        if dry_run or not steps:
            return imported
        for connection in sorted({step.connection for step in steps}):
            mine = [step for step in steps if step.connection == connection]
            connector = _connector_of(config, connection, connectors)
            sells = connector is None or is_channel(config, connection, connector)
            counts = config.owns.on_hand in (None, connection) and not sells
            connection_id = known.connections[connection]
            followed = await _carry_out(conn, tenant_id, connection_id, mine, actor=actor, sells=sells, counts=counts)
            imported = msgspec.structs.replace(
                imported, lines=imported.lines + followed.lines, commands=imported.commands + followed.commands
            )
            detail = {
                "steps": [_described(step) for step in mine[:AUDITED_MAX]],
                "left_out": max(0, len(mine) - AUDITED_MAX),
                "lines": followed.lines,
                "commands": followed.commands,
            }
            audit = (new_id(), actor, "matches.imported", connection, msgspec.json.encode(detail).decode())
            await conn.execute(_AUDIT, tenant_id, *audit)
    return imported


async def unbind_article(
    conn: Connection,
    *,
    tenant_id: UUID,
    config: Config,
    connectors: Mapping[str, Connector],
    connection: str,
    external_id: str,
    actor: str,
) -> str:
    """Take a binding back: the article is open again; return the SKU of ours that it stood for. One transaction.

    Lines of its orders stay where they are: they are facts. Its number is not told any more. Raises ConfigurationError when it
    is not bound, ConflictError while a number of it is being sent.
    """
    async with conn.transaction():
        await lock_catalogue(conn, tenant_id)
        decision = Decision(line=1, connection=connection, external_id=external_id, verb="ignore")
        known = await _known(conn, tenant_id, [decision])
        article = known.articles.get((connection, external_id))
        if connection not in known.connections or article is None or article.variant_id is None:
            raise ConfigurationError(
                f"article {external_id!r} of {connection!r} is not bound",
                code="article_unbound",
                hint="`tidegate matches list` shows the open ones",
            )
        connector = _connector_of(config, connection, connectors)
        sells = connector is None or is_channel(config, connection, connector)
        connection_id = known.connections[connection]
        await conn.execute(_UNBIND, tenant_id, connection_id, [external_id])
        await conn.execute(_FORGET, tenant_id, connection_id, [external_id])
        await conn.execute(_REOPEN, tenant_id, connection_id, external_id, article.sku, "")
        move = Move(old=article.variant_id, new=None)
        await follow_bindings(conn, tenant_id, connection_id, moves=[move], bound=(), is_channel=sells, counts=False)
        ours = await conn.fetchval(_SKU_OF, tenant_id, article.variant_id)
        detail = msgspec.json.encode({"external_id": external_id, "was": ours}).decode()
        await conn.execute(_AUDIT, tenant_id, new_id(), actor, "matches.unbound", connection, detail)
    return str(ours)


def _connector_of(config: Config, name: str, connectors: Mapping[str, Connector]) -> Connector | None:
    connection = config.connections.get(name)
    return connectors.get(connection.use) if connection is not None else None


async def _known(conn: Connection, tenant_id: UUID, decisions: Iterable[Decision]) -> Known:
    """Read what the decisions are checked against."""
    decisions = tuple(decisions)
    connections = {row["name"]: row["connection_id"] for row in await conn.fetch(_CONNECTIONS, tenant_id)}
    named = {decision.connection for decision in decisions} & connections.keys()
    articles: dict[tuple[str, str], Article] = {}
    bound: dict[tuple[str, UUID], str] = {}
    wanted = {(decision.connection, decision.external_id) for decision in decisions}
    wanted_ids = sorted({external_id for _, external_id in wanted})
    called = {
        (row["connection"], row["external_id"]): row["sku"]
        for row in await conn.fetch(_SKUS, tenant_id, sorted(named), wanted_ids)
    }
    for name in sorted(named):
        for external_id, variant_id in await conn.fetch(_BINDINGS, tenant_id, connections[name], "variant"):
            bound[name, variant_id] = external_id
            if (name, external_id) in wanted:
                sku = called.get((name, external_id), "")
                articles[name, external_id] = Article(sku=sku, variant_id=variant_id)
        for one in await read_open(conn, tenant_id, name):
            articles[name, one.external_id] = Article(sku=one.sku, variant_id=None)
    decided = await conn.fetch(_DECISIONS, tenant_id, None)
    for row in decided:
        key = (row["connection"], row["external_id"])
        if key in wanted:
            articles.setdefault(key, Article(sku=called.get(key, ""), variant_id=None))
    skus = {decision.sku for decision in decisions if decision.sku} | {
        article.sku.strip() for article in articles.values()
    }
    variants = {row["sku"]: row["variant_id"] for row in await conn.fetch(_VARIANTS, tenant_id, sorted(skus - {""}))}
    unknown = sorted({decision.sku for decision in decisions if decision.sku} - variants.keys())[:50]
    return Known(
        connections=connections,
        articles=articles,
        variants=variants,
        bound=bound,
        elsewhere=frozenset(row["variant_id"] for row in await conn.fetch(_KNOWN, tenant_id)),
        similar={sku: tuple(row["sku"] for row in await conn.fetch(_LIKE, tenant_id, sku[:3])) for sku in unknown},
        settled={
            (row["connection"], row["external_id"]): row["sku"] if row["decision"] == "bind" else None
            for row in decided
        },
    )


async def _carry_out(
    conn: Connection,
    tenant_id: UUID,
    connection_id: UUID,
    steps: Sequence[Step],
    *,
    actor: str,
    sells: bool,
    counts: bool,
) -> Followed:
    """Bind, decide and follow, for one connection."""
    fresh = [step for step in steps if step.verb == "new"]
    made = await make_variants(
        conn, tenant_id, [Variant(external_id=step.external_id, sku=step.target, title=step.target) for step in fresh]
    )
    target = {step.external_id: made[step.target] if step.verb == "new" else step.variant_id for step in steps}
    ids = [step.external_id for step in steps]
    await conn.execute(_UNBIND, tenant_id, connection_id, ids)
    pairs = [(external_id, variant_id) for external_id, variant_id in target.items() if variant_id is not None]
    await conn.execute(
        _ADD_BINDINGS, tenant_id, connection_id, "variant", [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    )
    await conn.execute(
        _DECIDE,
        tenant_id,
        connection_id,
        ids,
        ["ignore" if target[external_id] is None else "bind" for external_id in ids],
        [target[external_id] for external_id in ids],
        actor,
    )
    await conn.execute(_CLOSE, tenant_id, connection_id, ids)
    changes = [(step.external_id, step.sku, step.old, target[step.external_id]) for step in steps]
    moves = await moves_of(conn, tenant_id, connection_id, changes)
    return await follow_bindings(
        conn,
        tenant_id,
        connection_id,
        moves=moves,
        bound=[pair[1] for pair in pairs],
        is_channel=sells,
        counts=counts,
    )


def _described(step: Step) -> dict[str, object]:
    return {"external_id": step.external_id, "sku": step.sku, "verb": step.verb, "target": step.target}
