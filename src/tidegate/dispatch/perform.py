"""Calling the other side: a connector's function in, outcomes and evidence out. Touches no database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import structlog
from prometheus_client import Counter

from tidegate.commerce.commands import Payload
from tidegate.dispatch.decide import PARTIAL, SUCCESS, ErrorClass, classify, reason_of
from tidegate.dispatch.guard import GuardedApi
from tidegate.dispatch.records import Evidence, Subject
from tidegate.kernel.clock import Clock
from tidegate.kernel.errors import InvariantError, OutcomeUnknownError, TidegateError
from tidegate.kernel.telemetry import CALLS_SAVED, COMMANDS_ATTEMPTED
from tidegate.sdk.connector import CommandSpec, Done, Failed, FindOutcome, ItemOutcome

log = structlog.get_logger()

ATTEMPTED = Counter(
    COMMANDS_ATTEMPTED.removesuffix("_total"),
    "Commands that were part of a sent call",
    ("connector", "kind", "outcome"),
)


MERGED = Counter(
    CALLS_SAVED.removesuffix("_total"),
    "Calls that were saved because one carried several commands",
    ("connector", "kind"),
)


async def execute(
    spec: CommandSpec, api: GuardedApi, payloads: Sequence[Payload], key: str, *, seconds_max: float
) -> Sequence[ItemOutcome]:
    """Return one outcome per payload, whatever the connector does. An error of the whole call is each payload's."""
    try:
        async with asyncio.timeout(seconds_max):
            outcomes = await spec.execute(api, payloads, key)
    except TidegateError as error:
        return [Failed(error=error)] * len(payloads)
    except TimeoutError:
        return [Failed(error=OutcomeUnknownError("the call took too long", code="call_timeout"))] * len(payloads)
    except Exception as error:  # a connector's bug must not take the lane with it
        return [Failed(error=_defect(error))] * len(payloads)
    if len(outcomes) != len(payloads):
        miscounted = InvariantError(f"the connector gave {len(outcomes)} outcomes for {len(payloads)} commands")
        return [Failed(error=miscounted)] * len(payloads)
    return outcomes


async def ask_again(
    spec: CommandSpec, api: GuardedApi, payloads: Sequence[Payload], key: str, *, seconds_max: float
) -> Sequence[ItemOutcome | None]:
    """Return of each payload what asking again under the call's key told, None where it told nothing of its fate.

    An error that only says that nobody can be asked now is each payload's.
    """
    nothing: list[ItemOutcome | None] = [None] * len(payloads)
    if spec.ask_again is None:
        return nothing
    try:
        async with asyncio.timeout(seconds_max):
            outcomes = await spec.ask_again(api, payloads, key)
    except TidegateError as error:
        is_about_it = classify(error) in (ErrorClass.CONFLICT, ErrorClass.REJECTED, ErrorClass.DEFECT)
        return nothing if is_about_it else [Failed(error=error)] * len(payloads)
    except TimeoutError:
        unknown = OutcomeUnknownError("the call took too long", code="call_timeout")
        return [Failed(error=unknown)] * len(payloads)
    except Exception as error:
        _defect(error)
        return nothing
    if outcomes is None or len(outcomes) != len(payloads):
        return nothing
    return [outcome if isinstance(outcome, Done) else None for outcome in outcomes]


async def find(
    spec: CommandSpec, api: GuardedApi, payloads: Sequence[Payload], *, seconds_max: float
) -> Sequence[FindOutcome | Failed]:
    """Return what a read-back saw of each payload, or why it saw nothing. An error of the whole look is each payload's."""
    try:
        async with asyncio.timeout(seconds_max):
            if spec.find_many is not None:
                seen = await spec.find_many(api, payloads)
            else:
                seen = [await spec.find(api, payload) for payload in payloads] if spec.find is not None else []
    except TidegateError as error:
        return [Failed(error=error)] * len(payloads)
    except TimeoutError:
        unknown = OutcomeUnknownError("the read-back took too long", code="call_timeout")
        return [Failed(error=unknown)] * len(payloads)
    except Exception as error:
        return [Failed(error=_defect(error))] * len(payloads)
    if len(seen) != len(payloads):
        miscounted = InvariantError(f"the connector saw {len(seen)} of {len(payloads)} commands")
        return [Failed(error=miscounted)] * len(payloads)
    return seen


def build_evidence(
    members: Sequence[Subject],
    outcomes: Sequence[ItemOutcome | FindOutcome],
    api: GuardedApi,
    *,
    duration_ms: int,
    bytes_max: int,
) -> Evidence:
    """Return what is kept of an answer: what each member came to and the beginning of the answer itself."""
    names = [name_of(outcome) for outcome in outcomes]
    outcome = names[0] if len(set(names)) == 1 else PARTIAL
    first = next((o.error for o in outcomes if isinstance(o, Failed)), None)
    described = [
        _describe(member, name, outcome_) for member, name, outcome_ in zip(members, names, outcomes, strict=True)
    ]
    return Evidence(
        outcome=outcome,
        code=first.code if first is not None else "ok",
        http_status=api.http_status,
        duration_ms=duration_ms,
        excerpt=_excerpt(described, api.excerpt, bytes_max),
    )


def name_of(outcome: ItemOutcome | FindOutcome) -> str:
    """Return `success`, the error's class, or what a read-back saw."""
    if isinstance(outcome, Done):
        return SUCCESS
    if isinstance(outcome, Failed):
        return classify(outcome.error).value
    return {"NotFound": "not_found", "Partly": "partly"}[type(outcome).__name__]


def milliseconds_since(started: float, clock: Clock) -> int:
    """Return whole milliseconds since a monotonic moment."""
    return max(0, round((clock.monotonic() - started) * 1000))


def _describe(member: Subject, name: str, outcome: ItemOutcome | FindOutcome) -> dict[str, object]:
    described: dict[str, object] = {"command_id": member.command_id, "outcome": name}
    if isinstance(outcome, Failed):
        described |= {"code": outcome.error.code, "reason": reason_of(outcome.error)}
    elif isinstance(outcome, Done):
        described |= {"external_id": outcome.external_id, "detail": outcome.detail[:200]}
    return described


def _excerpt(described: list[dict[str, object]], answer: bytes, bytes_max: int) -> bytes:
    """Return JSON of at most `bytes_max` bytes: the members get what they need, up to three quarters, the answer the rest."""
    members = msgspec.json.encode(described)
    if len(members) > bytes_max * 3 // 4:
        kept = max(1, len(described) * (bytes_max * 3 // 4) // len(members) - 1)
        members = msgspec.json.encode([*described[:kept], {"left_out": len(described) - kept}])
    text = answer.decode(errors="replace")
    while True:
        whole = b'{"members":%b,"answer":%b}' % (members, msgspec.json.encode(text))
        surplus = len(whole) - bytes_max
        if surplus <= 0 or not text:
            return whole[:bytes_max]
        text = text[: max(0, len(text) - max(1, surplus // 4))]


def _defect(error: Exception) -> InvariantError:
    """Name the class only: the text of a foreign error may quote a payload."""
    log.error("connector.failed", exc_info=error)
    return InvariantError(f"the connector failed with {type(error).__name__}", code="connector_defect")
