"""The secret path of a connection's webhook, and the secret that its deliveries are signed with.

The path is derived from the root key, so it can be shown and registered again; the database holds its digest only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from uuid import UUID

from tidegate.kernel.redaction import Secret
from tidegate.sdk.signatures import new_signing_key
from tidegate.vault.keys import derive_class_root

TOKEN_BYTES = 20
"""160 bits: nobody guesses a path."""
_PATH_CLASS = "webhook-path"


class WebhookPaths:
    """Makes the paths of one installation's cell."""

    def __init__(self, root_key: bytes, cell: str) -> None:
        """Derive the key for paths; the door does not hold it. Raises ConfigurationError for a short root key."""
        self._key = derive_class_root(root_key, _PATH_CLASS)
        self._cell = cell

    def path(self, connection_id: UUID, generation: int) -> str:
        """Return `/in/<cell>/<token>`; another generation has another token."""
        message = connection_id.bytes + generation.to_bytes(4, "big")
        token = base64.b32encode(hmac.digest(self._key, message, "sha256")[:TOKEN_BYTES]).decode().lower()
        return f"/in/{self._cell}/{token}"

    def digest(self, path: str) -> bytes:
        """Return what the database keeps of a path: the SHA-256 of its token."""
        return hashlib.sha256(path.rpartition("/")[2].encode()).digest()


def new_webhook_secret() -> Secret:
    """Return a fresh secret in the form of Standard Webhooks: `whsec_` and 32 bytes in base64."""
    return Secret(new_signing_key("symmetric"))
