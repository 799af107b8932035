"""Tokens open where they belong and nowhere else."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from tidegate.kernel.errors import ConfigurationError, InvariantError
from tidegate.kernel.ids import new_id
from tidegate.vault.keys import DataKey, derive_class_root
from tidegate.vault.sealing import associated_data, new_key, seal, unseal

CIPHER = AESGCM(b"k" * 32)


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_a_token_gives_its_plaintext_back(plaintext: bytes, data: bytes) -> None:
    assert unseal(CIPHER, seal(CIPHER, plaintext, data), data) == plaintext


@given(st.binary(max_size=60), st.data())
def test_any_change_of_a_token_is_noticed(plaintext: bytes, data: st.DataObject) -> None:
    token = bytearray(seal(CIPHER, plaintext, b"here"))
    position = data.draw(st.integers(0, len(token) - 1))
    token[position] ^= data.draw(st.integers(1, 255))

    with pytest.raises(InvariantError) as caught:
        unseal(CIPHER, bytes(token), b"here")
    assert caught.value.code == "tampered"


@pytest.mark.parametrize("token", [b"", b"\x01", b"\x01" + b"n" * 12, b"\x02" + b"n" * 40])
def test_a_cut_or_foreign_token_is_noticed(token: bytes) -> None:
    with pytest.raises(InvariantError):
        unseal(CIPHER, token, b"here")


def test_a_token_is_bound_to_its_data_and_key() -> None:
    token = seal(CIPHER, b"x", b"here")
    for cipher, data in ((CIPHER, b"there"), (AESGCM(new_key()), b"here")):
        with pytest.raises(InvariantError):
            unseal(cipher, token, data)


def test_two_tokens_of_one_text_differ() -> None:
    assert seal(CIPHER, b"x", b"") != seal(CIPHER, b"x", b"")


@given(st.lists(st.binary(max_size=8), max_size=4), st.lists(st.binary(max_size=8), max_size=4))
def test_associated_data_of_different_parts_differs(one: list[bytes], other: list[bytes]) -> None:
    assert (associated_data(*one) == associated_data(*other)) == (one == other)


def test_class_roots_differ_and_are_stable() -> None:
    root = bytes(range(32))
    assert derive_class_root(root, "intake") != derive_class_root(root, "credential")
    assert derive_class_root(root, "intake") == derive_class_root(root, "intake")
    with pytest.raises(ConfigurationError):
        derive_class_root(b"short", "intake")


def test_a_data_key_does_not_show_itself() -> None:
    secret = new_key()
    key = DataKey(new_id(), new_id(), AESGCM(secret))
    key.associate("event", b"subject")
    assert secret.hex() not in repr(key)
    assert "cipher" not in repr(key)
