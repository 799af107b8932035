"""New objects as Stripe shows them. A test holds their fields to Stripe's own examples."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def intent_shape(number: str, amount: int, currency: str, now: int, *, livemode: bool) -> Object:
    """Return a payment that nobody has paid yet."""
    return {
        "id": number,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic",
        "client_secret": None,
        "confirmation_method": "automatic",
        "created": now,
        "currency": currency,
        "customer": None,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": livemode,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }


def charge_shape(
    number: str, intent: Object, now: int, *, is_captured: bool, multicapture: bool, capture_before: int | None
) -> Object:
    """Return the charge of a payment that was just authorised."""
    amount = intent["amount"]
    card: Object = {
        "amount_authorized": amount,
        "brand": "visa",
        "country": "DE",
        "exp_month": 8,
        "exp_year": 2030,
        "funding": "credit",
        "last4": "4242",
        "network": "visa",
        "multicapture": {"status": "available" if multicapture else "unavailable"},
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": {"status": "unavailable"},
    }
    if capture_before is not None:
        card["capture_before"] = capture_before
    return {
        "id": number,
        "object": "charge",
        "amount": amount,
        "amount_captured": amount if is_captured else 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": {"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
        "calculated_statement_descriptor": "SANDBOX",
        "captured": is_captured,
        "created": now,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": intent["livemode"],
        "metadata": dict(intent["metadata"]),
        "on_behalf_of": None,
        "outcome": {
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "type": "authorized",
        },
        "paid": True,
        "payment_intent": intent["id"],
        "payment_method": intent["payment_method"],
        "payment_method_details": {"card": card, "type": "card"},
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": intent["shipping"],
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "succeeded",
        "transfer_data": None,
        "transfer_group": None,
    }


def refund_shape(number: str, charge: Object, amount: int, now: int, reason: str | None) -> Object:
    """Return a refund that went through."""
    return {
        "id": number,
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": now,
        "currency": charge["currency"],
        "customer": None,
        "customer_account": None,
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


def dispute_shape(number: str, charge: Object, amount: int, now: int, reason: str) -> Object:
    """Return a dispute that waits for an answer."""
    return {
        "id": number,
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {
            "due_by": now + 7 * 86_400,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": False,
        "livemode": charge["livemode"],
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {"brand": "visa", "case_type": "chargeback", "network_reason_code": "10.4"},
            "type": "card",
        },
        "reason": reason,
        "status": "needs_response",
    }


def session_shape(number: str, intent: Object, now: int) -> Object:
    """Return a hosted checkout that was paid."""
    return {
        "id": number,
        "object": "checkout.session",
        "amount_subtotal": intent["amount"],
        "amount_total": intent["amount"],
        "cancel_url": None,
        "client_reference_id": intent["metadata"].get("order"),
        "created": now,
        "currency": intent["currency"],
        "customer": None,
        "customer_email": None,
        "expires_at": now + 86_400,
        "livemode": intent["livemode"],
        "metadata": dict(intent["metadata"]),
        "mode": "payment",
        "payment_intent": intent["id"],
        "payment_method_types": ["card"],
        "payment_status": "paid",
        "status": "complete",
        "success_url": None,
        "ui_mode": "hosted",
        "url": None,
    }


def endpoint_shape(
    number: str, url: str, events: list[str], now: int, *, api_version: str | None, livemode: bool
) -> Object:
    """Return a webhook endpoint; its secret is shown once, beside it."""
    return {
        "id": number,
        "object": "webhook_endpoint",
        "api_version": api_version,
        "application": None,
        "created": now,
        "description": None,
        "enabled_events": events,
        "livemode": livemode,
        "metadata": {},
        "status": "enabled",
        "url": url,
    }


def account_shape(number: str, currency: str, now: int) -> Object:
    """Return the account of the key."""
    return {
        "id": number,
        "object": "account",
        "business_profile": {"name": "Sandbox", "support_email": None, "url": None},
        "business_type": "company",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "country": "DE",
        "created": now,
        "default_currency": currency.lower(),
        "details_submitted": True,
        "email": "owner@sandbox.example",
        "metadata": {},
        "payouts_enabled": True,
        "type": "standard",
    }
