"""`tidegate stock`: an item, its ledger and its channels."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from tidegate.cli.moments import HELD_FOR
from tidegate.cli.output import print_json, print_table, safe_line, show_time
from tidegate.cli.session import (
    Session,
    json_option,
    known_connectors,
    newest_config,
    operator,
    project_option,
    run_session,
)
from tidegate.cli.skus import SkuLine
from tidegate.cli.stock_adjust import adjust_stock, stock_history
from tidegate.cli.stock_check import check_stock
from tidegate.cli.stock_files import export_stock, import_stock
from tidegate.cli.stock_incoming import incoming, print_incoming
from tidegate.cli.stock_oversold import oversold, settle
from tidegate.inventory.decide import Claim, Refusal, Release, Reservation
from tidegate.inventory.reserve import ReservationState
from tidegate.kernel.errors import ConfigurationError, ConflictError, TransientError
from tidegate.kernel.ids import parse_public_id, public_id
from tidegate.monitor.events_view import find_connection
from tidegate.monitor.promise import Promise, read_promise
from tidegate.monitor.reservations_view import (
    ReservationFilter,
    ReservationView,
    list_reservations,
    read_reservation,
)
from tidegate.monitor.sku_story import SkuChannel
from tidegate.monitor.stock_view import ChannelView, StockView, read_stock
from tidegate.store.connections import Connection
from tidegate.sync.combiner import Combiner, Wish
from tidegate.sync.reservations import Reply

_LEVELS = ("location", "on_hand", "unavailable", "committed", "reserved", "safety_stock", "available", "incoming")
_ENTRIES = (
    "at",
    "location",
    "kind",
    "on_hand_delta",
    "committed_delta",
    "on_hand_after",
    "committed_after",
    "cause_key",
)
_CHANNELS = ("connection", "was_told", "told_at", "should_be_told", "waits")


_PARTS = ("sku", "units", "available", "kits", "is_shared")
_RESERVATIONS = ("reservation", "state", "reference", "asked for", "held", "until", "order", "made by")


class _ReservationId(click.ParamType[UUID]):
    """Id of a reservation."""

    name = "RESERVATION"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> UUID:
        """Return the id."""
        if isinstance(value, UUID):
            return value
        try:
            return parse_public_id(str(value), kind="res")
        except ValueError:
            self.fail(f"{value!r} is no reservation; they look like res_c0_...", param, ctx)


@click.group()
def stock() -> None:
    """Look at the stock and how it came to be, change it, and hold units for a while."""


stock.add_command(adjust_stock)
stock.add_command(check_stock)
stock.add_command(stock_history)
stock.add_command(export_stock)
stock.add_command(import_stock)
stock.add_command(incoming)
stock.add_command(oversold)
stock.add_command(settle)


@stock.command()
@click.argument("sku")
@project_option
@click.option("--entries", type=click.IntRange(1, 1000), default=10, show_default=True, help="Ledger entries to show.")
@json_option
def show(sku: str, project_dir: Path | None, entries: int, *, as_json: bool) -> None:
    """Show one SKU: its level at each location, the end of its ledger, and what each channel was and should be told.

    Units that a channel shows as gone and no order explains are named, with what ends that: until then they count as sold.
    Of a kit, its parts are shown, and for how many kits each of them lasts.

    \b
    Example:
      tidegate stock show TS-RED-M
    """
    connectors = known_connectors()

    async def body(session: Session) -> StockView:
        config = await newest_config(session)
        return await read_stock(session.conn, session.tenant_id, sku, connectors, config, entries=entries)

    view = run_session(project_dir, body)
    if as_json:
        print_json(view)
        return
    if view.parts:
        print_table(_PARTS, [[getattr(part, name) for name in _PARTS] for part in view.parts], empty="")
        click.echo(f"{view.kits} can be made of what the parts leave")
    else:
        levels = [[row[name] for name in _LEVELS] for row in view.levels]
        print_table(_LEVELS, levels, empty="nothing was ever counted")
    click.echo("")
    if view.incoming:
        print_incoming(view.incoming)
        click.echo("")
    print_table(_ENTRIES, [[row[name] for name in _ENTRIES] for row in view.entries], empty="the ledger is empty")
    click.echo("")
    rows = [[getattr(channel, name) for name in _CHANNELS] for channel in view.channels]
    print_table(_CHANNELS, rows, empty="no channel sells it")
    print_unseen(view.channels)


def print_unseen(channels: Iterable[ChannelView | SkuChannel]) -> None:
    """Print what channels show and nobody can explain, with what ends it."""
    for channel in channels:
        if channel.unseen is not None:
            until = f" (at {show_time(channel.unseen.until)} at the earliest)"
            click.echo(f"{channel.connection}: {channel.unseen.words}{until}")


@stock.command()
@click.argument("lines", type=SkuLine(), nargs=-1, required=True)
@project_option
@click.option("--for", "held_for", type=HELD_FOR, default="15m", show_default=True, help="How long: 90s, 15m, 2h, 7d.")
@click.option("--location", help="Name of the location. Default: where there is some.")
@click.option("--reference", help="Your own name of it, such as a quote's number. Asked for again, it is the same one.")
@json_option
def reserve(
    lines: tuple[tuple[str, int], ...],
    project_dir: Path | None,
    held_for: timedelta,
    location: str | None,
    reference: str | None,
    *,
    as_json: bool,
) -> None:
    """Hold units so that nobody else gets them: all LINES or nothing.

    A line is SKU, or SKU:QUANTITY. Bundles hold what they are made of. Every channel is told fewer units; they are free again
    when the time is over, when it is released, or when the order that they were held for is cancelled.

    \b
    Examples:
      tidegate stock reserve TS-RED-M:2
      tidegate stock reserve TS-RED-M:2 GIFT-SET --for 2d --reference quote-1729
    """
    if reference is not None and (not 0 < len(reference) <= 120 or not reference.isprintable()):
        raise click.BadParameter("a reference has 1 to 120 printable characters", param_hint="--reference")

    async def body(session: Session) -> ReservationView:
        seconds = int(held_for.total_seconds())
        wish = Wish(lines, seconds, operator(), location, reference)
        made = _done(await _combiner(session).reserve(session.tenant_id, wish))
        return await read_reservation(session.conn, session.tenant_id, made.reservation_id)

    _print_one(run_session(project_dir, _with_cell(body)), as_json=as_json)


@stock.command()
@click.argument("reservation", type=_ReservationId())
@project_option
@json_option
def release(reservation: UUID, project_dir: Path | None, *, as_json: bool) -> None:
    """Give back what a RESERVATION holds, also of a claim whose order has not come.

    Released once more it stays as it is. What an order has comes back when the order is cancelled.

    \b
    Example:
      tidegate stock release res_c0_06c6vd1t9kfsm3k0b4xk9qk2zw
    """

    async def body(session: Session) -> ReservationView:
        _done(await _combiner(session).change(session.tenant_id, Release(reservation, operator())))
        return await read_reservation(session.conn, session.tenant_id, reservation)

    _print_one(run_session(project_dir, _with_cell(body)), as_json=as_json)


@stock.command()
@click.argument("reservation", type=_ReservationId())
@project_option
@click.option("--channel", help="Connection of the order.")
@click.option("--order", "order", help="The order's number, or its id in the channel.")
@json_option
def claim(
    reservation: UUID, project_dir: Path | None, channel: str | None, order: str | None, *, as_json: bool
) -> None:
    """Turn what a RESERVATION holds into what is committed, for an order that is there or on its way.

    Until the order comes in the units stand committed, for 24 hours at most. An order that carries the reservation's id or
    reference (docs/reference/reservations.md) claims it by itself.

    \b
    Example:
      tidegate stock claim res_c0_06c6vd1t9kfsm3k0b4xk9qk2zw --channel shop --order 1001
    """
    if (channel is None) != (order is None):
        raise click.UsageError("name the order together with its channel, or neither")

    async def body(session: Session) -> ReservationView:
        connection_id = None
        if channel is not None:
            connection_id = await find_connection(session.conn, session.tenant_id, channel)
        ask = Claim(reservation, operator(), connection_id, order)
        _done(await _combiner(session).change(session.tenant_id, ask))
        return await read_reservation(session.conn, session.tenant_id, reservation)

    _print_one(run_session(project_dir, _with_cell(body)), as_json=as_json)


@stock.command()
@project_option
@click.option("--state", type=click.Choice([state.value for state in ReservationState]), help="Only in this state.")
@click.option("--sku", help="Only those that hold units of this SKU.")
@click.option("--reference", help="Only with this name.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most.")
@json_option
def reservations(
    project_dir: Path | None, state: str | None, sku: str | None, reference: str | None, limit: int, *, as_json: bool
) -> None:
    """List reservations, newest first: what each holds, until when, and which order has it.

    \b
    Examples:
      tidegate stock reservations --state held --sku TS-RED-M
      tidegate stock reservations --reference quote-1729 --json
    """

    async def body(session: Session) -> tuple[list[ReservationView], str]:
        chosen = ReservationFilter(
            state=ReservationState(state) if state is not None else None, sku=sku, reference=reference
        )
        found = await list_reservations(session.conn, session.tenant_id, chosen, limit)
        return found, session.config.cell

    found, cell = run_session(project_dir, body)
    if as_json:
        print_json([_plain(each, cell) for each in found])
        return
    print_table(_RESERVATIONS, [_row(each, cell) for each in found], empty="there are no such reservations")


def _combiner(session: Session) -> Combiner:
    @asynccontextmanager
    async def transaction(_tenant_id: UUID) -> AsyncIterator[Connection]:
        async with session.conn.transaction():
            yield session.conn

    return Combiner(transaction)


def _done(reply: Reply) -> Reservation:
    """Return what a request made. Raises ConfigurationError or ConflictError when it was refused."""
    result = reply.result
    if isinstance(result, Refusal):
        kind = ConfigurationError if result.code.endswith("_unknown") else ConflictError
        raise kind(result.words, code=result.code, hint=result.hint)
    if result is None:
        raise TransientError("nothing was decided", code="busy")
    return result


def _with_cell(body: Any) -> Any:
    """Return a body that returns the cell of the public ids too."""

    async def run(session: Session) -> tuple[ReservationView, str]:
        return await body(session), session.config.cell

    return run


def _print_one(found: tuple[ReservationView, str], *, as_json: bool) -> None:
    view, cell = found
    if as_json:
        print_json(_plain(view, cell))
        return
    print_table(_RESERVATIONS, [_row(view, cell)], empty="")


def _row(view: ReservationView, cell: str) -> list[object]:
    order = view.order_reference or (public_id("ord", cell, view.order_id) if view.order_id is not None else None)
    return [
        public_id("res", cell, view.reservation_id),
        "claimed, order awaited" if view.awaits_order else view.state,
        view.reference,
        ", ".join(f"{quantity} x {sku}" for sku, quantity in view.asked),
        ", ".join(f"{each.units} x {each.sku} in {each.location}" for each in view.holds) or None,
        view.due_at if view.holds else None,
        order,
        view.actor,
    ]


def _plain(view: ReservationView, cell: str) -> dict[str, object]:
    return {
        "id": public_id("res", cell, view.reservation_id),
        "state": view.state,
        "reference": view.reference,
        "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in view.asked],
        "holds": view.holds,
        "location": view.location,
        "created_at": view.created_at,
        "expires_at": view.due_at,
        "awaits_order": view.awaits_order,
        "order_id": public_id("ord", cell, view.order_id) if view.order_id is not None else None,
        "channel": view.channel,
        "order": view.order_reference,
        "actor": view.actor,
        "ended_at": view.ended_at,
        "ended_by": view.ended_by,
    }


_PROMISES = ("channel", "may_sell", "share", "held", "promise", "bound", "why")


def print_promise(found: Promise) -> None:
    """Print what can be promised about an item, for people."""
    click.echo(f"{safe_line(found.sku)}: {found.words}")
    click.echo(
        f"can be sold {found.sellable}, free {'-' if found.pool is None else found.pool}, worst case {'-' if found.bound is None else found.bound}; "
        f"sells {found.velocity:g} a second; channels hear of it within {found.lag_seconds:g} s; "
        f"allocation is {found.mode}, buffer is {found.buffer}"
    )
    rows = [[getattr(channel, name) for name in _PROMISES] for channel in found.channels]
    print_table(_PROMISES, rows, empty="no channel sells it")


@stock.command()
@click.argument("sku")
@project_option
@json_option
def promise(sku: str, project_dir: Path | None, *, as_json: bool) -> None:
    """Tell whether one SKU can be oversold: what each channel may at worst still sell, and by how many units it may be too many.

    `impossible` holds where units are shared out (`flows.stock.allocation`), the channel refuses to sell below zero, and its
    orders are read, whatever becomes of its webhooks. Elsewhere the bound says what is sold until every channel hears of it,
    by the sales of the last minute or the peak that is expected (`stock.peak`); `flows.stock.buffer` makes it smaller.

    \b
    Examples:
      tidegate stock promise TS-RED-M
      tidegate stock promise TS-RED-M --json
    """
    connectors = known_connectors()

    async def body(session: Session) -> Promise:
        config = await newest_config(session)
        return await read_promise(session.conn, session.tenant_id, sku, config, connectors)

    found = run_session(project_dir, body)
    if as_json:
        print_json(found)
        return
    print_promise(found)
