"""What an answer says about the shop's bucket of points. Pure."""

from __future__ import annotations

from tidegate.connectors.shopify.errors import cost_of
from tidegate.sdk.answers import graphql_code_of
from tidegate.sdk.budgets import BudgetReading
from tidegate.sdk.http import Response


def read_budget(response: Response) -> BudgetReading | None:
    """Return the bucket as `extensions.cost` tells it; what was throttled cost nothing."""
    if b'"throttleStatus"' not in response.body:
        return None
    cost = cost_of(response)
    if cost is None:
        return None
    bucket = cost.throttle_status
    spent = cost.actual_query_cost
    if spent is None and graphql_code_of(response) == "THROTTLED":
        spent = 0.0
    return BudgetReading(
        left=max(0.0, bucket.currently_available),
        limit=bucket.maximum_available or None,
        per_second=bucket.restore_rate or None,
        cost=spent,
    )
