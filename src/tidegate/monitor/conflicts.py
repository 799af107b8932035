"""Conflicts: a field that its owner says and that somebody else wrote over there, and the declared rule that decides."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

from tidegate.config import Config
from tidegate.config.reconcile import look_rules
from tidegate.dispatch.drift_decide import Cause
from tidegate.store.connections import Connection
from tidegate.store.sql import query

_LIST = query("conflicts")
WRITTEN_THERE = (Cause.CHANGED_THERE, Cause.OTHER_APP, Cause.PRICE_UNSENT)
"""Causes of differences that mean: somebody else wrote the field."""
Rule = Literal["owner", "ask", "show"]
RULE_WORDS: dict[Rule, str] = {
    "owner": "the owner wins",
    "ask": "a person is asked",
    "show": "it is only shown",
}
"""Rule -> words for people."""
_RULE_OF: dict[str, Rule] = {"auto": "owner", "approve": "ask", "report": "show"}


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """One field of one article that two sides say differently."""

    connection: str
    """The side that is not the owner."""
    external_id: str
    sku: str
    field: str
    """stock, price or price_with_tax."""
    owner: str
    owner_value: Decimal | None
    other_value: Decimal | None
    currency: str
    cause: str
    """changed_there, other_app or price_unsent."""
    rule: Rule
    """owner: the owner's value is written again. ask: a person decides. show: it is only shown."""
    becomes: str
    """What becomes of it, in words."""
    since: datetime
    seen_at: datetime
    owner_at: datetime | None
    """When the owner's value was last confirmed there; None where it never was."""
    item_id: UUID | None
    units: int
    """Units of the item in one of the article."""
    run_id: UUID


def rule_of(config: Config, connection: str, field: str) -> Rule:
    """Return the rule that a configuration declares for a field at a connection. Pure.

    Nobody writes prices, so whatever is declared for them they are only shown.
    """
    return _RULE_OF[look_rules(config, connection).heal.get("stock", "report")] if field == "stock" else "show"


async def read_conflicts(
    conn: Connection,
    tenant_id: UUID,
    config: Config,
    *,
    connection: str | None = None,
    sku: str | None = None,
    limit: int,
) -> tuple[Conflict, ...]:
    """Return conflicts as the last looks found them, the oldest first. Reads only."""
    causes = sorted(cause.value for cause in WRITTEN_THERE)
    rows = await conn.fetch(_LIST, tenant_id, causes, connection, sku, limit)
    found = []
    for row in map(dict, rows):
        rule = rule_of(config, row["connection"], row["field"])
        becomes = _becomes(rule, row["field"], row.pop("heal"))
        found.append(Conflict(**row, rule=rule, becomes=becomes))
    return tuple(found)


def _becomes(rule: Rule, field: str, heal: str) -> str:
    if heal == "healing":
        return "the owner's value was written again; the next look shows what became of it"
    if heal == "stuck":
        return "the owner's value was written again in vain: settle it"
    if rule == "owner" and heal == "due":
        return "the owner's value is about to be written again"
    if rule == "show":
        return "it is only shown" + ("" if field == "stock" else ": nobody sends prices")
    return "it waits for a person: settle it"
