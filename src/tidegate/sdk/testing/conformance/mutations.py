"""Broken variants of a JSON body, for hypothesis: what proxies, bugs and attackers make of a good one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = 150
"""Broken variants that are tried of each recorded body."""

_STRANGERS: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**63,
    -(2**70),
    1.5,
    "",
    "x" * 300,
    "NaN",
    "1e400",
    "2026-13-45T99:99:99Z",
    "\u0000\u202e\U0001f4a5",
    [],
    {},
    [[]],
    {"": {}},
)

DEEP = b"[" * 20_000 + b"]" * 20_000
"""Deeper than any decoder recurses."""


def places(raw: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside a JSON value, the root first."""
    yield path
    children = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def with_value(raw: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy with the value at `path` replaced."""
    if not path:
        return value
    changed = copy.deepcopy(raw)
    _parent(changed, path)[path[-1]] = value
    return changed


def without(raw: Any, path: tuple[Any, ...]) -> Any:
    """Return a copy without the value at `path`."""
    changed = copy.deepcopy(raw)
    del _parent(changed, path)[path[-1]]
    return changed


def with_unknown_fields(raw: Any) -> Any:
    """Return a copy where every object has a field that nobody knows."""
    if isinstance(raw, dict):
        grown = {key: with_unknown_fields(value) for key, value in raw.items()}
        return {**grown, "x_conformance_unknown": {"nested": [1, "two", None]}}
    return [with_unknown_fields(value) for value in raw] if isinstance(raw, list) else raw


def _parent(raw: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        raw = raw[key]
    return raw


def mutated_bodies(body: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy of broken variants of `body`: values replaced or missing, bytes cut, flipped or foreign."""
    raw = msgspec.json.decode(body)
    inner = [path for path in places(raw) if path]
    strategies = [
        st.integers(0, max(0, len(body) - 1)).map(lambda end: body[:end]),
        st.tuples(st.integers(0, max(0, len(body) - 1)), st.integers(1, 255)).map(lambda at: _flip(body, *at)),
        st.binary(max_size=40),
        st.sampled_from([b"null", b"[]", b"{}", b'""', b"NaN", DEEP, b'{"a":' + DEEP + b"}"]),
    ]
    if inner:
        path = st.sampled_from(inner)
        strategies.append(
            st.tuples(path, st.sampled_from(_STRANGERS)).map(lambda at: msgspec.json.encode(with_value(raw, *at)))
        )
        strategies.append(path.map(lambda at: msgspec.json.encode(without(raw, at))))
    return st.one_of(strategies)


def _flip(body: bytes, index: int, mask: int) -> bytes:
    if not body:
        return body
    return body[:index] + bytes([body[index] ^ mask]) + body[index + 1 :]


def for_each_mutation(body: bytes, probe: Callable[[bytes], None]) -> None:
    """Call `probe` with broken variants of `body`, the same ones in every run; what it raises is shrunk and raised."""

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(mutated_bodies(body))
    def run(mutated: bytes) -> None:
        probe(mutated)

    run()
