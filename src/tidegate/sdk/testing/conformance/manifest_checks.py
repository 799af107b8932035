"""Checks of the declarations and of what must stay secret."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tidegate.commerce.commands import CommandKind
from tidegate.kernel.errors import TidegateError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.budgets import speed_of
from tidegate.sdk.http import Session
from tidegate.sdk.testing.conformance.fixtures import Answered, ExchangeFixture
from tidegate.sdk.testing.conformance.script import Fault, answered, call, lost, not_sent
from tidegate.sdk.testing.conformance.subject import Subject

FILES = ("__init__.py", "client.py", "mapper.py", "webhooks.py", "errors.py", "README.md", "fixtures")
DEADLINES = (timedelta(seconds=1), timedelta(minutes=5))
_CANARY = "canary-4f1d9c7a"


def check_files(subject: Subject) -> None:
    """C1: the folder has the fixed files; webhooks.py may be missing where there are no webhooks."""
    missing = {name for name in FILES if not (subject.folder / name).exists()}
    if subject.connector.webhook is None:
        missing.discard("webhooks.py")
    assert not missing, f"missing: {sorted(missing)}"


def check_names(subject: Subject) -> None:
    """C2: name, title, versions, roles and fields are usable and unique."""
    connector = subject.connector
    assert re.fullmatch("[a-z][a-z0-9_]{1,30}", connector.name), f"name {connector.name!r}"
    assert connector.title.strip(), "a title"
    assert re.fullmatch(r"\d+\.\d+\.\d+", connector.version), f"version {connector.version!r}"
    assert connector.mapping_version >= 1, "mapping_version counts from 1"
    assert connector.roles, "at least one role"
    names = [field.name for field in connector.fields]
    assert len(names) == len(set(names)), "two fields of one name"
    assert all(re.fullmatch("[a-z][a-z0-9_]{0,40}", name) for name in names), f"field names {names}"
    assert all(field.question.strip() for field in connector.fields), "every field asks something"


def check_readme_names_fields(subject: Subject) -> None:
    """C3: the README names every field that is asked for, and every command that is left to a person when in doubt."""
    readme = (subject.folder / "README.md").read_text()
    for field in subject.connector.fields:
        assert f"`{field.name}`" in readme, f"README.md does not name `{field.name}`"
    for kind, spec in subject.connector.commands.items():
        if spec.find is None and not spec.safe_to_resend:
            assert "a person decides" in readme, f"README.md does not say that a person decides about {kind.value}"
            assert f"`{kind.value}`" in readme, f"README.md does not name `{kind.value}`"


def check_pace(subject: Subject) -> None:
    """C4: budget, concurrency, deadline, intervals and charges are positive; the budget says where it comes from."""
    connector = subject.connector
    budget = connector.budget
    speeds = [speed_of(budget), *speed_of(budget).operations.values()]
    assert all(speed.burst >= 1 for speed in speeds), "a budget of at least one token"
    assert all(speed.per_second > 0 for speed in speeds), "a budget that refills"
    assert len(budget.source) >= 8, "say where the budget comes from (its `source`)"
    assert 1 <= connector.concurrency_max <= 64, f"concurrency_max {connector.concurrency_max}"
    assert DEADLINES[0] <= connector.request_deadline <= DEADLINES[1], f"deadline {connector.request_deadline}"
    for name, feed in connector.feeds.items():
        assert feed.interval >= timedelta(seconds=1), f"feed {name}: interval {feed.interval}"
        assert 0 < feed.charge <= speed_of(budget).of(feed.operation).burst, f"feed {name}: charge {feed.charge}"
    if connector.articles is not None:
        charge = connector.articles.charge
        assert 0 < charge <= speed_of(budget).burst / 2, (
            f"articles: charge {charge}, of which half of the budget is kept"
        )
    if connector.shown is not None:
        assert connector.shown.fields, "shown: name the fields"
        assert connector.shown.articles_max >= 1, f"shown: articles_max {connector.shown.articles_max}"
        assert 0 < connector.shown.charge <= speed_of(budget).of(connector.shown.operation).burst, (
            f"shown: charge {connector.shown.charge}"
        )
    for kind, spec in connector.commands.items():
        assert spec.bulk_max >= 1, f"{kind.value}: bulk_max {spec.bulk_max}"
        assert spec.charge > 0, f"{kind.value}: charge {spec.charge}"
        assert spec.charge_each >= 0, f"{kind.value}: charge_each {spec.charge_each}"
        assert spec.charge_of(spec.bulk_max) <= speed_of(budget).of(spec.operation).burst, (
            f"{kind.value}: a call with {spec.bulk_max} commands costs {spec.charge_of(spec.bulk_max)}"
        )
        assert spec.readback_settle > timedelta(0), f"{kind.value}: readback_settle"


def check_capabilities(subject: Subject) -> None:
    """C5: a channel takes stock and tells orders, an ERP takes orders, a provider moves money; its counting agrees."""
    connector = subject.connector
    told = {topic for event in subject.events for topic in (type(change).__name__ for change in event.changes)}
    if "channel" in connector.roles:
        assert CommandKind.INVENTORY_SET in connector.commands, "a channel takes inventory.set"
        assert "OrderSeen" in told, "a channel tells orders: record one"
        assert connector.webhook is not None or connector.feeds, "a channel tells by webhooks or feeds"
    if "erp" in connector.roles:
        assert CommandKind.ORDER_CREATE in connector.commands, "an ERP takes order.create"
        assert "StockMoved" in told, "an ERP tells movements of stock: record one"
    if "payment" in connector.roles:
        for kind in (CommandKind.PAYMENT_CAPTURE, CommandKind.PAYMENT_VOID, CommandKind.REFUND_CREATE):
            assert kind in connector.commands, f"a payment provider takes {kind.value}"
        assert {"PaymentObserved", "RefundSeen"} <= told, "a payment provider tells payments and refunds: record both"
    if connector.deducts_own_orders and connector.stock_number == "available":
        assert connector.conditional_set, "a number that the channel lowers by itself is only safe to set conditionally"


def check_secrets_stay_secret(subject: Subject) -> None:
    """S1: whatever happens at the log-in, no secret shows in what it returns, raises or logs."""
    logins = subject.exchanges_of("open_session")
    assert logins, "record the log-in (do: open_session)"
    secrets = {f.name: Secret(f"{_CANARY}-{f.name}") for f in subject.connector.fields if f.secret}
    faults: tuple[Fault | None, ...] = (None, lost, not_sent, *(answered(a) for a in _BAD_ANSWERS))
    heard = _Listener()
    logging.getLogger().addHandler(heard)
    try:
        for fixture in logins:
            for fault in faults:
                shown = _texts_of(asyncio.run(_log_in(subject, fixture, fault, secrets)))
                assert _CANARY not in shown, f"{fixture.name}: a secret shows in {type(shown).__name__} {shown[:80]!r}"
    finally:
        logging.getLogger().removeHandler(heard)
    assert _CANARY not in "\n".join(heard.lines), "a secret was logged"


_BAD_ANSWERS = (
    Answered(status=400, body={"detail": f"bad key {_CANARY}"}),
    Answered(status=401, body={"detail": f"wrong key {_CANARY}"}),
    Answered(status=403, body={"error": {"code": f"key {_CANARY} refused", "message": _CANARY}}),
    Answered(status=200, body_text=f"<html>{_CANARY}</html>"),
    Answered(status=200, body={"unexpected": _CANARY}),
)


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(level=0)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


async def _log_in(
    subject: Subject, fixture: ExchangeFixture, fault: Fault | None, secrets: Mapping[str, Secret]
) -> Any:
    faults = {} if fault is None else dict.fromkeys(range(len(fixture.exchanges)), fault)
    result, _ = await call(subject.connector, fixture, faults=faults, secrets=secrets)
    assert isinstance(result, (Session, TidegateError)), f"{fixture.name}: log-in gave {type(result).__name__}"
    return result


def _texts_of(result: Any) -> str:
    texts = [repr(result), str(result), f"{result}"]
    if isinstance(result, TidegateError):
        texts += [
            result.code,
            str(result.hint),
            repr(dict(result.context)),
            repr(result.__cause__),
            repr(result.__context__),
        ]
    return "\n".join(texts)
