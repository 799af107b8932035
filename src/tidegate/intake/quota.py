"""A quota per tenant: a token bucket each, so that one tenant's flood is not everybody's."""

from __future__ import annotations

from uuid import UUID

BURST_SECONDS = 5.0
"""A bucket holds this many seconds of its rate."""


class TenantQuota:
    """Admits `per_second` deliveries per tenant, with bursts; 0 admits everything."""

    def __init__(self, per_second: float) -> None:
        """Start with full buckets."""
        self._per_second = per_second
        self._buckets: dict[UUID, tuple[float, float]] = {}

    def admits(self, tenant_id: UUID, now: float) -> bool:
        """Take a token; False when there is none. `now` is monotonic seconds."""
        rate = self._per_second
        if not rate:
            return True
        full = max(1.0, rate * BURST_SECONDS)
        tokens, at = self._buckets.get(tenant_id, (full, now))
        tokens = min(full, tokens + (now - at) * rate)
        admitted = tokens >= 1.0
        self._buckets[tenant_id] = (tokens - 1.0 if admitted else tokens, now)
        return admitted
