"""Articles that nobody could match, and which of ours come into question. Pure."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal
from uuid import UUID

import msgspec

from tidegate.sdk.connector import Variant
from tidegate.sync.match import KnownVariant, Matches, barcode_key

Reason = Literal["ambiguous", "missing", "without_sku", "recreated"]
"""recreated: it has the SKU of an article that was deleted there, and does not take its place by itself."""
CANDIDATES_MAX = 5
SIMILAR_MAX = 400
"""Open articles times SKUs of ours, in thousands, up to which SKUs are also compared by their spelling."""
TEXT_MAX = 300
"""Characters kept of a SKU, a title or a barcode."""


class OpenMatch(msgspec.Struct, frozen=True, kw_only=True):
    """One article that is bound to nothing of ours."""

    connection: str
    external_id: str
    sku: str
    title: str
    barcode: str
    reason: Reason
    candidates: tuple[str, ...] = ()
    """SKUs of ours that come into question, the likeliest first."""


def list_open(
    connection: str, found: Sequence[Variant], matches: Matches, known: Iterable[KnownVariant], bound: set[UUID]
) -> tuple[OpenMatch, ...]:
    """Return the articles that stay open after matching, sorted by SKU and id. `bound`: variants that are taken there."""
    by_id = {variant.external_id: variant for variant in found}
    reasons: dict[str, Reason] = {one.external_id: "missing" for one in matches.missing}
    reasons |= {one.external_id: "without_sku" for one in matches.without_sku}
    reasons |= {external_id: "ambiguous" for group in matches.ambiguous for external_id in group.external_ids}
    finder = _Finder([one for one in known if one.variant_id not in bound], articles=len(reasons))
    rows = [
        OpenMatch(
            connection=connection,
            external_id=external_id,
            sku=_short(by_id[external_id].sku),
            title=_short(by_id[external_id].title),
            barcode=_short(by_id[external_id].barcode),
            reason=reason,
            candidates=finder.find(by_id[external_id]),
        )
        for external_id, reason in reasons.items()
    ]
    return tuple(sorted(rows, key=sort_key))


def sort_key(row: OpenMatch) -> tuple[str, str, int, str]:
    """Return the place of a row in a list and in the file: stable whatever order the other side has."""
    return (row.connection, row.sku.casefold(), len(row.external_id), row.external_id)


class _Finder:
    """Finds SKUs of ours that look like another one."""

    def __init__(self, free: Sequence[KnownVariant], *, articles: int) -> None:
        self._free = free
        self._by_letters: defaultdict[str, list[str]] = defaultdict(list)
        self._by_barcode: defaultdict[str, list[str]] = defaultdict(list)
        for one in free:
            self._by_letters[_letters(one.sku)].append(one.sku)
            if key := barcode_key(one.barcode):
                self._by_barcode[key].append(one.sku)
        self._skus = [one.sku for one in free] if articles * len(free) <= SIMILAR_MAX * 1000 else []

    def find(self, variant: Variant) -> tuple[str, ...]:
        found = list(self._by_barcode.get(barcode_key(variant.barcode) or "-", ()))
        if letters := _letters(variant.sku):
            found += self._by_letters.get(letters, ())
            found += difflib.get_close_matches(variant.sku, self._skus, n=CANDIDATES_MAX, cutoff=0.75)
        return tuple(dict.fromkeys(found))[:CANDIDATES_MAX]


def _letters(sku: str) -> str:
    """Return letters and digits alone: what is left when people put dashes elsewhere."""
    return "".join(letter for letter in sku.casefold() if letter.isalnum())


def _short(text: str) -> str:
    return text.replace("\x00", "")[:TEXT_MAX]
