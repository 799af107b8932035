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
from tidegate.sdk.signatures import STANDARD_WEBHOOKS_TOLERANCE_SECONDS, StandardWebhooks, sign_standard_webhooks
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

    `signing` is needed for schemes other than Standard Webhooks.
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
        signing=signing or _standard_signing(connector),
        remote=remote,
    )


def _standard_signing(connector: Connector) -> Signing | None:
    if connector.webhook is None or not isinstance(connector.webhook.verify, StandardWebhooks):
        return None
    return Signing(
        sign=_sign_standard,
        secret="whsec_" + base64.b64encode(b"conformance-kit-secret-one").decode(),
        other_secret="whsec_" + base64.b64encode(b"conformance-kit-secret-two").decode(),
        tolerance_seconds=connector.webhook.verify.tolerance_seconds,
    )


def _sign_standard(headers: Mapping[str, str], body: bytes, secret: str, now: int) -> Mapping[str, str]:
    message_id = headers.get("webhook-id", "msg_conformance")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": sign_standard_webhooks(secret, message_id, now, body),
    }
