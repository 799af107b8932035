"""What may be shown of a request, an answer or an event: its structure, ids, codes and quantities. An allow-list. Pure.

A value is shown only under a field that holds such values by its name, and only in the form that they have. Everything else
is replaced by what it is (`<text>`, `<number>`), and a field whose name is not in the vocabulary by its place. Below a field
that is about people nothing is shown but structure. Proof: SECURITY P6 and L4, `tests/property/test_samples.py`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tidegate.kernel.fixes import FIXES
from tidegate.monitor.vocabulary import shape_of, words_of_key

TEXT, NUMBER = "<text>", "<number>"
DEPTH_MAX = 8
FIELDS_MAX = 40
ITEMS_MAX = 3
PARTS_MAX = 20
SAMPLE_BYTES_MAX = 8192

_PEOPLE = frozenset(
    (  # noqa: SIM905 - a list
        "customer private address addresses billing buyer recipient contact party account user email phone name password "
        "secret token credential key note title message detail"
    ).split()
)
"""Words of fields that are about people, or free text: below them nothing is shown."""
_THINGS = frozenset(
    (  # noqa: SIM905
        "order line lines article variant item location shipment fulfillment call command attempt event product sale move "
        "stock channel external internal parent method error web warehouse cause subject entity inventory shop request "
        "payment carrier unit source target"
    ).split()
)
_IDS = frozenset(("id", "ids", "reference", "ref", "number", "sku"))
_TOKENS = frozenset(("code", "kind", "type", "state", "status", "outcome", "topic", "currency"))
_QUANTITIES = frozenset(
    (  # noqa: SIM905
        "quantity quantities units count total amount minor price hand available committed reserved unavailable ordered current "
        "shipped fulfilled version status limit remaining left position level weight tax discount net gross"
    ).split()
)
_TIMES = frozenset(("at", "date", "time", "timestamp"))
_ID = re.compile(r"(?=[^0-9]*[0-9])[A-Za-z0-9][A-Za-z0-9_.:/#-]{0,63}")
_SKU = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./#-]{0,63}")
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,40}")
_DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,6})?")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]{5,15}(Z|[+-][0-9:]{5})?)?")
_PAIR = re.compile(r'"([A-Za-z_][A-Za-z0-9_-]{0,60})"\s*:\s*("(?:[^"\\]|\\.){0,200}"|-?[0-9.]+|true|false|null)')


def redact(value: Any) -> Any:
    """Return what may be shown of decoded JSON."""
    return _redact(value, None, 0, is_closed=False)


def redact_json(content: bytes) -> Any:
    """Return what may be shown of a body: of JSON its redacted form, of cut JSON its readable pairs, else its kind and size."""
    try:
        return redact(msgspec.json.decode(content))
    except (ValueError, RecursionError):
        text = content.decode("utf-8", "replace").lstrip()
    if text[:1] not in ("{", "["):
        return {"form": "html" if text[:1] == "<" else "text" if text else "empty", "bytes": len(content)}
    return {"form": "cut", "bytes": len(content), "pairs": _pairs(text)}


def redact_answer(excerpt: bytes, subject_id: str) -> dict[str, Any]:
    """Return what may be shown of an attempt's stored answer: what one command came to, and the answer itself."""
    try:
        kept = msgspec.json.decode(excerpt, type=dict[str, Any])
    except (ValueError, RecursionError):
        return {"answer": redact_json(excerpt)}
    members = kept.get("members")
    mine = next((m for m in members if isinstance(m, dict) and m.get("command_id") == subject_id), None) if isinstance(
        members, list
    ) else None  # fmt: skip
    shown: dict[str, Any] = {}
    if mine is not None:
        reason = mine.get("reason")
        shown = {"outcome": _word(mine.get("outcome")), "code": _word(mine.get("code"))}
        shown["said"] = shape_of(reason) if isinstance(reason, str) else None
    answer = kept.get("answer")
    shown["answer"] = redact_json(answer.encode()) if isinstance(answer, str) else None
    return shown


def bounded(sample: dict[str, Any]) -> dict[str, Any]:
    """Return a sample of at most SAMPLE_BYTES_MAX as JSON: what is too large says so instead."""
    if len(msgspec.json.encode(sample)) <= SAMPLE_BYTES_MAX:
        return sample
    return {name: "<large>" if isinstance(value, (dict, list)) else value for name, value in sample.items()}


def _redact(value: Any, words: list[str] | None, depth: int, *, is_closed: bool) -> Any:
    if isinstance(value, dict):
        return _fields(value, depth, is_closed=is_closed) if depth < DEPTH_MAX else "<deep>"
    if isinstance(value, list):
        if depth >= DEPTH_MAX:
            return "<deep>"
        items = [_redact(item, words, depth + 1, is_closed=is_closed) for item in value[:ITEMS_MAX]]
        return [*items, f"<{len(value) - ITEMS_MAX} more>"] if len(value) > ITEMS_MAX else items
    if value is None or (isinstance(value, bool) and not is_closed):
        return value
    if isinstance(value, (int, float)):
        return value if not is_closed and words is not None and _shows_number(words) else NUMBER
    return value if not is_closed and words is not None and _shows_text(words, str(value)) else TEXT


def _fields(value: dict[Any, Any], depth: int, *, is_closed: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for place, (key, inner) in enumerate(value.items()):
        if place >= FIELDS_MAX:
            shown["…"] = f"<{len(value) - FIELDS_MAX} more>"
            break
        words = words_of_key(str(key))
        closes = words is None or not _PEOPLE.isdisjoint(words)
        name = str(key) if words is not None else f"…{place + 1}"
        shown[name] = _redact(inner, words, depth + 1, is_closed=is_closed or closes)
    return shown


def _shows_number(words: list[str]) -> bool:
    return words[-1] in _QUANTITIES or (words[-1] in _IDS and _THINGS.issuperset(words[:-1]))


def _shows_text(words: list[str], text: str) -> bool:
    last, before = words[-1], words[:-1]
    if last in _TIMES:
        return bool(_TIME.fullmatch(text))
    if last in _QUANTITIES and _DECIMAL.fullmatch(text):
        return True
    if not _THINGS.issuperset(before):
        return False
    if last in _TOKENS:
        return bool(_TOKEN.fullmatch(text)) and (words_of_key(text) is not None or text.isupper())
    return last in _IDS and bool((_SKU if last == "sku" else _ID).fullmatch(text))


def _word(value: object) -> str | None:
    """Return an outcome or a code of ours, None for anything else."""
    is_ours = isinstance(value, str) and (value in FIXES or words_of_key(value) is not None)
    return str(value) if is_ours else None


def _pairs(text: str) -> list[dict[str, Any]]:
    pairs = []
    for found in _PAIR.finditer(text[:8192]):
        try:
            pairs.append(redact({found[1]: msgspec.json.decode(found[2])}))
        except ValueError:
            continue
        if len(pairs) >= PARTS_MAX:
            break
    return pairs
