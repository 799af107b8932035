"""A lane: the one loop that talks to one connection. It holds a window of what is most urgent and keeps calls in flight."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import assert_never
from uuid import UUID

import structlog

from tidegate.commerce.commands import CommandKind
from tidegate.config import Config
from tidegate.config.lanes import LaneRules
from tidegate.dispatch import statements
from tidegate.dispatch.budget_book import Watch
from tidegate.dispatch.calls import CallResult, OpenGuard, look_after, push_stock, send_actions
from tidegate.dispatch.decide import Decision, ErrorClass, LaneEffect, classify, named_wait, reason_of
from tidegate.dispatch.drift import compare_chunk
from tidegate.dispatch.feeds import FeedTimes, fetch_entity, load_feed_ages, read_feed
from tidegate.dispatch.guard import ClosableApi, GuardedApi
from tidegate.dispatch.heal import heal_step
from tidegate.dispatch.host import Host
from tidegate.dispatch.pace import Pace
from tidegate.dispatch.records import ShownRead, Window
from tidegate.dispatch.safety import SafetyRules
from tidegate.dispatch.scope import Scope
from tidegate.dispatch.select import (
    Busy,
    Candidate,
    Choice,
    FetchEntity,
    Hold,
    LookAfter,
    PushStock,
    ReadFeed,
    ReadShown,
    SendCommand,
    Task,
    choose,
    gather_wait,
    list_candidates,
    merge_wait,
    slots_kept,
)
from tidegate.dispatch.shown import read_shown_page
from tidegate.dispatch.t2s import mark_for_safety
from tidegate.dispatch.urgency import Urgency
from tidegate.dispatch.window import load_urgent, load_window, without
from tidegate.kernel.errors import TidegateError
from tidegate.kernel.retry import full_jitter
from tidegate.store.connections import DATABASE_ERRORS, Connection, Pool
from tidegate.store.fence import Fenced

log = structlog.get_logger()

_FIRST = UUID(int=0)
OpenApi = Callable[[], Awaitable[ClosableApi]]
"""Makes the connection's Api; the credentials are decrypted here. Raises TidegateError."""
RETRY_SECONDS = 1.0
"""Pause after a database error, before the next try."""
PROBE_SECONDS = 0.5
"""How often a lane asks whether it may probe a host that another lane is probing."""
SAY_SECONDS = 1.0
"""What holds a lane for less is not worth a row."""
HURRY_SECONDS = 5.0
"""Over how long the retries of a side that serves again are spread."""
RELOAD_SECONDS = 0.02
"""How often a lane reads its whole window at most while nothing urgent came: what ended and what came is read together."""
TIMER_SLACK_SECONDS = 0.005
"""The database's clock decides what is due; a lane looks a little after it."""


