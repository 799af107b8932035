"""Posts one message through apprise, in a process of its own: `python -m tidegate.monitor.alerts.post`.

The letter comes by standard input and the answer goes to standard output, so that no address is in arguments or environment.
An audit hook holds every socket of this process to the egress rules: apprise makes its own requests, and the address is
checked when it is about to be connected, after every resolution of a name. It starts no programs. Whoever started it kills
it at its deadline.
"""

from __future__ import annotations

import logging
import sys
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from tidegate.monitor.alerts.addresses import hide
from tidegate.sdk.egress import EgressBlockedError, Network, is_allowed

WORDS_MAX = 300
_REFUSED_EVENTS = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"}
)


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What to post, and where to. Holds a secret: never print it."""

    url: str
    title: str
    body: str
    tone: str
    """How services colour it: info, success, warning or failure."""
    allow: tuple[str, ...]
    """Private networks that may be reached."""

    def __repr__(self) -> str:
        """Show nothing."""
        return "Letter()"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it."""

    ok: bool
    words: str


class Guard:
    """The audit hook: sockets go to allowed addresses only, and nothing is started."""

    def __init__(self, allow: list[Network]) -> None:
        """Know which private networks are allowed."""
        self.blocked: list[str] = []
        self._allow = allow

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Look at one event of the interpreter. Raises EgressBlockedError for a forbidden address, PermissionError."""
        if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
            self._check(arguments[1] if len(arguments) > 1 else None)
        elif event in _REFUSED_EVENTS:
            raise PermissionError("this process starts nothing")

    def _check(self, address: Any) -> None:
        if address is None:  # a socket that is connected already
            return
        host = str(address[0]) if isinstance(address, tuple) and address else "a local socket"
        try:
            is_fine = is_allowed(ip_address(host), self._allow)
        except ValueError:  # a name: it would be resolved behind our back
            is_fine = False
        if not is_fine:
            self.blocked.append(host)
            raise EgressBlockedError(host)


class LastWords(logging.Handler):
    """Keeps what apprise said last: it tells a failure by False, and the reason in its log."""

    def __init__(self, url: str) -> None:
        """Know nothing yet. Parts of the address are left out before a line is cut: half a key is a key to guess from."""
        super().__init__(logging.DEBUG)
        self.words = ""
        self._url = url

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line; warnings and the details behind them."""
        self.words = f"{self.words} {hide(record.getMessage(), self._url)}"[-4 * WORDS_MAX :]


def post(letter: Letter) -> Answer:
    """Post a letter. Nothing but SystemExit and KeyboardInterrupt escapes."""
    guard = Guard([ip_network(text) for text in letter.allow])
    heard = LastWords(letter.url)
    try:
        import apprise  # noqa: PLC0415 - slow, and needed here only

        logger = logging.getLogger("apprise")
        logger.addHandler(heard)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        asset = apprise.AppriseAsset(
            async_mode=False, storage_mode=apprise.PersistentStoreMode.MEMORY, plugin_paths=[], secure_logging=True
        )
        service = apprise.Apprise.instantiate(letter.url, asset=asset, suppress_exceptions=True)
        if service is None:
            return Answer(ok=False, words="apprise cannot use this address")
        sys.addaudithook(guard)
        heard.words = ""
        is_told = service.notify(
            title=letter.title,
            body=letter.body,
            body_format=apprise.NotifyFormat.TEXT,
            notify_type=apprise.NotifyType(letter.tone),
        )
    except Exception as error:
        return Answer(ok=False, words=_words(guard, f"{type(error).__name__}: {error}", letter))
    return Answer(ok=True, words="taken") if is_told else Answer(ok=False, words=_words(guard, heard.words, letter))


def main() -> int:
    """Read a letter, post it, print the answer."""
    letter = msgspec.json.decode(sys.stdin.buffer.read(), type=Letter)
    answer = post(letter)
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    sys.stdout.buffer.flush()
    return 0


def _words(guard: Guard, words: str, letter: Letter) -> str:
    if guard.blocked:
        return f"{guard.blocked[-1]} is a private address: allow its network under network.allow in tidegate.yaml"
    return " ".join(hide(words, letter.url).split())[-WORDS_MAX:] or "it was not taken"


if __name__ == "__main__":
    sys.exit(main())
