"""The steps of one call: T2s, then the other side with no transaction open, then T3."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import structlog
from msgspec.structs import replace

from tidegate.commerce.commands import CommandKind
from tidegate.commerce.states import CommandState
from tidegate.dispatch.decide import (
    Circumstances,
    Decision,
    decide_found,
    decide_look_failed,
    decide_outcome,
    decide_told,
    decide_unsent,
    decide_without_readback,
    with_one_wait,
)
from tidegate.dispatch.guard import GuardedApi
from tidegate.dispatch.mapping import Asked, needs_hooks
from tidegate.dispatch.payloads import draft_action
from tidegate.dispatch.perform import (
    ATTEMPTED,
    MERGED,
    ask_again,
    build_evidence,
    execute,
    find,
    milliseconds_since,
    name_of,
)
from tidegate.dispatch.records import (
    DirtyMark,
    DoubtfulCommand,
    Evidence,
    OpenCall,
    PendingCommand,
    Subject,
    Unbuildable,
)
from tidegate.dispatch.scope import Scope
from tidegate.dispatch.t2s import (
    Look,
    NotBegun,
    Overtaken,
    begin_actions,
    begin_look,
    begin_stock,
    fail_command,
    park_mark,
)
from tidegate.dispatch.t3 import Settled, Settlement, settle
from tidegate.kernel import crashpoint
from tidegate.kernel.errors import InvariantError, TidegateError
from tidegate.kernel.ids import new_id
from tidegate.kernel.retry import full_jitter
from tidegate.sdk.connector import CommandSpec, Done, Failed, FindOutcome, ItemOutcome
from tidegate.store.connections import DATABASE_ERRORS, Connection, is_outage

log = structlog.get_logger()

_UNSTORABLE = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
_TRY_AGAIN = (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError, asyncpg.TransactionRollbackError)
SETTLE_RETRY_SECONDS_MAX = 5.0
UNSTORABLE = "answer_unstorable"

OpenGuard = Callable[[], Awaitable[GuardedApi]]
"""Makes the Api of one call. Raises TidegateError when there is no way in (no credential, no session)."""


@dataclass(frozen=True, kw_only=True)
class CallResult:
    """What a call means for the lane."""

    not_begun: NotBegun | None = None
    decisions: Sequence[Decision] = ()
    is_fenced: bool = False
    alone: tuple[UUID, ...] = ()
    """Commands or items that could not be begun together: nothing was sent, and each comes again alone."""


async def send_actions(
    scope: Scope,
    commands: tuple[PendingCommand, ...],
    open_guard: OpenGuard,
    note_begun: Callable[[], None] = lambda: None,
) -> CallResult:
    """Send action commands of one kind in one call, under a new attempt. `note_begun` is told when T2s is over.

    When one of several cannot be begun, or was changed meanwhile, none is sent and each comes again alone: it must not hold
    up the others, and each call pays for itself. What cannot even be begun alone (a stored value was tampered with, or breaks a rule of the database) ends failed. Raises
    `Fenced` and `DATABASE_ERRORS` when nothing was sent.
    """
    api = await open_guard()
    asks = needs_hooks(scope.maps(), commands[0])
    if asks and len(commands) > 1:
        return _apart(commands)
    try:
        asked = await _ask_hooks(scope, commands[0]) if asks else None
        call = await _begin(scope, lambda conn: begin_actions(conn, scope, commands, asked))
    except Exception as error:
        if not isinstance(error, Overtaken) and not is_poison(error):
            raise
        if len(commands) > 1:
            return _apart(commands)
        code = error.code if isinstance(error, InvariantError) else "not_sendable"
        log.error("command.poisonous", command_id=commands[0].command_id, code=code, exc_info=error)
        await scope.transact(lambda conn: fail_command(conn, scope, commands[0].command_id, code))
        return CallResult(not_begun=NotBegun("ended"))
    note_begun()
    return await _carry_out(scope, call, api)


def _apart(commands: Sequence[PendingCommand]) -> CallResult:
    return CallResult(not_begun=NotBegun("apart"), alone=tuple(command.command_id for command in commands))


async def _ask_hooks(scope: Scope, command: PendingCommand) -> Asked | None:
    """Let the hooks of the command's map see what it would send, with no transaction open.

    None when there is nothing to ask about: T2s finds out again why. Raises TransientError when no process can be had.
    """
    maps = scope.maps()
    flow_map, digest = maps.flow_map(command.kind), maps.digest_for(command.kind)
    if flow_map is None or digest is None or maps.hooks is None:
        return None
    async with scope.pool.acquire() as conn, conn.transaction():
        draft = await draft_action(conn, scope.connection, command, scope.cipher, cell=scope.cell, has_map=True)
    if isinstance(draft, Unbuildable):
        return None
    answer = await maps.hooks.run(flow_map, draft.payload, draft.facts, is_approved=command.is_approved)
    crashpoint.reach("dispatch.hooks.answered")
    return Asked(draft=draft, digest=digest, answer=answer)


async def push_stock(scope: Scope, marks: tuple[DirtyMark, ...], open_guard: OpenGuard) -> CallResult:
    """Tell a channel the numbers of these items. Raises as `send_actions`.

    When one of several items cannot be told, none is, and each comes again alone; the culprit is parked.
    """
    api = await open_guard()
    try:
        call = await _begin(scope, lambda conn: begin_stock(conn, scope, marks))
    except Exception as error:
        if not is_poison(error):
            raise
        log.error("stock.poisonous", connection=scope.connection.name, count=len(marks), exc_info=error)
        if len(marks) == 1:
            await scope.transact(lambda conn: park_mark(conn, scope, marks[0]))
            return CallResult(not_begun=NotBegun("ended"))
        return CallResult(not_begun=NotBegun("apart"), alone=tuple(mark.item_id for mark in marks))
    return await _carry_out(scope, call, api)


def is_poison(error: Exception) -> bool:
    """Whether beginning the same work again must fail again: our bug, or content that cannot be stored. Not an outage."""
    if isinstance(error, TidegateError):
        return isinstance(error, InvariantError)
    return not isinstance(error, DATABASE_ERRORS) or isinstance(error, _UNSTORABLE)


async def look_after(scope: Scope, commands: tuple[DoubtfulCommand, ...], open_guard: OpenGuard) -> CallResult:
    """Look whether commands in doubt were carried out, and settle those of which that is clear. Raises as `send_actions`.

    Several are members of one call, of one attempt: they are looked at in one request.
    """
    first = commands[0]
    spec = scope.spec(first.kind)
    if spec is None or spec.find is None or scope.overtakes(first.kind):
        decisions = [
            decide_without_readback(_about(c.subject(), scope, spec), settles_in_seconds=c.settles_in_seconds)
            for c in commands
        ]
        return await write_settlement(scope, _settlement_of_look(commands, decisions))
    api = await open_guard()
    try:
        begun = await scope.transact(lambda conn: begin_look(conn, scope, commands))
    except InvariantError as error:
        decision = Decision(
            state=CommandState.IN_DOUBT, code=error.code, reason="what was sent cannot be read any more"
        )
        return await write_settlement(scope, _settlement_of_look(commands, [decision] * len(commands)))
    if begun is None:
        return CallResult(not_begun=NotBegun("moved"))
    started = scope.clock.monotonic()
    by_id = {command.command_id: command for command in commands}
    looked_at = tuple(by_id[command_id] for command_id in begun.payloads)
    told, seen = await _look(scope, spec, api, begun)
    api.finish()
    decisions = [
        decide_told(done) if done is not None else decision
        for done, decision in zip(told, _decide_found(scope, spec, looked_at, seen), strict=True)
    ]
    evidence = _evidence(scope, [command.subject() for command in looked_at], seen, api, started)
    settlement = _settlement_of_look(looked_at, decisions)
    return await write_settlement(scope, replace(settlement, answered_attempt_id=begun.attempt_id, evidence=evidence))


async def _look(
    scope: Scope, spec: CommandSpec, api: GuardedApi, begun: Look
) -> tuple[list[Done | None], Sequence[FindOutcome | Failed]]:
    """Return of each what is done by the platform's last word, and what was seen of each."""
    payloads, limit = list(begun.payloads.values()), scope.settings.execute_seconds_max
    told: Sequence[ItemOutcome | None] = [None] * len(payloads)
    if begun.key is not None:
        told = await ask_again(spec, api, payloads, begun.key, seconds_max=limit)
    unknown = [payload for payload, one in zip(payloads, told, strict=True) if one is None]
    found = iter(await find(spec, api, unknown, seconds_max=limit) if unknown else ())
    seen = [next(found) if one is None else one for one in told]
    return [one if isinstance(one, Done) else None for one in told], seen


