"""The connector under examination with everything that the checks need to know about it."""

from __future__ import annotations

import base64
import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from tidegate.kernel.errors import TidegateError
from tidegate.sdk.connector import Connector
from tidegate.sdk.http import Api, Response
from tidegate.sdk.signatures import (
    STANDARD_WEBHOOKS_TOLERANCE_SECONDS,
    ShopifyHmac,
    Signer,
    StandardWebhooks,
    StripeSignature,
    WooCommerceHmac,
    shopify_headers,
    standard_webhooks_headers,
    stripe_headers,
    woocommerce_headers,
)
from tidegate.sdk.testing.conformance.fixtures import ErrorFixture, EventFixture, ExchangeFixture, load

TimeRule = Literal["window", "age", "none"]


class NotApplicableError(Exception):
    """The connector does not have what a check asks about; the check is skipped."""


class ErrorOf(Protocol):
    """`errors.error_of` of a connector."""

    def __call__(self, response: Response, *, changes_state: bool = True) -> TidegateError | None:
        """Return the error that an answer stands for, None for a good answer."""
        ...


@dataclass(frozen=True, kw_only=True)
class Signing:
    """How deliveries of a platform are signed, so that the checks can sign good and bad ones."""

    sign: Callable[[Mapping[str, str], bytes, str, int], Mapping[str, str]]
    """(recorded headers, body, secret, now in Unix seconds) -> the signature headers alone, lower-case."""
    secret: str
    other_secret: str
    time_rule: TimeRule = "window"
    """`window`: old and future ones are refused; `age`: only old ones; `none`: the scheme signs no time."""
    tolerance_seconds: int = STANDARD_WEBHOOKS_TOLERANCE_SECONDS


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The connector, its error table, its recordings."""

    connector: Connector
    folder: Path
    error_of: ErrorOf
    events: tuple[EventFixture, ...]
    errors: tuple[ErrorFixture, ...]
    exchanges: tuple[ExchangeFixture, ...]
    signing: Signing | None = None
    remote: Callable[[], AbstractAsyncContextManager[Api]] | None = None
    """A running fake of the platform with several pages in each feed, where there is one."""

    def events_via(self, *vias: str) -> tuple[EventFixture, ...]:
        """Return the recorded events that came one of these ways."""
        return tuple(event for event in self.events if event.via in vias)

    def exchanges_of(self, *does: str) -> tuple[ExchangeFixture, ...]:
        """Return the recorded calls of these functions."""
        return tuple(exchange for exchange in self.exchanges if exchange.call.do in does)


def load_subject(
    package: str,
    *,
    signing: Signing | None = None,
    remote: Callable[[], AbstractAsyncContextManager[Api]] | None = None,
) -> Subject:
    """Return the subject of a connector's package: its CONNECTOR, its errors.error_of, its fixtures folder.

    `signing` is needed for schemes that `sdk.signatures` does not have.
    """
    module = importlib.import_module(package)
    errors = importlib.import_module(f"{package}.errors")
    connector: Connector = module.CONNECTOR
    folder = Path(str(module.__file__)).parent
    fixtures = folder / "fixtures"
    return Subject(
        connector=connector,
        folder=folder,
        error_of=errors.error_of,
        events=load(fixtures, EventFixture),
        errors=load(fixtures / "errors", ErrorFixture),
        exchanges=load(fixtures / "exchanges", ExchangeFixture),
        signing=signing or _known_signing(connector),
        remote=remote,
    )


def _known_signing(connector: Connector) -> Signing | None:
    """Return how the deliveries of a scheme of `sdk.signatures` are signed, None for another scheme."""
    match connector.webhook and connector.webhook.verify:
        case StandardWebhooks(tolerance_seconds=tolerance):
            return _signing(standard_webhooks_headers, "webhook-", "window", tolerance)
        case StripeSignature(tolerance_seconds=tolerance):
            return _signing(stripe_headers, "stripe-signature", "age", tolerance)
        case ShopifyHmac():
            return _signing(shopify_headers, "x-shopify-hmac-sha256", "none")
        case WooCommerceHmac():
            return _signing(woocommerce_headers, "x-wc-webhook-signature", "none")
        case _:
            return None


def _signing(signer: Signer, prefix: str, time_rule: TimeRule, tolerance_seconds: int = 0) -> Signing:
    """Return the signing of a scheme; the headers that begin with `prefix` are its signature, others are as recorded."""

    def sign(headers: Mapping[str, str], body: bytes, secret: str, now: int) -> Mapping[str, str]:
        made = signer(secret, headers.get("webhook-id", "msg_conformance"), body, now)
        return {name: value for name, value in made.items() if name.startswith(prefix)}

    return Signing(
        sign=sign,
        secret="whsec_" + base64.b64encode(b"conformance-kit-secret-one").decode(),
        other_secret="whsec_" + base64.b64encode(b"conformance-kit-secret-two").decode(),
        time_rule=time_rule,
        tolerance_seconds=tolerance_seconds,
    )
