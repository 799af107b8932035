"""How `tidegate config` shows changes and versions, and asks before something begins to write."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from tidegate.cli.output import print_json, print_table, safe_line, show, show_time
from tidegate.config.compare import NEEDS_CONSENT, Change, changes, meanings
from tidegate.config.history import Version
from tidegate.config.versions import ConfigVersion
from tidegate.kernel.errors import ConfigurationError

SHOWN_CHANGES_MAX = 3
_SIGNS = {(False, True): ("+", "green"), (True, False): ("-", "red"), (True, True): ("~", "yellow")}


def print_comparison(before: Version | None, after: Version | ConfigVersion, *, as_json: bool = False) -> bool:
    """Print what differs and what it means; return whether anything does."""
    old = before.config if before is not None else None
    found, means = changes(old, after.config), meanings(old, after.config)
    texts = before is None or before.document != after.document
    files = sorted(
        name
        for name in {*(before.files if before is not None else ()), *after.files}
        if (before.files.get(name) if before is not None else None) != after.files.get(name)
    )
    if as_json:
        print_json(
            {
                "before": before.version if before is not None else None,
                "after": after.version or None,
                "changes": found,
                "files": files,
                "means": means,
                "needs_consent": any(meaning.kind in NEEDS_CONSENT for meaning in means),
            }
        )
        return bool(found or files or texts)
    names = [_name(before), _name(after)]
    if not found and not files:
        words = "say the same, in other words: only comments or layout differ" if texts else "are the same"
        click.echo(f"{names[0]} and {names[1]} {words}")
        return texts
    click.echo(f"{names[0]} -> {names[1]}")
    for change in found:
        sign, colour = _SIGNS[change.before is not None, change.after is not None]
        click.secho(f"  {sign} {safe_line(_words(change))}", fg=colour)
    for name in files:
        click.secho(f"  ~ {safe_line(name)} (file)", fg="yellow")
    if means:
        click.echo("this means:")
    for meaning in means:
        mark = "!" if meaning.kind in NEEDS_CONSENT else "-"
        click.secho(f"  {mark} {safe_line(meaning.words)}", bold=meaning.kind in NEEDS_CONSENT)
    return True


def refuse_without_consent(reasons: Sequence[str], *, yes: bool) -> None:
    """Ask whether to go on. Raises ConfigurationError when nobody can answer, click.Abort when the answer is no."""
    for reason in reasons:
        click.secho(f"  ! {safe_line(reason)}", bold=True)
    if yes:
        return
    if not (sys.stdin and sys.stdin.isatty()):
        raise ConfigurationError(
            "this begins to write or changes who may, and there is nobody to ask",
            code="consent_missing",
            hint="look at it with --dry-run, then say --yes",
        )
    click.confirm("put it to work?", abort=True)


def summary_of(version: Version, older: Version | None) -> dict[str, Any]:
    """Return a version as a row of the history."""
    found: list[Change] = []
    if version.found is not None and (older is None or older.found is not None):
        found = changes(older.found if older is not None else None, version.found)
    return {
        "version": version.version,
        "applied_at": version.applied_at,
        "applied_by": version.applied_by,
        "valid": version.found is not None,
        "changes": [_words(change) for change in found],
    }


def print_history(rows: Sequence[dict[str, Any]]) -> None:
    """Print versions as a table."""
    table = [(row["version"], show_time(row["applied_at"]), row["applied_by"], _changed(row)) for row in rows]
    print_table(("version", "at", "by", "changed"), table, empty="nothing was put to work yet")


def _changed(row: dict[str, Any]) -> str:
    if not row["valid"]:
        return "this release refuses it"
    words = row["changes"]
    if not words:
        return "comments or files only"
    rest = len(words) - SHOWN_CHANGES_MAX
    return "; ".join(words[:SHOWN_CHANGES_MAX]) + (f"; and {rest} more" if rest > 0 else "")


def _words(change: Change) -> str:
    if change.before is None:
        return f"{change.path}: {_value(change.after)}"
    if change.after is None:
        return f"{change.path}: {_value(change.before)} (gone)"
    return f"{change.path}: {_value(change.before)} -> {_value(change.after)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    return str(value).lower() if isinstance(value, bool) else show(value)


def _name(version: Version | ConfigVersion | None) -> str:
    if version is None:
        return "nothing"
    return f"version {version.version}" if version.version else "the file"
