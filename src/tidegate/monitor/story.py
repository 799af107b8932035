"""The story of one order: one timeline from the first delivery to the last answer. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import msgspec

from tidegate.commerce.money import Money
from tidegate.kernel.ids import public_id, time_of
from tidegate.monitor.waiting import CommandFacts, LaneFacts, Wait, explain_wait


class Row(Protocol):
    """A row of a statement: values by column name."""

    def __getitem__(self, column: str, /) -> Any:
        """Return the value of a column."""
        ...


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the timeline."""

    at: datetime
    kind: str
    """received, outcome, waiting, ledger, planned, sent, asked, answer, finished, shipped or stock."""
    words: str
    about: str = ""
    """Public id that leads on: of an event, a command, an attempt."""
    tone: str = "plain"
    """good, bad, doubt or plain: for colours."""
    detail: Mapping[str, Any] = {}


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of one order."""

    order_id: str
    channel: str
    external_id: str
    number: str
    version: int
    order_state: str
    payment_state: str
    fulfillment_state: str
    total_minor: int
    currency: str
    placed_at: datetime
    lines: tuple[Mapping[str, Any], ...]
    bindings: tuple[Mapping[str, Any], ...]
    steps: tuple[Step, ...]
    """By time."""
    payments: tuple[Mapping[str, Any], ...] = ()
    """Its payments as their provider shows them, each in words."""
    refunds: tuple[Mapping[str, Any], ...] = ()
    """What went back, on which side it is known, and how far it is carried over, each in words."""
    backorders: tuple[Mapping[str, Any], ...] = ()
    """Units that it waits for by a decision, each with the day that was promised; none once it is over."""
    waits: tuple[Mapping[str, Any], ...]
    """What is not done yet and why."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that a story is made of, as the statements of `explain.sql` give them."""

    order: Row
    lines: Sequence[Row]
    fulfillments: Sequence[Row]
    payments: Sequence[Row] = ()
    refunds: Sequence[Row] = ()
    events: Sequence[Row]
    """One row per event and run."""
    entries: Sequence[Row]
    backorders: Sequence[Row] = ()
    oversold: Sequence[Row] = ()
    commands: Sequence[Row]
    pushes: Sequence[Row]
    attempts: Sequence[Row]
    bindings: Sequence[Row]
    lanes: Mapping[UUID, LaneFacts]
    older: Mapping[tuple[UUID, str], tuple[UUID, str]]
    """(connection, target) -> (oldest open command, its state)."""


def tell(facts: Facts, *, cell: str, now: datetime) -> Story:
    """Return the story that the rows tell."""
    order = facts.order
    pushes = carried_pushes(facts.entries, facts.pushes)
    steps = [
        *_event_steps(facts.events, cell),
        *_ledger_steps(facts.entries, cell),
        *_backorder_steps(facts.backorders),
        *_oversold_steps(facts.oversold),
        *_command_steps(facts.commands, cell),
        *_push_steps(pushes, facts.entries, cell),
        *_attempt_steps([*facts.commands, *pushes], facts.attempts, cell),
        *_fulfillment_steps(facts.fulfillments, cell),
    ]
    order_of_kinds = {kind: rank for rank, kind in enumerate(_KINDS)}
    steps.sort(key=lambda step: (step.at, order_of_kinds[step.kind]))
    return Story(
        order_id=public_id("ord", cell, order["order_id"]),
        lines=tuple(_line(row, cell) for row in facts.lines),
        bindings=tuple(_binding(row, cell) for row in facts.bindings),
        steps=tuple(steps),
        payments=tuple(_payment(row) for row in facts.payments),
        refunds=tuple(_refund(row, cell) for row in facts.refunds),
        backorders=tuple(
            {name: row[name] for name in ("sku", "units", "promised_on", "decided_by")}
            for row in facts.backorders
            if order["order_state"] == "open" and order["fulfillment_state"] != "fulfilled"
        ),
        waits=tuple(_waits([*facts.commands, *pushes], facts, cell, now)),
        **{name: order[name] for name in _ORDER_FIELDS},
    )


_KINDS = (
    "received", "shipped", "outcome", "waiting", "ledger", "planned", "stock", "sent", "asked", "answer", "finished"
)  # fmt: skip
_ORDER_FIELDS = (
    "channel", "external_id", "number", "version", "order_state", "payment_state", "fulfillment_state", "total_minor",
    "currency", "placed_at",
)  # fmt: skip
_OUTCOME_TONES = {"applied": "good", "quarantined": "bad", "needs_fetch": "doubt"}
_ANSWER_TONES = {"success": "good", "rejected": "bad", "defect": "bad"}
_STATE_TONES = {"succeeded": "good", "failed": "bad", "in_doubt": "doubt"}
_KIND_WORDS = {
    "order.create": "create the order",
    "order.cancel": "cancel the order",
    "fulfillment.create": "report the shipment",
    "inventory.set": "set the stock number",
    "payment.capture": "capture the payment",
    "payment.void": "release the payment",
    "refund.create": "give money back",
    "event.send": "tell how it stands",
}