class Lane:
    """The lane of one connection, under one ownership. `run` returns when it is stopped or has lost its slot."""

    def __init__(
        self,
        scope: Scope,
        open_api: OpenApi,
        *,
        has_lease: Callable[[], bool],
        writes: bool = True,
        host: Host | None = None,
        urgency: Urgency | None = None,
        others_pool: Pool | None = None,
    ) -> None:
        """`has_lease` says whether the node may still send; `writes` is False while stop-all-writes is on.

        `host` is shared with the other lanes that talk to it, `urgency` with all lanes of the process. What is not
        urgent goes through `others_pool` where there is one. No command leaves before `set_kinds` says which ones may.
        """
        self.scope = scope
        self._others_scope = scope.through(others_pool) if others_pool is not None else scope
        self._open_api = open_api
        self._has_lease = has_lease
        self._writes = writes
        self.config: Config | None = None
        """What it was told."""
        self._reads_feeds = True
        self._kinds: frozenset[CommandKind] = frozenset()
        self._is_safety_due = True
        self._api: ClosableApi | None = None
        self._api_lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._is_halted = False
        self._hurried_for: UUID | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._others_in_flight = 0
        """Calls in flight that are not urgent."""
        self._urgency = urgency or Urgency()
        self._hurried: set[UUID] = set()
        """First commands of the urgent calls that are being begun."""
        self._busy = Busy()
        self._window = Window()
        self._just_ended: list[Task] = []
        self._is_stale = True
        self._is_urgent = False
        self._loaded_at = -1e9
        self._reload_at = -1e9
        """When the window may be read again, where it is out of date."""
        self._settled_at = -1e9
        self._timers: list[float] = []
        self._said = Hold(rule="")
        self._said_down = False
        self._said_at = -1e9
        self._is_unsaid = False
        self._due_at: float | None = None
        """When the next thing that is parked is due, as far as the newest window knew."""
        now = scope.clock.monotonic()
        self._pace = Pace(scope.connector, scope.settings, scope.book, now, host=host)
        self._feeds = FeedTimes(scope.connector, {}, now)

    # --- from outside --------------------------------------------------------------------------------------------
    def wake(self, *, is_urgent: bool = False) -> None:
        """Say that there may be something new to do; what is urgent is looked for before anything else is begun."""
        self._is_stale = True
        self._is_urgent |= is_urgent
        self._wake.set()

    def set_writes(self, allowed: bool) -> None:
        """Say whether anything may be written."""
        if allowed and not self._writes:
            self.wake()
        self._writes = allowed

    def set_feeds(self, allowed: bool) -> None:
        """Say whether feeds are read."""
        if allowed and not self._reads_feeds:
            self.wake()
        self._reads_feeds = allowed

    def set_kinds(self, kinds: frozenset[CommandKind]) -> None:
        """Say which kinds of commands may be sent."""
        if kinds - self._kinds:
            self.wake()
        self._kinds = kinds

    def set_feed_interval_min(self, seconds: float) -> None:
        """Say that no feed is read more often than this."""
        self._feeds.set_interval_min(seconds, self.scope.clock.monotonic())
        self._wake.set()

    def set_safety(self, rules: SafetyRules) -> None:
        """Say what is withheld from the channel. Numbers that are built from now on follow it."""
        if rules != self.scope.safety.rules:
            self.scope.safety.rules = rules
            self._is_safety_due = True
            self.wake()

    def set_rules(self, rules: LaneRules) -> None:
        """Say how the lane goes by configuration."""
        if rules != self.scope.lane.rules:
            self.scope.lane.rules = rules
            self.scope.book.set_share(rules.share)
            self._wake.set()

    def stop(self) -> None:
        """Begin nothing more; `run` returns when the calls in flight are over."""
        self._stop.set()
        self._wake.set()

    @property
    def is_halted(self) -> bool:
        """Whether the lane ended by itself: another node has the slot, or the connection is no longer active."""
        return self._is_halted

    # --- the loop ------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Work until stopped or fenced out, then let the calls in flight finish for a bounded time."""
        try:
            await self._begin()
            while not self._stop.is_set() and not self._is_halted:
                self._wake.clear()
                await self._sleep(await self._step())
        finally:
            await self._drain()

    async def _begin(self) -> None:
        """Take the lane over: what an earlier owner was sending is in doubt, the budget goes on where it stood."""
        while not self._stop.is_set():
            try:
                return await self.scope.transact(self._take_over)
            except Fenced:
                self._is_halted = True
                return None
            except DATABASE_ERRORS as error:
                log.warning("lane.delayed", error_class=type(error).__name__, connection=self.scope.connection.name)
                await self._sleep(RETRY_SECONDS)
                self._wake.clear()
        return None

    async def _take_over(self, conn: Connection) -> None:
        scope = self.scope
        await scope.fence(conn)
        await conn.execute(statements.ENSURE_LANE, *scope.ids)
        settle = max((scope.settle_seconds(kind, is_taken_over=True) for kind in CommandKind), default=0.0)
        rows = await conn.fetch(statements.TAKE_OVER, *scope.ids, settle, scope.settings.first_look_seconds)
        now = scope.clock.monotonic()
        if rows:
            log.warning("lane.taken_over", connection=scope.connection.name, count=len(rows))
            self._wake_in(scope.settings.first_look_seconds, now)
        row = await conn.fetchrow(statements.LOAD_LANE, *scope.ids)
        if row is not None:
            snoozed = row["snoozed_seconds"] or 0.0
            scope.book.resume(row["budget"], row["budget_number"], age_seconds=row["age_seconds"], now=now)
            self._said_down = row["is_down"]
            self._pace.resume(snoozed_seconds=snoozed, is_down=self._said_down, now=now)
            await scope.store_budget(conn)
        self._feeds = self._feeds.restarted(await load_feed_ages(conn, scope), now)

    async def _step(self) -> float | None:
        """Start what may be started now; return the seconds until there may be more, None for until woken."""
        while not self._stop.is_set() and not self._is_halted:
            now = self.scope.clock.monotonic()
            pause = self._pace.pause_left(now)
            if pause > 0:
                await self._say(
                    Hold(rule="breaker" if self._pace.open_until - now >= pause else "snoozed", seconds=pause)
                )
                return pause
            calls_max = self._pace.calls_max()
            if not calls_max:
                await self._say(Hold(rule="breaker"))
                return PROBE_SECONDS
            if len(self._tasks) >= calls_max:
                return None
            if not self._has_lease():
                await self._say(Hold(rule="lease"))
                return RETRY_SECONDS
            try:
                await self._mark_for_safety()
                candidates = await self._candidates(now)
            except DATABASE_ERRORS as error:
                log.warning("lane.delayed", error_class=type(error).__name__, connection=self.scope.connection.name)
                return RETRY_SECONDS
            floor = self.scope.lane.rules.floor
            is_full = self._others_in_flight >= calls_max - slots_kept(calls_max, floor)
            choice = choose(candidates, self._pace.limits(now, writes=self._writes), floor=floor, only_urgent=is_full)
            if choice.candidate is None:
                await self._say(Hold(rule=choice.rule, seconds=choice.wait_seconds or self._held_seconds(now, choice)))
                await self._settle_budget(now)
                return self._next_wait(now, choice.wait_seconds)
            self._start(choice.candidate, candidates)
        return None

    async def _settle_budget(self, now: float) -> None:
        """Store that calls have ended, where a restart would count them for longer. Once a second at most."""
        if not self._tasks and self.scope.book.is_worth_storing and now - self._settled_at >= SAY_SECONDS:
            self._settled_at = now
            await self._store(self.scope.store_budget)

    async def _candidates(self, now: float) -> list[Candidate]:
        """Return what could be done, from the window; it is read again when it may be out of date."""
        while self._timers and self._timers[0] <= now:
            heapq.heappop(self._timers)
            self._is_stale = True
        if self._due_at is not None and self._due_at <= now:
            self._due_at, self._is_stale = None, True
        candidates = self._list(now)
        self._reload_at = self._loaded_at + (self.scope.settings.window_seconds_min if candidates else RELOAD_SECONDS)
        if not self._is_stale or (now < self._reload_at and not self._is_urgent):
            return candidates
        is_whole = not self._is_urgent
        self._is_urgent = False
        if is_whole:
            self._is_stale = False
            self._loaded_at = now
        self._just_ended.clear()
        async with self.scope.pool.acquire() as conn:
            if is_whole:
                window = await load_window(conn, self.scope)
            else:
                window = await load_urgent(conn, self.scope, self._window)
        for task in self._just_ended:  # it may have been read before these ended
            window = without(window, task)
        self._window = window
        if is_whole:
            due = window.due_seconds
            self._due_at = None if due is None else self.scope.clock.monotonic() + due + TIMER_SLACK_SECONDS
        return self._list(now)

    async def _mark_for_safety(self) -> None:
        """Mark the items whose number is another one because other units are withheld than when they were told."""
        if not self._is_safety_due or CommandKind.INVENTORY_SET not in self._kinds:
            return
        self._is_safety_due = False  # set again while this runs when the rules change once more
        try:
            rules, after = self.scope.safety.rules, _FIRST
            while True:
                step = await self.scope.transact(partial(mark_for_safety, scope=self.scope, rules=rules, after=after))
                self._is_stale |= step.marked > 0
                if step.last is None:
                    break
                after = step.last
        except BaseException:
            self._is_safety_due = True
            raise

    def _list(self, now: float) -> list[Candidate]:
        feeds = self._feeds.due(now) if self._reads_feeds else []
        now_utc = self.scope.clock.now()
        rules = self.scope.lane.rules
        return list_candidates(
            self._window,
            self._busy,
            feeds,
            self.scope.connector,
            now_utc,
            kinds=self._kinds,
            merge_seconds=rules.stock_merge_seconds,
            places=self._pace.calls_max() - len(self._tasks),
        )

    def _next_wait(self, now: float, tokens_wait: float | None) -> float | None:
        now_utc = self.scope.clock.now()
        waits = [
            tokens_wait,
            self._timers[0] - now if self._timers else None,
            self._due_at - now if self._due_at is not None else None,
            SAY_SECONDS if self._is_unsaid else None,
            self._feeds.next_wait(now) if self._reads_feeds else None,
            self._pace.retry_wait(now),
            merge_wait(self._window, now_utc, self.scope.lane.rules.stock_merge_seconds),
            gather_wait(self._window, self._busy, self.scope.connector, now_utc),
            self._reload_at - now if self._is_stale else None,
        ]
        known = [wait for wait in waits if wait]
        return max(0.001, min(known)) if known else None

    def _held_seconds(self, now: float, choice: Choice) -> float | None:
        return self._pace.retry_wait(now) if choice.rule == "retry_budget" else None

    async def _say(self, hold: Hold) -> None:
        """Store what holds the lane and whether its other side counts as down, for those who ask.

        When it is another rule than before or the breaker changed, and once a second at most. The breaker is open until a
        call has shown the other side at work, whatever the lane waits for meanwhile.
        """
        now, is_down = self.scope.clock.monotonic(), self._pace.is_down
        is_other_rule = hold.rule != self._said.rule and (hold.seconds or SAY_SECONDS) >= SAY_SECONDS
        is_news = is_other_rule or is_down != self._said_down
        self._is_unsaid = is_news and now - self._said_at < SAY_SECONDS
        if not is_news or self._is_unsaid:
            return
        self._said, self._said_at, self._said_down = hold, now, is_down
        opened = "breaker" if is_down else None
        values = (*self.scope.ids, hold.rule, hold.seconds, opened)
        await self._store(lambda conn: conn.execute(statements.SAY_HOLD, *values))

    def _wake_in(self, seconds: float, now: float) -> None:
        heapq.heappush(self._timers, now + seconds + TIMER_SLACK_SECONDS)

    async def _sleep(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    # --- calls in flight -----------------------------------------------------------------------------------------
    def _start(self, candidate: Candidate, candidates: Sequence[Candidate]) -> None:
        watch = self._pace.start(candidate, candidates, self.scope.clock.monotonic())
        self._busy.occupy(candidate.task)
        self._window = without(self._window, candidate.task)
        self._others_in_flight += not candidate.is_urgent
        if candidate.is_urgent and isinstance(candidate.task, SendCommand):
            self._hurried.add(candidate.task.command.command_id)
            self._urgency.enter()
        task = asyncio.create_task(self._work(candidate, watch), name=f"lane-{self.scope.connection.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, candidate: Candidate, watch: Watch | None) -> None:
        """Carry one task out. Nothing escapes but cancellation."""
        try:
            if not candidate.is_urgent:
                await self._urgency.let_by()
            scope = self.scope if candidate.is_urgent else self._others_scope
            result = await self._carry_out(scope, candidate.task, partial(self._guard, watch))
            if result.not_begun is not None and watch is not None:
                watch.refund()
            await self._note(result, candidate)
        except Fenced:
            self._is_halted = True
        except DATABASE_ERRORS as error:
            log.warning("lane.delayed", error_class=type(error).__name__, connection=self.scope.connection.name)
            self._pace.pause(RETRY_SECONDS, self.scope.clock.monotonic())
        except TidegateError as error:
            if candidate.is_write or isinstance(candidate.task, LookAfter):
                self._pace.pause(RETRY_SECONDS, self.scope.clock.monotonic())  # no way in, nothing was begun
            await self._note_error(error, candidate.operation)
        except Exception as error:
            log.error("lane.failed", connection=self.scope.connection.name, exc_info=error)
            self._is_halted = True  # it starts anew, and what was being sent is looked at
        finally:
            self._others_in_flight -= not candidate.is_urgent
            if watch is not None:
                watch.finish()
            if len(self._tasks) <= 1:  # this one is among them
                self._pace.rest()
            self._note_begun(candidate.task)
            self._busy.vacate(candidate.task)
            self._just_ended.append(candidate.task)
            self._window = without(self._window, candidate.task)  # it may have been read while this was under way
            self.wake()

    async def _carry_out(self, scope: Scope, task: Task, guard: OpenGuard) -> CallResult:
        match task:
            case SendCommand():
                return await send_actions(scope, task.commands, guard, partial(self._note_begun, task))
            case PushStock(marks):
                return await push_stock(scope, marks, guard)
            case LookAfter():
                return await look_after(scope, task.commands, guard)
            case FetchEntity(request):
                await fetch_entity(scope, request, guard)
                return CallResult()
            case ReadFeed(name):
                await self._read_feed(scope, name, guard)
                return CallResult()
            case ReadShown(read):
                await self._read_shown(scope, read, guard)
                return CallResult()
            case _:
                assert_never(task)

    def _note_begun(self, task: Task) -> None:
        """Let those go that waited for the T2s of a call to be over."""
        self._busy.begun(task)
        if isinstance(task, SendCommand) and task.command.command_id in self._hurried:
            self._hurried.discard(task.command.command_id)
            self._urgency.leave()
        self._wake.set()

    async def _read_feed(self, scope: Scope, name: str, guard: OpenGuard) -> None:
        try:
            has_more = await read_feed(scope, name, guard)
        except BaseException as error:
            settings = self.scope.settings
            named = named_wait(error, settings) if isinstance(error, TidegateError) else 0.0
            self._feeds.failed(name, self.scope.clock.monotonic(), settings, named_seconds=named)
            raise
        self._feeds.succeeded(name, self.scope.clock.monotonic(), has_more=has_more)

    async def _read_shown(self, scope: Scope, read: ShownRead, guard: OpenGuard) -> None:
        if read.state == "healing":
            return await heal_step(scope, read)
        if read.state != "comparing":
            return await read_shown_page(scope, read, guard)
        now = self.scope.clock.monotonic()
        wait = await compare_chunk(scope, read, feeds_are_even=self._feeds.are_even(now))
        if wait is not None:
            self._wake_in(wait, now)
            if self._hurried_for != read.run_id:  # what was read is compared with what the feeds tell afterwards
                self._hurried_for = read.run_id
                self._feeds.hurry(now)
        return None

    async def _guard(self, watch: Watch | None) -> GuardedApi:
        """Return one call's view of the connection's Api, opened at its first use."""
        async with self._api_lock:
            if self._api is None:
                self._api = await self._open_api()
        excerpt_bytes_max = self.scope.settings.excerpt_bytes_max
        return GuardedApi(self._api, has_lease=self._has_lease, excerpt_bytes_max=excerpt_bytes_max, watch=watch)

    # --- what calls mean for the lane ----------------------------------------------------------------------------
    async def _note(self, result: CallResult, candidate: Candidate) -> None:
        self._is_halted |= result.is_fenced
        self._busy.alone.update(result.alone)
        if self.scope.wishes.are_feeds_due:
            self.scope.wishes.are_feeds_due = False
            self._feeds.hurry(self.scope.clock.monotonic())
        if result.not_begun is not None:
            self._writes &= result.not_begun.why != "stopped"
            if result.not_begun.why == "unsettled":
                self._pace.pause(RETRY_SECONDS, self.scope.clock.monotonic())
            return
        now = self.scope.clock.monotonic()
        for decision in result.decisions:
            self._note_decision(decision, now)
        pace, name = self._pace, self.scope.connection.name
        was_down, was_host_down = pace.is_lane_down, pace.is_host_down
        retries = candidate.parts if candidate.is_retry else 0
        pace.note(result.decisions, candidate.operation, now, retries=retries)
        if pace.is_lane_down and not was_down:
            log.error("lane.breaker_opened", connection=name)
        if pace.is_host_down and not was_host_down:
            log.error("lane.host_down", connection=name, host=pace.host_name)
        if was_host_down and not pace.is_host_down:
            log.info("lane.host_recovered", connection=name, host=pace.host_name)
        if was_down and not pace.is_lane_down:
            log.info("lane.recovered", connection=name)
            await self._hurry_retries()
        if any(decision.lane is LaneEffect.SNOOZE for decision in result.decisions):
            await self._store(self.scope.store_budget)

    async def _hurry_retries(self) -> None:
        """The other side serves again: what waits for a far step of its schedule of retries is tried now, a little apart."""
        kinds = [str(kind) for kind, spec in self.scope.connector.commands.items() if spec.retries]
        if kinds:
            values = (*self.scope.ids, kinds, HURRY_SECONDS)
            await self._store(lambda conn: conn.execute(statements.HURRY_RETRIES, *values))
            self._wake_in(HURRY_SECONDS, self.scope.clock.monotonic())

    def _note_decision(self, decision: Decision, now: float) -> None:
        if decision.shown is not None:  # units are gone that nobody told of: their orders may have been missed
            self._feeds.hurry(now, within=self.scope.settings.untold_seconds)
        if decision.wait_seconds is not None:
            self._wake_in(decision.wait_seconds, now)
        match decision.lane:
            case LaneEffect.SNOOZE:
                self._log_snooze(decision.lane_wait_seconds, decision.code)
            case LaneEffect.WAIT_FOR_AUTH | LaneEffect.PAUSE:
                log.error("lane.halted", connection=self.scope.connection.name, code=decision.code)
                self._is_halted = True
            case LaneEffect.NONE | LaneEffect.FAILING:
                pass
            case _:
                assert_never(decision.lane)

    def _log_snooze(self, seconds: float, code: str | None) -> None:
        level = log.error if seconds >= self.scope.settings.absurd_wait_seconds else log.info
        level("lane.snoozed", connection=self.scope.connection.name, wait_seconds=round(seconds, 1), code=code)

    async def _note_error(self, error: TidegateError, operation: str) -> None:
        """A read failed, or there is no way in: nothing was written."""
        scope = self.scope
        name = classify(error)
        log.warning("lane.read_failed", connection=scope.connection.name, error_code=error.code)
        match name:
            case ErrorClass.RATE_LIMITED:
                wait = getattr(error, "wait_seconds", None) or scope.settings.snooze_seconds_min + full_jitter(2)
                wait = min(wait, scope.settings.absurd_wait_seconds)
                self._log_snooze(wait, error.code)
                self._pace.snooze(wait, operation, scope.clock.monotonic())
                await self._store(partial(self._store_snooze, wait=wait, operation=operation))
            case ErrorClass.AUTHENTICATION:
                await self._halt("waiting_auth", error)
            case ErrorClass.CONFIGURATION:
                await self._halt("paused", error)
            case (
                ErrorClass.TRANSIENT
                | ErrorClass.UNKNOWN
                | ErrorClass.CONFLICT
                | ErrorClass.REJECTED
                | ErrorClass.DEFECT
            ):
                pass  # what failed backs off by itself
            case _:
                assert_never(name)

    async def _halt(self, state: str, error: TidegateError) -> None:
        if not self._is_halted:
            self._is_halted = True
            log.error("lane.halted", connection=self.scope.connection.name, state=state, error_code=error.code)
            why = (*self.scope.ids, state, reason_of(error))
            await self._store(lambda conn: conn.execute(statements.STOP_CONNECTION, *why))

    async def _store_snooze(self, conn: Connection, *, wait: float, operation: str) -> None:
        await self.scope.store_budget(conn)
        if not self.scope.book.rule.is_own(operation):
            await conn.execute(statements.SNOOZE_LANE, *self.scope.ids, wait, "rate_limited")

    async def _store(self, write: Callable[[Connection], Awaitable[object]]) -> None:
        async def work(conn: Connection) -> None:
            await self.scope.fence(conn)
            await write(conn)

        with contextlib.suppress(Fenced, *DATABASE_ERRORS):
            await self.scope.transact(work)

    async def _drain(self) -> None:
        """Wait for the calls in flight. What is cut off stays `sending`: the next owner looks what became of it."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self.scope.settings.drain_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for _ in self._hurried:  # of tasks that ended before they began
            self._urgency.leave()
        self._hurried.clear()
        if self._api is not None:
            await self._api.close()
