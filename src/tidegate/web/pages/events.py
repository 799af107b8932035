"""Events: what came in, what became of it, and sending it through once more."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar import Response

from tidegate.eventlog.replay import REPLAY_EVENTS_MAX, replay
from tidegate.kernel.ids import public_id, time_of
from tidegate.monitor.events_view import (
    EventFilter,
    find_quarantined,
    list_events,
    read_event,
    record_replay,
)
from tidegate.monitor.search import events_about, list_connections, read_parking
from tidegate.web.pages.lists import PAGE_ROWS, Asked, id_in_path, next_address, read_asked
from tidegate.web.pages.visit import Here

STATES = ("applied", "superseded", "ignored", "needs_fetch", "waiting", "parked", "quarantined")


async def show_list(here: Here) -> Response[Any]:
    """List events, newest first."""
    rows: list[Any] = []
    async with here.reading() as conn:
        connections = await list_connections(conn, here.tenant_id)
        asked = await read_asked(here, conn, connections, sort_name="topic", id_kind="evt")
        if asked.found is not None and asked.found.event_id is not None:
            return here.go(f"/events/{public_id('evt', here.cell, asked.found.event_id)}")
        if not asked.trouble:
            about = await events_about(conn, here.tenant_id, asked.entities or []) if asked.q else None
            rows = await list_events(
                conn, here.tenant_id, _filter(asked), PAGE_ROWS + 1, event_ids=about, code=asked.code or None
            )
    return here.show(
        "events.html",
        asked=asked,
        states=STATES,
        rows=[_row(row) for row in rows[:PAGE_ROWS]],
        further=next_address(here, asked, rows, path="/events", sort_name="topic", id_kind="evt"),
    )


async def show_one(here: Here) -> Response[Any]:
    """Show one event with its outcomes."""
    event_id = id_in_path(here, "evt")
    async with here.reading() as conn:
        row, outcomes = await read_event(conn, here.tenant_id, event_id)
        parking = await read_parking(conn, here.tenant_id, event_id)
    return here.show(
        "event.html",
        event=row,
        event_id=public_id("evt", here.cell, event_id),
        received_at=time_of(event_id),
        envelope=_facts(row["envelope"]),
        outcomes=outcomes,
        parking=parking,
    )


async def replay_one(here: Here) -> Response[Any]:
    """Send one event through once more."""
    event_id = id_in_path(here, "evt")
    name = public_id("evt", here.cell, event_id)
    async with here.writing() as conn:
        number = await replay(conn, here.tenant_id, [event_id])
        if number:
            await record_replay(conn, here.tenant_id, actor=here.actor, subject=name, number=number)
    words = "It goes through once more." if number else "It is on its way already: nothing was changed."
    return here.go(f"/events/{name}", words)


async def show_replay(here: Here) -> Response[Any]:
    """Say how many events in quarantine would go through once more, and ask."""
    async with here.reading() as conn:
        connections = await list_connections(conn, here.tenant_id)
        asked = await read_asked(here, conn, connections, sort_name="topic", id_kind="evt")
        found = [] if asked.trouble else await find_quarantined(conn, here.tenant_id, _filter(asked))
    return here.show("replay.html", asked=asked, number=len(found), most=REPLAY_EVENTS_MAX)


async def replay_many(here: Here) -> Response[Any]:
    """Send all events in quarantine of a connection (or of all) through once more."""
    await here.prove()
    name = here.field("connection")
    async with here.writing() as conn:
        ids = {row["name"]: row["connection_id"] for row in await list_connections(conn, here.tenant_id)}
        if name and name not in ids:
            return here.go("/events/replay", f"No connection is called {name}.")
        chosen = EventFilter(connection_id=ids.get(name))
        found = await find_quarantined(conn, here.tenant_id, chosen)
        number = await replay(conn, here.tenant_id, found[:REPLAY_EVENTS_MAX])
        subject = f"quarantined {name}".strip()
        await record_replay(conn, here.tenant_id, actor=here.actor, subject=subject, number=number)
    left = f" {len(found) - number} are left for another time." if len(found) > number else ""
    return here.go("/events?state=quarantined", f"{number} events go through once more.{left}")


def _filter(asked: Asked) -> EventFilter:
    return EventFilter(
        connection_id=asked.connection_id,
        state=asked.state or None,
        topic=asked.sort or None,
        since=asked.since_at,
        before=asked.before_id,
    )


def _row(row: Any) -> dict[str, Any]:
    event_id: UUID = row["event_id"]
    return {**dict(row), "received_at": time_of(event_id)}


def _facts(envelope: Any) -> dict[str, Any]:
    """Return the facts about a delivery that are kept in the clear."""
    found: dict[str, Any] = msgspec.json.decode(envelope, type=dict[str, Any]) if isinstance(envelope, str) else {}
    return {name: value for name, value in found.items() if isinstance(value, str | int | bool)}