def carried_pushes(entries: Sequence[Row], pushes: Iterable[Row]) -> list[Row]:
    """Return the pushes that were the first to carry one of the entries to a channel.

    A number is read after the entry is committed, so the first push of the item that was begun after the entry holds it.
    """
    by_target: defaultdict[tuple[UUID, UUID], list[Row]] = defaultdict(list)
    for push in pushes:
        by_target[push["connection_id"], push["entity_id"]].append(push)
    chosen: dict[UUID, Row] = {}
    for entry in entries:
        for (_, item_id), candidates in by_target.items():
            if item_id != entry["item_id"]:
                continue
            first = next((push for push in candidates if time_of(push["command_id"]) >= _ms(entry["at"])), None)
            if first is not None:
                chosen[first["command_id"]] = first
    return [chosen[command_id] for command_id in sorted(chosen)]


def _event_steps(rows: Sequence[Row], cell: str) -> Iterable[Step]:
    told: set[UUID] = set()
    for row in rows:
        if row["source"] == "result":  # the answers of attempts tell it already
            continue
        about = public_id("evt", cell, row["event_id"])
        if row["event_id"] not in told:
            told.add(row["event_id"])
            yield _received(row, about)
        if row["outcome"] is not None:
            yield _outcome(row, about)
        if row["parked_kind"] == "parked" and row["outcome"] is None:
            words = f"{row['topic']} waits: {row['parked_reason']}"
            detail = {"code": row["parked_code"], "until": row["parked_until"]}
            yield Step(
                at=time_of(row["event_id"]), kind="waiting", words=words, about=about, tone="doubt", detail=detail
            )


def _received(row: Row, about: str) -> Step:
    words = f"{row['source']} {row['topic']} from {row['connection']}"
    if row["conflict"]:
        words += " (same id as an earlier one, other content)"
    detail = {"sender_id": row["external_id"], "occurred_at": row["occurred_at"]}
    return Step(at=time_of(row["event_id"]), kind="received", words=words, about=about, detail=detail)


def _outcome(row: Row, about: str) -> Step:
    words = f"{row['topic']}: {row['outcome']}"
    if row["code"] != row["outcome"]:
        words += f" ({row['code']})"
    if row["run"]:
        words += f", replay {row['run']}"
    if row["reason"]:
        words += f" - {row['reason']}"
    detail = {
        "connector_version": row["connector_version"],
        "mapping_version": row["mapping_version"],
        "code_version": row["code_version"],
        "config_version": row["config_version"],
        "run": row["run"],
    }
    tone = _OUTCOME_TONES.get(row["outcome"], "plain")
    return Step(at=row["at"], kind="outcome", words=words, about=about, tone=tone, detail=detail)


def _ledger_steps(rows: Sequence[Row], cell: str) -> Iterable[Step]:
    for row in rows:
        moves = [
            f"{name} {row[f'{name}_delta']:+d} = {row[f'{name}_after']}"
            for name in ("on_hand", "committed")
            if row[f"{name}_delta"]
        ]
        words = f"{row['kind']} {row['sku']} at {row['location']}: {', '.join(moves) or 'no change'}"
        about = public_id("evt", cell, row["event_id"]) if row["event_id"] else ""
        yield Step(at=row["at"], kind="ledger", words=words, about=about, detail={"entry": row["version"]})


def _command_steps(rows: Sequence[Row], cell: str) -> Iterable[Step]:
    for row in rows:
        about = public_id("cmd", cell, row["command_id"])
        what = f"{_KIND_WORDS[row['kind']]} in {row['connection']}"
        cause = public_id("evt", cell, row["cause_event_id"]) if row["cause_event_id"] else None
        detail = {"kind": row["kind"], "version": row["version"], "cause": cause, "deadline_at": row["deadline_at"]}
        planned_at = time_of(row["command_id"])
        yield Step(at=planned_at, kind="planned", words=f"planned: {what}", about=about, detail=detail)
        if row["finished_at"] is not None:
            yield _finished(row, what, about)


