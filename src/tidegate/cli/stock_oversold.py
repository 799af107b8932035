"""`tidegate stock oversold` and `settle`: what is sold more often than there is, and what becomes of the orders."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal
from uuid import UUID

import click

from tidegate.cli.output import print_json, print_table
from tidegate.cli.session import (
    Session,
    json_option,
    known_connectors,
    newest_config,
    operator,
    project_option,
    run_session,
)
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import public_id
from tidegate.monitor.explain import find_orders
from tidegate.monitor.oversold import OversoldItem, ShortOrder, read_oversold
from tidegate.store.connections import Connection
from tidegate.sync.backorders import settle as settle_orders
from tidegate.sync.cancelling import Cancellation, cancel_orders, cancellations

_CANCELLED = ("channel", "order", "units", "lacks", "known to the ERP", "why not")
_CANCELLED_KEYS = ("channel", "number", "units", "missing", "known_to_erp", "why_not")
_DONE = {"wait": "waiting for goods now", "cancel": "called off now", "undo": "as if nobody had decided"}
_PLACES = ("sku", "location", "lacks", "orders, newest first")
_OVERSOLD = ("sku", "missing", "since", "channel", "order", "placed", "lacks", "waits", "expected")


@click.command()
@project_option
@json_option
def oversold(project_dir: Path | None, *, as_json: bool) -> None:
    """List what is sold more often than there is, and the orders that cannot all be shipped, newest first.

    Whoever ordered first is served first: the orders listed are the newest ones that hold the missing units. More arrives, or
    somebody cancels: then they are off the list. `expected` says when what is on its way (`tidegate stock incoming`) covers an order and
    all older ones. Alert `oversold` fires for each article with orders that nobody decided about. Below stand the places that were
    promised more than they have while another one has units left: `flows.stock.oversell: other_location` lets orders leave from there.

    \b
    Examples:
      tidegate stock oversold
      tidegate stock oversold --json
    """

    async def body(session: Session) -> tuple[tuple[OversoldItem, ...], str]:
        return await read_oversold(session.conn, session.tenant_id), session.config.cell

    found, cell = run_session(project_dir, body)
    if as_json:
        print_json([_plain_oversold(item, cell) for item in found])
        return
    rows: list[list[object]] = []
    for item in (each for each in found if each.missing):
        rows.append([item.sku, item.missing, item.since, "", "", "", "", "", ""])
        rows += [
            ["", "", "", each.channel, each.number, each.placed_at, each.missing, _waits(each), each.expected_on]
            for each in item.orders
        ]
    print_table(_OVERSOLD, rows, empty="nothing is sold more often than there is")
    places = [
        [item.sku, place.location, place.missing, ", ".join(place.orders)]
        for item in found
        if item.elsewhere
        for place in item.places
    ]
    if places:
        click.echo("promised where it is not, while another place has some:")
        print_table(_PLACES, places, empty="")
    if rows:
        click.echo(
            "what to do: `tidegate stock settle SKU --wait` lets the orders wait for goods, --cancel has their shops cancel them; or count again"
        )


def _plain_oversold(item: OversoldItem, cell: str) -> dict[str, object]:
    return {
        "sku": item.sku,
        "missing": item.missing,
        "undecided": item.undecided,
        "since": item.since,
        "elsewhere": item.elsewhere,
        "places": [
            {"location": place.location, "missing": place.missing, "orders": list(place.orders)}
            for place in item.places
        ],
        "orders": [
            {
                "id": public_id("ord", cell, each.order_id),
                "number": each.number,
                "channel": each.channel,
                "placed_at": each.placed_at,
                "units": each.units,
                "missing": each.missing,
                "waits": each.waits,
                "called_off": each.called_off,
                "promised_on": each.promised_on,
                "expected_on": each.expected_on,
                "decided_by": each.decided_by,
            }
            for each in item.orders
        ],
    }


def _waits(order: ShortOrder) -> str:
    if order.called_off:
        return "no, its channel is to cancel it"
    if not order.waits:
        return ""
    promised = f"promised for {order.promised_on}" if order.promised_on is not None else "no day promised"
    return f"yes, {promised} ({order.decided_by})"


@click.command()
@click.argument("sku")
@click.option("--wait", "decision", flag_value="wait", help="The orders wait for goods.")
@click.option(
    "--cancel", "decision", flag_value="cancel", help="Their shops are asked to cancel them; shown first, and it asks."
)
@click.option(
    "--undo",
    "decision",
    flag_value="undo",
    help="They do not wait any more, and are not cancelled where their shop was not asked yet: the alert fires again while they lack.",
)
@click.option(
    "--order",
    "numbers",
    multiple=True,
    metavar="NUMBER",
    help="Only this order. May be given again. Default: all that lack.",
)
@click.option("--dry-run", is_flag=True, help="With --cancel: show which orders, and do nothing.")
@click.option("--yes", is_flag=True, help="With --cancel: do not ask.")
@project_option
@json_option
def settle(
    sku: str,
    project_dir: Path | None,
    decision: Literal["wait", "cancel", "undo"] | None,
    numbers: tuple[str, ...],
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Decide about the orders that lack units of SKU.

    With --wait they wait for goods: each is promised the day on which what is on its way covers it and all older ones, or no day where
    nothing does. The day is kept with the order (`tidegate why order`), the alert `oversold` is over, and orders that come later are
    asked about anew. `flows.stock.oversell: backorder` decides so by itself, in the moment of the sale.

    With --cancel their shops are asked to cancel them: the newest that lack, or those that are named. They are held back at once and hold
    their units until the shop says that they are cancelled; then money and stock follow as always, and an ERP that knows such an order is
    told to cancel it. Not those of which goods have left. In mode `propose` of the flow of orders a person approves each.

    With --undo orders that were called off, by --cancel or by `flows.stock.oversell: cancel_newest`, stand after all, as long as their
    shop was not asked, or refused; they are not called off again unless somebody names them.

    \b
    Examples:
      tidegate stock settle TS-RED-M --wait
      tidegate stock settle TS-RED-M --wait --order 1001 --order 1004
      tidegate stock settle TS-RED-M --cancel --order 1004
      tidegate stock settle TS-RED-M --undo
    """
    if decision is None:
        raise click.UsageError("say --wait, --cancel or --undo")
    named = None
    if decision == "cancel":
        named = _agreed(project_dir, sku, numbers, dry_run=dry_run, yes=yes, as_json=as_json)
        if named is None:
            return

    connectors = known_connectors()

    async def body(session: Session) -> tuple[tuple[OversoldItem, ...], int, str]:
        conn, tenant_id = session.conn, session.tenant_id
        async with conn.transaction():
            cell = session.config.cell
            if decision == "cancel":
                done = await cancel_orders(
                    conn,
                    tenant_id,
                    sku,
                    config=await newest_config(session),
                    connectors=connectors,
                    by=operator(),
                    cell=cell,
                    orders=named,
                )
            else:
                chosen = await _orders(conn, tenant_id, numbers) if numbers else None
                done = await settle_orders(conn, tenant_id, sku, decision, by=operator(), cell=cell, orders=chosen)
        return await read_oversold(conn, tenant_id, sku=sku), len(done), session.config.cell

    found, done, cell = run_session(project_dir, body)
    if as_json:
        print_json({"orders": done, "left": [_plain_oversold(item, cell) for item in found]})
        return
    orders = "1 order is" if done == 1 else f"{done} orders are"
    click.echo(f"{orders} {_DONE[decision]}")
    rows = [
        [each.channel, each.number, each.missing, _waits(each), each.expected_on]
        for item in found
        for each in item.orders
    ]
    print_table(("channel", "order", "lacks", "waits", "expected"), rows, empty=f"no order lacks units of {sku}")


