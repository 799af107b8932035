"""A proxy before localstripe that loses answers after their effect, and answers for what localstripe does not have."""

from __future__ import annotations

import http.client
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

ACCOUNT = b'{"id": "acct_localstripe", "object": "account", "charges_enabled": true}'
"""localstripe has no accounts."""


class LosingProxy:
    """A context manager: listens on the loopback. Of the writes that have an effect it loses the answers of a share."""

    def __init__(self, upstream: str, *, share: float, seed: int) -> None:
        """`share` of the answers to writes is lost, by the seed."""
        self.lost: list[str] = []
        """`METHOD path` of the requests whose answers were lost."""
        self.writes: list[str] = []
        """`METHOD path` of every write that reached the provider."""
        self._upstream = urlsplit(upstream)
        self._share = share
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> LosingProxy:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy._pass_on(self)

            do_POST = do_DELETE = do_GET  # noqa: N815 - names of the standard library

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        if handler.path == "/v1/account":
            return self._answer(handler, 200, ACCOUNT)
        kept = {name: handler.headers[name] for name in ("Authorization", "Content-Type") if name in handler.headers}
        connection = http.client.HTTPConnection(str(self._upstream.hostname), self._upstream.port, timeout=30)
        try:
            connection.request(handler.command, handler.path, body=body, headers=kept)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if handler.command == "POST" and self._loses(handler, answer.status):
            handler.close_connection = True
            handler.connection.close()
            return None
        return self._answer(handler, answer.status, content)

    def _loses(self, handler: BaseHTTPRequestHandler, status: int) -> bool:
        what = f"{handler.command} {urlsplit(handler.path).path}"
        with self._lock:
            self.writes.append(what)
            is_lost = status < 300 and self._random.random() < self._share
            if is_lost:
                self.lost.append(what)
        return is_lost

    @staticmethod
    def _answer(handler: BaseHTTPRequestHandler, status: int, content: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
