"""A local receiver of Standard Webhooks: verifies every signature and keeps what arrived."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TIMESTAMP_TOLERANCE_SECONDS = 300


def new_secret() -> str:
    """Return a random signing secret in the form of the Standard Webhooks specification."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class _Server(ThreadingHTTPServer):
    """One connection per delivery, so that nothing arrives any more once it has stopped."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: senders that are killed in the middle of a delivery are what this sink is for."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One request that reached the sink; `raw_event` is its parsed body."""

    message_id: str
    is_authentic: bool
    raw_event: dict[str, Any]
    status: int


class WebhookSink:
    """An HTTP server on a loopback port that answers 204 to authentic deliveries and 401 to others.

    `answer` may decide otherwise: it gets (delivery number from 1, event) and returns a status, or None
    for the usual answer. Stopping and starting keeps port and deliveries.
    """

    def __init__(self, secret: str) -> None:
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        self._server: ThreadingHTTPServer | None = None
        self._arrived = threading.Condition()
        self.port = 0
        self.deliveries: list[Delivery] = []
        self.answer: Callable[[int, dict[str, Any]], int | None] = lambda _number, _event: None
        self.answer_headers: dict[str, str] = {}

    @property
    def url(self) -> str:
        """The address to subscribe."""
        return f"http://127.0.0.1:{self.port}/hook"

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(sink.receive(dict(self.headers.items()), body))
                for name, value in {**sink.answer_headers, "content-length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self._server = _Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening; connections are refused from now on."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def receive(self, headers: dict[str, str], body: bytes) -> int:
        """Record one delivery and return the status to answer."""
        raw_event: dict[str, Any] = json.loads(body)
        lower = {name.lower(): value for name, value in headers.items()}
        is_authentic = self._verify(lower, body)
        with self._arrived:
            status = self.answer(len(self.deliveries) + 1, raw_event) or (204 if is_authentic else 401)
            self.deliveries.append(
                Delivery(
                    message_id=lower.get("webhook-id", ""),
                    is_authentic=is_authentic,
                    raw_event=raw_event,
                    status=status,
                )
            )
            self._arrived.notify_all()
        return status

    def accepted(self) -> list[Delivery]:
        """Return the deliveries that were answered 2xx, in order of arrival."""
        return [delivery for delivery in self.deliveries if 200 <= delivery.status < 300]

    def wait_for(self, condition: Callable[[list[Delivery]], bool], timeout_seconds: float = 30.0) -> bool:
        """Wait until the accepted deliveries satisfy the condition; return whether they did in time."""
        with self._arrived:
            return self._arrived.wait_for(lambda: condition(self.accepted()), timeout_seconds)

    def _verify(self, headers: dict[str, str], body: bytes) -> bool:
        message_id = headers.get("webhook-id", "")
        timestamp = headers.get("webhook-timestamp", "")
        if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TIMESTAMP_TOLERANCE_SECONDS:
            return False
        signed = f"{message_id}.{timestamp}.".encode() + body
        expected = base64.b64encode(hmac.new(self._key, signed, hashlib.sha256).digest()).decode()
        candidates = headers.get("webhook-signature", "").split(" ")
        return any(hmac.compare_digest(f"v1,{expected}", candidate) for candidate in candidates)
