"""`tidegate conflicts`: fields that somebody else wrote, the rule that decides, and a person's word."""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.output import plain, print_json, print_table, safe_line, show_age, show_time
from tidegate.cli.session import Session, json_option, newest_config, operator, project_option, run_session
from tidegate.monitor.conflicts import Conflict, read_conflicts
from tidegate.monitor.ownership import Written, read_sku_writers
from tidegate.monitor.settling import LIMIT, Settled, find_conflict, keep_ours, take_theirs

_COLUMNS = ("connection", "sku", "field", "owner", "owner says", "it shows", "for", "rule", "what becomes of it")


@click.group()
def conflicts() -> None:
    """Show fields that somebody else wrote, and settle what waits for a person.

    `owns` in tidegate.yaml says who owns a field; `reconcile.NAME.heal.stock` declares what happens where a channel's number was
    changed over there: auto (the owner wins, and is told again), approve (a person is asked), report (it is only shown). Of orders
    the newest version of their channel counts. Prices are compared and never written.

    \b
    Examples:
      tidegate conflicts list
      tidegate conflicts show TS-RED-M
      tidegate conflicts settle shop TS-RED-M --ours
    """


@conflicts.command(name="list")
@click.option("--connection", help="Only this connection.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=LIMIT, show_default=True, help="Rows at most.")
@project_option
@json_option
def list_conflicts(project_dir: Path | None, connection: str | None, limit: int, *, as_json: bool) -> None:
    """Show the conflicts that the last looks found, the oldest first.

    \b
    Examples:
      tidegate conflicts list
      tidegate conflicts list --connection shop --json
    """

    async def body(session: Session) -> tuple[Conflict, ...]:
        config = await newest_config(session)
        return await read_conflicts(session.conn, session.tenant_id, config, connection=connection, limit=limit)

    found = run_session(project_dir, body)
    if as_json:
        print_json({"items": plain(found)})
        return
    _print(found)
    if len(found) == limit:
        click.echo(f"the oldest {limit}; more with --limit")


@conflicts.command(name="show")
@click.argument("sku")
@project_option
@json_option
def show_conflicts(sku: str, project_dir: Path | None, *, as_json: bool) -> None:
    """Show the conflicts of one SKU, and who wrote each of its values last.

    \b
    Examples:
      tidegate conflicts show TS-RED-M
      tidegate why sku TS-RED-M        its whole story
    """

    async def body(session: Session) -> tuple[tuple[Conflict, ...], tuple[Written, ...]]:
        config = await newest_config(session)
        written = await read_sku_writers(session.conn, session.tenant_id, sku, config)
        return await read_conflicts(session.conn, session.tenant_id, config, sku=sku, limit=LIMIT), written

    found, written = run_session(project_dir, body)
    if as_json:
        print_json({"items": plain(found), "written": plain(written)})
        return
    _print(found)
    click.echo("")
    rows = [
        (
            each.field,
            each.place,
            each.value,
            each.owner or "",
            each.writer,
            show_time(each.at) if each.at else "",
            each.source,
        )
        for each in written
    ]
    columns = ("field", "at", "value", "owner", "last writer", "when", "by")
    print_table(columns, [[safe_line(str(cell)) for cell in row] for row in rows], empty="nothing was written yet")


@conflicts.command()
@click.argument("connection")
@click.argument("sku")
@click.option("--ours", "keeps", flag_value="ours", help="The owner wins: the number is told anew.")
@click.option(
    "--theirs", "keeps", flag_value="theirs", help="What they wrote counts: the difference is posted to on_hand."
)
@click.option("--location", help="With --theirs: where it is posted. Default: the only location.")
@project_option
@json_option
def settle(
    connection: str, sku: str, keeps: str | None, location: str | None, project_dir: Path | None, *, as_json: bool
) -> None:
    """Decide the conflict about a channel's number of one SKU.

    --ours tells our number once more, as `tidegate drift heal` does. --theirs takes what somebody wrote over there for a count: the
    difference is posted to on_hand as a correction, once, and every channel is told. Where another system counts the goods
    (`owns.stock.on_hand`), on_hand is changed there and not here. Repeating it changes nothing.

    \b
    Examples:
      tidegate conflicts settle shop TS-RED-M --ours
      tidegate conflicts settle shop TS-RED-M --theirs --location main
    """
    if keeps is None:
        raise click.UsageError("choose --ours or --theirs")

    async def body(session: Session) -> Settled:
        config = await newest_config(session)
        who = (session.conn, session.tenant_id)
        conflict = await find_conflict(*who, config, connection=connection, sku=sku)
        if keeps == "theirs":
            return await take_theirs(*who, config, conflict, location=location, actor=operator())
        return await keep_ours(*who, conflict, actor=operator())

    done = run_session(project_dir, body)
    if as_json:
        print_json(plain(done))
    elif done.kept == "ours":
        click.echo(
            f"{done.told} numbers are told anew" if done.told else "it is being told already, or its flow observes"
        )
    elif done.is_new:
        click.echo(safe_line(f"{done.posted:+d} units of {sku} posted at {done.location}; every channel is told"))
    else:
        click.echo("it was settled so before; nothing was changed")


def _print(found: tuple[Conflict, ...]) -> None:
    print_table(
        _COLUMNS,
        [
            (
                one.connection,
                one.sku,
                one.field,
                one.owner,
                _value(one, ours=True),
                _value(one, ours=False),
                show_age(one.since),
                one.rule,
                one.becomes,
            )
            for one in found
        ],
        empty="no conflict is known: nobody else wrote what somebody owns, as far as looks saw",
    )


def _value(one: Conflict, *, ours: bool) -> str:
    value = one.owner_value if ours else one.other_value
    return "nothing" if value is None else f"{value.normalize():f} {one.currency}".strip()
