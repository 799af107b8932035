"""From what a person gives to one address, and nothing of it in any words."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.kernel.errors import ConfigurationError
from tidegate.monitor.alerts.addresses import build_target, hide

MAIL = {"kind": "mail", "host": "smtp.example.com", "from": "tide@example.com", "to": ["ops@example.com"]}


def url_of(**given: Any) -> str:
    return build_target("ops", given).url.reveal()


def test_mail_becomes_an_address_with_encryption() -> None:
    url = url_of(**MAIL, user="me@example.com", password="p/w:@ä")

    assert url.startswith("mailtos://me%40example.com:p%2Fw%3A%40%C3%A4@smtp.example.com:587?")
    assert "mode=starttls" in url
    assert build_target("ops", MAIL).kind == "mail"


def test_mail_without_encryption_must_be_asked_for() -> None:
    assert url_of(**MAIL, security="none", port=2525).startswith("mailto://smtp.example.com:2525?")


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"kind": "slack", "url": "https://hooks.slack.com/services/T0/B0/x"}, "chat"),
        ({"url": "https://hooks.slack.com/services/T0/B0/x"}, "chat"),
        ({"kind": "webhook", "url": "https://example.com/hook?key=1"}, "webhook"),
        ({"url": "http://example.com/hook"}, "webhook"),
        ({"kind": "heartbeat", "url": "https://example.com/ping"}, "heartbeat"),
        ({"url": "tgram://123:abc/42"}, "chat"),
        ({"url": "mailtos://a:b@example.com"}, "mail"),
    ],
)
def test_kinds(given: dict[str, str], kind: str) -> None:
    assert build_target("ops", given).kind == kind


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"url": 3},
        {"url": "no address"},
        {"url": "file:///etc/passwd"},
        {"url": "syslog://localhost"},
        {"url": "dbus://"},
        {"url": "exec://rm"},
        {"url": "mailtos://a:secret-word@example.com?verify=no"},
        {"url": "json://example.com?attach=file:///etc/passwd"},
        {"url": "slack://a/b/c?Template=/etc/passwd"},
        {"kind": "webhook", "url": "ftp://example.com"},
        {"kind": "webhook", "url": "https://user:secret-word@example.com/"},
        {"kind": "webhook", "url": "https://example.com/\r\nHost: x"},
        {"kind": "webhook", "url": "https://example.com/", "secret-word": "x"},
        {**MAIL, "host": ""},
        {**MAIL, "host": "smtp.example.com/secret-word"},
        {**MAIL, "to": "nobody"},
        {**MAIL, "port": 0},
        {**MAIL, "security": "maybe"},
        {**MAIL, "surprise": 1},
    ],
)
def test_what_is_refused_is_refused_without_repeating_values(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_target("ops", given)

    assert caught.value.code == "target_invalid"
    assert "etc/passwd" not in str(caught.value)
    assert "secret-word@" not in str(caught.value)


def test_words_of_a_library_lose_every_part_of_the_address() -> None:
    """L4: redaction."""
    url = "mailtos://me:pass-word@smtp.example.com:587?from=tide@example.com&to=ops@example.com"

    words = hide("login of me with pass-word at smtp.example.com to ops@example.com failed", url)

    assert "pass-word" not in words
    assert "ops@" not in words
    assert "smtp.example.com" in words
    assert "T0AAAA" not in hide("POST /services/T0AAAA/B0/xyz", "https://hooks.slack.com/services/T0AAAA/B0/xyz")


def test_a_target_does_not_show_its_address() -> None:
    assert "pass-word" not in repr(build_target("ops", {"url": "mailtos://me:pass-word@example.com"}))
