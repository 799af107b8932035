"""`tidegate kits`: articles that are made of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from tidegate.cli.output import plain, print_json, print_table, safe_line
from tidegate.cli.session import Session, json_option, newest_config, operator, project_option, run_session
from tidegate.cli.sheets import read_sheet, unreadable, writing_sheet
from tidegate.cli.skus import SkuLine
from tidegate.config.effective import effective
from tidegate.dispatch.safety import safety_rules
from tidegate.kernel.errors import ConfigurationError
from tidegate.sync.adjust import note_action
from tidegate.sync.kits import KITS_MAX, UNITS_MAX, KitChange, KitPlan, list_kits, plan_kits, read_parts, set_kits
from tidegate.sync.match_file import Fault, guard

_HEAD = ("kit", "parts")
_DIFFERENCES = ("kit", "before", "after")
_COLUMNS = ("kit", "part", "units")
EXPORT_PART = 1_000
"""Kits that an export reads together."""


@click.group()
def kits() -> None:
    """Say which articles are made of others: bundles, sets, multi-packs.

    A kit has no stock of its own. Channels are told how many can be made of what its parts leave, a sale of it commits the
    parts, and whatever changes a part has the kit told anew. Selling the parts by themselves goes on as before.

    \b
    Examples:
      tidegate kits set TEA-SET MUG:2 TEA
      tidegate kits import kits.csv --dry-run
      tidegate kits export kits.xlsx
      tidegate kits show TEA-SET
    """


@kits.command(name="list")
@click.option("--part", help="Only those that have this part.")
@click.option("--after", default="", help="Only SKUs behind this one.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many at most.")
@project_option
@json_option
def list_them(project_dir: Path | None, part: str | None, after: str, limit: int, *, as_json: bool) -> None:
    """List kits and what they are made of.

    \b
    Examples:
      tidegate kits list
      tidegate kits list --part MUG --json
    """

    async def body(session: Session) -> dict[str, dict[str, int]]:
        return await list_kits(session.conn, session.tenant_id, after=after, part=part, limit=limit)

    found = run_session(project_dir, body)
    if as_json:
        print_json([{"sku": sku, "parts": parts} for sku, parts in found.items()])
        return
    print_table(_HEAD, [[sku, _words(parts)] for sku, parts in found.items()], empty="there are no kits")


@kits.command()
@click.argument("sku")
@project_option
@json_option
def show(sku: str, project_dir: Path | None, *, as_json: bool) -> None:
    """Show what one kit is made of. How many there are: tidegate stock show SKU.

    \b
    Example:
      tidegate kits show TEA-SET
    """

    async def body(session: Session) -> dict[str, int]:
        found = (await read_parts(session.conn, session.tenant_id, [sku])).get(sku)
        if found is None:
            hint = "make it one: tidegate kits set SKU PART:UNITS ..."
            raise ConfigurationError(f"{sku} is no kit", code="kit_unknown", hint=hint)
        return found

    parts = run_session(project_dir, body)
    if as_json:
        print_json({"sku": sku, "parts": parts})
    else:
        print_table(("part", "units"), [[part, units] for part, units in parts.items()], empty="")


@kits.command(name="set")
@click.argument("sku")
@click.argument("parts", type=SkuLine(), nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Check and show the difference; change nothing.")
@project_option
@json_option
def set_one(
    sku: str, project_dir: Path | None, parts: tuple[tuple[str, int], ...], *, dry_run: bool, as_json: bool
) -> None:
    """Make SKU of PARTS, each written PART or PART:UNITS. What it was made of before is replaced.

    Orders that hold units of it hold units of the new parts from then on.

    \b
    Examples:
      tidegate kits set TEA-SET MUG:2 TEA
      tidegate kits set SIX-PACK BOTTLE:6
    """
    _change(project_dir, {sku: _add_up(sku, parts)}, is_trial=dry_run, as_json=as_json)


@kits.command()
@click.argument("skus", metavar="SKU...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Check and show the difference; change nothing.")
@project_option
@json_option
def remove(skus: tuple[str, ...], project_dir: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Have articles be no kits any more: they are counted by themselves again, and orders hold units of them.

    \b
    Example:
      tidegate kits remove TEA-SET
    """
    _change(project_dir, {sku: {} for sku in skus}, is_trial=dry_run, as_json=as_json)


@kits.command(name="export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--part", help="Only those that have this part.")
@click.option("--prefix", help="Only SKUs that begin so.")
@project_option
@json_option
def export_kits(file: Path, project_dir: Path | None, part: str | None, prefix: str | None, *, as_json: bool) -> None:
    """Write kits to FILE: a workbook when it ends in .xlsx, else CSV. A row for each part: kit, part, units.

    Change it and read it in again: `tidegate kits import` shows what differs. How many there are of each stands in
    `tidegate stock export`.

    \b
    Examples:
      tidegate kits export kits.xlsx
      tidegate kits export mugs.csv --part MUG
    """
    count = run_session(project_dir, lambda session: write_kits(session, file, part=part, prefix=prefix))
    if as_json:
        print_json({"file": str(file), "kits": count})
    else:
        click.echo(safe_line(f"{count} kits in {file}"))
        if count > KITS_MAX:
            click.echo(f"an import takes {KITS_MAX} kits at once: part the file, or export by --prefix", err=True)


