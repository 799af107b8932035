"""Decisions about articles are checked against what is there before anything is done."""

from __future__ import annotations

from uuid import UUID

from tidegate.sync.match_decide import Article, Known, decide_matches
from tidegate.sync.match_file import Decision

A, B, C = (UUID(int=number) for number in (1, 2, 3))


def known(**changes: object) -> Known:
    values = {
        "connections": {"shop": UUID(int=9)},
        "articles": {
            ("shop", "1"): Article(sku="X-1", variant_id=None),
            ("shop", "2"): Article(sku="", variant_id=None),
            ("shop", "3"): Article(sku="B", variant_id=B),
        },
        "variants": {"A": A, "B": B, "C": C},
        "bound": {("shop", B): "3"},
        "elsewhere": frozenset({A, B, C}),
    }
    return Known(**{**values, **changes})  # type: ignore[arg-type]


def decide(*rows: tuple[str, str, str], **changes: object) -> tuple[list[tuple[str, str, str]], list[tuple[int, str]]]:
    decisions = [
        Decision(line=line, connection="shop", external_id=external_id, verb=verb, sku=sku)  # type: ignore[arg-type]
        for line, (external_id, verb, sku) in enumerate(rows, start=2)
    ]
    steps, faults = decide_matches(decisions, known(**changes))
    return [(s.external_id, s.verb, s.target) for s in steps], [(f.line, f.column) for f in faults]


def test_bind_new_and_ignore_become_steps() -> None:
    assert decide(("1", "bind", "A"), ("2", "ignore", "")) == ([("1", "bind", "A"), ("2", "ignore", "")], [])
    assert decide(("1", "new", "")) == ([("1", "new", "X-1")], [])


def test_what_cannot_be_is_a_fault_with_its_place() -> None:
    assert decide(("9", "ignore", "")) == ([], [(2, "external_id")])
    assert decide(("1", "bind", "NOPE")) == ([], [(2, "decision")])
    assert decide(("2", "new", "")) == ([], [(2, "decision")])
    assert decide(("1", "bind", "B")) == ([], [(2, "decision")])


def test_two_articles_never_get_one_of_ours() -> None:
    steps, faults = decide(("1", "bind", "A"), ("2", "bind", "A"))

    assert steps == [("1", "bind", "A")]
    assert faults == [(3, "decision")]


def test_new_is_refused_for_a_sku_that_stands_for_something_else() -> None:
    assert decide(("1", "new", ""), variants={"X-1": A}) == ([], [(2, "decision")])
    made_by_an_order = decide(("1", "new", ""), variants={"X-1": A}, elsewhere=frozenset())
    assert made_by_an_order == ([("1", "new", "X-1")], [])


def test_articles_can_change_places_and_what_is_done_is_no_step() -> None:
    articles = {("shop", "1"): Article(sku="A", variant_id=A), ("shop", "3"): Article(sku="B", variant_id=B)}
    bound = {("shop", A): "1", ("shop", B): "3"}

    steps, faults = decide(("1", "bind", "B"), ("3", "bind", "A"), articles=articles, bound=bound)

    assert (steps, faults) == ([("1", "bind", "B"), ("3", "bind", "A")], [])
    assert decide(("3", "bind", "B")) == ([], [])
