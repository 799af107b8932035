"""T2s: a call is durable before a byte of it leaves. Each function runs inside one transaction and is fenced.

It locks in the one order (slot, switch, marks, orders, stock, commands), builds the payload from committed state, freezes
it, charges the budget, and moves the commands to `sending`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec

from tidegate.commerce.commands import DEADLINE_SECONDS, CommandKind, Payload, Priority
from tidegate.commerce.states import OBSERVED_CODE, OBSERVED_REASON, CommandState
from tidegate.dispatch import statements
from tidegate.dispatch.allocation import allot, lock_shared, look_later
from tidegate.dispatch.buffers import hold_back
from tidegate.dispatch.events import build_event
from tidegate.dispatch.mapping import Asked, MapsAtWork, shape_of
from tidegate.dispatch.modes import flow_of
from tidegate.dispatch.payloads import (
    Stale,
    StockNumberRow,
    build_actions,
    build_stock_payload,
    read_stock_numbers,
    unbound_reason,
)
from tidegate.dispatch.records import DirtyMark, DoubtfulCommand, OpenCall, PendingCommand, Subject, Unbuildable
from tidegate.dispatch.safety import NO_RULES, SafetyRules, changed_items
from tidegate.dispatch.scope import Scope
from tidegate.kernel import crashpoint
from tidegate.kernel.errors import InvariantError
from tidegate.kernel.ids import new_id, public_id
from tidegate.store.connections import Connection


class NotBegun(msgspec.Struct, frozen=True):
    """Why nothing is sent now."""

    why: Literal["stopped", "unsettled", "blocked", "moved", "ended", "proposed", "nothing", "apart"]
    """stopped: the switch is on, or the connection is not active. unsettled: it is not known what the flow may do. blocked:
    an item is in flight. moved: somebody else changed the command, its order or the map meanwhile. ended: it could not be
    built, or its flow observes, and it is finished; or a person has to decide. proposed: a person must approve it, because
    of its flow. nothing: the channel knows it all. apart: they cannot begin together, and come again one by one."""


class Overtaken(Exception):
    """Not every command of a call that was being begun is still to be sent: nothing of the call has happened."""


async def begin_actions(
    conn: Connection, scope: Scope, commands: Sequence[PendingCommand], asked: Asked | None = None
) -> OpenCall | NotBegun:
    """Begin an attempt at action commands of one kind: their first one, or another one of the call that they were in.

    What cannot be sent any more is left out, and ended where that is what it comes to; the rest goes out. `asked` is what
    the hooks of its map said before, outside of this transaction; then there is one command. Raises `Overtaken` when
    somebody else changed one of several commands meanwhile: then each is to be begun alone.
    """
    refusal, allowed = await _look_at_mode(conn, scope, commands)
    if refusal is None or allowed:
        allowed = await _without_blocked(conn, scope, allowed)
        refusal = refusal if allowed else refusal or NotBegun("blocked")
    if not allowed:
        return refusal or NotBegun("moved")
    if commands[0].call_id is not None:
        return await _begin_again(conn, scope, allowed)
    return await _begin_first(conn, scope, allowed, asked)


async def _without_blocked(
    conn: Connection, scope: Scope, commands: Sequence[PendingCommand]
) -> Sequence[PendingCommand]:
    """Lock the marks that the commands touch; leave out those whose number is out."""
    items = sorted({item for command in commands for item in command.items})
    if not items:
        return commands
    marks = await conn.fetch(statements.LOCK_MARKS, *scope.ids, items)
    blocked = {mark["item_id"] for mark in marks if mark["blocked_by"] is not None}
    return [command for command in commands if blocked.isdisjoint(command.items)]


async def _begin_first(
    conn: Connection, scope: Scope, commands: Sequence[PendingCommand], asked: Asked | None
) -> OpenCall | NotBegun:
    maps, kind = scope.maps(), commands[0].kind
    if kind not in scope.connector.commands:
        reason = f"connector {scope.connector.name} does not know {kind}"
        unknown = Unbuildable(state=CommandState.FAILED, code="not_supported", reason=reason)
        built: list[Payload | Unbuildable | Stale] = [unknown] * len(commands)
    elif kind is CommandKind.EVENT_SEND:
        built = [await build_event(conn, scope.connection, command, cell=scope.cell) for command in commands]
    else:
        built = await build_actions(
            conn,
            scope.connection,
            commands,
            scope.cipher,
            cell=scope.cell,
            shape_of=lambda command: shape_of(maps, command, asked),
            articles_are_ours=scope.connector.articles_are_ours,
        )
    members, payloads, refusal = [], [], NotBegun("moved")
    for command, payload in zip(commands, built, strict=True):
        if isinstance(payload, Stale):
            continue
        if isinstance(payload, Unbuildable):
            refusal = await _end(conn, scope, command, payload)
        else:
            members.append(command)
            payloads.append(payload)
    return await _begin(conn, scope, members, payloads, maps=maps) if members else refusal


async def _end(conn: Connection, scope: Scope, command: PendingCommand, why: Unbuildable) -> NotBegun:
    if why.state is CommandState.PROPOSED:
        found = await conn.fetchval(statements.HOLD_UNSENT, *scope.ids, command.command_id, why.code, why.reason)
    else:
        ending = (why.state, why.code, why.reason)
        found = await conn.fetchval(statements.END_UNSENT, *scope.ids, command.command_id, *ending)
    return NotBegun("ended" if found else "moved")


async def _look_at_mode(
    conn: Connection, scope: Scope, commands: Sequence[PendingCommand]
) -> tuple[NotBegun | None, Sequence[PendingCommand]]:
    """Return why commands are not sent, and those that may be. Holds slot, switch and mode until the transaction ends."""
    ids = [command.command_id for command in commands]
    may_write, mode = await scope.fence_for(conn, flow_of(commands[0].kind))
    if not may_write:
        return NotBegun("stopped"), ()
    match mode:
        case "live":
            return None, commands
        case "propose":
            moved = {row[0] for row in await conn.fetch(statements.PROPOSE, *scope.ids, ids)}
            left = [command for command in commands if command.command_id not in moved]
            return NotBegun("proposed") if moved else None, left
        case "observe":
            await conn.execute(statements.END_OBSERVED, *scope.ids, ids, OBSERVED_CODE, OBSERVED_REASON)
            return NotBegun("ended"), ()
        case _:
            return NotBegun("unsettled"), ()


async def begin_stock(conn: Connection, scope: Scope, marks: tuple[DirtyMark, ...]) -> OpenCall | NotBegun:
    """Begin a call that tells the numbers of these items; marks that need no telling are cleared."""
    may_write, _ = await scope.fence_for(conn, "stock")  # the mode is that of each mark
    if not may_write:
        return NotBegun("stopped")
    await _explain(conn, scope, marks)
    shared = await lock_shared(conn, scope, marks)
    rows = await read_stock_numbers(
        conn, scope.connection, marks, stock_number=scope.connector.stock_number, safety=scope.safety
    )
    rows = await _put_off(conn, scope, rows)
    rows = await hold_back(conn, scope, await allot(conn, scope, rows, shared))
    if not rows:
        return NotBegun("blocked")
    unbound = [row for row in rows if row.variant_external_id is None]
    news = [row for row in rows if row.is_news]
    told = [row for row in rows if not row.is_news]
    buried: set[UUID] = set()
    if unbound:
        names = [row.item_id for row in unbound]
        buried = {row["item_id"] for row in await conn.fetch(statements.DROP_BURIED, *scope.ids, names)}
        unbound = [row for row in unbound if row.item_id not in buried]
    if unbound:
        await _fail_unbound(conn, scope, unbound)
    told = [row if row.item_id not in buried else msgspec.structs.replace(row, is_buried=True) for row in told]
    waiting = [row.item_id for row in told if row.is_watched]
    if waiting:
        await conn.execute(statements.LOOK_AGAIN, *scope.ids, waiting, scope.settings.unseen_look_seconds)
    if len(told) > len(waiting):
        clear = [(row.item_id, row.available, *row.quiet) for row in told if not row.is_watched]
        await conn.execute(statements.CLEAR_MARKS, *scope.ids, *map(list, zip(*clear, strict=True)))
    await look_later(conn, scope, {row.item_id: row.look_seconds for row in told if row.look_seconds is not None})
    return await _open_stock(conn, scope, news) if news else NotBegun("nothing")


async def _explain(conn: Connection, scope: Scope, marks: tuple[DirtyMark, ...]) -> None:
    """Forget unexplained units of which no order can tell any more, and have every channel told what that changes."""
    items = [mark.item_id for mark in marks if mark.is_unexplained]
    if not items:
        return
    settle_seconds = scope.settings.unseen_settle_seconds
    explained = await conn.fetchval(statements.EXPLAINED, *scope.ids, items, settle_seconds, scope.silent_feeds)
    if not explained:
        return
    await conn.fetch(statements.LOCK_MARKS_EVERYWHERE, *scope.ids, sorted(mark.item_id for mark in marks), explained)
    await conn.execute(statements.FORGET_UNSEEN, *scope.ids, explained)
    await conn.execute(statements.MARK_EVERYWHERE, scope.ids[0], explained)


async def _put_off(conn: Connection, scope: Scope, rows: list[StockNumberRow]) -> list[StockNumberRow]:
    """Have those look again later that would be told once more before all is applied that was sold before their doubt."""
    due = [row.item_id for row in rows if row.is_due_again and scope.follows_sales]
    if not due:
        return rows
    seconds = scope.settings.doubt_settle_seconds
    ready = await conn.fetchval(statements.READ_SINCE_DOUBT, *scope.ids, due, seconds, scope.silent_feeds)
    early = set(due).difference(ready or ())
    return [
        msgspec.structs.replace(row, is_due_again=False, may_come_late=True) if row.item_id in early else row
        for row in rows
    ]


class SafetyStep(msgspec.Struct, frozen=True, kw_only=True):
    """What one step of marking did."""

    marked: int = 0
    last: UUID | None = None
    """Where the next step goes on; None: all were looked at, and the rules are stored."""


async def mark_for_safety(conn: Connection, scope: Scope, rules: SafetyRules, after: UUID) -> SafetyStep:
    """Mark the next items of which `rules` withhold other units than when the channel was told; safe to begin anew.

    The rules were put into `scope` before, so a number that is built meanwhile follows them or is marked here.
    """
    await scope.fence(conn)
    stored = await conn.fetchval(statements.LOAD_SAFETY, *scope.ids)
    before = msgspec.json.decode(stored, type=SafetyRules) if stored is not None else NO_RULES
    if before == rules:
        return SafetyStep()
    rows = await conn.fetch(statements.TOLD_ITEMS, *scope.ids, after, scope.settings.safety_step_items)
    items = [(row[0], sku) for row in rows for sku in row[1]]
    marked = await conn.execute(statements.MARK_ITEMS, *scope.ids, changed_items(before, rules, items))
    last = rows[-1][0] if len(rows) == scope.settings.safety_step_items else None
    if last is None:
        await conn.execute(statements.STORE_SAFETY, *scope.ids, msgspec.json.encode(rules).decode())
    return SafetyStep(marked=int(marked.rpartition(" ")[2]), last=last)


class Look(msgspec.Struct, frozen=True):
    """A read-back that was begun."""

    attempt_id: UUID
    payloads: dict[UUID, Payload]
    """What was sent, of those that are still in doubt, in the order of the call."""
    key: str | None
    """The call's key, where it may be asked for again; None: it may only be looked."""


