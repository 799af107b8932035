"""Install localstripe, start it, take a payment through it, stop it. The play with Tidegate is `python -m e2e.payments`."""

from __future__ import annotations

import json

from realsystems.localstripe.server import LocalStripe


def main() -> None:
    """Authorise, capture and refund one payment; print what the books say as the last line."""
    with LocalStripe() as stripe:
        card = stripe.call("POST", "/v1/payment_methods", type="card", **CARD)["id"]
        form = {
            "amount": "1000",
            "currency": "eur",
            "payment_method": card,
            "confirm": "true",
            "capture_method": "manual",
        }
        payment = stripe.call("POST", "/v1/payment_intents", **form)["id"]
        captured = stripe.call("POST", f"/v1/payment_intents/{payment}/capture")["status"]
        refund = stripe.call("POST", "/v1/refunds", payment_intent=payment, amount="400")["status"]
    print(json.dumps({"captured": captured, "refund": refund}))


CARD = {"card[number]": "4242424242424242", "card[exp_month]": "12", "card[exp_year]": "2035", "card[cvc]": "123"}

if __name__ == "__main__":
    main()