async def write_kits(session: Session, file: Path, *, part: str | None = None, prefix: str | None = None) -> int:
    """Write kits to a file, from one snapshot; return how many. Raises ConfigurationError when it cannot be written."""
    count, after = 0, ""
    with writing_sheet(file, _COLUMNS) as write:
        async with session.conn.transaction(isolation="repeatable_read", readonly=True):
            while True:
                found = await list_kits(
                    session.conn, session.tenant_id, after=after, part=part, prefix=prefix, limit=EXPORT_PART
                )
                if not found:
                    return count
                for kit, parts in found.items():
                    for name, units in parts.items():
                        write((guard(kit), guard(name), units))
                count += len(found)
                after = max(found)


@kits.command(name="import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--sheet", help="Name of the sheet of a workbook. Default: the first one.")
@click.option("--dry-run", is_flag=True, help="Check everything and show the differences; change nothing.")
@project_option
@json_option
def import_kits(file: Path, project_dir: Path | None, sheet: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Read kits from FILE (.csv or .xlsx): a row for each part, with the columns kit, part and units.

    Each kit that the file names is made of exactly the parts that it names; kits that it does not name stay. A file with one
    wrong row changes nothing, and each is named. Read once more it changes nothing.

    \b
    Example of a file:
      kit,part,units
      TEA-SET,MUG,2
      TEA-SET,TEA,1
    \b
    Examples:
      tidegate kits import kits.csv --dry-run
      tidegate kits import kits.xlsx --sheet Sets
    """
    _change(project_dir, read_kits(file, sheet), is_trial=dry_run, as_json=as_json)


def read_kits(file: Path, sheet: str | None) -> dict[str, dict[str, int]]:
    """Return kit -> part -> units of a file. Raises ConfigurationError that names each wrong row."""
    rows = read_sheet(file, sheet)
    header = next(rows, None)
    if header is None:
        raise unreadable(file, "it is empty")
    names = [cell.strip().lower() for cell in header[1]]
    if sorted(name for name in names if name in _COLUMNS) != sorted(_COLUMNS):
        raise unreadable(file, f"its first row must name the columns {', '.join(_COLUMNS)}, each once")
    found: dict[str, dict[str, int]] = {}
    faults = []
    for line, cells in rows:
        kit, part, units = (cells[names.index(name)] if names.index(name) < len(cells) else "" for name in _COLUMNS)
        for column, cell in (("kit", kit), ("part", part)):
            if not cell or len(cell) > 200 or not cell.isprintable():
                faults.append(Fault(line=line, column=column, message="is no SKU"))
        if not units.isascii() or not units.isdigit() or not 1 <= int(units) <= UNITS_MAX:
            faults.append(
                Fault(line=line, column="units", message=f"{units[:40]!r} is no number from 1 to {UNITS_MAX}")
            )
        elif part in found.setdefault(kit, {}):
            faults.append(Fault(line=line, column="part", message=f"{part} is named twice for {kit}"))
        else:
            found[kit][part] = int(units)
    if faults:
        shown = "".join(f"\n  {fault}" for fault in faults[:20]) + (
            f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
        )
        raise ConfigurationError(
            safe_line(f"{file.name} has {len(faults)} cells that cannot be read in; nothing was changed") + shown,
            code="kits_invalid",
            hint="correct them and run the command again; `tidegate kits import --help` shows a file",
        )
    if len(found) > KITS_MAX:
        raise unreadable(file, f"it has more than {KITS_MAX} kits", "part it")
    return found


def _add_up(sku: str, parts: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part, units in parts:
        if part in found:
            raise click.BadParameter(f"{part} is named twice for {sku}", param_hint="PARTS")
        found[part] = units
    return found


async def _shared_by(session: Session) -> Callable[[str], bool]:
    config = await newest_config(session)
    rules = safety_rules(effective(config, datetime.now(UTC)).planned)
    return lambda sku: rules.shares(sku) != "off"


def _change(
    project_dir: Path | None, wanted: Mapping[str, Mapping[str, int]], *, is_trial: bool, as_json: bool
) -> None:
    async def body(session: Session) -> KitPlan:
        is_shared = await _shared_by(session)
        conn, tenant_id = session.conn, session.tenant_id
        if is_trial:
            return _checked(await plan_kits(conn, tenant_id, wanted, is_shared=is_shared))
        async with conn.transaction():
            plan = _checked(await set_kits(conn, tenant_id, wanted, is_shared=is_shared))
            for change in plan.changes:
                detail = {"before": change.before, "after": change.after}
                await note_action(
                    conn, tenant_id, actor=operator(), action="kit.set", subject=change.sku, detail=detail
                )
        return plan

    plan = run_session(project_dir, body)
    if as_json:
        print_json({"changes": plain(plan.changes), "lines": plan.lines, "dry_run": is_trial})
        return
    print_table(_DIFFERENCES, [_row(change) for change in plan.changes], empty="nothing changes")
    if plan.lines:
        click.echo(f"{plan.lines} order lines hold units of other items now")
    if is_trial and plan.changes:
        click.echo("nothing was changed (--dry-run)", err=True)


def _checked(plan: KitPlan) -> KitPlan:
    """Return a plan without faults. Raises ConfigurationError that names the first ones."""
    if not plan.faults:
        return plan
    first, *rest = plan.faults
    words = "".join(f"\n  {fault.words}" for fault in rest[:19])
    more = f"\n  and {len(rest) - 19} more" if len(rest) > 19 else ""
    raise ConfigurationError(
        safe_line(f"{first.words}; nothing was changed") + words + more, code=first.code, hint=first.hint
    )


def _row(change: KitChange) -> list[object]:
    return [change.sku, _words(change.before) or "no kit", _words(change.after) or "no kit"]


def _words(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{units} x {part}" for part, units in parts.items())
