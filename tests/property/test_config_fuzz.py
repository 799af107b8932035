"""Whatever a file holds, it is read, or refused with a line: nothing else ever leaves the reader.

`TIDEGATE_FUZZ=10000 pytest -s tests/property/test_config_fuzz.py` tries that many files and prints what became of them.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tidegate.config.compare import changes, meanings
from tidegate.config.effective import effective
from tidegate.config.parse import describe_problem, examine, parse
from tidegate.sdk.testing.hostile_connector import build_connector

FILES = int(os.environ.get("TIDEGATE_FUZZ", "400"))
SEED = int(os.environ.get("TIDEGATE_FUZZ_SEED", "20261127"))
PLACE = re.compile(r"tidegate\.yaml:[1-9]\d*:[1-9]\d*: .", re.DOTALL)
CONNECTORS = {
    "hostile": build_connector(),
    "till": replace(build_connector(), name="till", roles=frozenset({"channel"})),
}
MOMENTS = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=37 * n, minutes=911 * n) for n in range(12)]

WHOLE = """\
tenant: main
cell: c0
timezone: Europe/Berlin
listen: {host: 127.0.0.1, port: 7480, web_host: 127.0.0.1, web_port: 7481}
public_url: https://hooks.example.com
network: {allow: ["127.0.0.0/8", "::1/128"]}
connections:
  shop_a: {use: hostile, url: "http://127.0.0.1:3000"}
  shop_b: {use: hostile, url: "http://127.0.0.1:3001"}
  erp:    {use: hostile, url: "http://127.0.0.1:8000"}
owns: {stock.on_hand: erp, stock.available: tidegate, order: origin, shipment: erp}
flows:
  orders:    {from: [shop_a, shop_b], to: erp, since: 2026-11-01T08:30:00+01:00, mode: live}
  shipments: {from: erp, to: origin, mode: propose, blackout: {cron: "0 2 * * *", for: 2h}}
  stock:     {from: erp, to: [shop_a, shop_b], mode: observe, safety: 2, blackout: [{cron: "30 1 * * 0", for: 45m, tz: Asia/Tokyo}]}
groups:
  gifts: ["GIFT-*", "BOX-?"]
profiles:
  peak: {stock.safety: 5, polling.interval_min: 5m, stock.mode: live}
overrides:
  - {match: "sku:LAUNCH-*", stock.safety: 10, stock.mode: live}
  - {match: "group:gifts", during: 2026-12-01/2026-12-24, stock.safety: 3}
  - {during: 2026-11-27/2026-12-01, profile: peak}
  - {during: {cron: "0 22 * * 5", for: 8h}, profile: peak}
processes: {door: 2, apply: 1, dispatch: 1, web: 1}
polling: {enabled: false, interval_min: 90s}
"""
PRESET = "preset: shop-and-erp\nsince: 2026-11-27\nconnections:\n  shop: {use: till}\n  erp: {use: hostile}\n"

WORDS = [
    "", "~", "null", "true", "yes", "0", "-1", "1e9", "9" * 400, "0x1f", "1_000", ".5", ".inf", "2026-13-45", "0001-01-01",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9999-12-31/9999-12-31", "2026-11-27/", "/", "{}", "[]", "[[]]",
    "{a: }", "- x", "*anchor", "&a b", "!!python/object:os.system x", "!x", "!!binary aGk=", '"\\ud800"', '"\\0"', "'", '"',
    "|", ">-\n  text", "?", ": :", "#", "%YAML 1.1", "---", "...", "\t", "\x00", "\ufeff", "\u2028", "\U0001f600", "é" * 300,
    "* * * * *", '"*/0 * * * *"', '"0 0 30 2 *"', '"0 0 * * 5#1/2"', '"0 0 L * *"', '"60 25 32 13 8"', '"1-0 * * * *"',
    "0s", "99999d", "8 hours", "Mars/Base", "../../etc/passwd", "sku:", "group:", "sku:[", "sku:*" + "*" * 200, "origin",
    "password: hunter2", "https://user:secret@host", "-----BEGIN KEY", "whsec_x", "<<: {a: b}", "stock.mode: live", "match",
    "during: 5", "profile: peak", "cron: 7", "for: [1]", "[" * 40, "{" * 40, "a" * 5000, "preset: stock-only", "since: soon",
]  # fmt: skip


def _lines(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[rng.randrange(len(lines))])
        case 2:
            lines[at] = " " * rng.randrange(6) + lines[at].lstrip()
        case 3:
            lines.insert(at, f"{rng.choice(WORDS)}: {rng.choice(WORDS)}")
        case _:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
    return "\n".join(lines)


def _words(text: str, rng: random.Random) -> str:
    spots = [match.span() for match in re.finditer(r"[\w./:*\"-]+", text)]
    if not spots:
        return rng.choice(WORDS)
    begin, end = rng.choice(spots)
    return text[:begin] + rng.choice(WORDS) + text[end:]


def _characters(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return (
        text[:at]
        + chr(rng.choice([rng.randrange(32, 127), rng.randrange(0x250), rng.randrange(0x10000)]))
        + text[at + 1 :]
    )


def _cut(text: str, rng: random.Random) -> str:
    begin = rng.randrange(len(text) + 1)
    return text[:begin] + text[rng.randrange(begin, len(text) + 1) :]


def _mixed(text: str, rng: random.Random) -> str:
    other = rng.choice([WHOLE, PRESET])
    return text[: rng.randrange(len(text) + 1)] + other[rng.randrange(len(other)) :]


MUTATIONS: list[Callable[[str, random.Random], str]] = [_lines, _words, _words, _words, _characters, _cut, _mixed]


def mutant(number: int) -> str:
    """The same file for the same number and seed."""
    rng = random.Random(f"{SEED}:{number}")
    text = rng.choice([WHOLE, WHOLE, WHOLE, PRESET])
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        text = rng.choice(MUTATIONS)(text, rng)
    return text


def outcome(text: str) -> str:
    """Read a file as `apply` does, and use it as workers do. Raises when anything but a refusal comes out."""
    config, problems = examine(text, connectors=CONNECTORS)
    for problem in problems:
        line = describe_problem(problem, "tidegate.yaml")
        assert PLACE.match(line), line
        line.encode()
        assert problem.mark.line <= text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + 2
    if problems or config is None:
        assert problems, "refused without a reason"
        return "refused"
    for moment in MOMENTS:
        effective(config, moment)
    json.dumps([change.path for change in changes(None, config)])
    meanings(parse(WHOLE), config)
    return "read"


def test_files_that_are_changed_at_random_are_read_or_refused_with_a_line() -> None:
    seen: Counter[str] = Counter()
    crashes: list[tuple[int, str]] = []
    for number in range(FILES):
        try:
            seen[outcome(mutant(number))] += 1
        except Exception as error:
            crashes.append((number, f"{type(error).__name__}: {error}"))
    print(json.dumps({"files": FILES, "refused": seen["refused"], "read": seen["read"], "crashes": len(crashes)}))

    assert crashes == []
    assert seen["refused"] > 0
    assert seen["read"] > 0


@pytest.mark.parametrize("text", [WHOLE, PRESET])
def test_the_files_that_are_changed_are_valid_before(text: str) -> None:
    assert [problem.message for problem in examine(text, connectors=CONNECTORS)[1]] == []
