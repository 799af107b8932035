"""The version gate: the newest observation wins whatever the order of arrival, and a repetition changes nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.sync.gate import Stamp, Verdict, judge, remember

numbers = st.integers(1, 3)
contents = st.sampled_from([b"a", b"b"])


@st.composite
def histories(draw: st.DrawFn) -> list[Stamp]:
    """What a source said: one content per (version, sequence); a mapper may have read it in several versions."""
    said = draw(st.dictionaries(st.tuples(numbers, numbers), contents, min_size=1))
    mapped = draw(st.lists(st.tuples(st.sampled_from(sorted(said)), numbers), min_size=1, max_size=12))
    return [
        Stamp(version, sequence, mapping_version, said[version, sequence] + bytes([mapping_version]))
        for (version, sequence), mapping_version in mapped
    ]


def arrive(seen: list[Stamp], *, stored: Stamp | None = None) -> tuple[Stamp | None, list[bytes]]:
    """Pass observations through the gate; return what is remembered and the contents that were applied."""
    applied = []
    for stamp in seen:
        verdict = judge(stored, stamp, is_fetch=False)
        assert verdict is not Verdict.FETCH, "every observation here has a sequence"
        if verdict is Verdict.APPLY:
            applied.append(stamp.digest)
        stored = remember(stored, stamp, verdict)
    return stored, applied


@given(st.data())
def test_the_newest_wins_in_every_order_and_with_repetitions(data: st.DataObject) -> None:
    seen = data.draw(histories())
    repeated = data.draw(st.lists(st.sampled_from(seen), max_size=6))
    mixed = data.draw(st.permutations(seen + repeated))
    newest = max(seen, key=lambda stamp: (stamp.version, stamp.sequence, stamp.mapping_version))

    stored, applied = arrive(mixed)

    assert applied[-1] == newest.digest
    assert stored is not None
    assert (stored.version, stored.sequence, stored.digest) == (newest.version, newest.sequence, newest.digest)


@given(histories())
def test_what_was_said_before_is_never_applied_again(seen: list[Stamp]) -> None:
    stored, _ = arrive(seen)

    again, applied = arrive(seen, stored=stored)

    assert applied == []
    assert again == stored


@given(numbers, numbers, st.booleans())
def test_the_same_observation_is_the_same(version: int, mapping_version: int, is_fetch: bool) -> None:
    stamp = Stamp(version, 0, mapping_version, b"a")

    assert judge(stamp, stamp, is_fetch=is_fetch) is Verdict.SAME


@given(numbers, numbers, numbers)
def test_reads_of_one_version_that_differ_ask_the_source_and_its_answer_wins(
    version: int, mapping_version: int, sequence: int
) -> None:
    """A read has no sequence: nothing tells which of the two came later."""
    read = Stamp(version, 0, mapping_version, b"a")
    heard = Stamp(version, sequence, mapping_version, b"b")

    assert judge(read, heard, is_fetch=False) is Verdict.FETCH
    assert judge(heard, read, is_fetch=False) is Verdict.FETCH
    assert judge(heard, read, is_fetch=True) is Verdict.APPLY
    assert judge(read, heard._replace(version=version + 1), is_fetch=False) is Verdict.APPLY
    assert judge(read._replace(version=version + 1), heard, is_fetch=True) is Verdict.OLDER


@given(st.data())
def test_after_any_mix_of_reads_and_webhooks_one_fetch_ends_in_the_truth(data: st.DataObject) -> None:
    seen = data.draw(histories())
    seen = [stamp._replace(mapping_version=1, digest=stamp.digest[:1]) for stamp in seen]
    newest = max(seen)
    reads = [stamp._replace(sequence=0) for stamp in seen]
    stored, asked, content = None, False, b""
    for stamp in data.draw(st.permutations(seen + reads)):
        verdict = judge(stored, stamp, is_fetch=False)
        asked |= verdict is Verdict.FETCH
        content = stamp.digest if verdict is Verdict.APPLY else content
        stored = remember(stored, stamp, verdict)
    if asked:
        answer = newest._replace(sequence=0)
        verdict = judge(stored, answer, is_fetch=True)
        content = answer.digest if verdict is Verdict.APPLY else content

    assert content == newest.digest
