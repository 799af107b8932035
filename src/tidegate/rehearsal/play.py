"""One rehearsal from an empty folder to the report: stage, shoppers, accidents, the wait until all is settled, the books."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec

from tidegate.config.lanes import LaneConfig, LaneRules, lane_rules
from tidegate.config.reconcile import rules_of
from tidegate.config.records import Look
from tidegate.kernel.errors import TidegateError, TransientError
from tidegate.rehearsal import collect
from tidegate.rehearsal.adapt import Cast, adapt, provider_of
from tidegate.rehearsal.advice import WIDER_MERGE_SECONDS, Scene, advise
from tidegate.rehearsal.bound import Bulk
from tidegate.rehearsal.control import Sandbox, start_sandbox
from tidegate.rehearsal.installation import Installation, Killed, sweep
from tidegate.rehearsal.naive_side import NaiveSide
from tidegate.rehearsal.ours import Open, Ours
from tidegate.rehearsal.plan import HOT_SKU, PlannedOrder, name_plan, plan_articles, plan_orders
from tidegate.rehearsal.platforms import Simulated, extra_of, simulation_of, world_options
from tidegate.rehearsal.plots import draw
from tidegate.rehearsal.processors import NAIVE, PLATFORMS, Meter, summarize
from tidegate.rehearsal.profile import Profile, plan_kills
from tidegate.rehearsal.records import Books, Calls, Paid, Report, Sample, Side, Stage
from tidegate.rehearsal.verdict import judge, measure_stage
from tidegate.rehearsal.waits import CALLS_AT_ONCE, OURS, Slots, Waiting, reason_of, tally

TICK_SECONDS = 0.02
"""Shoppers who come in the same tick are sent in one request; nobody waits for an answer."""
LOOK_SECONDS = 1.0
STOCKED_SECONDS = 180.0
KILL_SECONDS = 5.0
"""How long a kill waits for a process that it can kill."""
RETURN_SECONDS = 60.0
LIVING_SECONDS = 0.1
"""How often the processes are looked at."""
REORDERED_SECONDS = 2.0
"""For how long a reordered webhook is held back, at most."""


class Audience(Protocol):
    """Who watches a rehearsal."""

    def say(self, line: str) -> None:
        """Hear what happens."""

    def show(self, sample: Sample, total: int, naive: Sample | None) -> None:
        """See how it stands, about once a second."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be rehearsed."""

    profile: Profile
    root: Mapping[str, Any]
    """The user's configuration, with what its preset fills in."""
    files: Mapping[str, str]
    """Tables and hooks that it names."""
    cast: Cast
    bulk_max: Mapping[str, int]
    """Connection -> stock numbers that one of its calls takes."""
    slots: Mapping[str, Slots] = {}
    """Connection -> calls that it may have under way."""
    with_profile: str | None = None
    with_naive: bool = False


class Promised(msgspec.Struct, frozen=True, kw_only=True):
    """What was promised of the hot article before anybody shopped, as `stock promise --json` says it."""

    bound: int | None = None
    buffer: str = "off"
    words: str = ""


async def rehearse(request: Request, audience: Audience) -> Report:
    """Run one rehearsal and return what it found. Ends everything that it started, also when it is cancelled."""
    play = Play(request, audience)
    try:
        return await play.run()
    finally:
        await play.close()


