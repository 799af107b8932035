"""A receiver of signed events that keeps what it got, and a sender that signs with the reference library."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook

from tidegate.sandbox.limits import Bucket


@dataclass(frozen=True)
class Taken:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Receiver:
    """What came, and how the next ones are answered."""

    url: str
    taken: list[Taken] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    """Of the next requests, in order; afterwards 200."""
    hangs: int = 0
    """Requests that were left without an answer."""
    open: threading.Event = field(default_factory=threading.Event)
    limit: Bucket | None = None
    """What it allows; more is answered 429 and counted in the limit's own meter."""
    refused_at: list[float] = field(default_factory=list)
    """Moments of the monotonic clock."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.open.set()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Take no request and answer none while the block runs."""
        self.open.clear()
        try:
            yield
        finally:
            self.open.set()

    def has_room(self) -> bool:
        """Count a request by its limit."""
        now = time.monotonic()
        with self.lock:
            if self.limit is None or not self.limit.take(1.0, now):
                return True
            self.refused_at.append(now)
            return False

    def of_type(self, event_type: str) -> list[Taken]:
        return [one for one in list(self.taken) if one.event["type"] == event_type]


@contextmanager
def receiving(path: str = "/hooks") -> Iterator[Receiver]:
    """Run a receiver on loopback, in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if not receiver.open.is_set():
                receiver.hangs += 1
                receiver.open.wait(60)
            if not receiver.has_room():
                self.send_response(429)
                self.send_header("retry-after", "1")
                self.send_header("content-length", "0")
                self.end_headers()
                return
            receiver.taken.append(Taken(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status, headers, answer = receiver.answers.pop(0) if receiver.answers else (200, {}, b"{}")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}{path}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reference_headers(secret: str, message_id: str, body: bytes, *, at: datetime | None = None) -> dict[str, str]:
    """Return the headers that the reference library makes."""
    moment = at or datetime.now(UTC)
    signature = Webhook(secret).sign(message_id, moment.replace(tzinfo=None), body.decode())
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": signature,
    }


def deliver(url: str, secret: str, message_id: str, event: dict[str, Any]) -> int:
    """Sign an event with the reference library, post it, and return the status."""
    body = json.dumps(event).encode()
    return post(url, body, reference_headers(secret, message_id, body))


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """Post a delivery and return the status."""
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=200) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code