def _decide_found(
    scope: Scope, spec: CommandSpec, commands: Sequence[DoubtfulCommand], seen: Sequence[FindOutcome | Failed]
) -> list[Decision]:
    """Return what becomes of each; of a look that failed as a whole all come again together."""
    failures: dict[int, Decision] = {}
    decisions = []
    for command, one in zip(commands, seen, strict=True):
        if isinstance(one, Failed):
            if id(one) not in failures:
                failures[id(one)] = decide_look_failed(one.error, scope.settings)
            decisions.append(failures[id(one)])
            continue
        decisions.append(
            decide_found(
                one,
                _about(command.subject(), scope, spec),
                negatives=command.negatives,
                settles_in_seconds=command.settles_in_seconds,
                settings=scope.settings,
            )
        )
    return decisions


async def write_settlement(scope: Scope, settlement: Settlement) -> CallResult:
    """Write a T3 until it is durable. A commit whose answer was lost is written again and counts once.

    What cannot be stored as it is (a NUL in an id, for example) leaves the commands in doubt for a person. Raises the
    database's error when even that cannot be stored.
    """
    retry_index = 0
    while True:
        try:
            settled = await _write_once(scope, settlement, is_repeated=retry_index > 0)
        except DATABASE_ERRORS as error:
            log.warning("settlement.delayed", error_class=type(error).__name__, call_id=settlement.call_id)
            if not is_outage(error) and not isinstance(error, _TRY_AGAIN):
                if settlement.evidence is None or settlement.evidence.code == UNSTORABLE:
                    raise
                settlement = _in_doubt(settlement)
            await asyncio.sleep(full_jitter(retry_index, base_seconds=0.1, cap_seconds=SETTLE_RETRY_SECONDS_MAX))
            retry_index += 1
        else:
            crashpoint.reach("dispatch.t3.committed")
            return CallResult(decisions=settlement.decisions, is_fenced=settled.is_fenced)


