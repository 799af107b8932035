"""Tryton's search domains: read from a request, and decided for a record. Pure.

A domain is a list of clauses that must all hold, or any of them when it begins with "OR". A clause is
[field, operator, value] or a domain. Source: Tryton documentation, "Domain syntax"; requests recorded from Tryton 8.2.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

DEPTH_MAX = 20
NESTED_BYTES_MAX = 64 << 10
_MOMENT = ("year", "month", "day", "hour", "minute", "second", "microsecond")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - as Tryton has it
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda held, wanted: bool(held == wanted),
    "!=": lambda held, wanted: bool(held != wanted),
    "in": lambda held, wanted: held in wanted,
    "not in": lambda held, wanted: held not in wanted,
    ">": lambda held, wanted: held is not None and held > wanted,
    ">=": lambda held, wanted: held is not None and held >= wanted,
    "<": lambda held, wanted: held is not None and held < wanted,
    "<=": lambda held, wanted: held is not None and held <= wanted,
}
Domain = Any
"""What a request carries: a list, if it is a domain."""


class BadDomain(Exception):
    """What was asked for is no domain; Tryton answers 500 with the word at fault."""


def unpack(text: str) -> Any:
    """Return what a base64 parameter holds. Raises BadDomain."""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text.encode()))
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError) as error:
        raise BadDomain(text[:60]) from error


def holds(domain: Domain, value_of: Callable[[str], Any], depth: int = 0) -> bool:
    """Return whether a record matches; `value_of` gives its values by (dotted) field name. Raises BadDomain."""
    if depth > DEPTH_MAX or not isinstance(domain, list):
        raise BadDomain("domain")
    joins_any = bool(domain) and domain[0] == "OR"
    clauses = domain[1:] if domain and domain[0] in ("AND", "OR") else domain
    results = (_holds(clause, value_of, depth) for clause in clauses)
    return any(results) if joins_any else all(results)


def _holds(clause: Any, value_of: Callable[[str], Any], depth: int) -> bool:
    if not is_clause(clause):
        return holds(clause, value_of, depth + 1)
    field, operator, wanted = clause
    try:
        return _OPERATORS[operator](value_of(field), plain(wanted))
    except (KeyError, TypeError) as error:
        raise BadDomain(f"{field} {operator}") from error


def is_clause(part: Any) -> bool:
    """Return whether a part of a domain is [field, operator, value]."""
    return isinstance(part, list) and len(part) == 3 and isinstance(part[0], str) and isinstance(part[1], str)


def required(domain: Domain) -> Iterator[tuple[str, str, Any]]:
    """Yield the clauses that every matching record meets: those on the top, not below an "OR"."""
    if not isinstance(domain, list) or (domain and domain[0] == "OR"):
        return
    for part in domain:
        if is_clause(part):
            yield part[0], part[1], plain(part[2])
        elif isinstance(part, list):
            yield from required(part)


def earliest(domain: Domain, field: str) -> datetime | None:
    """Return a moment that `field` of no matching record is before; None when there is none."""
    if not isinstance(domain, list):
        return None
    if domain and domain[0] == "OR":
        bounds = [earliest(part if not is_clause(part) else [part], field) for part in domain[1:]]
        known = [bound for bound in bounds if bound is not None]
        return min(known) if known and len(known) == len(bounds) else None
    found: list[datetime] = []
    for part in domain:
        if is_clause(part):
            if part[0] == field and part[1] in {">", ">=", "="} and isinstance(moment := plain(part[2]), datetime):
                found.append(moment)
        elif isinstance(part, list) and (bound := earliest(part, field)) is not None:
            found.append(bound)
    return max(found) if found else None


def plain(value: Any) -> Any:
    """Return a value of Tryton's JSON as Python has it: moments are UTC without saying so."""
    if not isinstance(value, dict):
        return value
    if value.get("__class__") == "datetime":
        try:
            year, month, day, hour, minute, second, microsecond = (int(value.get(part, 0)) for part in _MOMENT)
            return _EPOCH.replace(year, month, day, hour, minute, second, microsecond)
        except (TypeError, ValueError) as error:
            raise BadDomain("datetime") from error
    return value


def moment_record(moment: datetime) -> dict[str, Any]:
    """Return a moment in Tryton's JSON."""
    return {"__class__": "datetime", **{part: getattr(moment, part) for part in _MOMENT}}
