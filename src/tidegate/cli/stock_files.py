"""`tidegate stock export` and `tidegate stock import`: the ledger out to a spreadsheet, and counts back into it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from tidegate.cli.output import plain, print_json, print_table, safe_line, show_progress
from tidegate.cli.session import Session, json_option, newest_config, operator, project_option, run_session
from tidegate.cli.sheets import digest_of, read_sheet, unreadable, writing_sheet
from tidegate.inventory.adjust import KEY_MAX
from tidegate.kernel.errors import ConfigurationError
from tidegate.store.sql import query
from tidegate.sync.adjust import choose_place, note_action, read_places
from tidegate.sync.match_file import Fault
from tidegate.sync.stock_file import EXPORT, READ, REJECTED, export_cells, find_columns, rejected_cells
from tidegate.sync.stock_import import Plan, Row, Step, Totals, check_rows, post_plan

EXPORT_PART = 1_000
"""Items that an export reads together."""
_EXPORT = query("stock_export")
_KITS = query("stock_export_kits")
_NEXT = query("stock_export_next")
_STEPS = ("row", "sku", "location", "counter", "before", "after", "change", "reason")


class _Column(click.ParamType[tuple[str, str]]):
    """A column of ours and what it is called in the file: on_hand=Bestand."""

    name = "COLUMN=NAME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return column and name."""
        if isinstance(value, tuple):
            return value
        column, _, name = str(value).partition("=")
        if column not in READ or not name.strip():
            self.fail(f"{value!r}: write COLUMN=NAME; columns are {', '.join(READ)}", param, ctx)
        return (column, name.strip())


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--location", help="Only this location.")
@click.option("--prefix", help="Only SKUs that begin so.")
@project_option
@json_option
def export_stock(
    file: Path, project_dir: Path | None, location: str | None, prefix: str | None, *, as_json: bool
) -> None:
    """Write all levels to FILE: a workbook when it ends in .xlsx, else CSV.

    The column `version` says up to which entry of the ledger a row is: import the file later, and what you changed in it is
    posted as the difference to what you saw. Cells that a spreadsheet would take for a formula begin with an apostrophe.
    A kit has one row without a location: what it is made of, and how many its parts make over all locations. An import leaves it
    alone; with --location it is left out.

    \b
    Examples:
      tidegate stock export stock.xlsx
      tidegate stock export main.csv --location main --prefix TS-
    """
    count = run_session(project_dir, lambda session: write_levels(session, file, location=location, prefix=prefix))
    show_progress("")
    if as_json:
        print_json({"file": str(file), "levels": count.levels, "kits": count.kits})
    else:
        kits = f" and {count.kits} kits" if count.kits else ""
        click.echo(safe_line(f"{count.levels} levels{kits} in {file}"))


class Exported(NamedTuple):
    """How many rows a file has."""

    levels: int
    kits: int


