"""The server of an account: keys, limits, idempotency, and the operations."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from aiohttp import web

from tidegate.sandbox.faults import CallFault
from tidegate.sandbox.limits import Bucket
from tidegate.sandbox.stripe.account import Account, Object
from tidegate.sandbox.stripe.errors import Refusal, no_such
from tidegate.sandbox.stripe.forms import OPERATIONS, decode_form, take
from tidegate.sandbox.stripe.hooks import Hooks
from tidegate.sandbox.stripe.idempotency import Kept, Keys, digest_of
from tidegate.sandbox.stripe.lists import list_page
from tidegate.sandbox.stripe.shapes import account_shape
from tidegate.sandbox.world import CALL, Handles, World, new_app, read_options

VERSION = "2026-10-28.endive"
LIVE_PER_SECOND = 100.0
TEST_PER_SECOND = 25.0
ENDPOINT_PER_SECOND = 25.0
"""Requests a second of an account in live mode and in a sandbox, and of each API endpoint. Source: docs.stripe.com/rate-limits.
Each is a bucket as large as one second of it."""
_VERSION = re.compile(r"^\d{4}-\d{2}-\d{2}(\.[a-z]+)?$")
_EXPANDABLE = {
    "payment_intents": {"latest_charge": "charges"},
    "charges": {"payment_intent": "intents"},
    "refunds": {"charge": "charges", "payment_intent": "intents"},
    "disputes": {"charge": "charges", "payment_intent": "intents"},
    "checkout": {"payment_intent": "intents"},
}
"""Resource -> what it can be asked to show whole, and where that is kept."""


class Endpoint(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A webhook endpoint that was made by hand."""

    url: str
    secret: str
    events: tuple[str, ...] = ("*",)


