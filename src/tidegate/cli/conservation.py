"""`tidegate conservation`: the proof that nothing got lost on the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from tidegate.cli.moments import MOMENT
from tidegate.cli.output import plain, print_json, print_table
from tidegate.cli.session import Session, json_option, project_option, run_session
from tidegate.monitor.conservation import Balance, read_balances, total_imbalance

DEFAULT_HOURS = 24
_TERMS = ("received", "applied", "superseded", "duplicate", "ignored", "quarantined", "pending")


@click.command()
@project_option
@click.option("--since", type=MOMENT, help=f"From this hour of receipt on. Default: {DEFAULT_HOURS} hours ago.")
@json_option
def conservation(project_dir: Path | None, since: datetime | None, *, as_json: bool) -> None:
    """Check the equation that nothing may break, per connection and hour.

    received = applied + superseded + duplicate + ignored + quarantined + pending

    `received` is counted at the door before anything else happens, the other terms where they happen. Exits with 1 when
    a sum does not add up.
    """
    moment = since or datetime.now(UTC) - timedelta(hours=DEFAULT_HOURS)
    first_hour = moment.replace(minute=0, second=0, microsecond=0)

    async def body(session: Session) -> list[Balance]:
        return await read_balances(session.conn, since=first_hour, tenant_id=session.tenant_id)

    balances = run_session(project_dir, body)
    imbalance = total_imbalance(balances)
    if as_json:
        hours = [{**plain(balance), "difference": balance.difference} for balance in balances]
        print_json({"imbalance": imbalance, "balances": hours})
    else:
        rows = [
            [balance.connection, balance.hour, *(getattr(balance, term) for term in _TERMS), balance.difference]
            for balance in balances
        ]
        print_table(("connection", "hour", *_TERMS, "difference"), rows, empty="nothing was received in that time")
        total = sum(balance.received for balance in balances)
        click.echo(f"{total} received, all accounted for" if not imbalance else f"IMBALANCE: {imbalance} events")
    if imbalance:
        raise SystemExit(1)
