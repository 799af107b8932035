"""The sandbox's Stripe behaves as the real one is documented to: refusals, captures, refunds, keys, limits, webhooks."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.sandboxbed import Receiver, at_once, eventually, running
from tests.sandboxpay import PayHand, pay_world


@pytest.fixture
def pay(tmp_path: Path) -> Iterator[PayHand]:
    with running(pay_world(options={"api_key": "sk_live_sandbox"}), tmp_path) as sandbox:
        yield PayHand(sandbox, "sk_live_sandbox")


# --- requests --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ("currency=eur", "parameter_missing", "amount"),
        ("amount=ten&currency=eur", "parameter_invalid_integer", "amount"),
        ("amount=0&currency=eur", "parameter_invalid_integer", "amount"),
        ("amount=10&currency=eur&colour=red", "parameter_unknown", "colour"),
        ("amount=10&currency=eur&payment_method_types[]=card", "parameter_unknown", "payment_method_types"),
        ("amount=10&currency=eur&metadata=x", None, "metadata"),
        ("amount[a]=10&currency=eur", "parameter_invalid_integer", "amount"),
        ("amount=10&currency=eur&confirm=maybe", None, "confirm"),
        ("amount=10&currency=euro", None, "currency"),
        ("amount=10&currency=eur&metadata[a=1", None, "metadata[a"),
        ("amount=10&currency=eur&capture_method=later", None, "capture_method"),
    ],
)
def test_a_form_is_held_to_its_operation(pay: PayHand, form: str, code: str | None, param: str) -> None:
    """Unknown, missing and malformed parameters are 400 with the parameter's name; nothing is made."""
    status, error = pay.refused("POST", "/v1/payment_intents", form)
    assert (status, error["type"], error.get("code"), error["param"]) == (400, "invalid_request_error", code, param)
    assert pay.books()["details"]["payment_intents"] == 0


def test_a_wrong_key_and_an_unknown_path_are_refused(pay: PayHand) -> None:
    """401 and 404, as objects."""
    assert PayHand(pay.sandbox, "sk_live_other").refused("GET", "/v1/account")[0] == 401
    assert pay.refused("GET", "/v1/unicorns")[0] == 404
    assert pay.refused("GET", "/v1/payment_intents/pi_none")[1]["code"] == "resource_missing"
    assert pay.refused("GET", "/v1/account", headers={"Stripe-Version": "tomorrow"})[0] == 400


def test_a_basic_user_is_a_key_too(pay: PayHand) -> None:
    """`curl -u KEY:` works."""
    reply = pay.send("GET", "/v1/account", headers={"Authorization": "Basic c2tfbGl2ZV9zYW5kYm94Og=="})
    assert (reply.status, reply.json["object"]) == (200, "account")
    assert reply.headers["stripe-version"] == "2026-10-28.endive"


# --- payments --------------------------------------------------------------------------------------------------------------
def test_what_was_set_aside_is_captured_once(pay: PayHand) -> None:
    """A second capture and a cancellation afterwards are refused by the state."""
    intent = pay.intent(1000)
    assert pay.do("GET", f"/v1/payment_intents/{intent}")["status"] == "requires_capture"
    done = pay.do("POST", f"/v1/payment_intents/{intent}/capture")
    assert (done["status"], done["amount_received"], done["amount_capturable"]) == ("succeeded", 1000, 0)
    for step in ("capture", "cancel", "confirm"):
        status, error = pay.refused("POST", f"/v1/payment_intents/{intent}/{step}")
        assert (status, error["code"]) == (400, "payment_intent_unexpected_state")
        assert error["payment_intent"]["status"] == "succeeded"
    books = pay.books()
    assert (books["captured_minor"], books["effects"]["capture"]["doubled"]) == (1000, {})


def test_no_more_is_captured_than_was_set_aside(pay: PayHand) -> None:
    """Over-capture is refused; a part ends the payment."""
    intent = pay.intent(1000)
    status, error = pay.refused("POST", f"/v1/payment_intents/{intent}/capture", {"amount_to_capture": 1001})
    assert (status, error["code"]) == (400, "amount_too_large")
    assert pay.do("POST", f"/v1/payment_intents/{intent}/capture", {"amount_to_capture": 400})["status"] == "succeeded"
    assert pay.books()["captured_minor"] == 400


