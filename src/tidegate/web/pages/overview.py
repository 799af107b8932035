"""The first page, and the stream that keeps it and the others up to date."""

from __future__ import annotations

from typing import Any

from litestar import Response
from litestar.response import Stream

from tidegate.web.pages.live import TOPICS
from tidegate.web.pages.visit import HEADERS, Here


async def show(here: Here) -> Response[Any]:
    """Show how everything does."""
    figures = await here.desk.hub.figures()
    return here.show("overview.html", **{**figures.values, "now": here.now})


async def stream(here: Here) -> Response[Any]:
    """Send fragments as they change: one stream per page, whatever it shows."""
    topics = [topic for topic in here.asked("topics").split(",") if topic in TOPICS]
    events = await here.desk.hub.stream(here.visit.session_hash, topics or ["frame"])
    return Stream(events, media_type="text/event-stream", headers={**HEADERS, "X-Accel-Buffering": "no"})