async def begin_look(conn: Connection, scope: Scope, commands: Sequence[DoubtfulCommand]) -> Look | None:
    """Begin a read-back of members of one call. None when none is in doubt any more."""
    await scope.fence(conn)
    attempt_id, first = new_id(), commands[0]
    ids = [command.command_id for command in commands]
    may_ask = await _may_ask_again(conn, scope, commands)
    rows = await conn.fetch(statements.BEGIN_LOOK, *scope.ids, ids, first.attempt_id, attempt_id, scope.owner.node_id)
    if not rows:
        return None
    await scope.store_budget(conn)
    frozen = (await _load_calls(conn, scope, [first.call_id]))[first.call_id]
    doubted = {row["command_id"] for row in rows}
    payloads = {command_id: payload for command_id, payload in frozen.payloads.items() if command_id in doubted}
    is_whole = len(payloads) == len(frozen.payloads) and not frozen.is_key_spent
    return Look(attempt_id, payloads, frozen.key if may_ask and is_whole else None)


async def _may_ask_again(conn: Connection, scope: Scope, commands: Sequence[DoubtfulCommand]) -> bool:
    """Whether what was begun may be finished: nothing stops writes, and each number may still go without anybody's word.

    Holds the switch and the marks until the transaction ends.
    """
    spec = scope.spec(commands[0].kind)
    if spec is None or spec.ask_again is None or commands[0].kind is not CommandKind.INVENTORY_SET:
        return False
    kept_seconds = spec.keys_kept.total_seconds()
    if not await conn.fetchval(statements.IS_KEY_KEPT, scope.ids[0], commands[0].call_id, kept_seconds):
        return False
    may_write, _ = await scope.fence_for(conn, "stock")  # the mode is that of each mark
    if not may_write:
        return False
    marks = await conn.fetch(statements.LOCK_MARKS, *scope.ids, sorted(command.entity_id for command in commands))
    return len(marks) == len(commands) and all(mark["mode"] == "live" for mark in marks)