def test_a_payment_is_captured_in_parts_where_it_may_be(pay: PayHand) -> None:
    """Only with multicapture, and never beyond what was set aside."""
    plain = pay.intent(1000)
    part = {"amount_to_capture": 400, "final_capture": "false"}
    assert pay.refused("POST", f"/v1/payment_intents/{plain}/capture", part)[1]["param"] == "final_capture"
    intent = pay.intent(1000, **{"payment_method_options[card][request_multicapture]": "if_available"})
    assert pay.do("POST", f"/v1/payment_intents/{intent}/capture", part)["amount_capturable"] == 600
    assert pay.refused("POST", f"/v1/payment_intents/{intent}/capture", {"amount_to_capture": 601})[0] == 400
    last = pay.do("POST", f"/v1/payment_intents/{intent}/capture", {"amount_to_capture": 600, "final_capture": "true"})
    assert (last["status"], last["amount_received"]) == ("succeeded", 1000)


def test_what_was_set_aside_is_let_go(pay: PayHand) -> None:
    """Once; and not captured afterwards."""
    intent = pay.intent(1000)
    assert pay.do("POST", f"/v1/payment_intents/{intent}/cancel")["status"] == "canceled"
    assert pay.refused("POST", f"/v1/payment_intents/{intent}/capture")[1]["code"] == "payment_intent_unexpected_state"
    assert pay.refused("POST", f"/v1/payment_intents/{intent}/cancel")[0] == 400


def test_a_declined_card_is_402(pay: PayHand) -> None:
    """With the reason; the payment waits for another card."""
    form = {"amount": 10, "currency": "eur", "payment_method": "pm_card_visa_chargeDeclined", "confirm": "true"}
    status, error = pay.refused("POST", "/v1/payment_intents", form)
    assert (status, error["code"], error["decline_code"]) == (402, "card_declined", "generic_decline")
    assert error["payment_intent"]["status"] == "requires_payment_method"


def test_no_more_is_refunded_than_was_captured(pay: PayHand) -> None:
    """In parts, never beyond, and not of a disputed charge."""
    intent = pay.intent(1000)
    assert pay.refused("POST", "/v1/refunds", {"payment_intent": intent})[0] == 400
    pay.do("POST", f"/v1/payment_intents/{intent}/capture")
    assert (
        pay.do("POST", "/v1/refunds", {"payment_intent": intent, "amount": 300, "metadata[a]": "b"})["status"]
        == "succeeded"
    )
    assert pay.refused("POST", "/v1/refunds", {"payment_intent": intent, "amount": 701})[1]["param"] == "amount"
    assert pay.do("POST", "/v1/refunds", {"payment_intent": intent})["amount"] == 700
    assert pay.refused("POST", "/v1/refunds", {"payment_intent": intent})[1]["code"] == "charge_already_refunded"
    assert pay.refused("POST", "/v1/refunds", {})[1]["code"] == "parameter_missing"
    listed = pay.do("GET", "/v1/refunds", {"payment_intent": intent})
    assert [refund["amount"] for refund in listed["data"]] == [700, 300]
    assert pay.books()["refunded_minor"] == 1000


def test_a_dispute_is_told_and_ended(pay: PayHand) -> None:
    """It blocks refunds; the bank's decision closes it."""
    intent = pay.intent(1000)
    pay.do("POST", f"/v1/payment_intents/{intent}/capture")
    dispute = pay.sandbox.ask("POST", "/do/pay/dispute", {"payment_intent": intent})["dispute"]
    assert pay.refused("POST", "/v1/refunds", {"payment_intent": intent})[1]["code"] == "charge_disputed"
    assert pay.do("GET", f"/v1/disputes/{dispute}")["status"] == "needs_response"
    pay.sandbox.ask("POST", "/do/pay/end_dispute", {"dispute": dispute, "status": "won"})
    assert pay.do("POST", "/v1/refunds", {"payment_intent": intent})["amount"] == 1000


def test_a_shopper_pays_through_the_control_api(pay: PayHand) -> None:
    """What a shop's checkout does: a payment that is set aside, and a session that can be read."""
    asked = {"amount_minor": 990, "order": "#1001", "session": True}
    made = pay.sandbox.ask("POST", "/do/pay/pay", asked)
    assert made["status"] == "requires_capture"
    shown = pay.do("GET", f"/v1/payment_intents/{made['payment_intent']}", {"expand[]": "latest_charge"})
    assert (shown["metadata"], shown["latest_charge"]["id"]) == ({"order": "#1001"}, made["charge"])
    assert pay.do("GET", f"/v1/checkout/sessions/{made['session']}")["payment_intent"] == made["payment_intent"]


