"""A hand on a sandbox's Stripe: forms in, objects out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.sandboxbed import Reply, RunningSandbox, call
from tests.sandboxshop import SHARED

KEY = "sk_test_sandbox"
SPEC = SHARED / "specs" / "stripe" / "stripe_2026-10-28.endive.derived.openapi.json.gz"
FIXTURES = SHARED / "specs" / "stripe" / "fixtures3.json"


def pay_world(**pay: Any) -> dict[str, Any]:
    return {"seed": 3, "time_scale": 36_000.0, "platforms": {"pay": {"kind": "stripe", **pay}}}


class PayHand:
    """Speaks to the platform called `pay`."""

    def __init__(self, sandbox: RunningSandbox, key: str = KEY) -> None:
        self.sandbox, self._key = sandbox, key

    def send(
        self,
        method: str,
        path: str,
        form: Mapping[str, Any] | str | None = None,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        text = form if isinstance(form, str) else urlencode(form or {}, doseq=True)
        sent = {"Authorization": f"Bearer {self._key}", **(headers or {})}
        if idempotency_key is not None:
            sent["Idempotency-Key"] = idempotency_key
        url = self.sandbox.url("pay") + path
        if method == "GET":
            return call(f"{url}?{text}" if text else url, "GET", None, sent)
        return call(url, method, text.encode(), {"Content-Type": "application/x-www-form-urlencoded", **sent})

    def do(self, method: str, path: str, form: Mapping[str, Any] | str | None = None, **more: Any) -> Any:
        """Return the object of a good answer."""
        reply = self.send(method, path, form, **more)
        assert reply.status == 200, reply.body
        return reply.json

    def refused(
        self, method: str, path: str, form: Mapping[str, Any] | str | None = None, **more: Any
    ) -> tuple[int, Any]:
        """Return status and error of a refusal."""
        reply = self.send(method, path, form, **more)
        assert reply.status >= 400, reply.body
        return reply.status, reply.json["error"]

    def intent(self, amount: int = 1000, **more: Any) -> str:
        """Make a payment that is set aside, and return its id."""
        form = {"amount": amount, "currency": "eur", "capture_method": "manual", "payment_method": "pm_card_visa"}
        made: str = self.do("POST", "/v1/payment_intents", {**form, "confirm": "true", **more})["id"]
        return made

    def books(self) -> Any:
        return self.sandbox.ask("GET", "/books/pay")


def official_missing() -> bool:
    return not Path(SPEC).exists()
