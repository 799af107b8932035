"""Settling conflicts: a person says which of two values of a channel's number counts, through whatever door."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec

from tidegate.config import Config
from tidegate.dispatch import heal
from tidegate.dispatch.heal import Chosen
from tidegate.inventory.adjust import Adjustment
from tidegate.inventory.decide import Refusal
from tidegate.kernel.errors import ConfigurationError, ConflictError
from tidegate.monitor.conflicts import Conflict, read_conflicts
from tidegate.store.connections import Connection
from tidegate.sync.adjust import adjust, check_owner, choose_place, note_action, read_places

LIMIT = 200
"""Conflicts of one SKU that are looked through."""
Kept = Literal["ours", "theirs"]
# Whether anybody counted or corrected an item since a moment. $1 tenant, $2 item, $3 moment, $4 cause key that is left out.
_COUNTED_SINCE = """
SELECT EXISTS (SELECT FROM stock_entry WHERE tenant_id = $1 AND item_id = $2 AND at >= $3 AND cause_key <> $4
                 AND reason IN ('counted', 'correction'))
"""
_IS_KIT = "SELECT EXISTS (SELECT FROM kit_part WHERE tenant_id = $1 AND item_id = $2)"


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What a person's word did."""

    connection: str
    sku: str
    kept: Kept
    told: int
    """Numbers that are told anew."""
    posted: int
    """Units that the ledger was changed by."""
    location: str | None
    is_new: bool
    """False: it was settled so before, and this time nothing happened."""


async def find_conflict(conn: Connection, tenant_id: UUID, config: Config, *, connection: str, sku: str) -> Conflict:
    """Return the conflict about a channel's number of a SKU. Reads only; raises ConfigurationError as `choose`."""
    found = await read_conflicts(conn, tenant_id, config, connection=connection, sku=sku, limit=LIMIT)
    return choose(found, connection, sku)


def choose(found: tuple[Conflict, ...], connection: str, sku: str) -> Conflict:
    """Return the one conflict that can be settled. Pure.

    Raises ConfigurationError when there is none, or several articles have the SKU.
    """
    stock = [one for one in found if one.field == "stock"]
    if len(stock) == 1:
        return stock[0]
    if stock:
        words = f"several articles of {connection!r} with the SKU {sku!r} differ"
        hint = "bind each to an article of its own: tidegate matches list"
        raise ConflictError(words, code="conflict_unclear", hint=hint)
    only = " (prices are only compared: change one of the two)" if found else ""
    raise ConfigurationError(
        f"{connection!r} and we say the same about the stock of {sku!r}, as far as the last look shows{only}",
        code="conflict_unknown",
        hint="tidegate conflicts list; tidegate sync run looks again",
    )


async def keep_ours(conn: Connection, tenant_id: UUID, conflict: Conflict, *, actor: str) -> Settled:
    """Tell our number once more, by its mark. Safe to repeat: what is being told already is left alone."""
    chosen = Chosen(connection=conflict.connection, articles=(conflict.external_id,), only_waiting=False)
    done = await heal.heal(conn, tenant_id=tenant_id, chosen=chosen, actor=actor, limit=heal.STEP_ROWS)
    return Settled(
        connection=conflict.connection,
        sku=conflict.sku,
        kept="ours",
        told=done.told,
        posted=0,
        location=None,
        is_new=bool(done.told),
    )


async def take_theirs(
    conn: Connection, tenant_id: UUID, config: Config, conflict: Conflict, *, location: str | None, actor: str
) -> Settled:
    """Post what somebody wrote over there as a correction of on_hand, once per conflict that a look found.

    One transaction with its audit row. Raises ConfigurationError when a side has no number, or the location is not clear;
    ConflictError when another system counts the goods, the article is a kit, or somebody counted the item after the look.
    """
    check_owner(config)
    if conflict.item_id is None or conflict.owner_value is None or conflict.other_value is None:
        raise ConflictError(
            "one of the two sides has no number",
            code="conflict_unclear",
            hint="count it: tidegate stock adjust SKU --to N",
        )
    if await conn.fetchval(_IS_KIT, tenant_id, conflict.item_id):
        raise ConflictError(
            f"{conflict.sku} is made of other articles and has no stock of its own",
            code="is_kit",
            hint="adjust its parts, or let ours count",
        )
    place = choose_place(await read_places(conn, tenant_id), location)
    units = int(conflict.other_value - conflict.owner_value) * conflict.units
    wanted = Adjustment(
        key=f"conflict:{conflict.run_id}:{conflict.item_id}",
        item_id=conflict.item_id,
        location_id=place.location_id,
        units=units,
        reason="correction",
        note=f"{conflict.connection} showed {conflict.other_value:f} where we said {conflict.owner_value:f}"[:200],
    )
    async with conn.transaction():
        result = (await adjust(conn, tenant_id, [wanted], actor=actor))[0]
        if isinstance(result, Refusal):
            raise (
                _outdated(conflict)
                if result.code == "key_in_use"
                else ConflictError(result.words, code=result.code, hint=result.hint)
            )
        if result.is_new:
            # Behind the locks of the levels: what the look compared with was corrected since, so its difference is old.
            since = (tenant_id, conflict.item_id, conflict.seen_at, wanted.cause_key)
            if await conn.fetchval(_COUNTED_SINCE, *since):
                raise _outdated(conflict)
            detail = {"connection": conflict.connection, "units": units, "location": place.name}
            subject = conflict.sku
            await note_action(conn, tenant_id, actor=actor, action="conflict.settled", subject=subject, detail=detail)
    return Settled(
        connection=conflict.connection,
        sku=conflict.sku,
        kept="theirs",
        told=0,
        posted=units if result.is_new else 0,
        location=place.name,
        is_new=result.is_new,
    )


def _outdated(conflict: Conflict) -> ConflictError:
    return ConflictError(
        f"{conflict.sku} was counted or corrected after the last look",
        code="conflict_outdated",
        hint=f"look again, then settle what still differs: tidegate sync run {conflict.connection}",
    )