class Play:
    """One rehearsal. Whoever watches may break things meanwhile."""

    def __init__(self, request: Request, audience: Audience) -> None:
        self._request = request
        self._audience = audience
        self._profile = request.profile
        self._cast = request.cast
        self._simulated: dict[str, Simulated] = {
            name: simulation_of(use, is_channel=name in request.cast.channels)
            for name, use in request.cast.connectors.items()
        }
        self._provider = provider_of(request.root, request.cast)
        self._prices = {article.sku: article.price_minor for article in plan_articles(request.profile)}
        self._installation = Installation()
        self._sandbox: Sandbox | None = None
        self._naive: NaiveSide | None = None
        self._ours = Ours(self._installation.project, str(request.root.get("cell", "c0")))
        self._notes: tuple[str, ...] = ()
        self._samples: list[Sample] = []
        self._naive_samples: list[Sample] = []
        self._waiting: dict[str, list[int]] = {}
        self._reasons: list[tuple[str, str, int]] = []
        """Connection, what its work waited for, and the (monotonic) second."""
        self._plan_name = ""
        self._promise = Promised()
        self._meter = Meter(self._installation.project)
        self._kills: list[str] = []
        self._returns: list[float] = []
        """Seconds until another process stood in the place of a killed one."""
        self._placed = 0
        self._refused = 0
        self._unanswered = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_over = False

    # --- the whole -------------------------------------------------------------------------------------------------
    async def run(self) -> Report:
        """Play from the beginning to the report."""
        began = time.monotonic()
        for words in await sweep():
            self._audience.say(words)
        plan = plan_orders(self._profile, self._cast.channels)
        self._plan_name = name_plan(self._profile, plan)
        self._audience.say(
            f"plan {self._plan_name}: the same load, channels and seed ({self._profile.seed}) give the same orders, faults and kills"
        )
        await self._open()
        self._audience.say(f"open after {time.monotonic() - began:.1f} s")
        shown_first = {name: await collect.read_shown(self._stage, name) for name in self._cast.channels}
        naive_first = await self._naive.read_first() if self._naive is not None else {}
        await self._read_promise()
        await self._set_accidents()
        platforms = list(self._cast.connectors)
        before = await collect.read_counts(self._stage, platforms)
        began_second, began_at = int(time.monotonic()), time.time()
        watch = asyncio.create_task(self._watch(began_at))
        killers = asyncio.create_task(self._kill())
        try:
            await self._shop(plan)
            await killers
            ended_at = time.time()
            self._audience.say(f"{self._placed:,} orders placed, {self._refused:,} refused; settling")
            settled_at = await self._settle()
        finally:
            for task in (watch, killers):
                task.cancel()
            await asyncio.gather(watch, killers, return_exceptions=True)
        calls = collect.compare_counts(
            before, await collect.read_counts(self._stage, platforms), self._simulated, self._waiting, began_second
        )
        books = await self._read_books(self._stage, began_at, ended_at, settled_at, shown_first, calls)
        shared, withdrawals = await self._ours.read_shared()
        books = msgspec.structs.replace(
            books,
            orders_of=await self._ours.read_orders(),
            paid=await self._read_paid(),
            shared=shared,
            withdrawals=withdrawals,
            buffered=frozenset({HOT_SKU} if self._promise.buffer != "off" else ()),
            bound=self._promise.bound,
            untold=await self._read_untold(),
            reconcile_cycle_s=self._cycle_seconds(),
        )
        return await self._report(books, calls, naive_first)

    async def close(self) -> None:
        """End everything; each part although another one fails."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        closings: list[Awaitable[None]] = [self._ours.close(), self._installation.close()]
        if self._naive is not None:
            closings.append(self._naive.close())
        await asyncio.gather(*closings, return_exceptions=True)
        if self._sandbox is not None:
            await self._sandbox.close()

    # --- what those who watch can do -------------------------------------------------------------------------------
    @property
    def is_over(self) -> bool:
        """Whether nobody shops any more."""
        return self._is_over

    def end_shopping(self) -> None:
        """Let everybody go home; what was bought is carried out."""
        self._is_over = True

    def kill(self, role: str) -> int | None:
        """Kill -9 one of our processes; return its pid."""
        killed = self._installation.kill(role)
        if killed is None:
            return None
        self._kills.append(f"kill -9 {role} (pid {killed.pid})")
        return killed.pid

    async def kill_naive(self) -> int | None:
        """Kill -9 the naive script and start it again; return its pid."""
        if self._naive is None:
            return None
        pid = self._naive.kill_script()
        await self._naive.start_script()
        for started in self._naive.script_pids:
            self._installation.note("naive", started)
        return pid

    async def drop_webhooks(self, share: float, seconds: float) -> None:
        """Let this share of all webhooks go lost for so long, on both sides."""
        for side in self._sides():
            for name in self._cast.channels:
                if not self._simulated[name].repeats:
                    profile = (await side.ask("GET", f"/faults/{name}"))["profile"]
                    changed = {"profile": {**profile, "dropped": share}, "for_seconds": seconds}
                    await side.ask("PUT", f"/faults/{name}", changed)

    async def look(self, sku: str) -> dict[str, dict[str, int]]:
        """Return per side what is really left of an article, and what each channel shows."""
        found: dict[str, dict[str, int]] = {}
        begin = {article.sku: article.stock for article in plan_articles(self._profile)}[sku]
        for name, side in zip(("Tidegate", "naive"), self._sides(), strict=False):
            items = {channel: (await side.pages(channel, "items"))[sku] for channel in self._cast.channels}
            left = begin - sum(item["sold"] - item["returned"] for item in items.values())
            shown = {
                channel: max(0, sum(level["available"] for level in item["levels"].values()))
                for channel, item in items.items()
            }
            found[name] = {"really there": left, **shown}
        return found

    async def explain(self) -> str:
        """Return what `tidegate why` tells of the newest order."""
        number = await self._ours.read_newest_number()
        if number is None:
            return ""
        return f"$ tidegate why order {number}\n" + await self._installation.run(
            "why", "order", number, in_project=True
        )

    @property
    def _stage(self) -> Sandbox:
        if self._sandbox is None:
            raise RuntimeError("the sandbox is not open")
        return self._sandbox

    # --- opening ---------------------------------------------------------------------------------------------------
    async def _open(self) -> None:
        """Start the platforms and Tidegate, connect them, and wait until the channels show the ERP's stock."""
        connections = self._request.root["connections"]
        options = {
            name: world_options(name, self._simulated[name], connections[name]) for name in self._cast.connectors
        }
        if self._profile.sells_on_seconds:
            for name, simulated in self._simulated.items():
                if simulated.sells_on:
                    options[name]["sells_on_seconds"] = self._profile.sells_on_seconds
        articles = plan_articles(self._profile)
        items = [{"sku": a.sku, "title": a.title, "price_minor": a.price_minor} for a in articles]
        shelf = {article.sku: article.stock for article in articles}
        world = collect.world_of(self._cast, self._simulated, options, items, shelf, self._profile.seed)
        folder = self._installation.folder
        self._sandbox = await start_sandbox(world, folder, "ours")
        self._installation.note("sandbox", self._sandbox.pid)
        urls = self._sandbox.urls
        await self._installation.init()
        text, self._notes = adapt(
            self._request.root,
            self._cast,
            settings={name: {**self._simulated[name].settings, "url": urls[name]} for name in self._cast.connectors},
            listen={"host": "127.0.0.1", "port": self._installation.port, "web_port": self._installation.web_port},
            since=(datetime.now(UTC) - timedelta(days=1)).date(),
            profile=self._request.with_profile,
        )
        for note in self._notes:
            self._audience.say(note)
        self._installation.configure(text, self._request.files)
        self._audience.say(f"platforms are open: {', '.join(self._cast.connectors)}; Tidegate starts")
        await self._installation.up()
        await self._connect(self._cast.erp)
        await asyncio.gather(*(self._connect(name) for name in (*self._cast.channels, *self._cast.others)))
        if self._request.with_naive:
            self._naive = NaiveSide(self._cast, self._simulated, options, items, shelf, self._profile, folder)
            await self._naive.open()
            for pid in (self._naive.sandbox.pid, *self._naive.script_pids):
                self._installation.note("naive", pid)
        await self._wait_for_stock(shelf)

    async def _connect(self, name: str) -> None:
        simulated = self._simulated[name]
        url = await self._installation.connect(name, simulated.answers)
        if simulated.subscribes and url is not None:
            await self._stage.ask("POST", f"/do/{name}/subscribe", {"url": url})

    async def _wait_for_stock(self, shelf: Mapping[str, int]) -> None:
        deadline = time.monotonic() + STOCKED_SECONDS
        while True:
            shown = [await collect.read_shown(self._stage, name) for name in self._cast.channels]
            found = await self._ours.read_open()
            is_told = all(any(numbers.get(sku, 0) for sku in shelf) for numbers in shown)
            if (
                found is not None
                and found.is_quiet
                and (is_told or "stock" not in (self._request.root.get("flows") or {}))
            ):
                return
            if time.monotonic() > deadline:
                raise TidegateError(f"the channels never showed the ERP's stock: {found}", code="rehearsal_failed")
            await asyncio.sleep(0.3)

    async def _read_promise(self) -> None:
        """Ask, before anybody shops, how many units of the hot article may at worst be sold too often."""
        said = await self._installation.run("stock", "promise", HOT_SKU, "--json", in_project=True)
        self._promise = msgspec.json.decode(said, type=Promised)
        self._audience.say(f"promised before: {self._promise.words}")

    async def _set_accidents(self) -> None:
        faults = self._profile.faults
        profile = {
            "duplicated": faults.duplicates,
            "reordered": faults.reordered,
            "reordered_seconds": REORDERED_SECONDS,
            "dropped": faults.dropped,
            "untold": faults.untold,
            "lost_replies": faults.replies_lost,
            "broken": faults.errors,
        }
        never_lost = {"dropped": 0.0, "untold": 0.0}
        for side in self._sides():
            for name in self._cast.connectors:
                repeats = self._simulated[name].repeats
                await side.ask("PUT", f"/faults/{name}", {"profile": profile | (never_lost if repeats else {})})
                assumed = self._simulated[name].assumed
                if self._profile.strict_limits and assumed:
                    await side.ask("PUT", f"/limits/{name}", assumed)
                if self._profile.eaten:
                    limits = await side.ask("GET", f"/limits/{name}")
                    if limits:
                        await side.ask("POST", "/eat", {"platform": name, "share": self._profile.eaten})
            clerk = {"per_second": self._profile.shipments_per_second}
            await side.ask("POST", f"/do/{self._cast.erp}/clerk", clerk)

    def _sides(self) -> list[Sandbox]:
        return [self._stage, *([self._naive.sandbox] if self._naive is not None else [])]

    # --- shopping --------------------------------------------------------------------------------------------------
    async def _shop(self, plan: Sequence[PlannedOrder]) -> None:
        """Send every order at its moment, whether or not earlier ones are answered."""
        began = time.monotonic()
        place = 0
        while place < len(plan) and not self._is_over:
            wait = began + plan[place].at - time.monotonic()
            if wait > 0:
                await asyncio.sleep(min(wait, LOOK_SECONDS))
            due = time.monotonic() - began
            last = place
            while last < len(plan) and plan[last].at <= due:
                last += 1
            if last > place:
                self._send(plan[place:last])
                place = last
            await asyncio.sleep(TICK_SECONDS)
        await asyncio.gather(*self._tasks)

    def _send(self, orders: Sequence[PlannedOrder]) -> None:
        body = [
            {
                "platform": order.channel,
                "key": f"rehearsal-{order.number}",
                "lines": [{"sku": sku, "quantity": units} for sku, units in order.lines],
                "email": f"shopper-{order.shopper}@example.com",
            }
            for order in orders
        ]
        for side in self._sides():
            task = asyncio.create_task(self._buy(side, body))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _buy(self, side: Sandbox, body: list[dict[str, Any]]) -> None:
        try:
            if self._provider is not None and side is self._sandbox:
                body = list(await asyncio.gather(*(self._pay(self._provider, order) for order in body)))
            sales = await side.ask("POST", "/orders", body)
        except TransientError:  # a side that is swamped ends no rehearsal: what it sold is in its books
            self._unanswered += len(body)
            return
        if side is self._sandbox:
            sold = sum(sale["sold"] for sale in sales)
            self._placed += sold
            self._refused += len(sales) - sold

    async def _pay(self, provider: str, order: dict[str, Any]) -> dict[str, Any]:
        """Have the provider authorise what an order costs, where its channel takes that; return the order with its payment."""
        simulated = self._simulated[order["platform"]]
        if not simulated.paid_by:
            return order
        amount = sum(self._prices[line["sku"]] * line["quantity"] for line in order["lines"])
        asked = {"amount_minor": amount, "order": order["key"]}
        made = await self._stage.ask("POST", f"/do/{provider}/pay", asked)
        return {**order, "extra": extra_of(simulated, made["payment_intent"])}

    async def _kill(self) -> None:
        """Kill what is planned, each at its moment or as soon as there is one to kill, and see who comes back."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for at, role in plan_kills(self._profile):
                await asyncio.sleep(max(0.0, began + at - time.monotonic()))
                killed = await self._kill_one(role)
                words = f"kill -9 {role} (pid {killed.pid})" if killed is not None else f"no {role} to kill"
                self._audience.say(f"{words} after {time.monotonic() - began:.1f} s")
                if killed is not None:
                    self._kills.append(f"{words} after {time.monotonic() - began:.1f} s")
                    group.create_task(self._wait_for_return(killed))

    async def _kill_one(self, role: str) -> Killed | None:
        deadline = time.monotonic() + KILL_SECONDS
        while (killed := await asyncio.to_thread(self._installation.kill, role)) is None:
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(LIVING_SECONDS)
        return killed

    async def _wait_for_return(self, killed: Killed) -> None:
        died_at = time.monotonic()
        while time.monotonic() < died_at + RETURN_SECONDS:
            if await asyncio.to_thread(self._installation.is_back, killed):
                self._returns.append(time.monotonic() - died_at)
                return
            await asyncio.sleep(LIVING_SECONDS)

    # --- watching --------------------------------------------------------------------------------------------------
    async def _watch(self, began_at: float) -> None:
        """Look once a second at what is open, what was sold and what the ERP has."""
        last = int(time.monotonic())
        merges = {name: rule.stock_merge_seconds for name, rule in self._lane_rules().items()}
        while True:
            second = int(time.monotonic())
            found = await self._ours.read_open()
            waiting = await self._ours.read_waiting(self._profile.freshness_seconds, merges)
            for look in waiting.values():
                self._note(look, second, max(1, second - last))
            self._meter.look(self._processes())
            last = second
            sample = await self._sample(self._stage, found, began_at)
            self._samples.append(sample)
            naive = None
            if self._naive is not None:
                naive = await self._sample(self._naive.sandbox, None, began_at)
                self._naive_samples.append(naive)
            self._audience.show(sample, self._profile.orders, naive)
            await asyncio.sleep(LOOK_SECONDS - (time.monotonic() - second) % LOOK_SECONDS)

    def _note(self, look: Waiting, second: int, seconds: int) -> None:
        """Note what waits, and for what; what a slow look missed was as it is now."""
        if look.waiting:
            self._waiting.setdefault(look.connection, []).append(second)
        reason = reason_of(look, self._request.slots.get(look.connection))
        if reason is not None:
            self._reasons += [(look.connection, reason, second - step) for step in range(seconds)]

    def _processes(self) -> dict[str, list[int]]:
        """Return the processes beside our installation's, by what they are."""
        sides = {PLATFORMS: [side.pid for side in self._sides()]}
        return sides if self._naive is None else {**sides, NAIVE: self._naive.script_pids}

    async def _sample(self, side: Sandbox, found: Open | None, began_at: float) -> Sample:
        try:
            sold = sum([(await side.ask("GET", f"/books/{name}"))["orders"] for name in self._cast.channels])
            booked = (await side.ask("GET", f"/books/{self._cast.erp}"))["orders"]
        except TidegateError:
            sold = booked = 0
        return Sample(
            at=time.time() - began_at,
            sold=sold,
            booked=booked,
            events_waiting=found.events_waiting + found.events_parked if found is not None else 0,
            commands_waiting=found.commands_waiting + found.commands_in_doubt if found is not None else 0,
            marks_dirty=found.marks_dirty if found is not None else 0,
        )

    async def _settle(self) -> float | None:
        """Wait until nothing is open and the ERP has every order; return when that was, None when it never came."""
        await self._stage.ask("POST", f"/do/{self._cast.erp}/clerk", {"per_second": 0})
        if self._naive is not None:
            await self._naive.sandbox.ask("POST", f"/do/{self._cast.erp}/clerk", {"per_second": 0})
        deadline = time.monotonic() + self._profile.drain_seconds
        while time.monotonic() < deadline:
            at = time.time()
            found = await self._ours.read_open()
            if found is not None and found.is_quiet:
                sample = await self._sample(self._stage, found, at)
                if sample.booked >= sample.sold and await self._agrees():
                    return at
            await asyncio.sleep(0.3)
        return None

    async def _agrees(self) -> bool:
        """Return whether what left the warehouse is told to the channels and paid; a feed may still have to be read."""
        known = await self._ours.read_orders()
        _, shipped = await collect.read_booked(self._stage, self._cast.erp)
        fulfilled = {
            (one.channel, one.order)
            for name in self._cast.channels
            for one in (await collect.read_sold(self._stage, name))[1]
        }
        told = {known.get(one.reference) for one in shipped}
        return told <= fulfilled and all(
            one.captured for one in await self._read_paid() or () if (one.channel, one.order) in told
        )

    async def _read_paid(self) -> tuple[Paid, ...] | None:
        """Return the payments of orders by their provider's books, None where nobody captures when goods leave."""
        if self._provider is None:
            return None
        return await collect.read_paid(self._stage, self._provider, self._cast.channels)

    async def _read_untold(self) -> dict[tuple[str, str], float | None] | None:
        """Return the orders of which no webhook told and when they were applied, None where that is no fault of this load."""
        if not self._profile.faults.untold:
            return None
        applied = {(step.channel, step.order): step.applied for step in await self._ours.read_steps()}
        return {order: applied.get(order) for order in await collect.read_untold(self._stage, self._cast.channels)}

    def _cycle_seconds(self) -> float | None:
        """Return the time between two looks at the channel that is looked at most rarely, None where one is never looked at."""
        reconcile = msgspec.convert(self._request.root.get("reconcile") or {}, dict[str, Look])
        rules = [rules_of(reconcile, name) for name in self._cast.channels]
        return max(float(rule.every_seconds) for rule in rules) if all(rule.enabled for rule in rules) else None

    # --- the end ---------------------------------------------------------------------------------------------------
    async def _read_books(
        self,
        side: Sandbox,
        began_at: float,
        ended_at: float,
        settled_at: float | None,
        shown_first: Mapping[str, Mapping[str, int]],
        calls: Mapping[str, Calls],
    ) -> Books:
        shelf = {article.sku: article.stock for article in plan_articles(self._profile)}
        return await collect.read_books(
            side, self._cast, shelf, began_at, ended_at, settled_at, shown_first, calls, self._refused
        )

    async def _report(
        self, books: Books, calls: Mapping[str, Calls], naive_first: Mapping[str, Mapping[str, int]]
    ) -> Report:
        bulk = Bulk(
            numbers_per_call={name: self._request.bulk_max[name] for name in self._cast.channels},
            calls_per_order=self._simulated[self._cast.erp].calls_per_order,
        )
        side = judge(
            books,
            bulk,
            freshness_seconds=self._profile.freshness_seconds,
            conservation_imbalance=await self._ours.read_imbalance(),
            stock_calls=collect.count_stock_calls(calls, self._simulated),
        )
        stages = await self._read_stages(books)
        naive_side: Side | None = None
        naive_books: Books | None = None
        if self._naive is not None:
            naive_books = await self._naive.read_books(books.began_at, books.ended_at, naive_first)
            naive_side = judge(
                naive_books,
                bulk,
                freshness_seconds=self._profile.freshness_seconds,
                conservation_imbalance=0,
                stock_calls=collect.count_stock_calls(naive_books.calls, self._simulated),
            )
        held = tally((name, reason) for name, reason, _ in self._reasons)
        scene = self._scene()
        return Report(
            profile=self._profile.name,
            title=self._profile.title,
            seed=self._profile.seed,
            plan=self._plan_name,
            channels=self._cast.channels,
            erp=self._cast.erp,
            notes=(*self._notes, *self._notes_of_the_end()),
            ours=side,
            naive=naive_side,
            stages=tuple(stages),
            calls=calls,
            advice=advise(self._profile, side, stages, calls, held, scene),
            plots=draw(books, self._samples, naive_books, self._naive_samples),
            kills=tuple(self._kills),
            held=held,
            loads=scene.loads,
            returns=tuple(round(seconds, 2) for seconds in self._returns),
            load_average=round(os.getloadavg()[0], 1),
            cpus=scene.cpus,
        )

    def _notes_of_the_end(self) -> list[str]:
        if not self._unanswered:
            return []
        return [
            f"{self._unanswered} purchases got no answer from a simulated platform in time: this machine was too slow for it"
        ]

    def _scene(self) -> Scene:
        """Return what configuration and machine had to offer."""
        root = self._request.root
        pressed = {second for _, reason, second in self._reasons if reason in {CALLS_AT_ONCE, OURS}}
        rules = self._lane_rules()
        return Scene(
            erp=self._cast.erp,
            cpus=len(os.sched_getaffinity(0)),
            processes=dict(root.get("processes") or {}),
            shares={name: rule.share for name, rule in rules.items()},
            slots=self._request.slots,
            merges=frozenset(
                name
                for name in self._cast.channels
                if self._request.bulk_max[name] > 1 and rules[name].stock_merge_seconds < WIDER_MERGE_SECONDS
            ),
            loads=summarize(self._meter.seconds, pressed),
        )

    def _lane_rules(self) -> dict[str, LaneRules]:
        """Return how the lanes of the simulated systems go by the configuration."""
        lanes = msgspec.convert(self._request.root.get("lanes") or {}, dict[str, LaneConfig])
        return {name: lane_rules(lanes, name) for name in self._cast.connectors}

    async def _read_stages(self, books: Books) -> list[Stage]:
        """Return how long each part of the way took, by our own times and the sandbox's time of the sale."""
        sold_at = {(order.channel, order.order): order.at for order in books.sold}
        parts: dict[str, list[float]] = {"door": [], "apply": [], "lane": [], "erp": []}
        for step in await self._ours.read_steps():
            at = sold_at.get((step.channel, step.order))
            if at is None or step.received is None or step.applied is None:
                continue
            parts["door"].append(max(0.0, step.received - at))
            parts["apply"].append(max(0.0, step.applied - step.received))
            if step.sent is not None:
                parts["lane"].append(max(0.0, step.sent - step.applied))
            if step.sent is not None and step.answered is not None:
                parts["erp"].append(max(0.0, step.answered - step.sent))
        names = {
            "door": "door: sale to event on disk",
            "apply": "apply: on disk to applied",
            "lane": "lane: applied to first request",
            "erp": "call: first request to answer of the ERP",
        }
        stages = [measure_stage(names[part], seconds) for part, seconds in parts.items()]
        return [stage for stage in stages if stage is not None]