def _agreed(
    project_dir: Path | None, sku: str, numbers: tuple[str, ...], *, dry_run: bool, yes: bool, as_json: bool
) -> set[UUID] | None:
    """Show which orders would be cancelled, and ask; return them, None where nothing is to be done. Raises ConfigurationError."""
    connectors = known_connectors()

    async def body(session: Session) -> list[Cancellation]:
        conn, tenant_id = session.conn, session.tenant_id
        chosen = await _orders(conn, tenant_id, numbers) if numbers else None
        config = await newest_config(session)
        return await cancellations(conn, tenant_id, sku, config=config, connectors=connectors, orders=chosen)

    found = run_session(project_dir, body)
    rows = [
        [each.channel, each.number, each.units, each.lacks, each.is_known_to_erp, each.why_not or ""] for each in found
    ]
    if as_json and dry_run:
        print_json([dict(zip(_CANCELLED_KEYS, row, strict=True)) for row in rows])
    elif not as_json:
        print_table(_CANCELLED, rows, empty=f"no order that lacks units of {sku} can be cancelled")
    if dry_run or not found:
        return None
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise ConfigurationError(
                "this has orders cancelled in their shops, and there is nobody to ask",
                code="consent_missing",
                hint="look at it with --dry-run, then say --yes",
            )
        click.confirm(f"have {len(found)} cancelled?", abort=True, err=True)
    return {each.order_id for each in found}


async def _orders(conn: Connection, tenant_id: UUID, numbers: tuple[str, ...]) -> set[UUID]:
    """Return orders by number or id. Raises ConfigurationError."""
    found: set[UUID] = set()
    for number in numbers:
        rows = await find_orders(conn, tenant_id, number)
        if len(rows) != 1:
            words = f"no order is called {number!r}" if not rows else f"{len(rows)} orders are called {number!r}"
            raise ConfigurationError(
                words, code="order_unknown", hint="name it by its id: tidegate why order NUMBER shows it"
            )
        found.add(rows[0]["order_id"])
    return found
