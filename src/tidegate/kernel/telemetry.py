"""Names of metrics, in one place. Counters end in _total, durations in _seconds, no ids in labels."""

from __future__ import annotations

from typing import Final

EVENTS_RECEIVED: Final = "tidegate_events_received_total"
"""Verified deliveries that were made durable, duplicates included. Labels: connector."""
EVENTS_DUPLICATE: Final = "tidegate_events_duplicate_total"
"""Deliveries whose dedupe key was known. Labels: connector."""
INTAKE_REFUSED: Final = "tidegate_intake_refused_total"
"""Deliveries that were refused at the door. Labels: code."""
INTAKE_UNAVAILABLE: Final = "tidegate_intake_unavailable_total"
"""Deliveries answered 503 because they could not be made durable in time."""
INTAKE_SECONDS: Final = "tidegate_intake_seconds"
"""From the whole request read to the answer, accepted deliveries."""
OUTCOMES: Final = "tidegate_event_outcomes_total"
"""Events taken out of the queue. Labels: outcome."""
APPLY_BATCH_SECONDS: Final = "tidegate_apply_batch_seconds"
"""One T2 transaction."""
APPLY_LAG_SECONDS: Final = "tidegate_apply_lag_seconds"
"""Age of the oldest event that waits for T2."""
COMMANDS_ATTEMPTED: Final = "tidegate_commands_attempted_total"
"""Commands that were part of a sent call. Labels: connector, kind, outcome."""
COMMANDS_OPEN: Final = "tidegate_commands_open"
"""Commands that are not finished. Labels: state."""
CONSERVATION_IMBALANCE: Final = "tidegate_conservation_imbalance"
"""Sum of the absolute differences of the conservation equation; 0 when all is well."""
