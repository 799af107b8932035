"""`tidegate stock incoming`: what is on its way, and when it is expected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path

import click

from tidegate.cli.output import plain, print_json, print_table, safe_line
from tidegate.cli.session import Session, json_option, operator, project_option, run_session
from tidegate.cli.sheets import read_sheet, unreadable
from tidegate.cli.skus import SkuLine
from tidegate.inventory.decide import Refusal
from tidegate.kernel.errors import ConfigurationError
from tidegate.monitor.incoming_view import Incoming, read_incoming
from tidegate.monitor.stock_view import find_item
from tidegate.sync.adjust import note_action
from tidegate.sync.expected import REFERENCE_MAX, UNITS_MAX, Expectation, ExpectedChange, expect
from tidegate.sync.match_file import Fault

INCOMING = ("expected_on", "sku", "location", "units", "reference", "source")
_DIFFERENCES = ("reference", "before", "after")
_COLUMNS = ("reference", "sku", "location", "units", "expected_on")
_NEEDED = ("reference", "sku", "units")
_LINES_MAX = 20_000


@click.group(name="incoming")
def incoming() -> None:
    """Show and say what is on its way: purchase orders, transfers, returns.

    It is part of nothing that can be sold; it tells when a backorder can be served. Connections say it by themselves
    (`stock.incoming` of a signed connection); people say it here, each under a reference, and what they say last counts. What
    arrived is taken out: as a movement it comes by itself, so say what is still to come.

    \b
    Examples:
      tidegate stock incoming list --sku TS-RED-M
      tidegate stock incoming set PO-17 TS-RED-M:40 --on 2026-12-05
      tidegate stock incoming import orders.csv --all --dry-run
    """


@incoming.command(name="list")
@click.option("--sku", help="Only of this SKU.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=200, show_default=True, help="How many at most.")
@project_option
@json_option
def list_incoming(project_dir: Path | None, sku: str | None, limit: int, *, as_json: bool) -> None:
    """List what is on its way, soonest first; what nobody knows a day of comes last.

    \b
    Examples:
      tidegate stock incoming list
      tidegate stock incoming list --sku TS-RED-M --json
    """

    async def body(session: Session) -> tuple[Incoming, ...]:
        item_id = None
        if sku is not None:
            item_id = (await find_item(session.conn, session.tenant_id, sku))["item_id"]
        return await read_incoming(session.conn, session.tenant_id, item_id, limit=limit)

    found = run_session(project_dir, body)
    if as_json:
        print_json(plain(found))
    else:
        print_incoming(found)


def print_incoming(found: Iterable[Incoming]) -> None:
    """Print what is on its way, for people."""
    rows = [
        [each.source or "people" if name == "source" else getattr(each, name) for name in INCOMING] for each in found
    ]
    print_table(INCOMING, rows, empty="nothing is on its way")


@incoming.command(name="set")
@click.argument("reference")
@click.argument("lines", type=SkuLine(), nargs=-1, required=True)
@click.option("--on", "day", help="The day on which it is expected: 2026-12-05. Default: nobody knows.")
@click.option("--location", default="", help="Where it goes. Default: the only location.")
@project_option
@json_option
def set_incoming(
    reference: str,
    lines: tuple[tuple[str, int], ...],
    project_dir: Path | None,
    day: str | None,
    location: str,
    *,
    as_json: bool,
) -> None:
    """Say what is still to come under a REFERENCE, each article written SKU:UNITS. It replaces what was said of it before.

    \b
    Examples:
      tidegate stock incoming set PO-17 TS-RED-M:40 TS-RED-L:20 --on 2026-12-05
      tidegate stock incoming set PO-17 TS-RED-L:20 --on 2026-12-09 --location main
    """
    name = _reference(reference)
    expected_on = None
    if day is not None:
        try:
            expected_on = date.fromisoformat(day)
        except ValueError:
            raise click.BadParameter(f"{day!r} is no day; write 2026-12-05", param_hint="--on") from None
    if len({sku for sku, _ in lines}) < len(lines):
        raise click.BadParameter("an article is named twice", param_hint="LINES")
    wanted = [
        Expectation(reference=name, sku=sku, location=location, units=units, expected_on=expected_on)
        for sku, units in lines
    ]
    _change(project_dir, wanted, [name], is_trial=False, as_json=as_json)


@incoming.command()
@click.argument("references", nargs=-1, required=True)
@project_option
@json_option
def remove(references: tuple[str, ...], project_dir: Path | None, *, as_json: bool) -> None:
    """Say that what people expected under REFERENCES came, or does not come any more.

    \b
    Example:
      tidegate stock incoming remove PO-17
    """
    _change(project_dir, [], [_reference(name) for name in references], is_trial=False, as_json=as_json)


@incoming.command(name="import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--sheet", help="Name of the sheet of a workbook. Default: the first one.")
@click.option(
    "--all", "is_all", is_flag=True, help="The file has everything: references that it does not name are gone."
)
@click.option("--dry-run", is_flag=True, help="Check everything and show the differences; change nothing.")
@project_option
@json_option
def import_incoming(
    file: Path, project_dir: Path | None, sheet: str | None, *, is_all: bool, dry_run: bool, as_json: bool
) -> None:
    """Read what is still to come from FILE (.csv or .xlsx): columns reference, sku and units, and location and expected_on.

    What the file says of a reference replaces what was said before; references that it does not name stay, unless --all. A file with
    one wrong row changes nothing, and each is named. Read once more it changes nothing.

    \b
    Examples:
      tidegate stock incoming import orders.csv --dry-run
      tidegate stock incoming import orders.xlsx --all
    """
    wanted = read_expectations(file, sheet)
    references = None if is_all else sorted({each.reference for each in wanted})
    _change(project_dir, wanted, references, is_trial=dry_run, as_json=as_json)


def read_expectations(file: Path, sheet: str | None) -> list[Expectation]:
    """Return the rows of a file. Raises ConfigurationError that names each wrong cell."""
    rows = read_sheet(file, sheet)
    header = next(rows, None)
    if header is None:
        raise unreadable(file, "it is empty")
    names = [cell.strip().lower() for cell in header[1]]
    known = [name for name in names if name in _COLUMNS]
    missing = [name for name in _NEEDED if name not in known]
    if missing or len(set(known)) < len(known):
        raise unreadable(file, f"its first row must name the columns {', '.join(_NEEDED)}, each once")
    found: dict[tuple[str, str], Expectation] = {}
    faults: list[Fault] = []
    for line, cells in rows:
        values = {name: cells[place] for place, name in enumerate(names) if name in _COLUMNS and place < len(cells)}
        read = _read(line, values)
        if isinstance(read, Fault):
            faults.append(read)
        elif (read.reference, read.sku) in found:
            faults.append(Fault(line=line, column="sku", message=f"{read.sku} is named twice under {read.reference}"))
        else:
            found[read.reference, read.sku] = read
        if len(found) > _LINES_MAX:
            raise unreadable(file, f"it has more than {_LINES_MAX} rows", "part it")
    if faults:
        shown = "".join(f"\n  {fault}" for fault in faults[:20])
        more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise ConfigurationError(
            safe_line(f"{file.name} has {len(faults)} cells that cannot be read in; nothing was changed")
            + shown
            + more,
            code="incoming_invalid",
            hint="correct them and run the command again; `tidegate stock incoming import --help` explains the columns",
        )
    return list(found.values())


def _read(line: int, values: dict[str, str]) -> Expectation | Fault:
    for column, length in (("reference", REFERENCE_MAX), ("sku", 200)):
        cell = values.get(column, "")
        if not cell or len(cell) > length or not cell.isprintable():
            return Fault(line=line, column=column, message="is empty, too long, or has characters that cannot be shown")
    units = values.get("units", "")
    if not (units.isascii() and units.isdigit() and len(units) <= 10 and 1 <= int(units) <= UNITS_MAX):
        return Fault(line=line, column="units", message=f"{units[:40]!r} is no whole number from 1 on")
    text, day = values.get("expected_on", ""), None
    if text:
        try:
            day = datetime.fromisoformat(text).date()
        except ValueError:
            return Fault(line=line, column="expected_on", message=f"{text[:40]!r} is no day; write 2026-12-05")
    location = values.get("location", "")
    return Expectation(
        reference=values["reference"], sku=values["sku"], location=location, units=int(units), expected_on=day
    )


def _reference(text: str) -> str:
    if not text.strip() or len(text) > REFERENCE_MAX or not text.isprintable():
        raise click.BadParameter(f"a reference has 1 to {REFERENCE_MAX} printable characters", param_hint="REFERENCE")
    return text


def _change(
    project_dir: Path | None,
    wanted: Sequence[Expectation],
    references: Sequence[str] | None,
    *,
    is_trial: bool,
    as_json: bool,
) -> None:
    async def body(session: Session) -> tuple[ExpectedChange, ...]:
        conn, tenant_id = session.conn, session.tenant_id
        transaction = conn.transaction()
        await transaction.start()
        try:
            done = _granted(await expect(conn, tenant_id, wanted, references=references, actor=operator()))
            if done and not is_trial:
                detail = {"references": [change.reference for change in done][:100], "changes": len(done)}
                subject = done[0].reference if len(done) == 1 else f"{len(done)} references"
                await note_action(
                    conn, tenant_id, actor=operator(), action="stock.expected", subject=subject, detail=detail
                )
        except BaseException:
            await transaction.rollback()
            raise
        await (transaction.rollback() if is_trial else transaction.commit())
        return done

    changes = run_session(project_dir, body)
    if as_json:
        print_json({"changes": plain(changes), "dry_run": is_trial})
        return
    rows = [[change.reference, _words(change.before), _words(change.after)] for change in changes[:200]]
    print_table(_DIFFERENCES, rows, empty="nothing changes")
    if len(changes) > len(rows):
        click.echo(f"and {len(changes) - len(rows)} more")
    if is_trial and changes:
        click.echo("nothing was changed (--dry-run)", err=True)


def _granted(done: tuple[ExpectedChange, ...] | Refusal) -> tuple[ExpectedChange, ...]:
    if isinstance(done, Refusal):
        raise ConfigurationError(f"{done.words}; nothing was changed", code=done.code, hint=done.hint)
    return done


def _words(expected: Iterable[Expectation]) -> str:
    return (
        ", ".join(
            f"{each.units} x {each.sku} to {each.location}" + (f" on {each.expected_on}" if each.expected_on else "")
            for each in expected
        )
        or "nothing"
    )
