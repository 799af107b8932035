"""A delivery to ourselves: `tidegate doctor` sends one through the public address and waits until it is applied. Pure.

It is signed with the connection's own secret like any delivery, and it is one by its signed body alone: no header makes a
genuine delivery into a test. It says nothing that changes anything; it is stored, deduplicated, counted, and ignored.
"""

from __future__ import annotations

import msgspec

TOPIC = "tidegate.self_test"
CODE = "self_test"
_PREFIX = b'{"tidegate_self_test":'


class _Test(msgspec.Struct, forbid_unknown_fields=True):
    tidegate_self_test: str


_DECODER = msgspec.json.Decoder(_Test)


def build_body(nonce: str) -> bytes:
    """Return the body of a self-test; `nonce` is its event id."""
    return msgspec.json.encode(_Test(tidegate_self_test=nonce))


def read_nonce(body: bytes) -> str | None:
    """Return the event id of a self-test, None for any other body. Costs a comparison for those."""
    if not body.startswith(_PREFIX) or len(body) > 200:
        return None
    try:
        return _DECODER.decode(body).tidegate_self_test or None
    except ValueError:
        return None