async def _write_once(scope: Scope, settlement: Settlement, *, is_repeated: bool) -> Settled:
    return await scope.transact(lambda conn: settle(conn, scope, settlement, is_repeated=is_repeated))


async def _begin(scope: Scope, begin: Callable[[Connection], Awaitable[OpenCall | NotBegun]]) -> OpenCall | NotBegun:
    """Run a T2s. When it is not known whether it was committed, everything is put back before the error is raised."""
    built: list[OpenCall | NotBegun] = []

    async def work(conn: Connection) -> None:
        built[:] = [await begin(conn)]

    try:
        await scope.transact(work)
    except DATABASE_ERRORS:
        if built and isinstance(built[0], OpenCall):
            await _take_back(scope, built[0])
        raise
    return built[0]


async def _carry_out(scope: Scope, call: OpenCall | NotBegun, api: GuardedApi) -> CallResult:
    if isinstance(call, NotBegun):
        return CallResult(not_begun=call)
    crashpoint.reach("dispatch.t2s.committed")
    spec = scope.connector.commands[call.kind]
    started = scope.clock.monotonic()
    limit = scope.settings.execute_seconds_max
    outcomes = await execute(spec, api, call.payloads, call.idempotency_key, seconds_max=limit)
    api.finish()
    crashpoint.reach("dispatch.call.answered")
    MERGED.labels(scope.connector.name, call.kind).inc(len(call.members) - 1)
    tells_apart = any(outcome is not outcomes[0] for outcome in outcomes)
    shares_fate = len(outcomes) > 1 and not tells_apart
    decisions = []
    for member, outcome in zip(call.members, outcomes, strict=True):
        ATTEMPTED.labels(scope.connector.name, call.kind, name_of(outcome)).inc()
        about = replace(
            _about(member, scope, spec),
            writes_begun=api.writes_begun,
            earlier_writes=api.earlier_writes,
            tells_apart=tells_apart,
            shares_fate=shares_fate,
        )
        settle_seconds = scope.settle_seconds(call.kind)
        decisions.append(decide_outcome(outcome, about, settle_seconds=settle_seconds, settings=scope.settings))
    if shares_fate:
        decisions = with_one_wait(decisions)
    settlement = _settlement_of_call(call, decisions)
    evidence = _evidence(scope, call.members, outcomes, api, started)
    return await write_settlement(scope, replace(settlement, evidence=evidence))


