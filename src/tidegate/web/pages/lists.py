"""Lists with filters and a way to go on: what is asked for in the address, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from tidegate.kernel.ids import parse_public_id, public_id
from tidegate.kernel.moments import parse_moment
from tidegate.monitor.search import Found, entities_of, find
from tidegate.web.pages.visit import Here
from tidegate.web.problems import ProblemError

PAGE_ROWS = 50


@dataclass(kw_only=True)
class Asked:
    """The filters of a list as they were asked for; '' filters nothing."""

    q: str
    connection: str
    state: str
    sort: str
    """Kind of a command, topic of an event."""
    code: str
    since: str
    before: str
    connection_id: UUID | None = None
    since_at: datetime | None = None
    before_id: UUID | None = None
    found: Found | None = None
    entities: list[UUID] | None = None
    names: Sequence[str] = field(default_factory=tuple)
    """Names of all connections, for the form."""
    trouble: str = ""
    """What could not be understood; then the list is empty."""

    def address(self, path: str, sort_name: str, **changed: str) -> str:
        """Return the address of this list with some filters changed."""
        values = {
            "q": self.q,
            "connection": self.connection,
            "state": self.state,
            sort_name: self.sort,
            "code": self.code,
            "since": self.since,
            **changed,
        }
        asked = urlencode({name: value for name, value in values.items() if value})
        return f"{path}?{asked}" if asked else path

    @property
    def filters(self) -> bool:
        """Whether anything is filtered."""
        return any((self.q, self.connection, self.state, self.sort, self.code, self.since))


async def read_asked(here: Here, conn: Any, connections: Sequence[Any], *, sort_name: str, id_kind: str) -> Asked:
    """Return what the address asks for, names resolved."""
    asked = Asked(
        q=here.asked("q"),
        connection=here.asked("connection"),
        state=here.asked("state"),
        sort=here.asked(sort_name),
        code=here.asked("code"),
        since=here.asked("since"),
        before=here.asked("before"),
        names=[row["name"] for row in connections],
    )
    ids = {row["name"]: row["connection_id"] for row in connections}
    if asked.connection:
        asked.connection_id = ids.get(asked.connection)
        if asked.connection_id is None:
            asked.trouble = f"No connection is called {asked.connection}."
    if asked.since:
        try:
            asked.since_at = parse_moment(asked.since, now=here.now)
        except (ValueError, OverflowError):
            asked.trouble = f"{asked.since} is no time; write 2026-11-01, 2026-11-01T12:30, or 2h for two hours ago."
    if asked.before:
        try:
            asked.before_id = parse_public_id(asked.before, kind=id_kind)
        except ValueError as error:
            raise ProblemError(400, "invalid_request", "this page does not exist") from error
    if asked.q:
        asked.found = await find(conn, here.tenant_id, asked.q)
        asked.entities = await entities_of(conn, here.tenant_id, asked.found, asked.q)
    return asked


def next_address(here: Here, asked: Asked, rows: Sequence[Any], *, path: str, sort_name: str, id_kind: str) -> str:
    """Return where the list goes on, '' at its end. `rows` has one more row than a page when it does."""
    if len(rows) <= PAGE_ROWS:
        return ""
    last = rows[PAGE_ROWS - 1][{"evt": "event_id", "cmd": "command_id"}[id_kind]]
    return asked.address(path, sort_name, before=public_id(id_kind, here.cell, last))


def id_in_path(here: Here, kind: str) -> UUID:
    """Return the id that the path names. Raises ProblemError when it is none."""
    try:
        return parse_public_id(here.path("id"), kind=kind)
    except ValueError as error:
        raise ProblemError(
            404, "id_unknown", "there is nothing of that id", hint="find it by the field above"
        ) from error
