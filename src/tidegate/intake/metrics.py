"""What the door counts for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from tidegate.kernel import telemetry

_SECONDS = (0.001, 0.002, 0.004, 0.006, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)

RECEIVED = Counter(telemetry.EVENTS_RECEIVED, "Verified deliveries made durable, duplicates included", ["connector"])
DUPLICATE = Counter(telemetry.EVENTS_DUPLICATE, "Deliveries whose dedupe key was known", ["connector"])
REFUSED = Counter(telemetry.INTAKE_REFUSED, "Deliveries refused at the door", ["code"])
UNAVAILABLE = Counter(telemetry.INTAKE_UNAVAILABLE, "Deliveries that could not be made durable in time")
SECONDS = Histogram(telemetry.INTAKE_SECONDS, "From the whole request to its answer", buckets=_SECONDS)