# --- lists -----------------------------------------------------------------------------------------------------------------
def test_events_are_listed_newest_first_over_pages(pay: PayHand) -> None:
    """Each once, by type, back and forth; a cursor that names nothing is refused."""
    intents = [pay.intent(100 + number) for number in range(4)]
    seen: list[str] = []
    after: dict[str, Any] = {}
    while True:
        page = pay.do("GET", "/v1/events", {"type": "payment_intent.created", "limit": 3, "created[gte]": 1, **after})
        seen += [event["data"]["object"]["id"] for event in page["data"]]
        if not page["has_more"]:
            break
        after = {"starting_after": page["data"][-1]["id"]}
    assert seen == intents[::-1]
    first = pay.do("GET", "/v1/payment_intents", {"limit": 2, "ending_before": intents[0]})
    assert [one["id"] for one in first["data"]] == [intents[2], intents[1]]
    assert pay.refused("GET", "/v1/events", {"starting_after": "evt_none"})[0] == 400
    assert pay.refused("GET", "/v1/events", {"limit": 101})[1]["param"] == "limit"
    assert pay.do("GET", "/v1/events", {"created[lt]": 1})["data"] == []


# --- keys ------------------------------------------------------------------------------------------------------------------
def test_a_key_gives_the_first_answer_again(pay: PayHand) -> None:
    """And other parameters under it are refused."""
    intent = pay.intent(1000)
    path = f"/v1/payment_intents/{intent}/capture"
    first = pay.send("POST", path, {"amount_to_capture": 900}, idempotency_key="k")
    again = pay.send("POST", path, {"amount_to_capture": 900}, idempotency_key="k")
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["original-request"] == first.headers["request-id"]
    status, error = pay.refused("POST", path, {"amount_to_capture": 800}, idempotency_key="k")
    assert (status, error["type"]) == (400, "idempotency_error")
    assert pay.books()["effects"]["capture"]["times"] == 1


def test_a_refusal_is_kept_and_a_validation_is_not(pay: PayHand) -> None:
    """What ran and failed stays so under its key; what never ran can be mended."""
    intent = pay.intent(1000)
    pay.do("POST", f"/v1/payment_intents/{intent}/cancel")
    path = f"/v1/payment_intents/{intent}/capture"
    assert pay.refused("POST", path, idempotency_key="a")[0] == 400
    assert pay.send("POST", path, idempotency_key="a").headers["idempotent-replayed"] == "true"
    assert pay.refused("POST", "/v1/refunds", {"colour": "red"}, idempotency_key="b")[1]["code"] == "parameter_unknown"
    other = pay.intent(500)
    assert pay.do("POST", f"/v1/payment_intents/{other}/capture", idempotency_key="b")["status"] == "succeeded"


def test_a_500_is_kept_under_its_key(pay: PayHand) -> None:
    """Though it happened: the same key never tells, looking does."""
    intent = pay.intent(1000)
    path = f"/v1/payment_intents/{intent}/capture"
    pay.sandbox.ask("PUT", "/faults/pay", {"profile": {"broken_after": 1.0}})
    assert pay.refused("POST", path, idempotency_key="k")[0] == 500
    pay.sandbox.ask("PUT", "/faults/pay", {"profile": {}})
    assert pay.refused("POST", path, idempotency_key="k")[0] == 500
    assert pay.do("GET", f"/v1/payment_intents/{intent}")["status"] == "succeeded"


def test_a_key_that_still_runs_is_409(tmp_path: Path) -> None:
    """With the word that a retry helps."""
    options = {"latency_seconds": 0.5}
    with running(pay_world(options=options), tmp_path) as sandbox:
        pay = PayHand(sandbox)

        def once(key: str) -> tuple[int, str, str]:
            reply = pay.send("POST", "/v1/payment_intents", {"amount": 10, "currency": "eur"}, idempotency_key=key)
            error = reply.json.get("error", {})
            return reply.status, error.get("code", ""), reply.headers.get("stripe-should-retry", "")

        assert sorted(at_once(once)) == [(200, "", ""), (409, "idempotency_key_in_use", "true")]


