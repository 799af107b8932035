"""`tidegate conflicts`: fields that somebody else wrote, the rule that decides, and a person's word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from tidegate.cli.output import plain, print_json, print_table, safe_line, show_age, show_time
from tidegate.cli.session import Session, json_option, newest_config, operator, project_option, run_session
from tidegate.dispatch import heal
from tidegate.dispatch.heal import Chosen
from tidegate.inventory.adjust import Adjustment
from tidegate.inventory.decide import Refusal
from tidegate.kernel.errors import ConfigurationError
from tidegate.monitor.conflicts import Conflict, read_conflicts
from tidegate.monitor.ownership import Written, read_sku_writers
from tidegate.sync.adjust import adjust, check_owner, choose_place, note_action, read_places

_COLUMNS = ("connection", "sku", "field", "owner", "owner says", "it shows", "for", "rule", "what becomes of it")
LIMIT = 200


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What a person's word did."""

    connection: str
    sku: str
    kept: str
    """ours or theirs."""
    told: int
    """Numbers that are told anew."""
    posted: int
    """Units that the ledger was changed by."""
    location: str | None
    is_new: bool
    """False: it was settled so before, and this time nothing happened."""


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
        found = await read_conflicts(
            session.conn, session.tenant_id, config, connection=connection, sku=sku, limit=LIMIT
        )
        conflict = choose(found, connection, sku)
        if keeps == "theirs":
            check_owner(config)
            return await take_theirs(session, conflict, location)
        chosen = Chosen(connection=connection, articles=(conflict.external_id,), only_waiting=False)
        done = await heal.heal(session.conn, tenant_id=session.tenant_id, chosen=chosen, actor=operator())
        return Settled(
            connection=connection, sku=sku, kept="ours", told=done.told, posted=0, location=None, is_new=bool(done.told)
        )

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


def choose(found: tuple[Conflict, ...], connection: str, sku: str) -> Conflict:
    """Return the one conflict that can be settled. Raises ConfigurationError when there is none, or several articles have the SKU."""
    stock = [one for one in found if one.field == "stock"]
    if len(stock) == 1:
        return stock[0]
    if stock:
        words = f"several articles of {connection!r} with the SKU {sku!r} differ"
        hint = "bind each to an article of its own: tidegate matches list"
        raise ConfigurationError(words, code="conflict_unclear", hint=hint)
    only = " (prices are only compared: change one of the two)" if found else ""
    raise ConfigurationError(
        f"{connection!r} and we say the same about the stock of {sku!r}, as far as the last look shows{only}",
        code="conflict_unknown",
        hint="tidegate conflicts list; tidegate sync run looks again",
    )


async def take_theirs(session: Session, conflict: Conflict, location: str | None) -> Settled:
    """Post what somebody wrote over there as a correction of on_hand, once per conflict that a look found.

    One transaction with its audit row. Raises ConfigurationError when a side has no number, or the location is not clear.
    """
    if conflict.item_id is None or conflict.owner_value is None or conflict.other_value is None:
        raise ConfigurationError(
            "one of the two sides has no number",
            code="conflict_unclear",
            hint="count it: tidegate stock adjust SKU --to N",
        )
    place = choose_place(await read_places(session.conn, session.tenant_id), location)
    units = int(conflict.other_value - conflict.owner_value) * conflict.units
    wanted = Adjustment(
        key=f"conflict:{conflict.run_id}:{conflict.item_id}",
        item_id=conflict.item_id,
        location_id=place.location_id,
        units=units,
        reason="correction",
        note=f"{conflict.connection} showed {conflict.other_value:f} where we said {conflict.owner_value:f}"[:200],
    )
    async with session.conn.transaction():
        result = (await adjust(session.conn, session.tenant_id, [wanted], actor=operator()))[0]
        if isinstance(result, Refusal):
            raise ConfigurationError(result.words, code=result.code, hint=result.hint)
        if result.is_new:
            detail: dict[str, Any] = {"connection": conflict.connection, "units": units, "location": place.name}
            await note_action(
                session.conn,
                session.tenant_id,
                actor=operator(),
                action="conflict.settled",
                subject=conflict.sku,
                detail=detail,
            )
    return Settled(
        connection=conflict.connection,
        sku=conflict.sku,
        kept="theirs",
        told=0,
        posted=units if result.is_new else 0,
        location=place.name,
        is_new=result.is_new,
    )


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