async def write_levels(session: Session, file: Path, *, location: str | None, prefix: str | None) -> Exported:
    """Write levels and kits to a file, from one snapshot; return how many. Raises ConfigurationError."""
    if location is not None:
        choose_place(await read_places(session.conn, session.tenant_id), location)
    conn, tenant_id = session.conn, session.tenant_id
    levels, kits, after = 0, 0, ""
    with writing_sheet(file, EXPORT) as write:
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            while True:
                last = await conn.fetchval(_NEXT, tenant_id, after, prefix, EXPORT_PART)
                if last is None:
                    return Exported(levels, kits)
                rows = [dict(row) for row in await conn.fetch(_EXPORT, tenant_id, after, location, prefix, EXPORT_PART)]
                levels += len(rows)
                if location is None:
                    made = [dict(row) for row in await conn.fetch(_KITS, tenant_id, after, prefix, last)]
                    kits += len(made)
                    rows = sorted(rows + made, key=lambda row: row["sku"])
                for row in rows:
                    write(export_cells(row))
                after = last
                show_progress(f"{levels} levels written")


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--location", help="Of rows that name none. Default: the only one.")
@click.option(
    "--map", "mapping", type=_Column(), multiple=True, help="What a column is called in the file. May be given again."
)
@click.option("--sheet", help="Name of the sheet of a workbook. Default: the first one.")
@click.option("--dry-run", is_flag=True, help="Check everything and show what would be posted; post nothing.")
@click.option("--show", type=click.IntRange(0, 10_000), default=20, show_default=True, help="Changes to show.")
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where rows that cannot be read go. Default: FILE.rejects.csv",
)
@click.option("--skip-wrong", is_flag=True, help="Post the good rows although others are wrong.")
@click.option("--again", metavar="NAME", help="Post the same file once more, under this name.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@project_option
@json_option
def import_stock(file: Path, project_dir: Path | None, *, as_json: bool, **given: Any) -> None:
    """Read counts and adjustments from FILE (.csv or .xlsx), show what differs, and post it.

    \b
    column         says
    sku            which article (needed)
    location       where; --location stands for all rows
    on_hand        so many were counted: the difference to what was seen is posted
    counted_at     when they were counted   } what was seen; neither: what the ledger
    version        of an export             } has while the file is checked
    by, reason     so many more or fewer, and why
    safety_stock   so many are kept back from channels
    damaged, quality_hold, reserved_other   so many are set aside as that
    note, key      a sentence for the history; your own name of the row

    Everything is checked first and nothing is posted before you agree. Wrong rows are named by row and column, and go into a file
    of their own to be corrected and read in. A file that was interrupted goes on when it is read again: each row is posted once.
    Files of any length are read in parts.

    \b
    Examples:
      tidegate stock import stock.xlsx --dry-run
      tidegate stock import counts.csv --location main --map on_hand=Bestand --map sku=Artikel
      tidegate stock import delivery.csv --yes --json
    """
    done = run_session(project_dir, lambda session: StockImport(file, quiet=as_json, **given).run(session))
    if as_json:
        print_json(done)
        return
    totals = done.totals
    if done.is_posted:
        click.echo(f"{totals.posted} posted, {totals.before} were posted before, {totals.unchanged} are so already")
    else:
        click.echo(
            f"{totals.rows} rows: {totals.changes} changes, {totals.unchanged} are so already, {totals.before} were posted before"
        )
    if totals.rejected:
        click.echo(safe_line(f"{totals.rejected} rows stayed out: {done.rejects}"))
    if not done.is_posted and totals.changes:
        click.echo("nothing was posted")


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a file."""

    file: str
    key: str
    """Under which its rows are posted once."""
    is_posted: bool
    totals: Totals
    first: tuple[Mapping[str, Any], ...]
    """The first changes."""
    faults: tuple[Fault, ...]
    """The first rows that stayed out."""
    rejects: str | None


class StockImport:
    """One file being read in."""

    def __init__(
        self,
        file: Path,
        *,
        location: str | None = None,
        mapping: Sequence[tuple[str, str]] = (),
        sheet: str | None = None,
        dry_run: bool = False,
        show: int = 20,
        rejects: Path | None = None,
        skip_wrong: bool = False,
        again: str | None = None,
        yes: bool = False,
        quiet: bool = False,
    ) -> None:
        """Take the options of the command. `quiet`: changes are not printed as a table."""
        if again is not None and (not 0 < len(again) <= KEY_MAX or not again.isprintable()):
            raise click.BadParameter(f"a name has 1 to {KEY_MAX} printable characters", param_hint="--again")
        self._file = file
        self._location = location
        self._mapping = dict(mapping)
        self._sheet = sheet
        self._dry_run = dry_run
        self._show = show
        self._rejects = rejects or file.with_name(f"{file.name}.rejects.csv")
        self._skip_wrong = skip_wrong
        self._yes = yes
        self._again = again
        self._quiet = quiet
        self._columns: list[str] = []
        self._unknown: list[str] = []
        self._faults: list[Fault] = []
        self._stack = ExitStack()
        self._write: Any = None

    async def run(self, session: Session) -> Imported:
        """Check the file, ask, post."""
        key = digest_of(self._file) + (f":{self._again}" if self._again is not None else "")
        if self._location is not None:
            choose_place(await read_places(session.conn, session.tenant_id), self._location)
        with Plan() as plan:
            try:
                is_posted = await self._check_and_post(session, plan, key)
            finally:
                self._stack.close()  # rows that stayed out are written down, however it ends
            first = tuple({**plain(step), "units": step.units} for step in plan.first)
            totals = plan.totals
        return Imported(
            file=str(self._file),
            key=key,
            is_posted=is_posted,
            totals=totals,
            first=first,
            faults=tuple(self._faults),
            rejects=str(self._rejects) if totals.rejected else None,
        )

    async def _check_and_post(self, session: Session, plan: Plan, key: str) -> bool:
        await check_rows(
            session.conn,
            session.tenant_id,
            await newest_config(session),
            self._rows(),
            plan,
            file_key=key,
            location=self._location,
            now=datetime.now(UTC),
            shown=self._show,
            on_fault=self._reject,
            on_progress=lambda totals: show_progress(f"{totals.rows} rows checked"),
        )
        show_progress("")
        if digest_of(self._file) != key.partition(":")[0]:
            raise unreadable(self._file, "it changed while it was read", "read it again when it is complete")
        if self._dry_run:
            self._tell(plan)
            return False
        if not plan.totals.changes or not self._agreed(plan):
            return False
        await self._post(session, plan, key)
        return True

    def _rows(self) -> Iterator[Row]:
        rows = read_sheet(self._file, self._sheet)
        header = next(rows, None)
        if header is None:
            raise unreadable(self._file, "it is empty")
        try:
            places, self._unknown = find_columns(header[1], self._mapping)
        except ValueError as error:
            raise unreadable(self._file, str(error)) from error
        self._columns = list(places.values())
        for line, cells in rows:
            yield line, {column: cells[place] if place < len(cells) else "" for place, column in places.items()}

    def _reject(self, fault: Fault, cells: Mapping[str, str]) -> None:
        """Put a row into the file of rejects, and the first ones in sight."""
        if self._write is None:
            self._write = self._stack.enter_context(writing_sheet(self._rejects, (*REJECTED, *self._columns)))
        self._write(rejected_cells(fault, self._columns, cells))
        if len(self._faults) < max(self._show, 1):
            self._faults.append(fault)

    def _tell(self, plan: Plan) -> None:
        """Show what differs and what is wrong; to people, beside what the command prints."""
        if self._unknown:
            click.echo(safe_line(f"columns that mean nothing here: {', '.join(self._unknown)}"), err=True)
        for fault in self._faults:
            click.echo(safe_line(str(fault)), err=True)
        if self._quiet:
            return
        rows = [
            [s.line, s.sku, s.location, s.counter, s.before, s.after, f"{s.units:+d}", s.reason] for s in plan.first
        ]
        print_table(_STEPS, rows, empty="nothing differs")
        if plan.totals.changes > len(plan.first):
            click.echo(f"and {plan.totals.changes - len(plan.first)} more")

    def _agreed(self, plan: Plan) -> bool:
        """Return whether a person agrees. Raises ConfigurationError where nobody can, or rows are wrong and nobody is asked."""
        totals = plan.totals
        wrong = f", {totals.rejected} rows are wrong and stay out" if totals.rejected else ""
        words = f"{totals.changes} changes{wrong}"
        if self._yes and (self._skip_wrong or not totals.rejected):
            return True
        self._tell(plan)
        if self._yes:
            raise ConfigurationError(
                f"{words}; nothing was posted",
                code="rows_wrong",
                hint=f"correct them in {self._file.name}, or post the others with --skip-wrong",
            )
        if not sys.stdin.isatty():
            raise ConfigurationError(
                f"{words}: nobody is there to agree",
                code="consent_missing",
                hint="look at it with --dry-run, then say --yes",
            )
        return click.confirm(f"post {words}?", err=True)

    async def _post(self, session: Session, plan: Plan, key: str) -> None:
        totals = plan.totals
        about = {"file": self._file.name, "key": key, "rows": totals.rows, "changes": totals.changes}
        await note_action(
            session.conn,
            session.tenant_id,
            actor=operator(),
            action="stock.import_began",
            subject=self._file.name,
            detail=about,
        )
        try:
            await post_plan(
                session.conn,
                session.tenant_id,
                plan,
                actor=operator(),
                on_fault=self._reject_step,
                on_progress=lambda now: show_progress(f"{now.posted} of {now.changes} posted"),
            )
        except (asyncio.CancelledError, KeyboardInterrupt):
            show_progress("")
            click.echo(f"{totals.posted} of {totals.changes} are posted; the same command goes on from there", err=True)
            raise
        show_progress("")
        await note_action(
            session.conn,
            session.tenant_id,
            actor=operator(),
            action="stock.imported",
            subject=self._file.name,
            detail={**about, "posted": totals.posted, "rejected": totals.rejected},
        )

    def _reject_step(self, fault: Fault, step: Step) -> None:
        """A number that was good when it was checked, and is not any more."""
        self._reject(fault, {"sku": step.sku, "location": step.location, step.counter: str(step.after)})
