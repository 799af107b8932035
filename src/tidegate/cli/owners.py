"""`tidegate owners`: who writes which field, and who wrote a value last."""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.output import print_json, print_table, safe_line, show_time
from tidegate.cli.session import Session, json_option, newest_config, project_option, run_session
from tidegate.monitor.orders_view import find_order
from tidegate.monitor.ownership import FieldRule, Written, field_rules, read_order_writers, read_sku_writers


@click.command()
@click.option("--sku", metavar="SKU", help="Show who wrote the numbers and prices of this SKU last.")
@click.option(
    "--order", "order", metavar="ORDER", help="Show who wrote the parts of this order last: its number or id."
)
@project_option
@json_option
def owners(project_dir: Path | None, sku: str | None, order: str | None, *, as_json: bool) -> None:
    """Show which system owns each field, who is told of it, and what becomes of what others say.

    Exactly one system writes a field: `owns` in tidegate.yaml says which. "conflict" is the rule that decides where two differ:
    owner (the owner's word counts), newest (of the owner's versions the newest, in whatever order they come), person (the
    difference is shown by `tidegate drift`, and somebody decides).

    With --sku or --order: the values as they stand, who wrote each last, and the event or command that did.

    \b
    Examples:
      tidegate owners
      tidegate owners --sku TEE-M
      tidegate owners --order 1001 --json
      tidegate plan --diagram mermaid      the same as a diagram: what flows where
    """
    if sku is not None and order is not None:
        raise click.UsageError("choose --sku or --order")

    async def body(session: Session) -> tuple[FieldRule, ...] | tuple[Written, ...]:
        config = await newest_config(session)
        if sku is not None:
            return await read_sku_writers(session.conn, session.tenant_id, sku, config)
        if order is not None:
            row = await find_order(session.conn, session.tenant_id, order, cell=config.cell)
            return await read_order_writers(session.conn, session.tenant_id, row, config)
        return field_rules(config)

    found = run_session(project_dir, body)
    if as_json:
        print_json({"items": found})
        return
    rules = [each for each in found if isinstance(each, FieldRule)]
    if rules:
        rows = [(r.field, r.owner, ", ".join(r.told), r.conflict, r.others) for r in rules]
        print_table(("field", "owner", "told", "conflict", "what others say"), rows, empty="")
        return
    written = [
        (
            w.field,
            w.place,
            w.value,
            w.owner,
            w.writer + ("" if w.is_owner else " (not the owner)"),
            show_time(w.at) if w.at is not None else "",
            w.source,
        )
        for w in found
        if isinstance(w, Written)
    ]
    columns = ("field", "at", "value", "owner", "last writer", "when", "by")
    print_table(
        columns, [[safe_line(str(cell or "")) for cell in row] for row in written], empty="nothing was written yet"
    )
