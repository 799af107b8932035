"""`tidegate stock adjust` and `tidegate stock history`: what people change in the ledger, and everything that it holds."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from tidegate.cli.moments import MOMENT
from tidegate.cli.output import print_json, print_table, safe_line
from tidegate.cli.session import Session, json_option, newest_config, operator, project_option, run_session
from tidegate.inventory.adjust import ASIDE, KEY_MAX, NOTE_MAX, REASONS, UNITS_MAX, Adjustment, decide_adjustment
from tidegate.inventory.decide import Refusal
from tidegate.inventory.ledger import LevelKey
from tidegate.kernel.errors import ConfigurationError, ConflictError
from tidegate.kernel.ids import public_id
from tidegate.monitor.stock_history import COUNTERS, KINDS, EntryView, HistoryFilter, read_history
from tidegate.sync.adjust import (
    NOTHING,
    Adjusted,
    adjust,
    check_owner,
    choose_place,
    find_items,
    note_action,
    on_hand_at,
    read_places,
    read_standing,
    set_safety,
)

KEPT = "kept back"
_UNITS = click.IntRange(-UNITS_MAX, UNITS_MAX)


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What an adjustment does."""

    sku: str
    location: str
    counter: str
    """on_hand, unavailable, or safety_stock."""
    reason: str
    units: int
    before: int
    after: int
    key: str
    is_posted: bool
    """False: a dry run, or nothing differs."""
    is_repeated: bool = False
    """It was posted under the same key before, and this time nothing happened."""
    version: int | None = None
    """Number of its entry in the level."""


