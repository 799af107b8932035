"""Shopify's search syntax as far as it is used here, and pages behind cursors. Pure."""

from __future__ import annotations

import base64
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from tidegate.sandbox.shopify.errors import Refusal

PAGE_MAX = 250
REACH_MAX = 25_000
"""How many objects can be paged through behind one question."""
_Thing = TypeVar("_Thing")
_TERM = re.compile(r"""(-?)(\w+):(>=|<=|>|<)?(?:'([^']*)'|"([^"]*)"|(\S+))""")
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "": operator.eq,
}


class Term(msgspec.Struct, frozen=True):
    """One condition: `updated_at:>='2026-11-01T00:00:00Z'`."""

    name: str
    compare: str
    value: str
    is_negated: bool


def parse_search(text: str | None) -> list[Term]:
    """Return the conditions of a search, all of which must hold. Raises Refusal for syntax that this server has not."""
    terms: list[Term] = []
    rest = (text or "").strip()
    while rest:
        match = _TERM.match(rest)
        if match is None:
            raise Refusal(f"the sandbox does not understand the search {text!r}", "SANDBOX_UNSUPPORTED")
        negated, name, compare, single, double, bare = match.groups()
        value = next(part for part in (single, double, bare) if part is not None)
        terms.append(Term(name, compare or "", value, bool(negated)))
        rest = rest[match.end() :].lstrip()
        if rest[:4].upper() == "AND ":
            rest = rest[4:].lstrip()
    return terms


def matcher(terms: Sequence[Term], fields: Mapping[str, Callable[[_Thing], Any]]) -> Callable[[_Thing], bool]:
    """Return whether a thing meets all conditions. A field gives a number (of seconds for a moment) or a text."""
    checks: list[tuple[Callable[[_Thing], Any], Callable[[Any, Any], bool], Any, bool]] = []
    for term in terms:
        read = fields.get(term.name)
        if read is None:
            raise Refusal(f"the sandbox cannot search by {term.name!r}", "SANDBOX_UNSUPPORTED")
        value: Any = term.value
        if term.name.endswith("_at"):
            value = moment_of(term.value)
        elif term.name == "id":
            value = _number(term.value)
        checks.append((read, _COMPARE[term.compare], value, term.is_negated))

    def matches(thing: _Thing) -> bool:
        return all(compare(read(thing), value) is not negated for read, compare, value, negated in checks)

    return matches


def moment_of(text: str) -> float:
    """Return a moment of a search as seconds since 1970. Raises Refusal."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refusal(f"{text!r} is no moment", "BAD_REQUEST") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def page(
    things: Iterable[_Thing],
    arguments: Mapping[str, Any],
    *,
    key: Callable[[_Thing], tuple[Any, ...]],
    view: Callable[[_Thing], Any],
    is_bulk: bool = False,
) -> dict[str, Any]:
    """Return a connection over `things`, which are in the order of `key`.

    Raises Refusal for a size that is missing, doubled or above 250, and for a cursor that is none.
    """
    found = list(things)
    if arguments.get("reverse"):
        found.reverse()
    first, last = arguments.get("first"), arguments.get("last")
    if is_bulk:
        first = len(found)
    if (first is None) == (last is None):
        raise Refusal("you must provide one of first or last", "BAD_REQUEST")
    size = first if first is not None else last
    if size is None or (not is_bulk and not 0 <= size <= PAGE_MAX):
        raise Refusal(f"first and last are between 0 and {PAGE_MAX}", "BAD_REQUEST")
    is_later = operator.lt if arguments.get("reverse") else operator.gt
    before_count = after_count = 0
    if arguments.get("after") is not None:
        bound = _read_cursor(arguments["after"])
        kept = [thing for thing in found if is_later(key(thing), bound)]
        before_count, found = len(found) - len(kept), kept
        if before_count >= REACH_MAX:
            raise Refusal(f"only the first {REACH_MAX} objects can be paged through", "BAD_REQUEST")
    if arguments.get("before") is not None:
        bound = _read_cursor(arguments["before"])
        kept = [thing for thing in found if is_later(bound, key(thing))]
        after_count, found = len(found) - len(kept), kept
    whole = len(found)
    if first is not None:
        found, has_next, has_previous = found[:size], whole > size or after_count > 0, before_count > 0
    else:
        found, has_next, has_previous = (
            found[whole - min(size, whole) :],
            after_count > 0,
            whole > size or before_count > 0,
        )

    def cursor(thing: _Thing) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(key(thing))).decode()

    nodes: list[Any] = []

    def views() -> list[Any]:
        if not nodes:
            nodes.extend(view(thing) for thing in found)
        return nodes

    return {
        "nodes": views,
        "edges": lambda: [{"node": node, "cursor": cursor(thing)} for node, thing in zip(views(), found, strict=True)],
        "pageInfo": lambda: {
            "hasNextPage": has_next,
            "hasPreviousPage": has_previous,
            "startCursor": cursor(found[0]) if found else None,
            "endCursor": cursor(found[-1]) if found else None,
        },
    }


def _read_cursor(text: str) -> tuple[Any, ...]:
    try:
        raw = msgspec.json.decode(base64.urlsafe_b64decode(text))
    except ValueError as error:
        raise Refusal("Invalid cursor for current pagination sort.", "BAD_REQUEST") from error
    if not isinstance(raw, list):
        raise Refusal("Invalid cursor for current pagination sort.", "BAD_REQUEST")
    return tuple(raw)


def _number(text: str) -> int:
    digits = text.rpartition("/")[2]
    if not digits.isascii() or not digits.isdigit():
        raise Refusal(f"{text!r} is no id", "BAD_REQUEST")
    return int(digits)
