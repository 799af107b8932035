"""What is on many screens at once: made once, sent to all.

One refresher per process reads the figures, renders the fragments and wakes whoever streams; it works only while
somebody looks. A page that is slow skips what is in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import structlog
from markupsafe import Markup

from tidegate.config.versions import ConfigVersion
from tidegate.kernel.errors import TidegateError, TransientError
from tidegate.monitor.conservation import read_balances, total_imbalance
from tidegate.monitor.figures import AtRisk, Health, Lag, Minute, Waiting, judge_health, total_at_risk
from tidegate.monitor.lanes import LaneView, read_lanes
from tidegate.monitor.overview import Rates, read_at_risk, read_lags, read_waiting
from tidegate.monitor.status import Status, read_status
from tidegate.runtime.project import Project
from tidegate.runtime.state import missing_processes
from tidegate.store.connections import DATABASE_ERRORS, Connection
from tidegate.web.database import reading
from tidegate.web.world import World

if TYPE_CHECKING:
    from tidegate.web.pages.render import Renderer
    from tidegate.web.sessions import Sessions

REFRESH_SECONDS = 2.0
SLOW_SECONDS = 30.0
"""How often what is dear is read: money, the conservation audit."""
COMMENT_SECONDS = 15.0
"""A line for nobody, so that proxies do not take a quiet stream for a dead one."""
STREAMS_MAX = 64
RETRY_MS = 3000
AUDITED = timedelta(hours=48)
AUDITED_WAITING_MAX = 20_000
TOPICS: Mapping[str, tuple[str, ...]] = {
    "frame": ("frame-health", "frame-banner"),
    "overview": (
        "overview-health",
        "overview-rates",
        "overview-lags",
        "overview-waiting",
        "overview-money",
        "overview-systems",
    ),
    "connections": ("connections-list",),
}
"""What a page may ask for -> ids of its fragments; each has a template of its name below `fragments/`."""
_log = structlog.get_logger("web.live")


class DeskLike(Protocol):
    """What the hub needs of the desk."""

    async def tenant_id(self) -> UUID:
        """Return the tenant's id."""
        ...

    async def config(self, conn: Connection) -> ConfigVersion:
        """Return the configuration at work."""
        ...

    def sessions(self, tenant_id: UUID) -> Sessions:
        """Return the tenant's sessions."""
        ...


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Everything that the fragments are made of, read at one moment."""

    now: datetime
    health: Health
    status: Status
    lanes: Mapping[str, LaneView]
    """Connection -> what waits in its lane and what holds it."""
    minutes: Sequence[Minute]
    lags: Sequence[Lag]
    waiting: Sequence[Waiting]
    at_risk: Sequence[AtRisk]
    config: ConfigVersion

    @property
    def values(self) -> dict[str, Any]:
        """What templates see."""
        return {
            "now": self.now,
            "health": self.health,
            "status": self.status,
            "lane_of": self.lanes,
            "minutes": self.minutes,
            "lags": self.lags,
            "waiting": self.waiting,
            "at_risk": self.at_risk,
            "total_at_risk": total_at_risk(self.at_risk),
            "config": self.config.config,
            "config_version": self.config.version,
        }


@dataclass
class _Fragment:
    html: str = ""
    version: int = 0


@dataclass(eq=False)
class _Stream:
    session_hash: bytes
    is_over: bool = False
    sent: dict[str, int] = field(default_factory=dict)


class Hub:
    """The fragments of one process, and who looks at them."""

    def __init__(self, world: World, renderer: Renderer, desk: DeskLike) -> None:
        """Read nothing before somebody looks."""
        self._world = world
        self._renderer = renderer
        self._desk = desk
        self._project = Project(world.project) if world.project is not None else None
        self._rates = Rates()
        self._slow_due = 0.0
        self._at_risk: tuple[AtRisk, ...] = ()
        self._imbalance: int | None = None
        self._figures: Figures | None = None
        self._figures_at = 0.0
        self._reading = asyncio.Lock()
        self._fragments: dict[str, _Fragment] = {name: _Fragment() for names in TOPICS.values() for name in names}
        self._streams: set[_Stream] = set()
        self._changed = asyncio.Condition()
        self._refresher: asyncio.Task[None] | None = None
        self.rounds = 0
        """Rounds of queries so far."""

    @property
    def streams(self) -> int:
        """How many look at the moment."""
        return len(self._streams)

    def frame(self, name: str) -> Markup:
        """Return a fragment of the page's frame as it was made last."""
        return Markup(self._fragments[name].html)  # noqa: S704 - made by our own templates, escaped there

    async def figures(self, *, age_seconds: float = REFRESH_SECONDS / 2) -> Figures:
        """Return figures that are at most so old; many who ask at once cost one round of queries.

        Raises TransientError when the database is away.
        """
        async with self._reading:
            if self._figures is None or time.monotonic() - self._figures_at >= age_seconds:
                self._figures = await self._read()
                self._figures_at = time.monotonic()
                self._render(self._figures)
            return self._figures

    def forget(self) -> None:
        """Read anew for the next one who asks: somebody has changed something."""
        self._figures_at = 0.0

    async def stream(self, session_hash: bytes, topics: Sequence[str]) -> AsyncIterator[bytes]:
        """Yield server-sent events: every fragment of the topics now, then each one that changed; end with the session.

        Raises TransientError when too many look already.
        """
        names = [name for topic in topics for name in TOPICS.get(topic, ())]
        if len(self._streams) >= STREAMS_MAX:
            raise TransientError("too many pages are open live", code="streams_max", wait_seconds=30)
        return self._events(_Stream(session_hash), names)

    async def _events(self, mine: _Stream, names: Sequence[str]) -> AsyncIterator[bytes]:
        self._streams.add(mine)
        if self._refresher is None or self._refresher.done():
            self._refresher = asyncio.create_task(self._keep_fresh())
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            while not mine.is_over and not self._world.stopping.is_set():
                for name in names:
                    fragment = self._fragments[name]
                    if fragment.version > mine.sent.get(name, 0):
                        mine.sent[name] = fragment.version
                        yield encode_event("swap", f"{name}\n{fragment.html}")
                if not await self._wait(mine, names):
                    yield b": still here\n\n"
            if mine.is_over:
                yield encode_event("ended", "the session is over")
        finally:
            self._streams.discard(mine)

    async def _wait(self, mine: _Stream, names: Sequence[str]) -> bool:
        """Wait until a fragment is newer than what was sent; False when it is time for a comment."""

        def is_news() -> bool:
            news = any(self._fragments[name].version > mine.sent.get(name, 0) for name in names)
            return news or mine.is_over or self._world.stopping.is_set()

        async with self._changed:
            try:
                async with asyncio.timeout(COMMENT_SECONDS):
                    await self._changed.wait_for(is_news)
            except TimeoutError:
                return False
        return True

    async def _keep_fresh(self) -> None:
        """Refresh while somebody looks."""
        sessions_due = time.monotonic() + COMMENT_SECONDS
        stopper = asyncio.create_task(self._world.stopping.wait())
        try:
            while self._streams and not self._world.stopping.is_set():
                try:
                    await self.figures()
                    if time.monotonic() >= sessions_due:
                        sessions_due = time.monotonic() + COMMENT_SECONDS
                        await self._end_dead()
                except (TidegateError, *DATABASE_ERRORS) as error:
                    _log.warning("live.not_refreshed", error_class=type(error).__name__)
                async with self._changed:
                    self._changed.notify_all()
                await asyncio.wait([stopper], timeout=REFRESH_SECONDS)
        finally:
            stopper.cancel()
            async with self._changed:
                self._changed.notify_all()

    async def _end_dead(self) -> None:
        """End the streams of sessions that are over."""
        tenant_id = await self._desk.tenant_id()
        async with reading(self._world, tenant_id) as conn:
            alive = await self._desk.sessions(tenant_id).alive(conn, {stream.session_hash for stream in self._streams})
        for stream in self._streams:
            stream.is_over = stream.session_hash not in alive

    def _render(self, figures: Figures) -> None:
        for name, fragment in self._fragments.items():
            html = self._renderer.page(f"fragments/{name}.html", figures.values)
            if html != fragment.html:
                fragment.html = html
                fragment.version += 1

    async def _read(self) -> Figures:
        self.rounds += 1
        now, tenant_id = self._world.clock.now(), await self._desk.tenant_id()
        async with reading(self._world, tenant_id) as conn:
            config = await self._desk.config(conn)
            status = await read_status(conn, tenant_id)
            lanes = await read_lanes(conn, tenant_id, now, config.config)
            waiting = await read_waiting(conn, tenant_id)
            minutes = await self._rates.read(conn, tenant_id, now)
            lags = await read_lags(conn, tenant_id, now)
        if time.monotonic() >= self._slow_due:
            self._slow_due = time.monotonic() + SLOW_SECONDS
            with contextlib.suppress(TransientError):  # too slow now: what was known stays
                await self._read_dear(tenant_id, config, now, status.queue.waiting)
        missing = missing_processes(self._project.state_file) if self._project is not None else []
        return Figures(
            now=now,
            health=judge_health(status, waiting, missing_processes=missing, imbalance=self._imbalance, now=now),
            status=status,
            lanes={lane.connection: lane for lane in lanes},
            minutes=minutes,
            lags=lags,
            waiting=waiting,
            at_risk=self._at_risk,
            config=config,
        )

    async def _read_dear(self, tenant_id: UUID, config: ConfigVersion, now: datetime, events_waiting: int) -> None:
        async with reading(self._world, tenant_id) as conn:
            self._at_risk = await read_at_risk(conn, tenant_id, config.config, now)
        if events_waiting > AUDITED_WAITING_MAX:
            return
        since = now.replace(minute=0, second=0, microsecond=0) - AUDITED
        async with reading(self._world, tenant_id) as conn:
            self._imbalance = total_imbalance(await read_balances(conn, since=since, tenant_id=tenant_id))


def encode_event(kind: str, text: str) -> bytes:
    """Return one server-sent event; every line of the text is a line of data. Pure."""
    lines = "".join(f"data: {line}\n" for line in text.splitlines())
    return f"event: {kind}\n{lines}\n".encode()
