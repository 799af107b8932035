from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.sdk.connector import Location, Variant
from tidegate.sync.match import Ambiguity, KnownVariant, match_locations, match_variants


def article(external_id: str, sku: str) -> Variant:
    return Variant(external_id=external_id, sku=sku, title=sku)


def known(number: int, sku: str) -> KnownVariant:
    return KnownVariant(variant_id=UUID(int=number), sku=sku)


def test_the_first_system_makes_the_variants() -> None:
    found = [article("1", "A"), article("2", "B"), article("3", "")]

    matches = match_variants(found, [], {}, leads=True)

    assert matches.new == (found[0], found[1])
    assert matches.without_sku == (found[2],)
    assert matches.bound == 2


def test_a_later_system_matches_exactly_then_without_case_and_lists_the_rest() -> None:
    found = [article("1", "A"), article("2", " b"), article("3", "Z")]

    matches = match_variants(found, [known(1, "A"), known(2, "B"), known(3, "C")], {}, leads=False)

    assert matches.exact == (("1", UUID(int=1)),)
    assert matches.folded == (("2", UUID(int=2)),)
    assert matches.missing == (found[2],)
    assert matches.not_there == ("C",)
    assert matches.new == ()


def test_the_exact_sku_wins_over_one_that_differs_in_case() -> None:
    matches = match_variants([article("1", "a"), article("2", "A")], [known(1, "A")], {}, leads=False)

    assert matches.exact == (("2", UUID(int=1)),)
    assert matches.missing == (article("1", "a"),)


def test_two_articles_with_one_sku_are_listed_and_not_bound() -> None:
    found = [article("1", "A"), article("2", "A"), article("3", "N"), article("4", "N")]

    matches = match_variants(found, [known(1, "A")], {}, leads=True)

    assert matches.ambiguous == (
        Ambiguity(sku="A", external_ids=("1", "2")),
        Ambiguity(sku="N", external_ids=("3", "4")),
    )
    assert matches.bound == 0


def test_one_article_that_could_be_two_of_ours_is_listed() -> None:
    matches = match_variants([article("1", "abc")], [known(1, "ABC"), known(2, "Abc")], {}, leads=True)

    assert matches.ambiguous == (Ambiguity(sku="abc", external_ids=("1",)),)


def test_a_binding_stays_even_when_the_sku_changed_there() -> None:
    matches = match_variants([article("1", "RENAMED")], [known(1, "A")], {"1": UUID(int=1)}, leads=True)

    assert matches.kept == (("1", UUID(int=1)),)
    assert (matches.new, matches.ambiguous) == ((), ())


def test_a_second_article_with_a_bound_sku_is_not_bound_too() -> None:
    matches = match_variants([article("1", "A"), article("2", "A")], [known(1, "A")], {"1": UUID(int=1)}, leads=True)

    assert matches.ambiguous == (Ambiguity(sku="A", external_ids=("2",)),)
    assert matches.new == ()


def test_bindings_without_an_article_are_shown() -> None:
    assert match_variants([], [known(1, "A")], {"1": UUID(int=1)}, leads=False).vanished == ("1",)


SKUS = st.sampled_from(["A", "a", " A", "B", "b ", "C", ""])


@given(st.lists(SKUS, max_size=8), st.sets(SKUS.filter(str.strip), max_size=4), st.booleans())
def test_every_article_ends_in_exactly_one_list_and_bindings_are_one_to_one(
    skus: list[str], ours: set[str], leads: bool
) -> None:
    found = [article(str(index), sku) for index, sku in enumerate(skus)]
    variants = [known(index, sku) for index, sku in enumerate(sorted(ours))]

    matches = match_variants(found, variants, {}, leads=leads)

    pairs = [*matches.exact, *matches.folded]
    ends = [external_id for external_id, _ in pairs]
    ends += [variant.external_id for variant in (*matches.new, *matches.missing, *matches.without_sku)]
    ends += [external_id for one in matches.ambiguous for external_id in one.external_ids]
    assert sorted(ends) == sorted(variant.external_id for variant in found)
    assert len({variant_id for _, variant_id in pairs}) == len(pairs)
    assert len({variant.sku.strip() for variant in matches.new}) == len(matches.new)
    assert not {variant.sku.strip() for variant in matches.new} & {sku.strip() for sku in ours if sku in skus}


def place(external_id: str, name: str) -> Location:
    return Location(external_id=external_id, name=name)


def test_the_first_warehouse_is_the_main_location() -> None:
    places = match_locations([place("4", "Warehouse"), place("5", "North")], {}, is_channel=False)

    assert places.bindings == (("4", "main"), ("5", "North"))
    assert places.stock_location is None


def test_warehouses_keep_their_binding_when_one_is_added() -> None:
    places = match_locations([place("9", "main"), place("4", "W")], {"4": "main"}, is_channel=False)

    assert dict(places.bindings) == {"4": "main", "9": "main 2"}


def test_a_channel_sets_numbers_at_its_only_location() -> None:
    places = match_locations([place("1", "Default")], {}, is_channel=True)

    assert (places.bindings, places.stock_location) == ((("1", "main"),), "1")


def test_a_channel_with_several_locations_must_choose() -> None:
    found = [place("1", "Default"), place("2", "Other")]

    with pytest.raises(ValueError, match="several stock locations"):
        match_locations(found, {}, is_channel=True)
    assert match_locations(found, {"1": "main"}, is_channel=True, chosen="2").bindings == (("2", "main"),)
    with pytest.raises(ValueError, match="no stock location '7'"):
        match_locations(found, {}, is_channel=True, chosen="7")


def coded(external_id: str, sku: str, barcode: str) -> Variant:
    return Variant(external_id=external_id, sku=sku, title="same title", barcode=barcode)


def test_what_the_sku_does_not_say_the_barcode_does() -> None:
    ours = [
        KnownVariant(variant_id=UUID(int=1), sku="A", barcode="4006381333931"),
        KnownVariant(variant_id=UUID(int=2), sku="B", barcode="036000291452"),
        KnownVariant(variant_id=UUID(int=3), sku="C", barcode="12345670"),
    ]
    found = [coded("1", "X", "4006381333931"), coded("2", "", "0036000291452"), coded("3", "c", "4006381333931")]

    matches = match_variants(found, ours, {}, leads=False)

    assert matches.folded == (("3", UUID(int=3)),)
    assert dict(matches.barcode) == {"1": UUID(int=1), "2": UUID(int=2)}
    assert matches.missing == ()
    assert matches.without_sku == ()


def test_a_barcode_that_is_not_one_to_one_binds_nothing() -> None:
    ours = [KnownVariant(variant_id=UUID(int=1), sku="A", barcode="4006381333931")]
    found = [coded("1", "X", "4006381333931"), coded("2", "Y", "4006381333931"), coded("3", "Z", "n/a")]

    assert match_variants(found, ours, {}, leads=False).barcode == ()


def test_decisions_come_before_skus_and_survive() -> None:
    ours = [known(1, "A"), known(2, "B")]
    found = [article("1", "A"), article("2", "Z")]

    matches = match_variants(found, ours, {}, leads=True, decisions={"1": UUID(int=2), "2": None})

    assert matches.decided == (("1", UUID(int=2)),)
    assert matches.ignored == (found[1],)
    assert matches.new == ()