def _finished(row: Row, what: str, about: str) -> Step:
    words = f"{row['state']}: {what}"
    if row["code"]:
        words += f" ({row['code']})"
    if row["reason"]:
        words += f" - {row['reason']}"
    tone = _STATE_TONES.get(row["state"], "plain")
    return Step(at=row["finished_at"], kind="finished", words=words, about=about, tone=tone)


def _push_steps(rows: Sequence[Row], entries: Sequence[Row], cell: str) -> Iterable[Step]:
    skus = {entry["item_id"]: entry["sku"] for entry in entries}
    for row in rows:
        about = public_id("cmd", cell, row["command_id"])
        what = f"{skus.get(row['entity_id'], '?')} = {row['quantity']} in {row['connection']}"
        yield Step(at=time_of(row["command_id"]), kind="stock", words=f"tell {what}", about=about)
        if row["finished_at"] is not None:
            yield _finished(row, what, about)


def _attempt_steps(commands: Sequence[Row], rows: Sequence[Row], cell: str) -> Iterable[Step]:
    command_of: dict[UUID, Row] = {}
    for command in commands:
        if command["call_id"] is not None:
            command_of.setdefault(command["call_id"], command)
    told: set[UUID] = set()
    for row in rows:
        if row["call_id"] not in command_of or row["attempt_id"] is None:
            continue
        command = command_of[row["call_id"]]
        about = public_id("att", cell, row["attempt_id"])
        where = command["connection"]
        if row["attempt_id"] not in told:
            told.add(row["attempt_id"])
            yield _attempt(row, command, about, where)
        if row["outcome"] is not None:
            yield _answer(row, about, where)


def _attempt(row: Row, command: Row, about: str, where: str) -> Step:
    detail = {"idempotency_key": row["idempotency_key"], "members": row["members"]}
    if row["purpose"] == "verify":
        words = f"asked {where} whether it was carried out"
        return Step(at=row["started_at"], kind="asked", words=words, about=about, tone="doubt", detail=detail)
    also = f" with {row['members'] - 1} others" if row["members"] > 1 else ""
    words = f"sent to {where}: {command['kind']}{also}, attempt {row['attempt_number']}"
    return Step(at=row["started_at"], kind="sent", words=words, about=about, detail=detail)


def _answer(row: Row, about: str, where: str) -> Step:
    status = f"HTTP {row['http_status']}" if row["http_status"] is not None else "no HTTP answer"
    words = f"{where} answered: {row['outcome']} ({status}, {row['duration_ms']} ms)"
    if row["code"] not in (row["outcome"], ""):
        words += f", {row['code']}"
    if row["late"]:
        words += ", late: the state had moved on"
    tone = _ANSWER_TONES.get(row["outcome"], "doubt")
    return Step(at=_answered_at(row), kind="answer", words=words, about=about, tone=tone)


def _answered_at(row: Row) -> datetime:
    """Return when the answer came: it is written down a little later, together with what it changed."""
    written_at: datetime = row["answered_at"]
    started_at: datetime = row["started_at"]
    return written_at if row["late"] else min(written_at, started_at + timedelta(milliseconds=row["duration_ms"]))


def _fulfillment_steps(rows: Sequence[Row], cell: str) -> Iterable[Step]:
    for row in rows:
        units = ", ".join(f"{number} x {sku}" for sku, number in sorted(_object(row["units"]).items()))
        words = f"shipped by {row['source']} ({row['source_ref']}): {units}"
        if row["tracking"]:
            words += f", tracking {row['tracking']}"
        detail = {"carrier": row["carrier"], "state": row["state"], "tracking": row["tracking"]}
        about = public_id("ful", cell, row["fulfillment_id"])
        yield Step(at=row["shipped_at"], kind="shipped", words=words, about=about, tone="good", detail=detail)


def _by(decided_by: str) -> str:
    return "by the policy of the stock flow" if decided_by == "policy" else f"because {decided_by} decided so"


def _oversold_steps(rows: Iterable[Row]) -> Iterable[Step]:
    for row in rows:
        units = f"{row['units']} x {row['sku']}"
        by = _by(row["decided_by"])
        words = {
            "moved": f"leaves from {row['goal']} {by}: {units} more were promised at {row['location']} than there were",
            "called_off": f"called off {by}: {units} more were sold than there were; its channel is asked to cancel it",
            "let_stand": f"stands after all {by}: its channel is not asked to cancel it",
        }[row["outcome"]]
        detail = {"units": row["units"], "from": row["location"], "to": row["goal"], "decided_by": row["decided_by"]}
        yield Step(at=row["decided_at"], kind="ledger", words=words, about="", detail=detail)


