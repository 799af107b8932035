"""`tidegate rehearse`: the peak before the peak, with your own configuration, against simulated platforms."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
import textwrap
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import yaml

from tidegate.cli.output import print_table, safe_line
from tidegate.cli.session import find_project, known_connectors, project_option
from tidegate.commerce.commands import CommandKind
from tidegate.config.files import read_files
from tidegate.config.parse import parse, read_filled, roles_of
from tidegate.kernel.errors import ConfigurationError
from tidegate.rehearsal.adapt import Cast, choose_cast
from tidegate.rehearsal.figures import (
    HELD_HEADINGS,
    LOAD_HEADINGS,
    PLATFORM_HEADINGS,
    STAGE_HEADINGS,
    call_lines,
    final_object,
    held_rows,
    load_rows,
    platform_rows,
    rows_of,
    stage_rows,
    verdict_line,
    wrong_lines,
)
from tidegate.rehearsal.page import render
from tidegate.rehearsal.platforms import SIMULATED
from tidegate.rehearsal.profile import BUILT_IN, Kill, Profile, built_in, read_profile
from tidegate.rehearsal.records import Report, Sample
from tidegate.rehearsal.waits import Slots
from tidegate.sdk.budgets import Adaptive, Concurrency

if TYPE_CHECKING:
    from tidegate.sdk.connector import Connector

EXIT_NOT_CLEAN = 1
EXIT_INTERRUPTED = 130
EXAMPLE = "rehearsal.example.yaml"
EXAMPLES_OF = {
    "allocation": "rehearsal.shops.yaml",
    "blind": "rehearsal.blind.yaml",
    "broadcast": "rehearsal.broadcast.yaml",
}
"""Load -> the built-in shops that play it, where these are other ones."""
_share = click.FloatRange(0.0, 1.0)
_FAULTS = ("duplicates", "reordered", "dropped", "untold", "replies_lost", "errors")


@click.command()
@project_option
@click.option(
    "--profile", "profile_name", default="smoke", show_default=True, help="A built-in load, or a YAML or JSON file."
)
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same shoppers and accidents.")
@click.option("--orders", type=click.IntRange(min=1), help="How many purchases are tried.")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="In how long.")
@click.option("--skus", type=click.IntRange(min=1, max=5000), help="How many articles there are.")
@click.option("--hot-stock", type=click.IntRange(min=0), help="Units of the one hot article.")
@click.option("--duplicates", type=_share, help="Share of webhooks that come twice.")
@click.option("--reordered", type=_share, help="Share of webhooks that others overtake.")
@click.option("--dropped", type=_share, help="Share of webhooks that never come.")
@click.option("--untold", type=_share, help="Share of orders of which no webhook ever tells.")
@click.option("--replies-lost", type=_share, help="Share of writes whose answer is lost after the effect.")
@click.option("--errors", type=_share, help="Share of requests answered with a 5xx.")
@click.option("--eaten", type=_share, help="Share of every budget that another app uses.")
@click.option("--kill", "kills", multiple=True, metavar="ROLE@SHARE", help="kill -9, such as dispatch@0.5. Repeat it.")
@click.option("--with-profile", metavar="NAME", help="Switch this profile of tidegate.yaml on meanwhile.")
@click.option(
    "--baseline", type=click.Choice(["naive"]), help="Run a hand-rolled script beside it, under the same load."
)
@click.option("--example", is_flag=True, help="Use the built-in shops, whatever tidegate.yaml says.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as JSON.")
@click.option(
    "--html", "html_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as one page."
)
@click.option("--list", "lists", is_flag=True, help="List the built-in loads.")
def rehearse(
    project_dir: Path | None,
    profile_name: str,
    with_profile: str | None,
    baseline: str | None,
    json_file: Path | None,
    html_file: Path | None,
    kills: tuple[str, ...],
    *,
    example: bool,
    lists: bool,
    **given: Any,
) -> int:
    """Play a peak through your own configuration before it comes, against simulated platforms.

    Starts a whole Tidegate in a temporary folder with your tidegate.yaml, its connections pointed at servers on this
    machine that keep real limits, real stock and real books. Shoppers buy, things break, and then all books are compared.
    Nothing of your installation is touched, no credential is read, and nothing leaves this machine. Without a project the
    built-in shops play.

    Ends with the report; the last line is one JSON object. Exits with 1 when something was lost or doubled, more was
    oversold than `tidegate stock promise` said before, or it was not settled in time.

    \b
    Examples:
      tidegate rehearse                               60 orders, everything that can go wrong
      tidegate rehearse --profile flash-sale --html report.html
      tidegate rehearse --profile flash-sale --orders 2000 --seconds 30 --kill dispatch@0.5
      tidegate rehearse --profile bad-day --baseline naive
      tidegate rehearse --example --profile allocation    five shops share out 500 units
      tidegate rehearse --example --profile broadcast     one number for all, less buffers
      tidegate rehearse --with-profile peak           with the profile `peak` of your file
    """
    if lists:
        print_table(("load", "what"), [[name, one.title] for name, one in BUILT_IN.items()], empty="")
        return 0
    profile = _profile(profile_name, given, kills)
    connectors = known_connectors()
    root, named_files = _read_root(project_dir, connectors, EXAMPLES_OF.get(profile.name, EXAMPLE), example=example)
    cast = choose_cast(root, SIMULATED)
    from tidegate.rehearsal.play import Request  # late: it brings the HTTP client along
    from tidegate.rehearsal.play import rehearse as run

    request = Request(
        profile=profile,
        root=root,
        files=named_files,
        cast=cast,
        bulk_max=bulk_sizes(cast, connectors),
        slots=call_slots(cast, connectors),
        with_profile=with_profile,
        with_naive=baseline == "naive",
    )
    for file in (json_file, html_file):
        if file is not None and not file.absolute().parent.is_dir():
            raise ConfigurationError(f"{file.parent} is no folder", code="folder_missing", hint="make it first")
    audience = Audience()
    audience.say(f"rehearsing {profile.name}: {profile.orders:,} orders in {profile.seconds:g} s, seed {profile.seed}")
    report = asyncio.run(_run_until_stopped(run(request, audience)))
    audience.finish()
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    if html_file is not None:
        html_file.write_text(render(report), encoding="utf-8")
    _print(report, json_file, html_file)
    click.echo(msgspec.json.encode(final_object(report)).decode())
    return 0 if report.ours.is_clean else EXIT_NOT_CLEAN


class Audience:
    """Shows progress: one line that changes in a terminal, a line every few seconds elsewhere."""

    EVERY = 5

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._shown = 0
        self._is_open = False

    def say(self, line: str) -> None:
        """Print what happens, on stderr."""
        self.finish()
        click.echo(safe_line(line), err=True)

    def show(self, sample: Sample, total: int, naive: Sample | None) -> None:
        """Show how it stands."""
        line = (
            f"{sample.at:5.0f} s  sold {sample.sold:,} of {total:,}  in the ERP {sample.booked:,}  "
            f"events {sample.events_waiting:,}  commands {sample.commands_waiting:,}  numbers {sample.marks_dirty:,}"
        )
        if naive is not None:
            line += f"  | naive: in the ERP {naive.booked:,} of {naive.sold:,}"
        self._shown += 1
        if self._is_terminal:
            click.echo(f"\r\x1b[K{line}", nl=False, err=True)
            self._is_open = True
        elif self._shown % self.EVERY == 1:
            click.echo(line, err=True)

    def finish(self) -> None:
        """End the line that changes."""
        if self._is_open:
            click.echo("", err=True)
            self._is_open = False


async def _run_until_stopped(play: Any) -> Report:
    """Run the play; SIGTERM and Ctrl-C cancel it, and it ends everything that it started."""
    task = asyncio.ensure_future(play)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        report: Report = await task
    except asyncio.CancelledError:
        click.echo("stopped; everything that was started is gone", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    else:
        return report
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(ValueError):
                loop.remove_signal_handler(number)


def _profile(name: str, given: Mapping[str, Any], kills: tuple[str, ...]) -> Profile:
    profile = _named_profile(name)
    plain = {key: value for key, value in given.items() if value is not None and key not in _FAULTS}
    faults = {key: given[key] for key in _FAULTS if given.get(key) is not None}
    changes: dict[str, Any] = dict(plain)
    if faults:
        changes["faults"] = msgspec.structs.replace(profile.faults, **faults)
    if kills:
        changes["kills"] = tuple(_kill(text) for text in kills)
    return msgspec.structs.replace(profile, **changes)


def _named_profile(name: str) -> Profile:
    if name in BUILT_IN:
        return built_in(name)
    path = Path(name)
    if path.suffix in {".yaml", ".yml", ".json"}:
        try:
            return read_profile(yaml.safe_load(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}", code="profile_unknown") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path} is no YAML", code="profile_invalid") from error
    return built_in(name)


def _kill(text: str) -> Kill:
    role, _, at = text.partition("@")
    try:
        return msgspec.convert({"role": role, "at": float(at or "0.5")}, type=Kill)
    except (ValueError, msgspec.ValidationError) as error:
        raise click.UsageError(
            f"--kill {text!r}: write ROLE@SHARE, such as dispatch@0.5 (door, apply, dispatch, postgres)"
        ) from error


def _read_root(
    project_dir: Path | None, connectors: Mapping[str, Connector], shops: str, *, example: bool
) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Return the configuration with what its preset fills in, and the files that it names."""
    if not example:
        try:
            project = find_project(project_dir)
        except ConfigurationError:
            if project_dir is not None:
                raise
        else:
            text = project.config_file.read_text(encoding="utf-8")
            config = parse(text, connectors=connectors)
            document, _ = read_filled(text, roles_of(connectors))
            if document is not None and config.connections:
                return document.root, read_files(project.folder, config)
            click.echo("tidegate.yaml names no connections yet: the built-in shops play", err=True)
    text = (files("tidegate.cli") / shops).read_text(encoding="utf-8")
    root: Mapping[str, Any] = yaml.safe_load(text)
    return root, {}