@click.command("adjust")
@click.argument("sku")
@click.option("--location", help="Name of the location. Default: the only one.")
@click.option("--by", type=_UNITS, metavar="N", help="So many units more; negative: fewer.")
@click.option("--to", type=click.IntRange(0, UNITS_MAX), metavar="N", help="So many were counted.")
@click.option("--reason", type=click.Choice(REASONS), help="Why on_hand moves. Default with --to: counted.")
@click.option("--aside", type=click.Choice(ASIDE), help="Set the units aside as this instead; --by -N takes them back.")
@click.option(
    "--safety", type=click.IntRange(0, UNITS_MAX), metavar="N", help="Keep so many back from channels there; alone."
)
@click.option("--counted-at", type=MOMENT, metavar="TIME", help="With --to: when they were counted. Default: now.")
@click.option("--note", help="A sentence for whoever reads the history.")
@click.option(
    "--key", help="Your own name of this adjustment: under it, it is posted once, however often it is asked for."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be posted.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@project_option
@json_option
def adjust_stock(sku: str, project_dir: Path | None, *, dry_run: bool, yes: bool, as_json: bool, **given: Any) -> None:
    """Change the units of one SKU at one location, by an entry in the ledger. Nothing is overwritten.

    With --to the difference to what the ledger had when you counted is posted: what was sold or shipped since then stands. With
    --aside the units stay on hand and are not sold. Where another system counts the goods (`owns.stock.on_hand`), on_hand is
    changed there and not here. With --safety so many units are kept back from channels: nothing moves, so there is no entry.
    Channels are told at once.

    \b
    reason       is
    received     units came in               returned   units came back and can be sold
    found, lost  as it says                  scrapped   thrown away
    counted      the shelf was counted       correction an error in the books

    \b
    Examples:
      tidegate stock adjust TS-RED-M --by -2 --reason lost
      tidegate stock adjust TS-RED-M --location main --to 40 --note "shelf 7"
      tidegate stock adjust TS-RED-M --to 40 --counted-at 2h
      tidegate stock adjust TS-RED-M --by 3 --aside damaged
      tidegate stock adjust TS-RED-M --by 12 --reason received --key po-1729 --yes
      tidegate stock adjust TS-RED-M --safety 5
    """
    safety = given.pop("safety")
    if safety is not None:
        _check_alone(given)
        wish = _Wish(
            location=given["location"], by=0, to=None, reason=KEPT, is_aside=False, counted_at=None, note=None, key=""
        )
    else:
        wish = _check(**given)

    async def body(session: Session) -> Preview:
        found = (await find_items(session.conn, session.tenant_id, [sku]))[sku]
        if isinstance(found, Refusal):
            raise ConfigurationError(found.words, code=found.code, hint=found.hint)
        if safety is None and not wish.is_aside:
            check_owner(await newest_config(session))
        place = choose_place(await read_places(session.conn, session.tenant_id), wish.location)
        level = (found, place.location_id)
        standing = (await read_standing(session.conn, session.tenant_id, [level])).get(level, NOTHING)
        if safety is not None:
            kept = Preview(
                sku=sku, location=place.name, counter="safety_stock", reason=KEPT, units=safety - standing.safety_stock,
                before=standing.safety_stock, after=safety, key="", is_posted=False,
            )  # fmt: skip
            return kept if dry_run or not kept.units else await _keep_back(session, kept, level, yes=yes)
        units = wish.by
        if wish.to is not None:
            seen = standing.counters.on_hand
            if wish.counted_at is not None:
                at = (*level, wish.counted_at)
                seen = (await on_hand_at(session.conn, session.tenant_id, [at]))[at]
            units = wish.to - seen
        before = standing.counters.unavailable if wish.is_aside else standing.counters.on_hand
        preview = Preview(
            sku=sku,
            location=place.name,
            counter="unavailable" if wish.is_aside else "on_hand",
            reason=wish.reason,
            units=units,
            before=before,
            after=before + units,
            key=wish.key,
            is_posted=False,
        )
        if not units:
            return preview
        wanted = Adjustment(
            key=wish.key,
            item_id=found,
            location_id=place.location_id,
            units=units,
            reason=wish.reason,
            note=wish.note,
            is_aside=wish.is_aside,
        )
        if dry_run or not yes:
            decided = decide_adjustment(wanted, standing.counters, standing.aside)
            if isinstance(decided, Refusal):
                raise _refused(decided)
        if dry_run:
            return preview
        if not yes:
            _ask(preview)
        async with session.conn.transaction():
            result = (await adjust(session.conn, session.tenant_id, [wanted], actor=operator()))[0]
            if isinstance(result, Refusal):
                raise _refused(result)
            posted = _posted(preview, result)
            if result.is_new:
                await note_action(
                    session.conn,
                    session.tenant_id,
                    actor=operator(),
                    action="stock.adjusted",
                    subject=sku,
                    detail=msgspec.to_builtins(posted),
                )
        return posted

    done = run_session(project_dir, body)
    if as_json:
        print_json(done)
    else:
        _say(done, dry_run=dry_run)


async def _keep_back(session: Session, preview: Preview, level: LevelKey, *, yes: bool) -> Preview:
    """Keep units of a level back from channels, once somebody agreed."""
    if not yes:
        _ask(preview)
    posted = msgspec.structs.replace(preview, is_posted=True)
    async with session.conn.transaction():
        await set_safety(session.conn, session.tenant_id, {level: preview.after})
        await note_action(
            session.conn,
            session.tenant_id,
            actor=operator(),
            action="stock.adjusted",
            subject=preview.sku,
            detail=msgspec.to_builtins(posted),
        )
    return posted


def _check_alone(given: Mapping[str, Any]) -> None:
    """Raise UsageError for what does not go with --safety."""
    for name, value in given.items():
        if value is not None and name != "location":
            raise click.UsageError(f"--safety stands alone, without --{name.replace('_', '-')}")


class _Wish(msgspec.Struct, frozen=True, kw_only=True):
    location: str | None
    by: int
    to: int | None
    reason: str
    is_aside: bool
    counted_at: datetime | None
    note: str | None
    key: str


def _check(
    *,
    location: str | None,
    by: int | None,
    to: int | None,
    reason: str | None,
    aside: str | None,
    counted_at: datetime | None,
    note: str | None,
    key: str | None,
) -> _Wish:
    """Return what is wanted, when it makes sense. Raises UsageError."""
    if (by is None) == (to is None):
        raise click.UsageError("say either --by N or --to N")
    if by == 0:
        raise click.UsageError("--by 0 changes nothing")
    if aside is not None and (to is not None or reason is not None):
        raise click.UsageError("--aside goes with --by, and is the reason itself")
    if counted_at is not None and to is None:
        raise click.UsageError("--counted-at goes with --to")
    if to is not None and reason not in (None, "counted"):
        raise click.UsageError("--to is a count; say --by for another reason")
    if aside is None and to is None and reason is None:
        raise click.UsageError(f"--by needs a --reason: {', '.join(REASONS)}; or --aside")
    if note is not None and (not note.strip() or len(note) > NOTE_MAX or not note.isprintable()):
        raise click.BadParameter(f"a note has 1 to {NOTE_MAX} printable characters", param_hint="--note")
    if key is not None and (not 0 < len(key) <= KEY_MAX or not key.isprintable()):
        raise click.BadParameter(f"a key has 1 to {KEY_MAX} printable characters", param_hint="--key")
    return _Wish(
        location=location,
        by=by or 0,
        to=to,
        reason=aside or reason or "counted",
        is_aside=aside is not None,
        counted_at=counted_at,
        note=note,
        key=key or secrets.token_hex(8),
    )


def _refused(refusal: Refusal) -> ConflictError:
    return ConflictError(refusal.words, code=refusal.code, hint=refusal.hint)


def _posted(preview: Preview, result: Adjusted) -> Preview:
    return msgspec.structs.replace(
        preview,
        units=result.units,
        before=result.before,
        after=result.after,
        is_posted=True,
        is_repeated=not result.is_new,
        version=result.version,
    )


def _ask(preview: Preview) -> None:
    """Have a person say yes. Raises ConfigurationError where there is nobody to ask, click.Abort for a no."""
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"{_words(preview)}: nobody is there to agree",
            code="consent_missing",
            hint="look at it with --dry-run, then say --yes",
        )
    click.echo(safe_line(_words(preview)), err=True)
    click.confirm("post it?", abort=True, err=True)


