"""Authenticated encryption with associated data, as one token: `version byte 0x01 | nonce | ciphertext`.

The associated data binds a token to the row that it belongs to: moved to another row, column, tenant or key it does
not open.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tidegate.kernel.errors import InvariantError

KEY_BYTES = 32
NONCE_BYTES = 12
VERSION = b"\x01"
"""AES-256-GCM with a random 96-bit nonce. Another algorithm would be another version byte."""
_BODY_AT = len(VERSION) + NONCE_BYTES


def associated_data(*parts: bytes) -> bytes:
    """Return `tdg1` and each part behind its length (2 bytes), so that no two lists give the same bytes."""
    return b"tdg1" + b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def new_key() -> bytes:
    """Return a fresh random key."""
    return os.urandom(KEY_BYTES)


def seal(cipher: AESGCM, plaintext: bytes, data: bytes) -> bytes:
    """Return the token of `plaintext`, bound to the associated `data`."""
    nonce = os.urandom(NONCE_BYTES)
    return b"".join((VERSION, nonce, cipher.encrypt(nonce, plaintext, data)))


def unseal(cipher: AESGCM, token: bytes, data: bytes) -> bytes:
    """Return the plaintext of a token.

    Raises InvariantError(code='tampered') when the token was changed, cut, moved or made under another key.
    """
    if token[:1] != VERSION:
        raise InvariantError("a stored ciphertext is of an unknown version", code="tampered")
    try:
        return cipher.decrypt(token[1:_BODY_AT], token[_BODY_AT:], data)
    except (InvalidTag, ValueError) as error:
        raise InvariantError("a stored ciphertext does not belong where it was found", code="tampered") from error