def bulk_sizes(cast: Cast, connectors: Mapping[str, Connector]) -> dict[str, int]:
    """Return how many stock numbers one call of each connection takes."""
    sizes: dict[str, int] = {}
    for name, use in cast.connectors.items():
        spec = connectors[use].commands.get(CommandKind.INVENTORY_SET)
        sizes[name] = spec.bulk_max if spec is not None else 1
    return sizes


def call_slots(cast: Cast, connectors: Mapping[str, Connector]) -> dict[str, Slots]:
    """Return how many calls of each connection may be under way at once."""
    return {
        name: Slots(
            calls_max=connectors[use].concurrency_max,
            is_the_limit=isinstance(connectors[use].budget, Concurrency | Adaptive),
        )
        for name, use in cast.connectors.items()
    }


def _wrapped(line: str) -> str:
    """Return a line as a terminal shows it best; for a file it stays one line."""
    words = safe_line(line)
    if not sys.stdout.isatty():
        return words
    width = min(120, shutil.get_terminal_size().columns)
    return textwrap.fill(words, width, subsequent_indent=" " * len("broke: "), break_long_words=False)


def _print(report: Report, json_file: Path | None, html_file: Path | None) -> None:
    headings = ("", "Tidegate", *(("naive",) if report.naive is not None else ()))
    click.echo("")
    for note in report.notes:
        click.echo(_wrapped(f"note : {note}"))
    print_table(headings, rows_of(report), empty="")
    for line in call_lines(report):
        click.echo(line)
    click.echo("")
    print_table(STAGE_HEADINGS, stage_rows(report), empty="nothing was measured")
    click.echo("")
    print_table(PLATFORM_HEADINGS, platform_rows(report), empty="")
    click.echo("")
    print_table(HELD_HEADINGS, held_rows(report), empty="no work waited for longer than its number may be old")
    click.echo("")
    print_table(LOAD_HEADINGS, load_rows(report), empty="")
    click.echo("")
    for advice in report.advice:
        click.echo(_wrapped(f"{'broke' if advice.is_broken else 'next '}: {advice.what}"))
        if advice.setting:
            click.echo(safe_line(f"       {advice.setting}"))
    for line in wrong_lines(report):
        click.echo(_wrapped(f"wrong: {line}"))
    for file in (json_file, html_file):
        if file is not None:
            click.echo(f"wrote {file}")
    click.echo(verdict_line(report))
