"""`tidegate stock check`: the proof that every stock number is the sum of its entries."""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.output import plain, print_json, print_table
from tidegate.cli.session import Session, json_option, project_option, run_session
from tidegate.monitor.stock_check import WrongLevel, check_levels

_HEAD = ("sku", "location", "counter", "says", "entries say")


@click.command(name="check")
@project_option
@json_option
def check_stock(project_dir: Path | None, *, as_json: bool) -> None:
    """Check that each stock counter is the sum of its ledger entries, for every article and location.

    Changes nothing, and reads a page of levels at a time. Exits with 1 when a sum does not add up: then something wrote to the
    database past Tidegate, or Tidegate has a fault. `tidegate stock history SKU` shows the entries.

    \b
    Examples:
      tidegate stock check
      tidegate stock check --json
    """

    async def body(session: Session) -> tuple[int, list[WrongLevel]]:
        levels = 0
        wrong: list[WrongLevel] = []
        async for page in check_levels(session.conn, session.tenant_id):
            levels += page.levels
            wrong += page.wrong
        return levels, wrong

    levels, wrong = run_session(project_dir, body)
    if as_json:
        print_json({"levels": levels, "wrong": [plain(one) for one in wrong]})
    else:
        rows = [
            [one.sku, one.location, name, said, one.summed[name]]
            for one in wrong
            for name, said in one.counted.items()
            if said != one.summed[name]
        ]
        print_table(_HEAD, rows, empty=f"{levels} levels, every counter is the sum of its entries")
    if wrong:
        raise SystemExit(1)