async def _take_back(scope: Scope, call: OpenCall) -> None:
    """The T2s may be committed or not, and certainly nothing was sent: put everything back, if there is anything."""
    spec = scope.spec(call.kind)
    decisions = [decide_unsent(_about(member, scope, spec)) for member in call.members]
    await write_settlement(scope, _settlement_of_call(call, decisions))


def _about(subject: Subject, scope: Scope, spec: CommandSpec | None) -> Circumstances:
    return Circumstances(
        kind=subject.kind,
        attempt_number=max(1, subject.attempt_number),
        seconds_left=(subject.deadline_at - scope.clock.now()).total_seconds(),
        safe_to_resend=spec is not None and spec.safe_to_resend,
        can_read_back=spec is not None and spec.find is not None,
        retries=tuple(wait.total_seconds() for wait in spec.retries) if spec is not None else (),
        may_overtake=scope.overtakes(subject.kind),
        is_compared=subject.kind is CommandKind.INVENTORY_SET and scope.follows_sales,
        all_or_nothing=spec is not None and spec.all_or_nothing,
    )


def _evidence(
    scope: Scope,
    members: Sequence[Subject],
    outcomes: Sequence[ItemOutcome | FindOutcome],
    api: GuardedApi,
    started: float,
) -> Evidence:
    duration_ms = milliseconds_since(started, scope.clock)
    return build_evidence(members, outcomes, api, duration_ms=duration_ms, bytes_max=scope.settings.excerpt_bytes_max)


def _settlement_of_call(call: OpenCall, decisions: Sequence[Decision]) -> Settlement:
    return Settlement(
        call_id=call.call_id,
        sent_attempt_id=call.attempt_id,
        members=call.members,
        decisions=tuple(decisions),
        answer_id=new_id(),
        answered_attempt_id=call.attempt_id,
        evidence=None,
    )


def _settlement_of_look(commands: Sequence[DoubtfulCommand], decisions: Sequence[Decision]) -> Settlement:
    first = commands[0]
    return Settlement(
        call_id=first.call_id,
        sent_attempt_id=first.attempt_id,
        members=tuple(command.subject() for command in commands),
        decisions=tuple(decisions),
        answer_id=new_id(),
        answered_attempt_id=first.attempt_id,
        evidence=None,
    )


def _in_doubt(settlement: Settlement) -> Settlement:
    """Return the settlement that only says: something came back that cannot be stored."""
    reason = "what came back cannot be stored - look there, then `commands retry` or `commands cancel` it"
    decision = Decision(state=CommandState.IN_DOUBT, code=UNSTORABLE, reason=reason)
    evidence = settlement.evidence
    return replace(
        settlement,
        decisions=(decision,) * len(settlement.members),
        evidence=replace(evidence, code=UNSTORABLE, excerpt=b"{}") if evidence is not None else None,
    )