class Options(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Options of an account. A key that begins with `sk_live_` is in live mode: other limits, other retries."""

    api_key: Annotated[str, msgspec.Meta(pattern="^(sk|rk)_(test|live)_")] = "sk_test_sandbox"
    endpoints: tuple[Endpoint, ...] = ()
    latency_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0


def build(world: World, name: str, options: Mapping[str, Any]) -> web.Application:  # noqa: ARG001 - read from the place
    """Return the server of an account."""
    return Server(world, name).app


class Server:
    """One account behind HTTP."""

    def __init__(self, world: World, name: str) -> None:
        self.place = world.places[name]
        self.options = read_options(self.place, Options)
        self._livemode = "_live_" in self.options.api_key
        self.hooks = Hooks(self.place, livemode=self._livemode, version=VERSION)
        self.account = Account(self.place, self.hooks.tell, livemode=self._livemode, version=VERSION)
        self.keys = Keys()
        self._requests = 0
        self._created = int(self.place.now())
        now = self.place.clock.monotonic()
        rate = LIVE_PER_SECOND if self._livemode else TEST_PER_SECOND
        self.place.limits["account"] = self._bucket = Bucket(rate, rate, now=now)
        self._endpoints = {one: Bucket(ENDPOINT_PER_SECOND, ENDPOINT_PER_SECOND, now=now) for one in OPERATIONS}
        for operation, bucket in self._endpoints.items():
            self.place.limits[operation] = bucket
        for one in self.options.endpoints:
            self.hooks.add(one.url, list(one.events), one.secret, api_version=VERSION)
        actions = {"pay": self._pay, "dispute": self._dispute, "end_dispute": self._end_dispute, "refund": self._refund}
        self.app = new_app(Handles(refuse=self.refuse, actions=actions, details=self._details))
        run = self._operations()
        for operation in OPERATIONS:
            method, _, path = operation.partition(" ")
            self.app.router.add_route(method, path, self._handler(operation, run[operation]))
        self.app.router.add_route("*", "/{path:.*}", self._unknown)

    # --- HTTP ------------------------------------------------------------------------------------------------------------
    def _handler(self, operation: str, run: Callable[[Mapping[str, Any], str], Object]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self._requests += 1
            request_id = f"req_{self._requests:014d}"
            call = request[CALL]
            call.operation = operation
            call.key = request.headers.get("Idempotency-Key", "")[:255]
            body = (await request.read()).decode(errors="replace")
            try:
                self._authenticate(request)
                self._limit(operation, request)
                form = decode_form(request.query_string)
                if request.method != "GET":
                    form = {**form, **decode_form(body)}
                key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
                status, answer, replayed = await self._run(operation, run, request, form, key, request_id)
            except Refusal as refusal:
                return self._refused(refusal, request_id)
            headers = {"Request-Id": request_id, "Stripe-Version": request.headers.get("Stripe-Version", VERSION)}
            if key is not None:
                headers["Idempotency-Key"] = key
            if replayed is not None:
                headers |= {"Idempotent-Replayed": "true", "Original-Request": replayed}
            return web.Response(body=answer, status=status, content_type="application/json", headers=headers)

        return handle

    async def _run(
        self,
        operation: str,
        run: Callable[[Mapping[str, Any], str], Object],
        request: web.Request,
        form: dict[str, Any],
        key: str | None,
        request_id: str,
    ) -> tuple[int, bytes, str | None]:
        """Return status and body, and the id of the first request where this is its answer again."""
        target = f"{request.method} {request.path}"
        kept = self.keys.find(key, target, form) if key is not None else None
        if kept is not None:
            return kept.status, kept.body, kept.request_id
        self.account.key, self.account.request_id = key, request_id
        try:
            values = take(operation, form)
            answer = run(values, request.match_info.get("id", ""))
            status, body = 200, msgspec.json.encode(self._expanded(operation, answer, values.get("expand", [])))
        except Refusal as refusal:
            if refusal.is_validation or key is None:
                raise
            status, body = refusal.status, msgspec.json.encode(refusal.body)
        if key is not None:
            self.keys.keep(key, Kept(digest_of(target, form), status, body, request_id))
        if self.options.latency_seconds:
            running = {key} if key is not None else set()
            self.keys.running |= running
            try:
                await asyncio.sleep(self.options.latency_seconds)
            finally:
                self.keys.running -= running
        return status, body, None

    def _authenticate(self, request: web.Request) -> None:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind == "Basic":
            try:
                given = base64.b64decode(given).decode().partition(":")[0]
            except (binascii.Error, UnicodeDecodeError):
                given = ""
        if given != self.options.api_key:
            words = f"Invalid API Key provided: {given[:7]}***" if given else "You did not provide an API key."
            raise Refusal(words, status=401, is_validation=True)
        version = request.headers.get("Stripe-Version", VERSION)
        if not _VERSION.fullmatch(version):
            raise Refusal(f"Invalid Stripe API version: {version[:40]}", is_validation=True)

    def _limit(self, operation: str, request: web.Request) -> None:
        """Charge the request. Raises Refusal where the account's or the endpoint's second is used up."""
        now = self.place.clock.monotonic()
        for name, bucket in (("global-rate", self._bucket), ("endpoint-rate", self._endpoints[operation])):
            if bucket.take(1.0, now):
                request[CALL].is_throttled = True
                raise _too_many(name)

    def _refused(self, refusal: Refusal, request_id: str) -> web.Response:
        headers = {"Request-Id": request_id, "Stripe-Version": VERSION}
        if refusal.should_retry is not None:
            headers["Stripe-Should-Retry"] = "true" if refusal.should_retry else "false"
        if refusal.reason is not None:
            headers["Stripe-Rate-Limited-Reason"] = refusal.reason
        return web.Response(
            body=msgspec.json.encode(refusal.body),
            status=refusal.status,
            content_type="application/json",
            headers=headers,
        )

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        words = f"Unrecognized request URL ({request.method}: {request.path[:200]})."
        return self._refused(Refusal(words, status=404), "req_unknown")

    def refuse(self, fault: CallFault, request: web.Request) -> web.StreamResponse:
        """Say no as Stripe does. A 500 stays under the request's key, as it does there."""
        key = request.headers.get("Idempotency-Key", "")
        match fault:
            case CallFault.THROTTLED:
                refusal = _too_many("global-rate")
            case CallFault.EXPIRED:
                words = "Expired API Key provided"
                refusal = Refusal(words, status=401, code="api_key_expired")
            case _ if fault is CallFault.BROKEN and self.place.faults.choose("broken_form", request[CALL].number, 4):
                words = "The service is unavailable; nothing was done."
                refusal = Refusal(words, status=503, kind="api_error", should_retry=True)
            case _:
                refusal = Refusal("An unknown error occurred", status=500, kind="api_error")
                if key:
                    self.keys.spoil(key, msgspec.json.encode(refusal.body))
        return self._refused(refusal, f"req_fault{request[CALL].number}")

    # --- operations ------------------------------------------------------------------------------------------------------
    def _operations(self) -> dict[str, Callable[[Mapping[str, Any], str], Object]]:
        account, hooks = self.account, self.hooks
        currency = self.place.world.spec.currency
        intents, refunds, disputes = account.intents, account.refunds, account.disputes

        def intent(number: str) -> Object:
            return _found(intents, number, "payment_intent")

        return {
            "GET /v1/account": lambda _asked, _id: account_shape(account.id, currency, self._created),
            "GET /v1/balance": lambda _asked, _id: self._balance(),
            "GET /v1/charges": lambda asked, _: list_page(account.charges, asked, "/v1/charges", _fits(asked)),
            "GET /v1/charges/{id}": lambda _, number: _found(account.charges, number, "charge"),
            "POST /v1/charges/{id}": lambda asked, number: account.fill(
                _found(account.charges, number, "charge"), asked
            ),
            "GET /v1/checkout/sessions": lambda asked, _: list_page(
                account.sessions, asked, "/v1/checkout/sessions", _fits(asked)
            ),
            "GET /v1/checkout/sessions/{id}": lambda _, number: _found(account.sessions, number, "checkout.session"),
            "GET /v1/disputes": lambda asked, _: list_page(disputes, asked, "/v1/disputes", _fits(asked)),
            "GET /v1/disputes/{id}": lambda _, number: _found(disputes, number, "dispute"),
            "POST /v1/disputes/{id}": lambda asked, number: account.answer_dispute(
                _found(disputes, number, "dispute"), asked
            ),
            "POST /v1/disputes/{id}/close": lambda _, number: account.end_dispute(
                _found(disputes, number, "dispute"), "lost"
            ),
            "GET /v1/events": lambda asked, _: list_page(account.events, asked, "/v1/events", _event_fits(asked)),
            "GET /v1/events/{id}": lambda _, number: _found(account.events, number, "event"),
            "GET /v1/payment_intents": lambda asked, _: list_page(intents, asked, "/v1/payment_intents", _fits(asked)),
            "GET /v1/payment_intents/{id}": lambda _, number: intent(number),
            "POST /v1/payment_intents": lambda asked, _: account.create_intent(asked),
            "POST /v1/payment_intents/{id}": lambda asked, number: account.update_intent(intent(number), asked),
            "POST /v1/payment_intents/{id}/confirm": lambda asked, number: account.confirm(intent(number), asked),
            "POST /v1/payment_intents/{id}/capture": lambda asked, number: account.capture(intent(number), asked),
            "POST /v1/payment_intents/{id}/cancel": lambda asked, number: account.cancel(intent(number), asked),
            "GET /v1/refunds": lambda asked, _: list_page(refunds, asked, "/v1/refunds", _fits(asked)),
            "GET /v1/refunds/{id}": lambda _, number: _found(refunds, number, "refund"),
            "POST /v1/refunds": lambda asked, _: account.refund(asked),
            "POST /v1/refunds/{id}": lambda asked, number: account.fill(_found(refunds, number, "refund"), asked),
            "GET /v1/webhook_endpoints": lambda asked, _: list_page(
                hooks.endpoints, asked, "/v1/webhook_endpoints", lambda _: True
            ),
            "GET /v1/webhook_endpoints/{id}": lambda _, number: _found(hooks.endpoints, number, "webhook endpoint"),
            "POST /v1/webhook_endpoints": lambda asked, _: hooks.create(asked),
            "POST /v1/webhook_endpoints/{id}": lambda asked, number: hooks.update(
                _found(hooks.endpoints, number, "webhook endpoint"), asked
            ),
            "DELETE /v1/webhook_endpoints/{id}": lambda _, number: hooks.delete(number),
        }

    def _balance(self) -> Object:
        taken = sum(one.captured - one.refunded for one in self.place.books.payments.values())
        part = {"amount": taken, "currency": self.place.world.spec.currency.lower(), "source_types": {"card": taken}}
        return {
            "object": "balance",
            "available": [part],
            "livemode": self._livemode,
            "pending": [{**part, "amount": 0}],
        }

    def _expanded(self, operation: str, answer: Object, wanted: list[Any]) -> Object:
        """Return an answer with the objects that were asked for in place of their ids. Raises Refusal for others."""
        if not wanted:
            return answer
        resource = operation.partition("/v1/")[2].partition("/")[0]
        known = _EXPANDABLE.get(resource, {})
        rows = answer["data"] if answer.get("object") == "list" else [answer]
        made = [dict(row) for row in rows]
        for path in wanted:
            name = str(path).removeprefix("data.") if answer.get("object") == "list" else str(path)
            if name not in known:
                words = f"This property cannot be expanded ({str(path)[:60]})."
                raise Refusal(words, param="expand", is_validation=True)
            for row in made:
                if isinstance(row.get(name), str):
                    row[name] = getattr(self.account, known[name])[row[name]]
        return {**answer, "data": made} if answer.get("object") == "list" else made[0]

    # --- the control API ---------------------------------------------------------------------------------------------------
    def _pay(self, asked: Mapping[str, Any]) -> Any:
        """A shopper pays in a shop: `amount_minor`, and perhaps `order`, `capture_method`, `multicapture`, `session`."""
        form: dict[str, Any] = {
            "amount": int(asked["amount_minor"]),
            "currency": str(asked.get("currency", self.place.world.spec.currency)),
            "capture_method": str(asked.get("capture_method", "manual")),
            "payment_method": str(asked.get("payment_method", "pm_card_visa")),
            "confirm": True,
            "metadata": {"order": str(asked["order"])} if "order" in asked else {},
        }
        if asked.get("multicapture"):
            form["payment_method_options"] = {"card": {"request_multicapture": "if_available"}}
        intent = self._by_hand(lambda: self.account.create_intent(form))
        made = {"payment_intent": intent["id"], "charge": intent["latest_charge"], "status": intent["status"]}
        return {**made, "session": self.account.session(intent)["id"]} if asked.get("session") else made

    def _dispute(self, asked: Mapping[str, Any]) -> Any:
        """A bank asks for the money back: `payment_intent`, and perhaps `amount_minor`, `reason`."""
        amount = int(asked["amount_minor"]) if "amount_minor" in asked else None
        reason = str(asked.get("reason", "fraudulent"))
        return {
            "dispute": self._by_hand(lambda: self.account.dispute(str(asked["payment_intent"]), amount, reason))["id"]
        }

    def _end_dispute(self, asked: Mapping[str, Any]) -> Any:
        """The bank decides: `dispute`, and `status` won or lost."""
        status = str(asked["status"])
        if status not in ("won", "lost"):
            raise ValueError("status is won or lost")
        dispute = self.account.disputes[str(asked["dispute"])]
        return {"dispute": self._by_hand(lambda: self.account.end_dispute(dispute, status))["id"]}

    def _refund(self, asked: Mapping[str, Any]) -> Any:
        """Somebody refunds in the dashboard: `payment_intent`, and perhaps `amount_minor`."""
        form: dict[str, Any] = {"payment_intent": str(asked["payment_intent"])}
        if "amount_minor" in asked:
            form["amount"] = int(asked["amount_minor"])
        return {"refund": self._by_hand(lambda: self.account.refund(form))["id"]}

    def _by_hand(self, act: Callable[[], Object]) -> Object:
        """Act without a request."""
        self.account.key = self.account.request_id = None
        try:
            return act()
        except Refusal as refusal:
            raise ValueError(str(refusal)) from refusal

    def _details(self) -> Any:
        return {
            "payment_intents": len(self.account.intents),
            "refunds": len(self.account.refunds),
            "disputes": len(self.account.disputes),
            "events": len(self.account.events),
            "endpoints": [{"url": one["url"], "status": one["status"]} for one in self.hooks.endpoints.values()],
            "replayed_keys": self.keys.replayed,
        }


def _too_many(reason: str) -> Refusal:
    words = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
    return Refusal(words, status=429, code="rate_limit", reason=reason, is_validation=True)


def _found(held: Mapping[str, Object], number: str, kind: str) -> Object:
    one = held.get(number)
    if one is None:
        raise no_such(kind, number, "id")
    return one


def _fits(asked: Mapping[str, Any]) -> Callable[[Object], bool]:
    """Return whether an object has the ids that a list was asked for."""
    wanted = {
        name: asked[name]
        for name in ("payment_intent", "charge", "customer", "transfer_group", "status")
        if name in asked
    }
    return lambda one: all(one.get(name) == value for name, value in wanted.items())


def _event_fits(asked: Mapping[str, Any]) -> Callable[[Object], bool]:
    """Return whether an event is of a type that was asked for; `payment_intent.*` stands for all of them."""
    types = [*asked.get("types", ()), *([asked["type"]] if "type" in asked else [])]
    if "delivery_success" in asked:
        raise Refusal("the sandbox cannot list events by delivery_success", is_validation=True)

    def fits(event: Object) -> bool:
        return not types or any(
            event["type"] == wanted or (str(wanted).endswith("*") and event["type"].startswith(str(wanted)[:-1]))
            for wanted in types
        )

    return fits