async def fail_command(conn: Connection, scope: Scope, command_id: UUID, code: str) -> None:
    """End a command that cannot be begun."""
    await scope.fence(conn)
    reason = "it cannot be sent as it is stored - see the process's log, then `commands retry --rebuild` or cancel it"
    ending = (CommandState.FAILED, code, reason)
    await conn.execute(statements.END_UNSENT, *scope.ids, command_id, *ending)


async def park_mark(conn: Connection, scope: Scope, mark: DirtyMark) -> None:
    """Put off an item whose number cannot be told."""
    await scope.fence(conn)
    await conn.execute(statements.PARK_MARK, *scope.ids, mark.item_id, scope.settings.poison_seconds)


async def _begin_again(conn: Connection, scope: Scope, commands: Sequence[PendingCommand]) -> OpenCall | NotBegun:
    """Send a frozen call again, as it stands and under its key, when all of its members are to go and nobody else.

    Anything else is another request, and so another call under a key of its own, with what was frozen for each. A key that is
    spent is left for another one as well: whoever put the commands back knows that nothing was done under it.
    """
    calls = await _load_calls(conn, scope, [command.call_id for command in commands if command.call_id is not None])
    call_id, frozen = next(iter(calls.items()))
    if set(frozen.payloads) == {command.command_id for command in commands} and not frozen.is_key_spent:
        by_id = {command.command_id: command for command in commands}
        members = [by_id[command_id] for command_id in frozen.payloads]
        return await _begin(
            conn, scope, members, list(frozen.payloads.values()), maps=None, again=(call_id, frozen.key)
        )
    known = {command_id: payload for call in calls.values() for command_id, payload in call.payloads.items()}
    payloads = [known[command.command_id] for command in commands]
    return await _begin(conn, scope, commands, payloads, maps=None)


