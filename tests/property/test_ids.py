"""Ids: unique, in order, readable both ways, spread over the slots."""

import itertools
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.kernel import ids
from tidegate.kernel.ids import SLOTS, first_id_at, new_id, parse_public_id, public_id, slot_of, time_of

TENANT = UUID("01890000-0000-7000-8000-000000000001")
kinds = st.from_regex("[a-z]{3}", fullmatch=True)
cells = st.from_regex("[a-z][a-z0-9]{0,7}", fullmatch=True)
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
moments = st.timedeltas(timedelta(0), timedelta(days=60_000)).map(lambda since: EPOCH + since)


def test_ids_of_one_thread_grow() -> None:
    made = [new_id() for _ in range(20_000)]

    assert all(one < other for one, other in itertools.pairwise(made))


def test_ids_grow_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = new_id()
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_000_000_000_000_000_000)

    assert before < new_id() < new_id()


def test_ids_of_many_threads_are_unique() -> None:
    found: list[list[UUID]] = [[] for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda made: made.extend(new_id() for _ in range(5_000)), args=(made,))
            for made in found
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert len(set().union(*found)) == 20_000


def test_an_id_is_a_version_7_uuid_of_now() -> None:
    before = datetime.now(UTC)

    made = new_id()

    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before - timedelta(seconds=1) < time_of(made) < before + timedelta(seconds=10)
    assert UUID(str(made)) == made
    assert hash(UUID(str(made))) == hash(made)


@given(moments)
def test_the_first_id_of_a_moment_bounds_its_ids(moment: datetime) -> None:
    first = first_id_at(moment)
    milliseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)

    assert first.int >> 80 == milliseconds
    assert time_of(first) <= moment < time_of(first) + timedelta(milliseconds=1)
    assert first_id_at(moment + timedelta(milliseconds=1)) > UUID(int=first.int | 0x7FFF << 64 | (1 << 64) - 1)


@given(kinds, cells, st.uuids())
def test_a_public_id_reads_back(kind: str, cell: str, identifier: UUID) -> None:
    text = public_id(kind, cell, identifier)

    assert parse_public_id(text) == identifier
    assert parse_public_id(text, kind=kind) == identifier
    assert text.startswith(f"{kind}_{cell}_")
    assert len(text.rpartition("_")[2]) == 26
    assert not set(text.rpartition("_")[2]) & set("ilou")


@given(st.uuids(), st.uuids())
def test_public_ids_sort_like_their_uuids(one: UUID, other: UUID) -> None:
    assert (one < other) == (public_id("ord", "c0", one) < public_id("ord", "c0", other))


@given(kinds, kinds, st.uuids())
def test_an_id_of_another_kind_is_refused(kind: str, other: str, identifier: UUID) -> None:
    text = public_id(kind, "c0", identifier)

    if kind != other:
        with pytest.raises(ValueError, match="expected"):
            parse_public_id(text, kind=other)


@given(st.text(max_size=60))
def test_any_text_is_an_id_or_a_value_error(text: str) -> None:
    try:
        parsed = parse_public_id(text)
    except ValueError:
        return
    assert isinstance(parsed, UUID)


@pytest.mark.parametrize("letters", ["8" + "0" * 25, "z" * 26, "0" * 25, "0" * 27, "0" * 25 + "u", "0" * 25 + "O", ""])
def test_letters_that_are_no_uuid_are_refused(letters: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        parse_public_id(f"ord_c0_{letters}")


@given(st.uuids(), st.text(max_size=40))
def test_a_key_stays_in_its_slot(tenant: UUID, key: str) -> None:
    slot = slot_of(tenant, key)

    assert 0 <= slot < SLOTS
    assert slot_of(UUID(str(tenant)), "".join(key)) == slot


@pytest.mark.parametrize(("key", "slot"), [("order:1", 57), ("order:2", 337), ("", 1022), ("ünïcode", 82)])
def test_slots_are_the_same_in_every_release(key: str, slot: int) -> None:
    """Queues and lanes are stored by slot: another hash would strand them."""
    assert slot_of(TENANT, key) == slot


def test_keys_spread_over_all_slots_and_tenants_differ() -> None:
    keys = [f"order:{number}" for number in range(100 * SLOTS)]

    counts = Counter(slot_of(TENANT, key) for key in keys)
    same = sum(slot_of(TENANT, key) == slot_of(uuid4(), key) for key in keys[:10_000])

    assert len(counts) == SLOTS
    assert min(counts.values()) >= 50
    assert max(counts.values()) <= 160
    assert same < 40
