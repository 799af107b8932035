"""What the usual headers say about a platform's count of calls. Pure; what cannot be read is not there.

| headers | who |
|---|---|
| `RateLimit: "default";r=50;t=30` with `RateLimit-Policy: "default";q=100;w=60` | the IETF draft |
| `RateLimit-Limit`, `-Remaining`, `-Reset` (older drafts), `X-RateLimit-*`, `X-Rate-Limit-*` | most others |
| `X-Rate-Limit-Requests-Quota`, `-Requests-Left`, `-Time-Window-Ms`, `-Time-Reset-Ms` | BigCommerce |
| `X-HubSpot-RateLimit-Max`, `-Remaining`, `-Interval-Milliseconds`, `-Daily`, `-Daily-Remaining` | HubSpot |
| `X-...-Api-Call-Limit: 32/40` | Shopify (REST), Gorgias |
| `X-Remaining-Calls` | ShipBob |
| `X-Amzn-RateLimit-Limit` (a rate) | Amazon |

`Retry-After` is read where the answer becomes an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from tidegate.sdk.budgets import DAY_SECONDS, BudgetReading
from tidegate.sdk.failures import read_date
from tidegate.sdk.http import Response

HEADER_CHARS_MAX = 500
EPOCH_MIN = 1e8
"""A reset that is larger is a moment, not a number of seconds."""
RESET_SECONDS_MAX = 31 * DAY_SECONDS
_PREFIXES = ("ratelimit-", "x-ratelimit-", "x-rate-limit-")
_NUMBER = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)")
_OF = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*$")
_PARAMETER = re.compile(r";\s*([a-z]{1,4})\s*=\s*(\d{1,12})")


def read_usual_headers(response: Response) -> tuple[BudgetReading, ...]:
    """Return what an answer's headers say; nothing when they say nothing that we know."""
    headers = response.headers
    if not any("limit" in name or name == "x-remaining-calls" for name in headers):
        return ()
    readers = (_hubspot, _bigcommerce, _draft, _triple, _call_limit, _left_only)
    found = next((reading for reading in (read(headers) for read in readers) if reading), ())
    rate = _number(headers, "x-amzn-ratelimit-limit")
    return (*found, BudgetReading(per_second=rate)) if rate else found


def _hubspot(headers: Mapping[str, str]) -> tuple[BudgetReading, ...]:
    start = "x-hubspot-ratelimit-"
    window = _number(headers, start + "interval-milliseconds")
    found = []
    left, limit = _number(headers, start + "remaining"), _number(headers, start + "max")
    if left is not None or limit is not None:
        found.append(BudgetReading(left=left, limit=limit, window_seconds=None if not window else window / 1000))
    left, limit = _number(headers, start + "daily-remaining"), _number(headers, start + "daily")
    if left is not None or limit is not None:
        found.append(BudgetReading(left=left, limit=limit, window_seconds=DAY_SECONDS))
    return tuple(found)


def _bigcommerce(headers: Mapping[str, str]) -> tuple[BudgetReading, ...]:
    start = "x-rate-limit-"
    left = _number(headers, start + "requests-left")
    if left is None:
        return ()
    window, reset = _number(headers, start + "time-window-ms"), _number(headers, start + "time-reset-ms")
    return (
        BudgetReading(
            left=left,
            limit=_number(headers, start + "requests-quota"),
            window_seconds=window / 1000 if window else None,
            reset_seconds=_bounded(reset / 1000 + 0.001) if reset is not None else None,
            reset_slack=0.002,
        ),
    )


def _draft(headers: Mapping[str, str]) -> tuple[BudgetReading, ...]:
    policies = {name: values for name, values in _items(headers.get("ratelimit-policy", "")) if "q" in values}
    found = []
    for name, values in _items(headers.get("ratelimit", "")):
        if "r" not in values:
            continue
        policy = policies.get(name, {})
        reset = values.get("t")
        found.append(
            BudgetReading(
                left=values["r"],
                limit=policy.get("q"),
                window_seconds=policy.get("w"),
                reset_seconds=_bounded(reset + 1.0) if reset is not None else None,
            )
        )
    return tuple(found)


def _items(text: str) -> list[tuple[str, dict[str, float]]]:
    items = []
    for item in text[:HEADER_CHARS_MAX].split(","):
        name = item.partition(";")[0].strip().strip('"')
        items.append((name, {key: float(value) for key, value in _PARAMETER.findall(item)}))
    return items


def _triple(headers: Mapping[str, str]) -> tuple[BudgetReading, ...]:
    for start in _PREFIXES:
        left = _number(headers, start + "remaining")
        if left is not None:
            reset = _reset(headers, start + "reset")
            return (BudgetReading(left=left, limit=_number(headers, start + "limit"), reset_seconds=reset),)
    return ()


def _call_limit(headers: Mapping[str, str]) -> tuple[BudgetReading, ...]:
    for name, value in headers.items():
        if name.endswith("api-call-limit"):
            match = _OF.match(value[:HEADER_CHARS_MAX])
            if match is not None and int(match[2]) > 0:
                used, limit = int(match[1]), int(match[2])
                return (BudgetReading(left=float(max(0, limit - used)), limit=float(limit)),)
    return ()


def _left_only(headers: Mapping[str, str]) -> tuple[BudgetReading, ...]:
    left = _number(headers, "x-remaining-calls")
    return () if left is None else (BudgetReading(left=left),)


def _reset(headers: Mapping[str, str], name: str) -> float | None:
    """Return the seconds until a reset that may be told as seconds, or as a moment in seconds or milliseconds."""
    value = _number(headers, name)
    if value is None:
        return None
    if value < EPOCH_MIN:
        return _bounded(value + 1.0)
    now = read_date(headers.get("date"))
    if now is None:
        return None
    moment = value / 1000 if value > EPOCH_MIN * 1000 else value
    return _bounded(moment - now.timestamp() + 1.0)


def _bounded(seconds: float) -> float | None:
    return seconds if 0 <= seconds <= RESET_SECONDS_MAX else None


def _number(headers: Mapping[str, str], name: str) -> float | None:
    """Return the number that a header begins with: `100, 100;w=60` is 100."""
    match = _NUMBER.match(headers.get(name, "")[:HEADER_CHARS_MAX])
    if match is None:
        return None
    value = float(match[1])
    return value if math.isfinite(value) else None
