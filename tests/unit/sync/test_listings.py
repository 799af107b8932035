"""What becomes of articles that were deleted, restored or made anew, in the fold. Pure."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from tests.foldbed import POLICY, SHOP, Book, variant_of

from tidegate.commerce.changes import VariantGone, VariantSeen
from tidegate.sync.fold import may_be_bound
from tidegate.sync.records import Listing

FREE = Listing(
    variant_id=variant_of("A"),
    is_bound=False,
    is_buried=False,
    is_taken=False,
    was_deleted=True,
    is_ignored=False,
    rivals=0,
)


def seen(external_id: str = "new", *, version: int = 1) -> VariantSeen:
    return VariantSeen(external_id=external_id, sku="A", title="A", version=version)


def book(listing: Listing, external_id: str = "new", **policy: Any) -> Book:
    made = Book(policy=replace(POLICY, **policy))
    made.state.listings[SHOP, external_id] = listing
    return made


def kinds(made: Book) -> list[str]:
    return [each.kind for result in made.results for each in result.listings]


@pytest.mark.parametrize(
    ("listing", "policy", "kind"),
    [
        (FREE, {}, ["relinked"]),
        (FREE._replace(is_buried=True, was_deleted=True), {}, ["restored"]),
        (FREE._replace(rivals=1), {}, ["relink_asked"]),
        (FREE, {"relink_by_hand": frozenset({SHOP})}, ["relink_asked"]),
        (FREE._replace(is_buried=True), {"relink_by_hand": frozenset({SHOP})}, ["restored"]),
        (FREE._replace(is_ignored=True), {}, []),
        (FREE._replace(is_taken=True), {}, []),
        (FREE._replace(is_taken=True, is_buried=True), {}, []),
        (FREE._replace(is_bound=True, is_taken=True), {}, []),
        (FREE._replace(was_deleted=False), {}, []),
    ],
)
def test_the_declared_rule_decides(listing: Listing, policy: dict[str, Any], kind: list[str]) -> None:
    made = book(listing, **policy)
    (outcome,) = made.fold((SHOP, seen()), source="fetch")
    assert kinds(made) == kind
    assert outcome.code == (f"variant_{kind[0]}" if kind else "known")


def test_no_place_is_taken_twice_nor_from_one_that_is_there() -> None:
    for flags in product([False, True], repeat=5):
        listing = Listing(variant_of("A"), *flags, rivals=0)
        if may_be_bound(listing):
            assert not listing.is_bound
            assert not listing.is_taken
            assert listing.is_buried or listing.was_deleted
    made = book(FREE)
    made.state.listings[SHOP, "newer"] = FREE
    made.fold((SHOP, seen()), (SHOP, seen("newer")), source="fetch")
    assert kinds(made) == ["relinked"]


def test_a_webhook_is_only_a_hint() -> None:
    made = book(FREE)
    (outcome,) = made.fold((SHOP, seen()), source="webhook")
    assert (outcome.outcome, kinds(made)) == ("needs_fetch", [])
    assert [(each.topic, each.external_id) for each in made.results[0].fetches] == [("variant", "new")]


def test_what_was_seen_before_counts_once_its_place_is_free() -> None:
    """The same reading comes again after the deletion became known: nothing about the article itself is news."""
    made = book(FREE._replace(was_deleted=False))
    made.fold((SHOP, seen()), source="fetch")
    made.state.listings[SHOP, "new"] = FREE
    made.fold((SHOP, seen()), source="fetch")
    assert kinds(made) == ["relinked"]
    made.state.listings[SHOP, "new"] = FREE._replace(is_bound=True, is_taken=True)
    (outcome,) = made.fold((SHOP, seen()), source="fetch")
    assert outcome.outcome == "superseded"


def test_a_deletion_counts_each_time_and_only_for_what_is_bound() -> None:
    bound = FREE._replace(is_bound=True, is_taken=True, was_deleted=False)
    made = book(bound, "old")
    assert made.fold((SHOP, VariantGone(external_id="old")), source="fetch")[0].code == "variant_gone"
    made.state.listings[SHOP, "old"] = bound._replace(is_bound=False, is_buried=True)
    assert made.fold((SHOP, VariantGone(external_id="old")), source="fetch")[0].code == "variant_unknown"
    made.state.listings[SHOP, "old"] = bound
    assert made.fold((SHOP, VariantGone(external_id="old")), source="fetch")[0].code == "variant_gone"
    assert kinds(made) == ["deleted", "deleted"]


def test_deleted_and_made_anew_in_one_batch() -> None:
    made = book(FREE._replace(was_deleted=False, is_taken=True))
    made.state.listings[SHOP, "old"] = FREE._replace(is_bound=True, is_taken=True, was_deleted=False)
    made.fold((SHOP, VariantGone(external_id="old")), (SHOP, seen()), source="fetch")
    assert kinds(made) == ["deleted", "relinked"]
