"""The sandbox as a process, a blocking hand on it, and a receiver for its webhooks."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

Answer = TypeVar("Answer")
START_SECONDS = 200.0
STOP_SECONDS = 100.0
EVENTUALLY_SECONDS = 200.0
KIOSK = "kiosk=tests.sandboxkind:build"
ROOT = Path(__file__).parent.parent


class Reply(msgspec.Struct):
    """An answer, with its body as bytes."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class RunningSandbox:
    """A sandbox that printed its start line."""

    def __init__(self, process: subprocess.Popen[str], said: Mapping[str, Any]) -> None:
        self.process, self.said = process, said
        self.control: str = said["control"]

    def url(self, platform: str) -> str:
        url: str = self.said["platforms"][platform]["url"]
        return url

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Call the control API and return its JSON; fails for a refusal."""
        reply = call(
            self.control + path,
            method,
            None if body is None else msgspec.json.encode(body),
            {"Content-Type": "application/json"},
        )
        assert reply.status == 200, f"{method} {path}: {reply.status} {reply.body!r}"
        return reply.json

    def buy(self, platform: str, sku: str, quantity: int = 1, **more: Any) -> Any:
        return self.ask(
            "POST", "/orders", {"platform": platform, "lines": [{"sku": sku, "quantity": quantity}], **more}
        )


def call(url: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
    """Make one HTTP request on a connection of its own. Raises OSError or http.client.HTTPException without an answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=STOP_SECONDS)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target or "/", body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


@contextmanager
def running(world: Mapping[str, Any], folder: Path, *, kinds: tuple[str, ...] = (KIOSK,)) -> Iterator[RunningSandbox]:
    """Start a sandbox with this world; stop it at the end."""
    path = folder / "world.json"
    path.write_bytes(msgspec.json.encode(world))
    command = [sys.executable, "-m", "tidegate.sandbox", "--world", str(path)]
    for kind in kinds:
        command += ["--kind", kind]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the sandbox did not start"
        yield RunningSandbox(process, msgspec.json.decode(line))
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
        if process.stdout is not None:
            process.stdout.close()


class Arrived(msgspec.Struct):
    """A request that a receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


class Receiver:
    """Takes webhooks, and answers what `answer` says (a status)."""

    def __init__(self) -> None:
        self.arrived: list[Arrived] = []
        self.answer: Callable[[Arrived], int] = lambda _: 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                arrived = Arrived(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                status = receiver.answer(arrived)
                receiver.arrived.append(arrived)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def at_once(call: Callable[[str], Answer]) -> list[Answer]:
    """Call twice at once, with one key, under new keys until the second call met the first one: then the answers differ."""
    answers: list[Answer] = []
    for number in range(20):
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(call, [f"k{number}"] * 2))
        if answers[0] != answers[1]:
            break
    return answers


def eventually(check: Callable[[], bool], what: str) -> None:
    """Wait until `check` holds; fail with `what` when it does not in time."""
    deadline = time.monotonic() + EVENTUALLY_SECONDS
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
