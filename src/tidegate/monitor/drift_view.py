"""Drift as people look at it: the run that looked, what differs, what it is worth and for how long it is seen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

from tidegate.dispatch.drift_decide import Cause
from tidegate.store.connections import Connection
from tidegate.store.sql import query

_RUN = query("drift_run")
_RUNS = query("drift_runs")
_TOP = query("drift_top")
_TOTALS = query("drift_totals")

FieldGroup = Literal["stock", "price", "on_hand"]
FIELDS: dict[FieldGroup, tuple[str, ...]] = {
    "stock": ("stock",),
    "price": ("price", "price_with_tax"),
    "on_hand": ("on_hand",),
}
"""What people ask for -> the fields that are compared."""

CAUSE_WORDS: dict[Cause, str] = {
    Cause.OBSERVED: "the stock flow observes: nobody told it",
    Cause.PROPOSED: "the number waits for approval",
    Cause.NEVER_TOLD: "not told yet",
    Cause.NEVER_COUNTED: "the owner of the count never counted it",
    Cause.PUSH_FAILED: "telling it failed",
    Cause.CHANGED_SINCE: "our number changed and was not told yet",
    Cause.CHANGED_THERE: "changed there, behind our back",
    Cause.MISSED_EVENT: "units gone there, no order told of them: a missed event",
    Cause.LOST_PUSH: "it shows an older number: the last one was lost",
    Cause.OTHER_APP: "told anew and changed again: another app writes there",
    Cause.NOT_SHOWN: "it is not there any more",
    Cause.UNMATCHED: "unmatched article: see tidegate matches",
    Cause.MOVES_UNSEEN: "counted there without a movement that we saw",
    Cause.FEED_BEHIND: "movements of this time are not read yet",
    Cause.PRICE_UNSENT: "prices are compared, nobody sends them",
}
"""Cause -> words for people."""


HEAL_WORDS: dict[str, str] = {
    "": "-",
    "due": "about to be told anew",
    "waits": "waits for approval",
    "healing": "told anew",
    "stuck": "told anew in vain",
}
"""What becomes of a difference -> words for people."""


class ReadView(msgspec.Struct, frozen=True, kw_only=True):
    """One connection's part of a run."""

    connection: str
    state: str
    """waiting, reading, comparing, healing, done or failed."""
    pages: int
    articles: int
    compared: int
    error: str | None
    started_at: datetime | None
    finished_at: datetime | None
    connection_state: str


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A run."""

    run_id: UUID
    requested_by: str
    requested_at: datetime
    finished_at: datetime | None
    """None while it is under way."""
    reads: tuple[ReadView, ...]


class RunLine(msgspec.Struct, frozen=True, kw_only=True):
    """A run in a list."""

    run_id: UUID
    kind: str
    requested_by: str
    requested_at: datetime
    finished_at: datetime | None
    reads: int
    failed: int
    articles: int


class DriftRow(msgspec.Struct, frozen=True, kw_only=True):
    """One difference."""

    connection: str
    external_id: str
    sku: str
    field: str
    place: str
    """External id of the location, '' for prices."""
    location: str | None
    """Our name of it."""
    owner: str
    other: str
    owner_value: Decimal | None
    other_value: Decimal | None
    currency: str
    risk: Decimal | None
    """Value at risk, in `risk_currency`; None where no price is known."""
    risk_currency: str
    cause: str
    since: datetime
    seen_at: datetime
    heal: str
    """'' is only reported; due, waits, healing or stuck."""
    heals: int
    """How often it was told anew since it is seen."""
    healed_at: datetime | None

    @property
    def difference(self) -> Decimal | None:
        """What the other shows more (positive) or less than the owner says; None when one of them says nothing."""
        if self.owner_value is None or self.other_value is None:
            return None
        return self.other_value - self.owner_value


class DriftPlace(msgspec.Struct, frozen=True, array_like=True):
    """Where a difference stands in the list: what it is sorted by."""

    risk: Decimal | None
    since: datetime
    connection: str
    external_id: str
    field: str
    place: str


def place_of(row: DriftRow) -> DriftPlace:
    """Return where a difference stands."""
    return DriftPlace(row.risk, row.since, row.connection, row.external_id, row.field, row.place)


class CauseTotal(msgspec.Struct, frozen=True, kw_only=True):
    """How much differs for one reason."""

    cause: str
    rows: int
    risk: Decimal | None
    risk_currency: str


class DriftView(msgspec.Struct, frozen=True, kw_only=True):
    """What differs, as the last look found it."""

    run: RunView | None
    """The newest run; None when nobody ever looked."""
    rows: tuple[DriftRow, ...]
    """Highest value at risk first, then oldest; amounts of different currencies are not converted."""
    total: int
    in_flight: int
    """Differences that were being changed at the last look and are not counted."""
    causes: tuple[CauseTotal, ...]

    @property
    def risk_by_currency(self) -> dict[str, Decimal]:
        """Value at risk of all differences, by currency."""
        found: dict[str, Decimal] = {}
        for each in self.causes:
            if each.risk is not None:
                found[each.risk_currency] = found.get(each.risk_currency, Decimal(0)) + each.risk
        return found


async def read_run(conn: Connection, tenant_id: UUID, run_id: UUID | None = None) -> RunView | None:
    """Return a run, the newest one without an id; None when there is none. Reads only."""
    rows = await conn.fetch(_RUN, tenant_id, run_id)
    if not rows:
        return None
    first = rows[0]
    reads = tuple(
        ReadView(
            **{name: row[name] for name in ReadView.__struct_fields__ if name != "finished_at"},
            finished_at=row["read_finished_at"],
        )
        for row in rows
        if row["connection"] is not None
    )
    return RunView(
        run_id=first["run_id"],
        requested_by=first["requested_by"],
        requested_at=first["requested_at"],
        finished_at=first["finished_at"],
        reads=reads,
    )


async def list_runs(
    conn: Connection, tenant_id: UUID, *, before: UUID | None = None, limit: int = 20
) -> tuple[RunLine, ...]:
    """Return the newest runs, newest first, those before `before` to go on. Reads only."""
    return tuple(RunLine(**row) for row in await conn.fetch(_RUNS, tenant_id, before, limit))


async def read_drift(
    conn: Connection,
    tenant_id: UUID,
    *,
    top: int,
    field: FieldGroup | None = None,
    connection: str | None = None,
    after: DriftPlace | None = None,
) -> DriftView:
    """Return what differs. `top`: how many rows, those behind `after` to go on; the totals count all of them. Reads only."""
    wanted: Sequence[str] | None = list(FIELDS[field]) if field is not None else None
    behind = (None,) * len(DriftPlace.__struct_fields__) if after is None else msgspec.structs.astuple(after)
    rows = await conn.fetch(_TOP, tenant_id, wanted, connection, top, *behind)
    totals = await conn.fetch(_TOTALS, tenant_id, wanted, connection)
    counted = [row for row in totals if not row["in_flight"]]
    return DriftView(
        run=await read_run(conn, tenant_id),
        rows=tuple(DriftRow(**row) for row in rows),
        total=sum(row["rows"] for row in counted),
        in_flight=sum(row["rows"] for row in totals if row["in_flight"]),
        causes=tuple(
            CauseTotal(cause=row["cause"], rows=row["rows"], risk=row["risk"], risk_currency=row["risk_currency"])
            for row in counted
        ),
    )
