"""docs/reference/fixes.md shows `kernel/fixes.py`, and that table knows every code that can become an issue."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

from tests.house.repository import ROOT
from tidegate.kernel.fixes import FIXES, fix_of

PAGE = ROOT / "docs" / "reference" / "fixes.md"
SOURCE = ROOT / "src" / "tidegate"
HEAD = """# Fixes

What a failure's code means and what mends it; `tidegate issues show` prints the same. The table stands in
`kernel/fixes.py`; a test keeps this page equal to it (`TIDEGATE_WRITE_FIXES=1` writes it) and finds codes that are
missing. "Again helps: no" means that sending it again as it is gets the same answer: the cause comes first. Where the
request is made anew (`--rebuild`) it gets a new key; otherwise it keeps the frozen request and its key.

| code | meaning | what to do | again helps |
|---|---|---|---|
"""
ROOMS = ("connectors", "dispatch", "sdk", "sync", "intake")
NO_FAILURES = {
    # outcomes that are good ends, waits that end by themselves, refusals of a person's or a programmer's own call
    "already_bound", "already_cancelled", "called_off", "let_stand", "already_captured", "already_confirmed", "already_there", "already_voided", "inquiry", "no_payment", "thin_event", "told_elsewhere", "before_switch", "flow_observes", "before_since", "cancelled", "command_missing", "command_unknown", "empty_shipment", "found",
    "found_partly", "header_unsafe", "internal_move", "issue_unknown", "late_answer", "never_created", "no_flow",
    "article_unbound", "config_missing", "not_an_article", "topic_not_used", "webhook_seen", "webhook_switched_on", "webhook_made_again", "order_gone", "flow_missing", "group_unknown",
    "matches_invalid", "matches_unreadable", "not_found_once", "not_found_yet", "not_placed", "not_released",
    "not_retryable", "not_running", "note_too_long", "nothing_left", "nothing_to_compare", "nothing_to_include", "nothing_to_pause", "differences", "articles",
    "number_on_its_way", "observed", "overtaken", "path_malformed", "replanned", "resend_is_safe", "settling",
    "sku_not_here", "stock_location",
    "two_bodies", "unknown_topic", "unknown_type", "connection_unknown", "no_webhook", "not_signed_by_us", "secret_is_theirs", "version_overtaken", "wrong_state", "account_changed", "stale_policy", "refused",
    "known_version", "payment_unknown", "order_deleted", "sibling_refused", "stock_echo",
    "answer_missing", "authorisation_denied", "code_refused", "no_browser_step", "redirect_missing", "redirect_unusable",
    "busy", "sku_unknown", "value_invalid", "is_kit", "key_in_use", "location_needed", "not_owner",
    "article_bound", "article_ordered", "place_taken", "successor_ambiguous", "successor_unknown", "tombstone_in_use", "tombstone_unknown",
    "order_not_cancellable",
}  # fmt: skip


def page() -> str:
    rows = (
        f"| `{code}` | {fix.meaning} | {fix.action} | {'yes' if fix.is_cured_by_retry else 'no'} |\n"
        for code, fix in sorted(FIXES.items())
    )
    return HEAD + "".join(rows)


def test_the_page_is_the_table() -> None:
    if os.environ.get("TIDEGATE_WRITE_FIXES"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page()


def test_every_code_that_can_fail_has_a_fix() -> None:
    """Codes are found as constants: `code="..."`, and the second argument of `Outcome("quarantined", ...)`."""
    found = {code for room in ROOMS for path in sorted((SOURCE / room).rglob("*.py")) for code in codes_of(path)}
    assert len(found) > 60
    missing = sorted(found - FIXES.keys() - NO_FAILURES)
    assert not missing, f"say in kernel/fixes.py what mends {missing}; what can end in no issue goes into NO_FAILURES"


def test_a_code_that_is_not_known_has_the_fix_of_its_class() -> None:
    assert fix_of("x_acme_said_no", "rejected").wants_rebuild
    assert fix_of("x", "y").action


def codes_of(path: Path) -> Iterator[str]:
    if "testing" in path.parts:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            if (
                keyword.arg == "code"
                and isinstance(keyword.value, ast.Constant)
                and isinstance(keyword.value.value, str)
            ):
                yield keyword.value.value
        match node.args:
            case [ast.Constant(value="quarantined"), ast.Constant(value=str(code)), *_]:
                yield code