def _backorder_steps(rows: Iterable[Row]) -> Iterable[Step]:
    for row in rows:
        units = f"{row['units']} x {row['sku']}"
        day = f"promised for {row['promised_on']}" if row["promised_on"] else "nothing that is on its way covered it"
        by = _by(row["decided_by"])
        yield Step(
            at=row["decided_at"],
            kind="ledger",
            words=f"waits for goods {by}: {units} more were sold than there were; {day}",
            about="",
            detail={"units": row["units"], "promised_on": row["promised_on"], "decided_by": row["decided_by"]},
        )


def _waits(commands: Sequence[Row], facts: Facts, cell: str, now: datetime) -> Iterable[Mapping[str, Any]]:
    for row in commands:
        wait = _wait(row, facts, now)
        if wait is not None:
            yield {
                "command": public_id("cmd", cell, row["command_id"]),
                "kind": row["kind"],
                "connection": row["connection"],
                "state": row["state"],
                "rule": wait.rule,
                "words": wait.words,
                "until": wait.until,
            }


def _wait(row: Row, facts: Facts, now: datetime) -> Wait | None:
    older_id, older_state = facts.older.get((row["connection_id"], row["target_key"]), (None, None))
    is_head = older_id is None or older_id == row["command_id"]
    command = CommandFacts(
        command_id=row["command_id"],
        state=row["state"],
        code=row["code"],
        reason=row["reason"],
        not_before=row["not_before"],
        settles_at=row["settles_at"],
        older_id=None if is_head else older_id,
        older_state=None if is_head else older_state,
    )
    return explain_wait(command, facts.lanes.get(row["connection_id"], LaneFacts(state="active")), now)


def _line(row: Row, cell: str) -> dict[str, Any]:
    counts = {name: row[name] for name in ("sku", "ordered", "current", "shipped", "fulfilled")}
    return {"line_id": public_id("lin", cell, row["line_id"]), "external_id": row["external_id"], **counts}


def _payment(row: Row) -> dict[str, Any]:
    currency = row["currency"].strip()
    parts = [f"{row['external_id']} in {row['connection']} is {row['state']}"]
    if row["state"] == "unseen":
        parts = [f"{row['external_id']} was not seen in {row['connection']} yet"]
    for words, amount in (
        ("of", row["amount_minor"]),
        ("captured", row["captured_minor"]),
        ("asked to capture", row["claimed_minor"] if row["claimed_minor"] > row["captured_minor"] else 0),
        ("given back", row["refunded_minor"]),
    ):
        if amount:
            parts.append(f"{words} {Money(amount, currency).to_decimal()} {currency}")
    if row["expires_at"] is not None and row["state"] == "authorised":
        parts.append(f"lapses {row['expires_at']:%Y-%m-%d %H:%M} UTC")
    fields = ("connection", "external_id", "state", "amount_minor", "captured_minor", "refunded_minor")
    return {"words": ", ".join(parts), "currency": currency, **{name: row[name] for name in fields}}


_CARRY_WORDS = {
    "open": "not carried over yet",
    "planned": "to be carried over",
    "sent": "being carried over",
    "done": "known on both sides",
    "left": "left alone",
}


def _refund(row: Row, cell: str) -> dict[str, Any]:
    amount = f"{Money(row['amount_minor'], row['currency'].strip()).to_decimal()} {row['currency'].strip()}"
    told = "the channel" if row["origin"] == "channel" else "the provider"
    carry = _CARRY_WORDS[row["carry"]] + (f" ({row['code']})" if row["code"] else "")
    words = f"{row['kind']} of {amount}, {row['state']}, first shown by {told}: {carry}"
    fields = ("origin", "kind", "amount_minor", "currency", "state", "carry", "code", "channel_ref", "psp_ref")
    ours = public_id("rfn", cell, row["refund_id"])
    return {"words": words, "refund_id": ours, **{name: row[name] for name in fields}}


def _binding(row: Row, cell: str) -> dict[str, Any]:
    prefix = {"order": "ord", "order_line": "lin", "fulfillment": "ful"}[row["kind"]]
    ours = public_id(prefix, cell, row["internal_id"])
    return {"connection": row["connection"], "kind": row["kind"], "external_id": row["external_id"], "ours": ours}


def _object(value: Any) -> dict[str, Any]:
    """Return a JSON object that may have come as text."""
    if value is None:
        return {}
    return msgspec.json.decode(value, type=dict[str, Any]) if isinstance(value, str) else dict(value)


def _ms(moment: datetime) -> datetime:
    """Return a moment cut to the millisecond, as ids tell it."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
