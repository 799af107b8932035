"""A webhook sender that behaves like real ones: signs each try, retries refusals of service, may repeat and shuffle."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import TracebackType

import aiohttp
import msgspec

from tidegate.kernel.clock import Clock, SystemClock
from tidegate.kernel.redaction import Secret
from tidegate.sdk.signatures import sign_standard_webhooks

RETRY_SECONDS_MAX = 5.0


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event to deliver; every try of it has the same id and the same body."""

    message_id: str
    body: bytes
    headers: Mapping[str, str] = {}
    """Extra headers, for platforms that put a topic or a shop there."""


class SendReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one delivery."""

    message_id: str
    status: int | None
    """Of the last answer, None when there never was one."""
    tries: int

    @property
    def accepted(self) -> bool:
        """True when the receiver said 2xx."""
        return self.status is not None and self.status // 100 == 2


def build_delivery(event: Mapping[str, object], *, message_id: str | None = None) -> Delivery:
    """Return the delivery of a JSON event; its `id` is the message id unless another is given."""
    return Delivery(message_id=message_id or str(event["id"]), body=msgspec.json.encode(event))


def sign_delivery(delivery: Delivery, secret: Secret, *, now: float) -> dict[str, str]:
    """Return the headers of one try at `now` (Unix seconds): Standard Webhooks, content type, the delivery's own."""
    timestamp = int(now)
    return {
        "content-type": "application/json",
        "webhook-id": delivery.message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign_standard_webhooks(secret.reveal(), delivery.message_id, timestamp, delivery.body),
        **delivery.headers,
    }


class WebhookSender:
    """Posts deliveries to one address. An async context manager; waits between tries, never gives up before its time."""

    def __init__(
        self,
        url: str,
        secret: Secret,
        *,
        clock: Clock | None = None,
        retry_seconds: float = 0.2,
        give_up_seconds: float = 60.0,
        request_seconds: float = 10.0,
    ) -> None:
        """`retry_seconds` doubles with each try up to 5 s; a Retry-After is honoured up to the same bound."""
        self._url = url
        self._secret = secret
        self._clock = clock or SystemClock()
        self._retry_seconds = retry_seconds
        self._give_up_seconds = give_up_seconds
        self._timeout = aiohttp.ClientTimeout(total=request_seconds)
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> WebhookSender:
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def send(self, delivery: Delivery) -> SendReport:
        """Deliver once, retrying lost answers, 429 and 5xx with the same id until accepted, refused or out of time."""
        give_up_at = self._clock.monotonic() + self._give_up_seconds
        wait_seconds = self._retry_seconds
        tries = 0
        while True:
            tries += 1
            status, asked_seconds = await self._try(delivery)
            final = status is not None and status != HTTPStatus.TOO_MANY_REQUESTS and status < 500
            if final or self._clock.monotonic() >= give_up_at:
                return SendReport(message_id=delivery.message_id, status=status, tries=tries)
            await asyncio.sleep(min(RETRY_SECONDS_MAX, asked_seconds or wait_seconds))
            wait_seconds = min(RETRY_SECONDS_MAX, wait_seconds * 2)

    async def send_all(
        self,
        deliveries: Sequence[Delivery],
        *,
        concurrency: int = 16,
        duplicates: float = 0.0,
        shuffle: bool = False,
        seed: int = 0,
    ) -> list[SendReport]:
        """Deliver many, `concurrency` at a time; `duplicates` is the share that is delivered twice.

        Returns a report per delivery made, repeats included, in the order of sending.
        """
        rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
        planned = [delivery for delivery in deliveries for _ in range(1 + (rng.random() < duplicates))]
        if shuffle:
            rng.shuffle(planned)
        gate = asyncio.Semaphore(concurrency)

        async def send_one(delivery: Delivery) -> SendReport:
            async with gate:
                return await self.send(delivery)

        return list(await asyncio.gather(*(send_one(delivery) for delivery in planned)))

    async def _try(self, delivery: Delivery) -> tuple[int | None, float | None]:
        if self._http is None:
            raise RuntimeError("use the sender as an async context manager")
        headers = sign_delivery(delivery, self._secret, now=self._clock.now().timestamp())
        try:
            async with self._http.post(self._url, data=delivery.body, headers=headers, allow_redirects=False) as answer:
                await answer.read()
                asked = answer.headers.get("retry-after", "")
                return answer.status, float(asked) if asked.isdigit() else None
        except (aiohttp.ClientError, TimeoutError):
            return None, None
