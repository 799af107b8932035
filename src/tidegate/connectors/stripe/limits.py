"""What an answer says about the account's limit. Pure: Stripe tells no count, but in which mode it answered."""

from __future__ import annotations

import re

from tidegate.sdk.budgets import BudgetReading
from tidegate.sdk.http import Response

SANDBOX_PER_SECOND = 25.0
LIVE_PER_SECOND = 100.0
_LIVE_MODE = re.compile(rb'"livemode"\s*:\s*(true|false)')


def read_budget(response: Response) -> BudgetReading | None:
    """Return the limit of the mode that answered; nothing where it does not say."""
    found = _LIVE_MODE.search(response.body)
    if found is None:
        return None
    limit = LIVE_PER_SECOND if found[1] == b"true" else SANDBOX_PER_SECOND
    return BudgetReading(limit=limit, per_second=limit, is_shared=True)
