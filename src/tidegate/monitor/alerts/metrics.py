"""Metrics of the alerts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from tidegate.kernel import telemetry

FIRING = Gauge(telemetry.ALERTS_FIRING, "Alerts that fire.", ["rule"])
ROUNDS = Counter(telemetry.ALERT_ROUNDS, "Rounds of the alert rules.")
NOTICES = Counter(telemetry.ALERT_NOTICES, "Tries to tell a target something.", ["outcome"])