async def _begin(
    conn: Connection,
    scope: Scope,
    commands: Sequence[PendingCommand],
    payloads: Sequence[Payload],
    *,
    maps: MapsAtWork | None,
    again: tuple[UUID, str] | None = None,
) -> OpenCall | NotBegun:
    """`maps` shaped the payloads; None: they were frozen before. `again`: the call that is sent again, and its key."""
    attempt_id, kind = new_id(), commands[0].kind
    call_id, key = again or _new_call(scope)
    data_key = await scope.cipher.current(conn, scope.connection.tenant_id, scope.clock.now().date())
    sealed = None if again else scope.cipher.seal(data_key, "call", call_id, msgspec.json.encode(payloads))
    charge = scope.connector.commands[kind].charge_of(len(commands))
    rows = await conn.fetch(
        statements.BEGIN_ACTIONS,
        *scope.ids,
        [command.command_id for command in commands],
        attempt_id,
        call_id,
        key,
        data_key.key_id,
        sealed,
        scope.owner.node_id,
        charge,
        maps.config_version if maps is not None else None,
        maps.digest_for(kind) if maps is not None else None,
        [command.call_id for command in commands],
        *scope.book.store(),
    )
    numbers = {row["command_id"]: row["attempt_number"] for row in rows}
    if len(numbers) < len(commands):
        if numbers or len(commands) > 1:
            raise Overtaken
        return NotBegun("moved")
    crashpoint.reach("dispatch.t2s.written")
    members = tuple(
        Subject(
            command_id=command.command_id,
            kind=kind,
            entity_id=command.entity_id,
            version=command.version,
            attempt_number=numbers[command.command_id],
            deadline_at=command.deadline_at,
        )
        for command in commands
    )
    return OpenCall(
        call_id=call_id,
        attempt_id=attempt_id,
        kind=kind,
        idempotency_key=key,
        members=members,
        payloads=tuple(payloads),
        is_resend=maps is None,
    )


