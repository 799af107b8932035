"""`tidegate webhook verify` says what the door would say."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from tidegate.cli.main import main
from tidegate.sdk.signatures import sign_standard_webhooks
from tidegate.sdk.testing.hostile_connector import CONNECTOR

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
BODY = json.dumps({"id": "evt-1", "type": "order.updated", "order": {"order_id": "o-1", "revision": 1}}).encode()


def run(file: Path, connector: str = "hostile") -> int:
    with pytest.raises(SystemExit) as ended:
        main(lambda: {CONNECTOR.name: CONNECTOR}, ["webhook", "verify", "--connector", connector, "--file", str(file)])
    return int(ended.value.code or 0)


def capture(folder: Path, *, body: bytes = BODY, age_seconds: int = 0, **changes: object) -> Path:
    timestamp = int(time.time()) - age_seconds
    headers = {
        "webhook-id": "evt-1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign_standard_webhooks(SECRET, "evt-1", timestamp, BODY),
    }
    content = {"headers": headers, "body_b64": base64.b64encode(body).decode(), "secret": SECRET, **changes}
    file = folder / "capture.json"
    file.write_text(json.dumps(content))
    return file


def test_a_good_capture_is_valid(tmp_path: Path, capsys) -> None:
    assert run(capture(tmp_path)) == 0
    assert capsys.readouterr().out == "valid\n"


def test_a_changed_body_is_invalid_with_its_reason(tmp_path: Path, capsys) -> None:
    assert run(capture(tmp_path, body=BODY + b" ")) == 1
    assert capsys.readouterr().out.startswith("invalid: signature_mismatch")


def test_an_old_capture_is_stale_unless_it_says_when_it_came(tmp_path: Path, capsys) -> None:
    assert run(capture(tmp_path, age_seconds=4000)) == 1
    assert "timestamp_stale" in capsys.readouterr().out
    assert run(capture(tmp_path, age_seconds=4000, now=int(time.time()) - 4000)) == 0


def test_unusable_captures_and_unknown_connectors_say_what_is_needed(tmp_path: Path, capsys) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("[1")

    assert run(broken) == 78
    assert "is no JSON object" in capsys.readouterr().err
    assert run(capture(tmp_path, secret=None, body_b64="%%%")) == 78
    assert "headers, body_b64 and secret" in capsys.readouterr().err
    assert run(capture(tmp_path), connector="shopify") == 78
    assert "there are: hostile" in capsys.readouterr().err
