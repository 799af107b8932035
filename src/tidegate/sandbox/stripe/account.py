"""An account: payments with their charges, refunds, disputes, sessions, and the events that tell of them. Changes them.

Objects are kept as Stripe shows them. Amounts are in the smallest unit, moments in Unix seconds.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from tidegate.sandbox.books import BooksFull, Payment
from tidegate.sandbox.stripe.errors import Refusal, no_such
from tidegate.sandbox.stripe.shapes import charge_shape, dispute_shape, intent_shape, refund_shape, session_shape
from tidegate.sandbox.world import Place

OBJECTS_MAX = 500_000
EVENTS_MAX = 500_000
AUTHORISATION_SECONDS = 7 * 86_400
AMOUNT_MAX = 99_999_999
DECLINED = {
    "pm_card_chargeDeclined": "generic_decline",
    "pm_card_visa_chargeDeclined": "generic_decline",
    "pm_card_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "pm_card_chargeDeclinedLostCard": "lost_card",
    "pm_card_visa_chargeDeclinedLostCard": "lost_card",
}
"""Test payment methods that are refused. Source: docs.stripe.com/testing."""
NEEDS_ACTION = frozenset(
    {"pm_card_authenticationRequired", "pm_card_threeDSecure2Required", "pm_card_threeDSecureRequired"}
)
Object = dict[str, Any]


class Account:
    """One account over the books of its place. `tell(event)` is told of each event."""

    def __init__(self, place: Place, tell: Callable[[Object], None], *, livemode: bool, version: str) -> None:
        self.place, self._tell, self._livemode, self._version = place, tell, livemode, version
        self.id = f"acct_{self._name('account', 16)}"
        self.intents: dict[str, Object] = {}
        self.charges: dict[str, Object] = {}
        self.refunds: dict[str, Object] = {}
        self.disputes: dict[str, Object] = {}
        self.sessions: dict[str, Object] = {}
        self.events: dict[str, Object] = {}
        self._made = 0
        self.key: str | None = None
        """Idempotency key and id of the request that runs, for its events."""
        self.request_id: str | None = None

    # --- payments ----------------------------------------------------------------------------------------------------
    def create_intent(self, asked: Mapping[str, Any]) -> Object:
        """Make a payment; confirm it where that is asked for."""
        amount, currency = asked["amount"], asked["currency"].lower()
        if amount < 1:
            words = "This value must be greater than or equal to 1."
            raise Refusal(words, code="parameter_invalid_integer", param="amount", is_validation=True)
        if amount > AMOUNT_MAX:
            words = f"Amount must be no more than {AMOUNT_MAX}"
            raise Refusal(words, code="amount_too_large", param="amount", is_validation=True)
        if not currency.isascii() or not currency.isalpha() or len(currency) != 3:
            raise Refusal(f"Invalid currency: {currency[:20]}", param="currency", is_validation=True)
        _check_capture_method(asked)
        if asked.get("payment_method") is None and asked.get("confirm"):
            words = "You cannot confirm this PaymentIntent because it's missing a payment method."
            raise Refusal(words, code="payment_intent_unexpected_state")
        self._room(self.intents)
        intent = intent_shape(self._id("pi"), amount, currency, self._now(), livemode=self._livemode)
        intent["client_secret"] = f"{intent['id']}_secret_{self._name('secret', 16)}"
        self.intents[intent["id"]] = intent
        self._fill(intent, asked)
        self.place.books.payments[intent["id"]] = Payment(
            id=intent["id"], order_key=intent["metadata"].get("order"), currency=currency.upper()
        )
        self._event("payment_intent.created", intent)
        return self.confirm(intent, asked) if asked.get("confirm") else intent

    def update_intent(self, intent: Object, asked: Mapping[str, Any]) -> Object:
        """Change what may still be changed."""
        if "amount" in asked:
            if intent["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
                raise _unexpected(intent, "update the amount of")
            intent["amount"] = asked["amount"]
        _check_capture_method(asked)
        self._fill(intent, asked)
        return intent

    def confirm(self, intent: Object, asked: Mapping[str, Any]) -> Object:
        """Try to take the money, or to have it set aside."""
        if intent["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
            raise _unexpected(intent, "confirm")
        self._fill(intent, asked)
        method = intent["payment_method"]
        if method is None:
            words = "You cannot confirm this PaymentIntent because it's missing a payment method."
            raise Refusal(words, code="payment_intent_unexpected_state", more={"payment_intent": copy.deepcopy(intent)})
        if method in NEEDS_ACTION and intent["status"] != "requires_action":
            intent["status"] = "requires_action"
            intent["next_action"] = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
            self._event("payment_intent.requires_action", intent)
            return intent
        if method in DECLINED:
            self._decline(intent, DECLINED[method])
        return self._authorise(intent)

    def _decline(self, intent: Object, reason: str) -> None:
        error = {
            "type": "card_error",
            "code": "card_declined",
            "decline_code": reason,
            "message": "Your card was declined.",
        }
        intent["status"], intent["last_payment_error"], intent["payment_method"] = (
            "requires_payment_method",
            error,
            None,
        )
        self._event("payment_intent.payment_failed", intent)
        raise Refusal(
            error["message"],
            status=402,
            kind="card_error",
            code="card_declined",
            more={"decline_code": reason, "payment_intent": copy.deepcopy(intent)},
        )

    def _authorise(self, intent: Object) -> Object:
        now, amount = self._now(), intent["amount"]
        is_manual = intent["capture_method"] == "manual"
        options = intent["payment_method_options"].get("card") or {}
        charge = charge_shape(
            self._id("ch"),
            intent,
            now,
            is_captured=not is_manual,
            multicapture=options.get("request_multicapture") == "if_available",
            capture_before=now + AUTHORISATION_SECONDS if is_manual else None,
        )
        self._room(self.charges)
        self.charges[charge["id"]] = charge
        intent["latest_charge"], intent["next_action"], intent["last_payment_error"] = charge["id"], None, None
        payment = self.place.books.payments[intent["id"]]
        payment.authorised = amount
        self.place.books.count("authorise", intent["id"], amount=amount, now=self.place.now())
        self._event("charge.succeeded", charge)
        if is_manual:
            intent["status"], intent["amount_capturable"] = "requires_capture", amount
            self._event("payment_intent.amount_capturable_updated", intent)
            return intent
        intent["status"], intent["amount_received"] = "succeeded", amount
        payment.captured = amount
        self.place.books.count("capture", intent["id"], amount=amount, now=self.place.now())
        self._event("payment_intent.succeeded", intent)
        return intent

    def capture(self, intent: Object, asked: Mapping[str, Any]) -> Object:
        """Take what was set aside, in all or in part; never more than there is."""
        if intent["status"] != "requires_capture":
            raise _unexpected(intent, "capture")
        charge = self.charges[intent["latest_charge"]]
        capturable = intent["amount_capturable"]
        amount = asked.get("amount_to_capture", capturable)
        can_go_on = charge["payment_method_details"]["card"]["multicapture"]["status"] == "available"
        is_final = asked.get("final_capture", not can_go_on)
        if amount < 1:
            words = "This value must be greater than or equal to 1."
            raise Refusal(words, code="parameter_invalid_integer", param="amount_to_capture", is_validation=True)
        if amount > capturable:
            words = f"The requested capture amount is greater than the remaining authorized amount ({capturable})."
            raise Refusal(words, code="amount_too_large", param="amount_to_capture")
        if not is_final and not can_go_on:
            raise Refusal("This PaymentIntent cannot be captured more than once.", param="final_capture")
        self._fill(intent, {"metadata": asked.get("metadata", {})})
        intent["amount_received"] += amount
        charge["amount_captured"] += amount
        charge["captured"] = True
        left = capturable - amount
        payment = self.place.books.payments[intent["id"]]
        payment.captured += amount
        self.place.books.count("capture", intent["id"], amount=amount, now=self.place.now())
        self._event("charge.captured", charge)
        if is_final or not left:
            intent["amount_capturable"], intent["status"] = 0, "succeeded"
            self._event("payment_intent.succeeded", intent)
        else:
            intent["amount_capturable"] = left
            self._event("payment_intent.amount_capturable_updated", intent)
        return intent

    def cancel(self, intent: Object, asked: Mapping[str, Any]) -> Object:
        """Let go of what was set aside."""
        if intent["status"] in ("succeeded", "canceled", "processing"):
            raise _unexpected(intent, "cancel")
        reason = asked.get("cancellation_reason")
        if reason not in (None, "duplicate", "fraudulent", "requested_by_customer", "abandoned"):
            raise Refusal("Invalid cancellation_reason", param="cancellation_reason", is_validation=True)
        intent["status"], intent["canceled_at"], intent["cancellation_reason"] = "canceled", self._now(), reason
        intent["amount_capturable"] = 0
        if intent["latest_charge"] is not None:
            charge = self.charges[intent["latest_charge"]]
            charge["amount_refunded"], charge["refunded"] = charge["amount"] - charge["amount_captured"], True
        self.place.books.payments[intent["id"]].is_voided = True
        self.place.books.count("void", intent["id"], amount=intent["amount"], now=self.place.now())
        self._event("payment_intent.canceled", intent)
        return intent

    # --- refunds and disputes ------------------------------------------------------------------------------------------
    def refund(self, asked: Mapping[str, Any]) -> Object:
        """Give money back; never more than was taken and is not given back yet."""
        charge = self._charge_of(asked)
        if asked.get("reason") not in (None, "duplicate", "fraudulent", "requested_by_customer"):
            raise Refusal("Invalid reason", param="reason", is_validation=True)
        left = charge["amount_captured"] - charge["amount_refunded"]
        if charge["disputed"]:
            raise Refusal(
                f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
            )
        if charge["amount_captured"] == 0:
            raise Refusal("This charge was not captured; cancel its payment instead.", param="charge")
        if left == 0:
            raise Refusal(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
        amount = asked.get("amount", left)
        if amount < 1:
            raise Refusal(
                "Invalid positive integer", code="parameter_invalid_integer", param="amount", is_validation=True
            )
        if amount > left:
            words = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
            raise Refusal(words, param="amount")
        self._room(self.refunds)
        refund = refund_shape(self._id("re"), charge, amount, self._now(), asked.get("reason"))
        refund["metadata"] = dict(asked.get("metadata", {}))
        self.refunds[refund["id"]] = refund
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        self.place.books.payments[charge["payment_intent"]].refunded += amount
        self.place.books.count("refund", charge["payment_intent"], amount=amount, now=self.place.now())
        self._event("charge.refunded", charge)
        self._event("refund.created", refund)
        return refund

    def _charge_of(self, asked: Mapping[str, Any]) -> Object:
        if (asked.get("charge") is None) == (asked.get("payment_intent") is None):
            words = "One of the following params should be provided for this request: payment_intent or charge."
            raise Refusal(words, code="parameter_missing", param="payment_intent", is_validation=True)
        if asked.get("charge") is not None:
            charge = self.charges.get(asked["charge"])
            if charge is None:
                raise no_such("charge", asked["charge"], "charge", status=404)
            return charge
        intent = self.intents.get(asked["payment_intent"])
        if intent is None:
            raise no_such("payment_intent", asked["payment_intent"], "payment_intent", status=404)
        if intent["latest_charge"] is None:
            words = "This PaymentIntent does not have a successful charge to refund."
            raise Refusal(words, code="payment_intent_unexpected_state", param="payment_intent")
        return self.charges[intent["latest_charge"]]

    def dispute(self, intent_id: str, amount: int | None, reason: str) -> Object:
        """A customer's bank asks for the money back."""
        charge = self._charge_of({"payment_intent": intent_id})
        self._room(self.disputes)
        dispute = dispute_shape(self._id("dp"), charge, amount or charge["amount_captured"], self._now(), reason)
        self.disputes[dispute["id"]] = dispute
        charge["disputed"] = True
        self.place.books.count("dispute", intent_id, amount=dispute["amount"], now=self.place.now())
        self._event("charge.dispute.created", dispute)
        return dispute

    def end_dispute(self, dispute: Object, status: str) -> Object:
        """Won, or lost."""
        if dispute["status"] in ("won", "lost"):
            raise Refusal("This dispute is already closed", code="resource_conflict")
        dispute["status"] = status
        self.charges[dispute["charge"]]["disputed"] = status == "lost"
        self._event("charge.dispute.closed", dispute)
        return dispute

    def answer_dispute(self, dispute: Object, asked: Mapping[str, Any]) -> Object:
        """Send evidence in."""
        dispute["evidence"] = {**dispute["evidence"], **asked.get("evidence", {})}
        self._fill(dispute, {"metadata": asked.get("metadata", {})})
        if asked.get("submit", True):
            dispute["status"] = "under_review"
        self._event("charge.dispute.updated", dispute)
        return dispute

    def session(self, intent: Object) -> Object:
        """A customer went through the hosted checkout."""
        self._room(self.sessions)
        made = session_shape(f"cs_test_{self._name('session', 24)}", intent, self._now())
        self.sessions[made["id"]] = made
        self._event("checkout.session.completed", made)
        return made

    # --- parts ---------------------------------------------------------------------------------------------------------
    def fill(self, one: Object, asked: Mapping[str, Any]) -> Object:
        """Change description and metadata of an object."""
        self._fill(one, asked)
        return one

    def _fill(self, one: Object, asked: Mapping[str, Any]) -> None:
        for name in ("payment_method", "description", "capture_method", "receipt_email", "customer", "shipping"):
            if name in asked and name in one:
                one[name] = asked[name] or None
        if "payment_method_options" in asked:
            one["payment_method_options"] = asked["payment_method_options"]
        if "payment_method" in asked and one.get("status") == "requires_payment_method" and one["payment_method"]:
            one["status"] = "requires_confirmation"
        for key, value in asked.get("metadata", {}).items():
            if value == "":
                one["metadata"].pop(key, None)
            else:
                one["metadata"][key] = value

    def _event(self, kind: str, one: Object) -> None:
        if len(self.events) >= EVENTS_MAX:
            self.events.pop(next(iter(self.events)))
        event: Object = {
            "id": self._id("evt"),
            "object": "event",
            "api_version": self._version,
            "created": self._now(),
            "data": {"object": copy.deepcopy(one)},
            "livemode": self._livemode,
            "pending_webhooks": 0,
            "request": {"id": self.request_id, "idempotency_key": self.key},
            "type": kind,
        }
        self.events[event["id"]] = event
        self._tell(event)

    def _room(self, held: Mapping[str, Object]) -> None:
        if len(held) >= OBJECTS_MAX:
            raise BooksFull(f"more than {OBJECTS_MAX} objects of one kind")

    def _now(self) -> int:
        return int(self.place.now())

    def _id(self, prefix: str) -> str:
        self._made += 1
        return f"{prefix}_{self._name(f'{prefix}/{self._made}', 24)}"

    def _name(self, of: str, length: int) -> str:
        seed = f"{self.place.world.spec.seed}/{self.place.name}/{of}"
        return hashlib.blake2b(seed.encode(), digest_size=16).hexdigest()[:length]


def _check_capture_method(asked: Mapping[str, Any]) -> None:
    if asked.get("capture_method") not in (None, "automatic", "automatic_async", "manual"):
        words = "Invalid capture_method: must be one of automatic, automatic_async, or manual"
        raise Refusal(words, param="capture_method", is_validation=True)


def _unexpected(intent: Object, verb: str) -> Refusal:
    words = f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}."
    return Refusal(words, code="payment_intent_unexpected_state", more={"payment_intent": copy.deepcopy(intent)})
