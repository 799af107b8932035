"""From what a person gives to one address, and nothing of it in any words."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tidegate.kernel.errors import ConfigurationError
from tidegate.monitor.alerts.addresses import build_target, hide
from tidegate.monitor.alerts.post import WORDS_MAX, LastWords

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


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("signl4://teamsecret12", "teamsecret12"),
        ("tgram://123456789:AAAbcdefghijklmnop/12315544", "AAAbcdefghijklmnop"),
        ("wxteams://" + "Ab" * 40, "Ab" * 40),
        ("pover://user1234567890@apptoken1234567890", "apptoken1234567890"),
        ("opsgenie://0f3c1b1a-1111-2222-3333-444455556666", "0f3c1b1a-1111-2222-3333-444455556666"),
        ("jsons://user:p%40ssw%20rd99@h.example.org/x", "p@ssw rd99"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazk", "T1JJ3T3L2"),
    ],
)
def test_a_key_in_the_place_of_a_host_is_hidden_too(url: str, secret: str) -> None:
    """L4: redaction; several services have their whole key there, and apprise logs the address that it posts to."""
    for said in (secret, secret.lower(), secret.upper()):
        assert said not in hide(f"POST URL: https://api.example.com/bot{said}/send", url)


def test_a_key_that_is_cut_in_two_is_hidden_before() -> None:
    """L4: of what a library says only the end is kept."""
    heard = LastWords("signl4://teamsecret12")
    heard.emit(
        logging.LogRecord("apprise", logging.DEBUG, "", 0, "to teamsecret12" + " " * (4 * WORDS_MAX - 8), (), None)
    )
    assert "secret12" not in heard.words
