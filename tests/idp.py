"""An identity provider that rotates refresh tokens and kills the whole family when one is used twice."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs


@dataclass
class Idp:
    """What it gave, and how it behaves."""

    url: str
    life_seconds: float = 3600
    previous_survives: bool = False
    """As Shopify: the token that was replaced stays usable until the new one is first used."""
    grace_seconds: float = 0.0
    """A token that was replaced is answered for so long once more, as django-oauth-toolkit can be told."""
    slow_seconds: float = 0.0
    status: int = 200
    """Of the next answers; anything else than 200 does nothing."""
    refresh: str = "r0"
    previous: str = ""
    replaced_at: float = 0.0
    access: str = ""
    is_dead: bool = False
    codes: dict[str, str] = field(default_factory=dict)
    """Code that was given -> the challenge that it belongs to."""
    count: int = 0
    used: list[str] = field(default_factory=list)
    at_once: int = 0
    at_once_max: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def renew(self, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        if self.status != 200:
            return self.status, {"error": "temporarily_unavailable"}
        if form.get("client_id") != "app" or form.get("client_secret") != "the secret of the app":
            return 400, {"error": "invalid_client"}
        if form.get("grant_type") == "authorization_code":
            return self.redeem(form)
        given = form.get("refresh_token", "")
        self.used.append(given)
        in_grace = given == self.previous and time.monotonic() - self.replaced_at < self.grace_seconds
        survives = self.previous_survives and given == self.previous
        if self.is_dead or (given != self.refresh and not in_grace and not survives):
            self.is_dead = True  # reuse: nobody knows who has it
            return 400, {"error": "invalid_grant"}
        if given == self.refresh:
            self.previous = self.refresh
            self.replaced_at = time.monotonic()
        self.count += 1
        self.refresh, self.access = f"r{self.count}", f"a{self.count}"
        return 200, {
            "access_token": self.access,
            "refresh_token": self.refresh,
            "expires_in": self.life_seconds,
            "refresh_token_expires_in": 90 * 86_400,
            "token_type": "bearer",
        }

    def redeem(self, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        challenge = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if challenge is None or base64.urlsafe_b64encode(digest).decode().rstrip("=") != challenge:
            return 400, {"error": "invalid_grant"}
        self.is_dead, self.previous = False, ""
        self.count += 1
        self.refresh, self.access = f"r{self.count}", f"a{self.count}"
        return 200, {"access_token": self.access, "refresh_token": self.refresh, "expires_in": self.life_seconds}


@contextmanager
def running_idp() -> Iterator[Idp]:
    """Run a provider on loopback, in threads."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            form = {name: values[0] for name, values in parse_qs(text).items()}
            with idp.lock:
                idp.at_once += 1
                idp.at_once_max = max(idp.at_once_max, idp.at_once)
                status, answer = idp.renew(form)
            if idp.slow_seconds:
                threading.Event().wait(idp.slow_seconds)
            with idp.lock:
                idp.at_once -= 1
            body = json.dumps(answer).encode()
            try:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass  # whoever asked is gone

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    idp = Idp(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield idp
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
