"""docs/reference/alerts.md says what the rules say."""

from __future__ import annotations

import re
from pathlib import Path

from tidegate.monitor.alerts.rules import RULES

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "alerts.md"


def test_the_page_has_every_rule_as_it_is() -> None:
    text = PAGE.read_text()
    rows = re.findall(r"^\| `(\w+)` \| (above|below) (\S+) (.+?) \| (\w+) \|", text, re.MULTILINE)

    assert [row[0] for row in rows] == list(RULES)
    for name, side, threshold, _, severity in rows:
        rule = RULES[name]
        assert (side == "below", float(threshold), severity) == (rule.is_floor, rule.threshold, rule.severity)
    for rule in RULES.values():
        assert f"| `{rule.id}` | {rule.meaning} |" in text
        assert f"`{rule.next_command}` |" in text
