"""Connections: which systems there are, whether they answer, what waits for them, and who owns which field."""

from __future__ import annotations

from typing import Any

from litestar import Response

from tidegate.kernel.errors import TransientError
from tidegate.monitor.ownership import FieldRule, field_rules
from tidegate.web.pages.visit import Here


async def show(here: Here) -> Response[Any]:
    """Show every connection with its lane and feeds, and the owners of fields."""
    figures = await here.desk.hub.figures()
    return here.show("connections.html", **{**figures.values, "now": here.now, "owners": await _owners(here)})


async def _owners(here: Here) -> tuple[FieldRule, ...]:
    """Return who owns each field; nothing before the first configuration."""
    try:
        return field_rules(await here.config())
    except TransientError:
        return ()
