"""The Stripe connector and the sandbox's Stripe, which were written apart: what one says, the other understands."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest
from tests.sandboxbed import running
from tests.sandboxpay import PayHand, pay_world

from tidegate.commerce.changes import PaymentObserved, RefundSeen
from tidegate.commerce.commands import CapturePayment, CommandKind, CreateRefund, VoidPayment
from tidegate.connectors.stripe import CONNECTOR, client
from tidegate.connectors.stripe.client import read_endpoints
from tidegate.kernel.clock import SystemClock
from tidegate.kernel.errors import OutcomeUnknownError, RejectedError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.client import HttpApi
from tidegate.sdk.connector import Done, NotFound, RawEvent

KEY = "sk_live_sandbox"
URL = "http://127.0.0.1:9/in/c0/secret"
pytestmark = pytest.mark.asyncio


@pytest.fixture
def pay(tmp_path: Path) -> Iterator[PayHand]:
    with running(pay_world(options={"api_key": KEY}), tmp_path) as sandbox:
        yield PayHand(sandbox, KEY)


def api_of(pay: PayHand) -> HttpApi:
    url = pay.sandbox.url("pay")
    return HttpApi(
        CONNECTOR,
        url,
        {"base_url": url},
        {"api_key": Secret(KEY)},
        allow=[ip_network("127.0.0.0/8")],
        clock=SystemClock(),
    )


def capture_of(psp: str, amount: int = 1000) -> CapturePayment:
    return CapturePayment(
        reference="cap_c0_01hf0000000000000000000003", order_reference="ord_c0_1", payment_external_id=psp,
        amount_minor=amount, currency="EUR", is_final=True,
    )  # fmt: skip


def refund_of(psp: str, amount: int = 300) -> CreateRefund:
    return CreateRefund(
        reference="rfn_c0_01hf0000000000000000000001", order_reference="ord_c0_1", order_external_id="1",
        payment_external_id=psp, psp_reference="", amount_minor=amount, currency="EUR",
    )  # fmt: skip


async def test_money_is_captured_given_back_and_released_once_and_found_again(pay: PayHand) -> None:
    """R19, R55: each command, its repetition under the same key and under another one, and its read-back."""
    api = api_of(pay)
    specs, kind = CONNECTOR.commands, CommandKind
    paid, dropped = pay.intent(), pay.intent()
    capture, refund = capture_of(paid), refund_of(paid)
    void = VoidPayment(order_reference="ord_c0_2", payment_external_id=dropped)
    try:
        for which, payload in (
            (kind.PAYMENT_CAPTURE, capture),
            (kind.REFUND_CREATE, refund),
            (kind.PAYMENT_VOID, void),
        ):
            spec = specs[which]
            assert spec.find is not None
            assert isinstance(await spec.find(api, payload), NotFound), which
            (first,) = await spec.execute(api, [payload], f"key-{which}")
            (again,) = await spec.execute(api, [payload], f"key-{which}")
            assert isinstance(first, Done)
            assert first.external_id == (again.external_id if isinstance(again, Done) else None)
            found = await spec.find(api, payload)
            assert isinstance(found, Done)
            assert found.external_id == first.external_id
        (late,) = await specs[kind.PAYMENT_CAPTURE].execute(api, [capture], "another-key")
        assert isinstance(late, Done), "captured already: nothing more can be taken"
        with pytest.raises(RejectedError):
            await specs[kind.REFUND_CREATE].execute(api, [refund_of(paid, 800)], "too-much")
    finally:
        await api.close()


async def test_the_feed_brings_what_happened_in_order_and_the_mapper_reads_it(pay: PayHand) -> None:
    api = api_of(pay)
    try:
        cursor = (await client.read_events(api, "")).cursor
        psp = pay.intent()
        await CONNECTOR.commands[CommandKind.PAYMENT_CAPTURE].execute(api, [capture_of(psp)], "k1")
        await CONNECTOR.commands[CommandKind.REFUND_CREATE].execute(api, [refund_of(psp)], "k2")
        seen, has_more = [], True
        while has_more:
            page = await client.read_events(api, cursor)
            cursor, has_more = page.cursor, page.has_more
            for item in page.items:
                seen += CONNECTOR.normalize(RawEvent(source="poll", topic=item.topic, body=item.body))
        fetched = await client.fetch_payment(api, psp)
        assert fetched is not None
        (now, *_) = CONNECTOR.normalize(RawEvent(source="fetch", topic=fetched.topic, body=fetched.body))
    finally:
        await api.close()

    states = [change.state for change in seen if isinstance(change, PaymentObserved) and change.external_id == psp]
    assert "captured" in states
    (refund,) = {change.external_id: change for change in seen if isinstance(change, RefundSeen)}.values()
    assert (refund.amount_minor, refund.reference) == (300, refund_of(psp).reference)
    assert isinstance(now, PaymentObserved)
    assert (now.state, now.captured_minor, now.refunded_minor) == ("captured", 1000, 300)


async def test_the_endpoint_is_made_kept_and_made_anew_when_its_secret_was_lost(pay: PayHand) -> None:
    """R39: a subscription manager. Stripe shows a signing secret once."""
    api = api_of(pay)
    try:
        made = await client.subscribe(api, URL, Secret("whsec_of_nobody"))
        assert made.registered
        assert made.signing_secret is not None
        kept = await client.subscribe(api, URL, made.signing_secret)
        assert (kept.registered, kept.signing_secret) == (True, None)
        (endpoint,) = [one for one in await read_endpoints(api) if one.url == URL]
        anew = await client.subscribe(api, URL, Secret("whsec_of_nobody"))
        assert anew.signing_secret not in (None, made.signing_secret)
        (other,) = [one for one in await read_endpoints(api) if one.url == URL]
        assert other.id != endpoint.id
        assert CONNECTOR.checks.webhook is not None
        health = await CONNECTOR.checks.webhook(api, URL)
    finally:
        await api.close()

    assert (health.present, health.enabled, health.missing_topics) == (True, True, ())


async def test_the_account_is_read(pay: PayHand) -> None:
    api = api_of(pay)
    try:
        inspection = await CONNECTOR.inspect(api)
    finally:
        await api.close()

    assert inspection.external_account.startswith("acct_")
    assert msgspec.json.encode(inspection)


async def test_a_failure_that_stripe_keeps_under_a_key_is_told_from_one_that_it_does_not(pay: PayHand) -> None:
    """R19: nothing was done, and the key brings the same 500 for ever; another key brings the capture."""
    api, capture = api_of(pay), capture_of(pay.intent())
    spec = CONNECTOR.commands[CommandKind.PAYMENT_CAPTURE]
    assert spec.find is not None
    try:
        pay.sandbox.ask("PUT", "/faults/pay", {"profile": {"broken": 1.0}})
        errors = {}
        for number in range(20):
            with pytest.raises(OutcomeUnknownError) as failed:
                await spec.execute(api, [capture], f"key-{number}")
            errors[f"key-{number}"] = failed.value
        pay.sandbox.ask("PUT", "/faults/pay", {"profile": {}})
        assert not any(error.is_key_spent for error in errors.values()), "the first answer proves nothing"
        kept = next(key for key, error in errors.items() if error.context["status"] == 500)

        for _ in range(2):
            with pytest.raises(OutcomeUnknownError) as again:
                await spec.execute(api, [capture], kept)
            assert again.value.is_key_spent
        assert isinstance(await spec.find(api, capture), NotFound)
        (done,) = await spec.execute(api, [capture], "another-key")
        assert isinstance(done, Done)
    finally:
        await api.close()
