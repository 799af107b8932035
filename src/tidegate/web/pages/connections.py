"""Connections: which systems there are, whether they answer, and what waits for them."""

from __future__ import annotations

from typing import Any

from litestar import Response

from tidegate.web.pages.visit import Here


async def show(here: Here) -> Response[Any]:
    """Show every connection with its lane and feeds."""
    figures = await here.desk.hub.figures()
    return here.show("connections.html", **{**figures.values, "now": here.now})
