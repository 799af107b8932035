"""What a platform's redirect brings, on its way from the web process to the command that waits for it.

The web process may read no credential, and the database none that is not encrypted. The `state` of the request is known to
the command, and comes back with the redirect: the database holds its digest, and the query encrypted under a key that only
the state gives. Whoever has the database alone has nothing.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tidegate.kernel.redaction import Secret
from tidegate.vault.sealing import associated_data, seal, unseal


def digest_of_state(state: str) -> bytes:
    """Return the digest under which a request is kept."""
    return hashlib.sha256(b"tidegate redirect " + state.encode()).digest()


def seal_redirect(state: str, query: str) -> bytes:
    """Return the query of a redirect, encrypted under its own state."""
    return seal(_cipher(state), query.encode(), _binding(state))


def open_redirect(state: str, sealed: bytes) -> Secret:
    """Return what `seal_redirect` was given. Raises InvariantError(code='tampered')."""
    return Secret(unseal(_cipher(state), sealed, _binding(state)).decode())


def _cipher(state: str) -> AESGCM:
    return AESGCM(hashlib.blake2b(state.encode(), digest_size=32, person=b"tdg redirect key").digest())


def _binding(state: str) -> bytes:
    return associated_data(b"oauth_request", digest_of_state(state))
