"""Which of our articles and places a newly connected system talks about. Pure.

Articles are matched by id (what is bound stays bound, and what a person decided is bound), then by SKU: exactly first, then
trimmed and without regard to case; then by barcode; never by title. What is not clear is left to a person: it is listed,
not guessed.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import UUID

import msgspec

from tidegate.sdk.connector import Location, Variant

BARCODE_DIGITS_MIN = 8
"""Length of the shortest barcode, EAN-8."""
_ABSENT = object()
MAIN_LOCATION = "main"
"""Name of our first location."""


class KnownVariant(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A variant that we have, known in some system."""

    variant_id: UUID
    sku: str
    barcode: str = ""


class Ambiguity(msgspec.Struct, frozen=True, kw_only=True):
    """Several articles that claim one SKU; none of them is bound."""

    sku: str
    external_ids: tuple[str, ...]


class Matches(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each article that was found, in the order it was found."""

    kept: tuple[tuple[str, UUID], ...] = ()
    """(external id, variant): bound before and still there."""
    exact: tuple[tuple[str, UUID], ...] = ()
    """New bindings: the SKU is the same."""
    folded: tuple[tuple[str, UUID], ...] = ()
    """New bindings: the SKU is the same but for spaces around it and case."""
    barcode: tuple[tuple[str, UUID], ...] = ()
    """New bindings: the SKU says nothing, and the barcode is the same."""
    decided: tuple[tuple[str, UUID], ...] = ()
    """New bindings: a person said so."""
    ignored: tuple[Variant, ...] = ()
    """A person said that these are to be left alone."""
    new: tuple[Variant, ...] = ()
    """Nobody has these SKUs yet: variants to make and bind."""
    ambiguous: tuple[Ambiguity, ...] = ()
    missing: tuple[Variant, ...] = ()
    """No variant of ours has this SKU, and this system does not lead the catalogue."""
    without_sku: tuple[Variant, ...] = ()
    not_there: tuple[str, ...] = ()
    """SKUs of ours that this system does not have, sorted."""
    vanished: tuple[str, ...] = ()
    """External ids that are bound but were not found now; their bindings stay. Sorted."""

    @property
    def bound(self) -> int:
        """How many articles are bound now, new ones included."""
        return len(self.kept) + len(self.pairs) + len(self.new)

    @property
    def pairs(self) -> tuple[tuple[str, UUID], ...]:
        """All new bindings to variants that exist."""
        return (*self.decided, *self.exact, *self.folded, *self.barcode)


def match_variants(
    found: Sequence[Variant],
    known: Iterable[KnownVariant],
    bound: Mapping[str, UUID],
    *,
    leads: bool,
    decisions: Mapping[str, UUID | None] | None = None,
) -> Matches:
    """Match what a system has with what we have.

    Args:
        found: the system's articles.
        known: all variants of the tenant.
        bound: bindings of this connection, external id -> variant id.
        leads: True when unknown SKUs become variants, False when they are only listed.
        decisions: what people decided, external id -> variant to bind, None to leave it alone.

    A binding is one to one: a variant that is bound in this connection is never bound a second time.
    """
    known, decisions = tuple(known), decisions or {}
    found_ids = {variant.external_id for variant in found}
    taken = set(bound.values())
    kept = tuple((variant.external_id, bound[variant.external_id]) for variant in found if variant.external_id in bound)
    open_ones = [variant for variant in found if variant.external_id not in bound]
    ignored = tuple(one for one in open_ones if decisions.get(one.external_id, _ABSENT) is None)
    decided, taken = _decided(open_ones, decisions, taken)
    settled = {external_id for external_id, _ in decided} | {one.external_id for one in ignored}
    open_ones = [variant for variant in open_ones if variant.external_id not in settled]
    nameless = [variant for variant in open_ones if not variant.sku.strip()]
    open_ones = [variant for variant in open_ones if variant.sku.strip()]

    exact, open_ones, unclear = _pair(open_ones, [one for one in known if one.variant_id not in taken], _same)
    taken.update(variant_id for _, variant_id in exact)
    folded, open_ones, unclear_folded = _pair(open_ones, [one for one in known if one.variant_id not in taken], _fold)
    taken.update(variant_id for _, variant_id in folded)
    barcode, open_ones, nameless = _pair_barcodes(
        open_ones, nameless, [one for one in known if one.variant_id not in taken]
    )
    taken.update(variant_id for _, variant_id in barcode)

    fresh, doubles = _split_doubles(open_ones, {one.sku.strip() for one in known if one.variant_id in taken})
    return Matches(
        kept=kept,
        exact=tuple(exact),
        folded=tuple(folded),
        barcode=tuple(barcode),
        decided=tuple(decided),
        ignored=ignored,
        new=tuple(fresh) if leads else (),
        ambiguous=tuple(unclear + unclear_folded + doubles),
        missing=() if leads else tuple(fresh),
        without_sku=tuple(nameless),
        not_there=tuple(sorted(one.sku for one in known if one.variant_id not in taken)),
        vanished=tuple(sorted(set(bound) - found_ids)),
    )


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """How the locations of a system map to ours."""

    bindings: tuple[tuple[str, str], ...]
    """(external id, name of our location); locations that do not exist yet are made. One to one."""
    stock_location: str | None
    """External id of the location whose numbers we set; None for a system that we do not tell numbers."""


def match_locations(
    found: Sequence[Location], bound: Mapping[str, str], *, is_channel: bool, chosen: str | None = None
) -> Places:
    """Map a system's locations.

    Args:
        found: the system's locations.
        bound: bindings of this connection, external id -> name of our location.
        is_channel: a channel has one location that we set numbers at (`chosen` when it has several); an ERP counts
            goods at each of its warehouses, the first of which is our main location.
        chosen: external id of the channel's location.

    Raises ValueError, with words for the operator, when the channel's location is not clear.
    """
    if is_channel:
        return _channel_place(found, bound, chosen)
    names = dict(bound)
    for location in found:
        if location.external_id not in names:
            name = (
                MAIN_LOCATION if MAIN_LOCATION not in names.values() else location.name.strip() or location.external_id
            )
            names[location.external_id] = _free_name(name, set(names.values()))
    return Places(bindings=tuple(names.items()), stock_location=None)


def _channel_place(found: Sequence[Location], bound: Mapping[str, str], chosen: str | None) -> Places:
    ids = [location.external_id for location in found]
    if chosen is None and len(ids) == 1:
        chosen = ids[0]
    if chosen is None:
        raise ValueError("it has several stock locations, choose one" if ids else "it has no stock location")
    if chosen not in ids:
        raise ValueError(f"it has no stock location {chosen!r}, only {', '.join(ids) or 'none'}")
    return Places(bindings=((chosen, bound.get(chosen, MAIN_LOCATION)),), stock_location=chosen)


def _free_name(name: str, taken: set[str]) -> str:
    """Return `name`, numbered when it is taken."""
    numbered = (f"{name} {number}" for number in itertools.count(2))
    return next(candidate for candidate in itertools.chain((name,), numbered) if candidate not in taken)


def _pair(
    found: Sequence[Variant], free: Sequence[KnownVariant], key: Callable[[str], str]
) -> tuple[list[tuple[str, UUID]], list[Variant], list[Ambiguity]]:
    """Return one-to-one pairs by `key(sku)`, what has no partner, and what has several."""
    partners: defaultdict[str, list[KnownVariant]] = defaultdict(list)
    for one in free:
        partners[key(one.sku)].append(one)
    rivals: defaultdict[str, list[Variant]] = defaultdict(list)
    for variant in found:
        rivals[key(variant.sku)].append(variant)
    pairs, alone, ambiguous = [], [], []
    for word, variants in rivals.items():
        if word not in partners:
            alone.extend(variants)
        elif len(variants) == 1 and len(partners[word]) == 1:
            pairs.append((variants[0].external_id, partners[word][0].variant_id))
        else:
            ambiguous.append(_ambiguity(variants))
    return pairs, alone, ambiguous


def _decided(
    found: Sequence[Variant], decisions: Mapping[str, UUID | None], taken: set[UUID]
) -> tuple[list[tuple[str, UUID]], set[UUID]]:
    """Return the pairs that people decided, as far as they are free, and what is taken then."""
    pairs, taken = [], set(taken)
    for variant in found:
        wanted = decisions.get(variant.external_id)
        if wanted is not None and wanted not in taken:
            pairs.append((variant.external_id, wanted))
            taken.add(wanted)
    return pairs, taken


def _pair_barcodes(
    open_ones: list[Variant], nameless: list[Variant], free: Sequence[KnownVariant]
) -> tuple[list[tuple[str, UUID]], list[Variant], list[Variant]]:
    """Pair by barcode what is one to one; return the pairs and what is left of both lists."""
    partners: defaultdict[str, list[KnownVariant]] = defaultdict(list)
    for one in free:
        if key := barcode_key(one.barcode):
            partners[key].append(one)
    rivals: defaultdict[str, list[Variant]] = defaultdict(list)
    for variant in (*open_ones, *nameless):
        if key := barcode_key(variant.barcode):
            rivals[key].append(variant)
    pairs = [
        (variants[0].external_id, partners[key][0].variant_id)
        for key, variants in rivals.items()
        if len(variants) == 1 and len(partners.get(key, ())) == 1
    ]
    paired = {external_id for external_id, _ in pairs}
    left = [variant for variant in open_ones if variant.external_id not in paired]
    return pairs, left, [variant for variant in nameless if variant.external_id not in paired]


def barcode_key(barcode: str) -> str:
    """Return what makes two barcodes the same: UPC, EAN and GTIN of one article differ in leading zeros only. Pure.

    '' for what is too short to name one article in the world.
    """
    plain = "".join(barcode.split()).replace("-", "").upper()
    if len(plain) < BARCODE_DIGITS_MIN or not plain.isascii() or not plain.isalnum():
        return ""
    return plain.lstrip("0")


def _split_doubles(variants: Sequence[Variant], taken_skus: set[str]) -> tuple[list[Variant], list[Ambiguity]]:
    """Return the variants whose SKU nobody else has, and the others by SKU."""
    groups: defaultdict[str, list[Variant]] = defaultdict(list)
    for variant in variants:
        groups[variant.sku.strip()].append(variant)
    single = [group[0] for sku, group in groups.items() if len(group) == 1 and sku not in taken_skus]
    doubles = [_ambiguity(group) for sku, group in groups.items() if len(group) > 1 or sku in taken_skus]
    return single, doubles


def _ambiguity(variants: Sequence[Variant]) -> Ambiguity:
    return Ambiguity(sku=variants[0].sku.strip(), external_ids=tuple(variant.external_id for variant in variants))


def _same(sku: str) -> str:
    return sku


def _fold(sku: str) -> str:
    return sku.strip().casefold()