def _new_call(scope: Scope) -> tuple[UUID, str]:
    call_id = new_id()
    return call_id, public_id("cal", scope.cell, call_id)


async def _open_stock(conn: Connection, scope: Scope, rows: list[StockNumberRow]) -> OpenCall:
    attempt_id = new_id()
    call_id, key = _new_call(scope)
    deadline_at = scope.clock.now() + timedelta(seconds=DEADLINE_SECONDS[CommandKind.INVENTORY_SET])
    members = tuple(_stock_subject(row, deadline_at) for row in rows)
    payloads = tuple(
        build_stock_payload(
            row,
            scope.connection,
            member.command_id,
            cell=scope.cell,
            is_conditional=scope.connector.conditional_set,
        )
        for row, member in zip(rows, members, strict=True)
    )
    data_key = await scope.cipher.current(conn, scope.connection.tenant_id, scope.clock.now().date())
    sealed = scope.cipher.seal(data_key, "call", call_id, msgspec.json.encode(payloads))
    charge = scope.connector.commands[CommandKind.INVENTORY_SET].charge_of(len(rows))
    await conn.execute(
        statements.BEGIN_STOCK,
        *scope.ids,
        call_id,
        attempt_id,
        key,
        data_key.key_id,
        sealed,
        scope.owner.node_id,
        charge,
        [row.because for row in rows],
        deadline_at,
        [member.command_id for member in members],
        [member.entity_id for member in members],
        [member.version for member in members],
        [row.quantity for row in rows],
        [row.ledger.decode() for row in rows],
        [member.attempt_number for member in members],
        scope.maps().config_version,
        [row.units_per_variant for row in rows],
        scope.follows_sales,
        [row.available for row in rows],
        [row.quiet.lowest for row in rows],
        [row.quiet.highest for row in rows],
        [row.may_come_late for row in rows],
        *scope.book.store(),
    )
    crashpoint.reach("dispatch.t2s.written")
    return OpenCall(
        call_id=call_id,
        attempt_id=attempt_id,
        kind=CommandKind.INVENTORY_SET,
        idempotency_key=key,
        members=members,
        payloads=payloads,
        is_resend=False,
    )


def _stock_subject(row: StockNumberRow, deadline_at: datetime) -> Subject:
    return Subject(
        command_id=new_id(),
        kind=CommandKind.INVENTORY_SET,
        entity_id=row.item_id,
        version=row.push_version + 1,
        attempt_number=row.tries + 1,
        deadline_at=deadline_at,
        quantity=row.quantity,
    )


async def _fail_unbound(conn: Connection, scope: Scope, rows: list[StockNumberRow]) -> None:
    await conn.execute(
        statements.FAIL_UNBOUND,
        *scope.ids,
        [new_id() for _ in rows],
        [row.item_id for row in rows],
        "sku_unbound",
        unbound_reason(scope.connection.name),
        int(Priority.INVENTORY),
    )


class _Frozen(msgspec.Struct, frozen=True):
    """A call as it was frozen."""

    key: str
    payloads: dict[UUID, Payload]
    """By command, in the order of the request."""
    is_key_spent: bool


async def _load_calls(conn: Connection, scope: Scope, call_ids: Sequence[UUID]) -> dict[UUID, _Frozen]:
    """Return frozen calls, each once, in the order of their ids here."""
    tenant_id, wanted = scope.connection.tenant_id, list(dict.fromkeys(call_ids))
    rows = {row["call_id"]: row for row in await conn.fetch(statements.LOAD_CALLS, tenant_id, wanted)}
    if len(rows) < len(wanted):
        raise InvariantError("a command names a call that does not exist", code="call_missing")
    await scope.cipher.opener(conn, {(tenant_id, row["data_key_id"]) for row in rows.values()})
    found: dict[UUID, _Frozen] = {}
    for call_id in wanted:
        row = rows[call_id]
        plain = scope.cipher.open(tenant_id, row["data_key_id"], "call", call_id, row["payload"])
        payloads = msgspec.json.decode(plain, type=list[Payload])
        by_command = dict(zip(row["members"], payloads, strict=True))
        found[call_id] = _Frozen(row["idempotency_key"], by_command, row["is_key_spent"])
    return found
