"""The versions of the configuration: who made which, what it changed, and the way back."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from litestar import Response

from tidegate.config import parse
from tidegate.config.compare import meanings
from tidegate.config.history import Version, read_history, read_version
from tidegate.sync.going_live import put_to_work
from tidegate.web.pages.visit import Here
from tidegate.web.problems import ProblemError

VERSIONS = 50
CONTEXT_LINES = 3


async def show_list(here: Here) -> Response[Any]:
    """List the versions, newest first."""
    below = here.asked("below")
    limits = {"below": _number(below)} if below else {}
    async with here.reading() as conn:
        versions = await read_history(conn, here.tenant_id, limit=VERSIONS + 1, **limits)
    shown = [
        (version, _meanings(older, version)) for version, older in zip(versions, [*versions[1:], None], strict=True)
    ]
    further = versions[VERSIONS - 1].version if len(versions) > VERSIONS else None
    return here.show("versions.html", versions=shown[:VERSIONS], further=further)


async def show_one(here: Here) -> Response[Any]:
    """Show one version, line by line against another one: against the one before unless asked otherwise."""
    number = _number(here.path("number"))
    against = here.asked("against")
    async with here.reading() as conn:
        version = await read_version(conn, here.tenant_id, number)
        newest = (await read_history(conn, here.tenant_id, limit=1))[0]
        other = await _other(conn, here, number, against)
    return here.show(
        "version.html",
        version=version,
        other=other,
        is_newest=newest.version == version.version,
        newest=newest.version,
        lines=list(compare_lines(other.document if other is not None else "", version.document)),
        meanings=_meanings(other, version),
        back=_meanings(newest, version) if newest.version != version.version else [],
    )


async def roll_back(here: Here) -> Response[Any]:
    """Make an older version's text the newest version."""
    number = _number(here.path("number"))
    newest = here.field("newest")  # as the page showed it, with what going back would mean
    await here.prove()
    async with here.writing() as conn:
        wanted = await read_version(conn, here.tenant_id, number)
        parse(wanted.document, connectors=here.connectors, files=wanted.files)
        version = await put_to_work(
            conn,
            wanted.document,
            applied_by=here.actor,
            files=wanted.files,
            connectors=here.connectors,
            expected_version=_number(newest) if newest else None,
        )
    if not version.is_new:
        return here.go("/config", f"Version {version.version} is at work, and says the same.")
    words = (
        f"Version {version.version} is that of version {number}, and is taken over now. "
        "The file on disk is behind: tidegate config pull"
    )
    return here.go("/config", words)


def compare_lines(before: str, after: str) -> Iterable[tuple[str, str]]:
    """Yield (kind, line) of what differs, with the lines around it; kind is add, del, at or same. Pure."""
    kinds = {"+": "add", "-": "del", "@": "at", " ": "same"}
    found = difflib.unified_diff(before.splitlines(), after.splitlines(), n=CONTEXT_LINES, lineterm="")
    for line in list(found)[2:]:
        yield kinds.get(line[:1], "same"), line


async def _other(conn: Any, here: Here, number: int, against: str) -> Version | None:
    if against:
        return await read_version(conn, here.tenant_id, _number(against))
    older = await read_history(conn, here.tenant_id, limit=1, below=number)
    return older[0] if older else None


def _meanings(older: Version | None, version: Version) -> list[Any]:
    if version.found is None or (older is not None and older.found is None):
        return []
    return meanings(older.config if older is not None else None, version.config)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ProblemError(404, "version_missing", "there is no such version", hint="see the list of versions")
    return int(text)