def _words(preview: Preview) -> str:
    return (
        f"{preview.sku} at {preview.location}: {preview.counter} {preview.before} -> {preview.after}"
        f" ({preview.units:+d}, {preview.reason})"
    )


def _say(done: Preview, *, dry_run: bool) -> None:
    if not done.units:
        click.echo(safe_line(f"{done.sku} at {done.location}: the ledger has {done.before} already, nothing to post"))
        return
    said = "would be posted" if dry_run else "was posted before under this key" if done.is_repeated else "posted"
    entry = f" as entry {done.version}" if done.version is not None else ""
    click.echo(safe_line(f"{_words(done)}: {said}{entry}"))


_COLUMNS = ("at", "location", "no", "kind", "reason", *COUNTERS, "cause", "by", "note")


@click.command("history")
@click.argument("sku")
@click.option("--location", help="Only this location.")
@click.option("--since", type=MOMENT, metavar="TIME", help="Only from then on: 2026-11-01, 2h, 3d.")
@click.option("--until", type=MOMENT, metavar="TIME", help="Only before then.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only this kind. May be given again.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most.")
@project_option
@json_option
def stock_history(
    sku: str,
    project_dir: Path | None,
    location: str | None,
    since: datetime | None,
    until: datetime | None,
    kinds: tuple[str, ...],
    limit: int,
    *,
    as_json: bool,
) -> None:
    """Show the ledger of one SKU, newest first: what moved each counter, from what to what, why and by whom.

    Entries are never changed and never deleted; a correction is one more entry. A counter that did not move is left empty.

    \b
    Examples:
      tidegate stock history TS-RED-M
      tidegate stock history TS-RED-M --location main --since 2d --kind count --kind adjust
      tidegate stock history TS-RED-M --limit 10000 --json
    """
    chosen = HistoryFilter(location=location, since=since, until=until, kinds=kinds)

    async def body(session: Session) -> tuple[list[EntryView], str]:
        found = await read_history(session.conn, session.tenant_id, sku, chosen, limit=limit)
        return found, session.config.cell

    entries, cell = run_session(project_dir, body)
    if as_json:
        print_json([_plain(entry, cell) for entry in entries])
        return
    print_table(_COLUMNS, [_row(entry, cell) for entry in entries], empty="the ledger has no such entry")
    if len(entries) == limit:
        click.echo(f"the newest {limit}; --limit shows more")


def _row(entry: EntryView, cell: str) -> list[object]:
    moved = [
        f"{getattr(entry.before, name)} -> {getattr(entry.after, name)}" if getattr(entry.delta, name) else ""
        for name in COUNTERS
    ]
    return [
        entry.at, entry.location, entry.version, entry.kind, entry.reason or "", *moved, _cause(entry, cell), entry.actor,
        entry.note or "",
    ]  # fmt: skip


def _cause(entry: EntryView, cell: str) -> str:
    """Say what caused an entry: the order, the reservation, the event, or the key of a person."""
    if entry.order_number is not None:
        return f"order {entry.order_number}"
    if entry.reservation_id is not None:
        return public_id("res", cell, entry.reservation_id)
    if entry.event_id is not None:
        where = f"{entry.event_topic} of {entry.connection}: " if entry.connection is not None else ""
        return f"{where}{public_id('evt', cell, entry.event_id)}"
    return entry.cause_key


def _plain(entry: EntryView, cell: str) -> dict[str, object]:
    ids = {"event_id": "evt", "order_id": "ord", "reservation_id": "res"}
    found = {
        name: getattr(entry, name) for name in EntryView.__struct_fields__ if name not in ids and name != "location_id"
    }
    for name, kind in ids.items():
        value = getattr(entry, name)
        found[name] = public_id(kind, cell, value) if value is not None else None
    return found
