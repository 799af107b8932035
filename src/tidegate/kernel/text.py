"""Text of strangers, made harmless for people who look at it. Pure."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SPACES = str.maketrans("\n\t", "  ")
_MAIL = re.compile(r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_PHONE = re.compile(r"\+\d(?:[ ()/.-]{0,2}\d){7,14}")


def safe(text: str) -> str:
    """Return text without control characters and without marks that turn the direction of writing."""
    return _CONTROL.sub("\ufffd", text)


def safe_line(text: str) -> str:
    """Return text that stays in its line: `safe`, and line breaks and tabs are spaces."""
    return safe(text).translate(_SPACES)


def mask_people(text: str) -> str:
    """Return text with e-mail addresses and international phone numbers masked: other systems quote them in errors."""
    return _PHONE.sub("[phone]", _MAIL.sub("[e-mail]", text))
