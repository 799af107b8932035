"""What a redirect brings opens with its own state only (SECURITY V1)."""

from __future__ import annotations

import pytest

from tidegate.kernel.errors import InvariantError
from tidegate.sdk.oauth import new_grant
from tidegate.vault.redirects import digest_of_state, open_redirect, seal_redirect


def test_v1_only_the_state_opens_what_is_kept() -> None:
    state, other = (new_grant("https://x").state for _ in range(2))
    sealed = seal_redirect(state, "code=canary&state=" + state)

    assert b"canary" not in sealed
    assert state.encode() not in sealed + digest_of_state(state)
    assert open_redirect(state, sealed).reveal() == "code=canary&state=" + state
    for wrong in ((other, sealed), (state, sealed[:-1]), (state, sealed[:-1] + bytes([sealed[-1] ^ 1]))):
        with pytest.raises(InvariantError):
            open_redirect(*wrong)
