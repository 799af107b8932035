"""Token buckets by caller: how often one may ask. Time is given. One process counts by itself, or several count together."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import ipaddress
import math
import mmap
import os
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

_ONE = 1.0 - 1e-6
"""A whole token, as far as sums of fractions go."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one more request is allowed, and what is left."""

    allowed: bool
    limit: int
    """How many requests at once a rested caller may make."""
    remaining: int
    reset_seconds: int
    """Until the bucket is full again."""
    retry_after_seconds: int
    """Until the next request is allowed; 0 when one is."""


class Buckets:
    """One bucket per caller. Bounded: beyond `callers_max` the ones that were silent longest are forgotten."""

    def __init__(self, *, per_second: float, burst: int, callers_max: int) -> None:
        """Buckets begin full, hold `burst` tokens and gain `per_second`."""
        self._per_second = per_second
        self._burst = burst
        self._callers_max = callers_max
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, now: float) -> Grant:
        """Take a token when there is one. `now` is monotonic seconds."""
        with self._held(caller):
            tokens = self._tokens(caller, now)
            allowed = tokens >= _ONE
            tokens = max(0.0, tokens - 1.0) if allowed else tokens
            self._write(caller, tokens, now)
        return self._grant(tokens, allowed=allowed)

    def look(self, caller: str, now: float) -> Grant:
        """Say what `take` would, and take nothing."""
        tokens = self._tokens(caller, now)
        return self._grant(tokens, allowed=tokens >= _ONE)

    def _tokens(self, caller: str, now: float) -> float:
        tokens, at = self._read(caller) or (float(self._burst), now)
        return min(float(self._burst), tokens + max(0.0, now - at) * self._per_second)

    def _held(self, _caller: str) -> contextlib.AbstractContextManager[None]:
        """Keep others from the bucket of a caller."""
        return contextlib.nullcontext()

    def _read(self, caller: str) -> tuple[float, float] | None:
        """Return what a bucket held, and when; None of a caller that is not known."""
        return self._buckets.get(caller)

    def _write(self, caller: str, tokens: float, now: float) -> None:
        self._buckets[caller] = (tokens, now)
        self._buckets.move_to_end(caller)
        while len(self._buckets) > self._callers_max:
            self._buckets.popitem(last=False)

    def _grant(self, tokens: float, *, allowed: bool) -> Grant:
        missing = max(0.0, 1.0 - tokens)
        return Grant(
            allowed=allowed,
            limit=self._burst,
            remaining=int(tokens),
            reset_seconds=math.ceil((self._burst - tokens) / self._per_second),
            retry_after_seconds=0 if allowed else max(1, math.ceil(missing / self._per_second)),
        )


_ROW = struct.Struct("=16sdd")
"""Digest of a caller, what its bucket held, and when."""
_ROWS = 8
"""Callers whose digests begin alike share a shelf of so many; of these the one that was silent longest is forgotten first."""
_SHELF = _ROW.size * _ROWS
_LOCK_SECONDS = 0.05
_TAKEN = (errno.EACCES, errno.EAGAIN)
"""What is said of a lock that somebody else has. Anything else is said of a file that cannot be locked."""
_give_way: Callable[[], object] = getattr(os, "sched_yield", lambda: None)
_FUTURE_SECONDS = 60.0
"""A moment that is so far ahead is of another run of the machine."""


class SharedBuckets(Buckets):
    """The same buckets for all processes of one machine that open the same file. `now` must be of a clock that they share.

    Counting takes some microseconds under a lock of the file. A process that is stopped in the middle of them holds nobody up:
    the others go on without the lock, and may count one request too few. Where files cannot be locked nobody waits.
    """

    def __init__(self, path: Path, *, per_second: float, burst: int, callers_max: int) -> None:
        """Open the file, or make it. What another run left in it counts, too."""
        super().__init__(per_second=per_second, burst=burst, callers_max=callers_max)
        self._shelves = max(1, -(-callers_max // _ROWS))
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, self._shelves * _SHELF)
        self._book = mmap.mmap(self._file, self._shelves * _SHELF)
        self._can_lock = True

    def look(self, caller: str, now: float) -> Grant:
        """See `Buckets.look`."""
        with self._held(caller):
            return super().look(caller, now)

    def _tokens(self, caller: str, now: float) -> float:
        found = self._read(caller)
        if found is not None and found[1] > now + _FUTURE_SECONDS:
            return float(self._burst)
        return super()._tokens(caller, now)

    @contextlib.contextmanager
    def _held(self, caller: str) -> Iterator[None]:
        start = self._begin_of(_digest(caller))
        until = time.monotonic() + _LOCK_SECONDS
        while not (is_held := self._can_lock and self._lock(start)) and self._can_lock and time.monotonic() < until:
            _give_way()
        try:
            yield
        finally:
            if is_held:
                fcntl.lockf(self._file, fcntl.LOCK_UN, _SHELF, start)

    def _lock(self, start: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHELF, start)
        except OSError as error:
            self._can_lock = error.errno in _TAKEN
            return False
        return True

    def _begin_of(self, digest: bytes) -> int:
        return int.from_bytes(digest[:8], "little") % self._shelves * _SHELF

    def _rows(self, digest: bytes) -> list[tuple[int, bytes, float, float]]:
        """Return (place, digest, tokens, moment) of each row of a shelf."""
        begin = self._begin_of(digest)
        rows = _ROW.iter_unpack(self._book[begin : begin + _SHELF])
        return [(begin + place * _ROW.size, *row) for place, row in enumerate(rows)]

    def _read(self, caller: str) -> tuple[float, float] | None:
        wanted = _digest(caller)
        return next(((tokens, at) for _, digest, tokens, at in self._rows(wanted) if digest == wanted), None)

    def _write(self, caller: str, tokens: float, now: float) -> None:
        wanted = _digest(caller)
        rows = self._rows(wanted)
        place = next((place for place, digest, *_ in rows if digest == wanted), None)
        if place is None:
            place = min(rows, key=lambda row: row[3] if row[3] <= now + _FUTURE_SECONDS else 0.0)[0]
        _ROW.pack_into(self._book, place, wanted, tokens, now)


def buckets_for(run_dir: Path | None, name: str, *, per_second: float, burst: int, callers_max: int) -> Buckets:
    """Return buckets that all processes of a project count in together; without a project each counts by itself."""
    if run_dir is None:
        return Buckets(per_second=per_second, burst=burst, callers_max=callers_max)
    return SharedBuckets(run_dir / f"{name}.rates", per_second=per_second, burst=burst, callers_max=callers_max)


def _digest(caller: str) -> bytes:
    return hashlib.blake2b(caller.encode(), digest_size=16).digest()


def place_of(peer: str) -> str:
    """Return what an address is counted under: an IPv6 network of 64 bits is one caller."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
