"""What differs, and what it means; and a document that reads back as itself."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tidegate.config import Config, parse
from tidegate.config.compare import Change, changes, meanings, needs_consent
from tidegate.config.effective import effective
from tidegate.config.parse import read_filled
from tidegate.config.render import render

ROLES = {"vendure": ["channel"], "tryton": ["erp"]}
FILE = """
connections:
  shop: {use: vendure, url: "http://127.0.0.1:3000"}
  erp: {use: tryton}
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders: {from: shop, to: erp, since: 2026-11-01, mode: observe}
  stock: {from: erp, to: shop, mode: live}
groups: {gifts: ["GIFT-*"]}
profiles: {peak: {stock.safety: 5}}
overrides:
  - {match: "sku:OLD", stock.mode: observe}
"""


def words(text: str) -> list[tuple[str, str]]:
    return [(meaning.kind, meaning.words) for meaning in meanings(parse(FILE), parse(text))]


def test_changes_are_named_by_their_path() -> None:
    after = (
        FILE.replace("mode: observe}\n  stock", "mode: live}\n  stock").replace("3000", "3001")
        + "timezone: Asia/Tokyo\n"
    )

    assert changes(parse(FILE), parse(after)) == [
        Change(path="connections.shop.url", before="http://127.0.0.1:3000", after="http://127.0.0.1:3001"),
        Change(path="flows.orders.mode", before="observe", after="live"),
        Change(path="timezone", before="UTC", after="Asia/Tokyo"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "kind", "part"),
    [
        ("since: 2026-11-01, mode: observe", "since: 2026-11-01, mode: live", "writes", "orders become live: erp"),
        ("since: 2026-11-01, mode: observe", "since: 2026-11-01, mode: propose", "writes", "a person approves"),
        ("to: shop, mode: live", "to: shop, mode: observe", "note", "stock observe: nothing more"),
        (
            "since: 2026-11-01, mode: observe",
            "since: 2026-10-01, mode: observe",
            "note",
            "orders placed since 2026-10-01",
        ),
        ('  - {match: "sku:OLD", stock.mode: observe}\n', "  []\n", "writes", "stock of sku:OLD is live like the flow"),
        (
            "- {match",
            '- {match: "group:gifts", stock.mode: propose}\n  - {match',
            "writes",
            "group:gifts (GIFT-*) is propose",
        ),
        ("to: shop, mode: live", "to: shop, mode: live, safety: 3", "note", "other units are withheld"),
        (
            "overrides:\n",
            "overrides:\n  - {during: 2026-11-27/2026-11-30, profile: peak}\n",
            "note",
            "'peak' is on during",
        ),
        ("groups:", "listen: {port: 9000}\ngroups:", "restart", "listen: counts after"),
        ("groups:", "tenant: other\ngroups:", "rights", "'main' goes on"),
        ("  erp: {use: tryton}", "  erp: {use: tryton}\n  b2b: {use: vendure}", "note", "tidegate connect b2b"),
    ],
)
def test_what_a_change_means(old: str, new: str, kind: str, part: str) -> None:
    assert old in FILE
    found = words(FILE.replace(old, new, 1))

    assert [(each, part in text) for each, text in found] == [(kind, True)]


def test_another_owner_needs_consent() -> None:
    text = (
        FILE.replace("erp: {use: tryton}", "erp: {use: tryton}\n  erp2: {use: tryton}")
        .replace("stock.on_hand: erp,", "stock.on_hand: erp2,")
        .replace("stock: {from: erp,", "stock: {from: erp2,")
    )

    assert needs_consent(meanings(parse(FILE), parse(text)))
    assert ("rights", "erp2 owns stock.on_hand now, in place of erp") in words(text)


def test_nothing_changed_means_nothing() -> None:
    assert changes(parse(FILE), parse(f"# the same\n{FILE}")) == []
    assert words(FILE) == []


def test_the_first_version_is_compared_with_nothing() -> None:
    assert ("writes", "stock become live: shop is written to from now on") in [
        (meaning.kind, meaning.words) for meaning in meanings(None, parse(FILE))
    ]


@pytest.mark.parametrize("show_defaults", [False, True])
def test_what_is_shown_reads_back_as_itself(show_defaults: bool) -> None:
    text = FILE.replace("owns:", "public_url: https://x.example.com\nowns:")
    document, _ = read_filled(text, {})
    assert document is not None
    config = parse(text)

    assert parse(render(config, document, base=config, show_defaults=show_defaults)) == config


def test_each_value_says_where_it_comes_from() -> None:
    text = "connections:\n  shop: {use: vendure}\n  erp: {use: tryton}\nsince: 2026-11-27\n"
    text += "flows: {stock: {mode: live}}\nprofiles: {peak: {stock.safety: 5}}\n"
    text += "overrides: [{during: 2026-11-27/2026-11-30, profile: peak}]\n"
    document, _ = read_filled(text, ROLES)
    assert document is not None
    base = parse(text, roles=ROLES)
    counts = effective(base, datetime(2026, 11, 28, tzinfo=UTC))

    lines = render(counts.config, document, base=base, why_now="peak").splitlines()

    shown = {line.split(":", 1)[0].strip(): line for line in lines}
    assert shown["safety"].endswith("# peak")
    assert shown["stock.on_hand"].endswith("# preset")
    assert shown["use"].strip() == "use: tryton"


def test_an_empty_file_shows_as_nothing() -> None:
    document, _ = read_filled("", {})
    assert document is not None

    assert render(Config(), document, base=Config()) == ""
