"""docs/connectors/SPEC.md and the checks say the same."""

import re
from pathlib import Path

from tidegate.sdk.testing.conformance import CHECKS

SPEC = Path(__file__).parents[2] / "docs" / "connectors" / "SPEC.md"


def test_every_rule_names_its_check_and_every_check_is_a_rule() -> None:
    rules = dict(re.findall(r"^- \*\*([A-Z]\d+)\*\* \(`(check_\w+)`\)", SPEC.read_text(), re.MULTILINE))

    assert rules == {number: check.__name__ for number, check in CHECKS.items()}


def test_every_rule_says_must() -> None:
    text = SPEC.read_text()

    rules = re.split(r"^- (?=\*\*[A-Z]\d+\*\*)", text, flags=re.MULTILINE)[1:]

    assert [rule[:20] for rule in rules if "MUST" not in rule.split("\n\n")[0]] == []