# --- limits ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("key", "burst"), [("sk_test_sandbox", 25), ("sk_live_sandbox", 25)])
def test_too_many_requests_are_429_and_counted(tmp_path: Path, key: str, burst: int) -> None:
    """25 of one endpoint at once pass when nothing comes in; the next is refused and says by which limit."""
    with running(pay_world(options={"api_key": key}), tmp_path) as sandbox:
        pay = PayHand(sandbox, key)
        sandbox.ask("POST", "/eat", {"platform": "pay", "share": 1.0})
        statuses = [pay.send("GET", "/v1/events").status for _ in range(burst + 2)]
        assert statuses == [200] * burst + [429] * 2
        reply = pay.send("GET", "/v1/events")
        assert reply.json["error"]["code"] == "rate_limit"
        limits = sandbox.ask("GET", "/limits/pay")
        assert sum(limit["violations"] for limit in limits.values()) == 3
        is_live = key.startswith("sk_live")
        assert reply.headers["stripe-rate-limited-reason"] == ("endpoint-rate" if is_live else "global-rate")
        assert (pay.send("GET", "/v1/refunds").status == 200) is is_live


# --- webhooks --------------------------------------------------------------------------------------------------------------
def test_an_endpoint_is_told_signed(pay: PayHand) -> None:
    """`t.body` under the whole secret, which is shown once; only the types that it asked for, in its version."""
    with Receiver() as receiver:
        form = "url=" + receiver.url + "/hook&enabled_events[]=charge.captured&enabled_events[]=refund.created"
        made = pay.do("POST", "/v1/webhook_endpoints", form + "&api_version=2026-10-28.endive")
        assert made["secret"].startswith("whsec_")
        assert "secret" not in pay.do("GET", f"/v1/webhook_endpoints/{made['id']}")
        intent = pay.intent(1000)
        pay.do("POST", f"/v1/payment_intents/{intent}/capture")
        pay.do("POST", "/v1/refunds", {"payment_intent": intent})
        eventually(lambda: len(receiver.arrived) == 2, "webhooks are missing")
        for arrived in receiver.arrived:
            moment, _, signature = arrived.headers["stripe-signature"].removeprefix("t=").partition(",v1=")
            expected = hmac.new(
                made["secret"].encode(), f"{moment}.".encode() + arrived.body, hashlib.sha256
            ).hexdigest()
            assert signature == expected
            assert msgspec.json.decode(arrived.body)["api_version"] == "2026-10-28.endive"
        types = {msgspec.json.decode(arrived.body)["type"] for arrived in receiver.arrived}
        assert types == {"charge.captured", "refund.created"}


def test_an_event_is_repeated_with_a_new_time(tmp_path: Path) -> None:
    """Three more times in a sandbox; each attempt is signed anew, the event is the same."""
    with Receiver() as receiver, running(pay_world(), tmp_path) as sandbox:
        receiver.answer = lambda _: 500
        pay = PayHand(sandbox)
        pay.do("POST", "/v1/webhook_endpoints", f"url={receiver.url}&enabled_events[]=payment_intent.created")
        pay.do("POST", "/v1/payment_intents", {"amount": 10, "currency": "eur"})
        eventually(lambda: sandbox.ask("GET", "/deliveries/pay")["report"]["given_up"] == 1, "it was not given up")
        assert len(receiver.arrived) == 4
        assert len({arrived.body for arrived in receiver.arrived}) == 1


def test_a_disabled_or_deleted_endpoint_is_told_nothing(pay: PayHand) -> None:
    """And an address outside of this machine is refused."""
    with Receiver() as receiver:
        made = pay.do("POST", "/v1/webhook_endpoints", f"url={receiver.url}&enabled_events[]=*")
        pay.do("POST", f"/v1/webhook_endpoints/{made['id']}", {"disabled": "true"})
        pay.intent()
        assert pay.sandbox.ask("GET", "/deliveries/pay")["report"]["deliveries"] == 0
        assert pay.do("DELETE", f"/v1/webhook_endpoints/{made['id']}")["deleted"] is True
        assert pay.refused("GET", f"/v1/webhook_endpoints/{made['id']}")[0] == 404
        away = "url=https://example.com/&enabled_events[]=*"
        assert pay.refused("POST", "/v1/webhook_endpoints", away)[1]["code"] == "url_invalid"
