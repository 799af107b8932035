"""Secrets that cannot be printed, and an allow-list for what may be logged."""

from __future__ import annotations

from typing import Any, NoReturn

MASK = "***"

LOGGABLE_FIELDS = frozenset(
    (  # noqa: SIM905 - a list of 60 quoted words reads worse
        "event level timestamp logger role node pid tenant tenant_id connection connection_id connector event_id "
        "command_id call_id attempt_id order_id slot slots epoch topic source code reason hint state outcome count "
        "rows duration_ms status http_status wait_seconds attempt_number priority kind version batch lag_ms port "
        "host signal exit_status error_class error_code feed queue_depth oldest_seconds limit from_state to_state "
        "run table partition migration url_host next_at_seconds stage sqlstate retries reported stale where"
    ).split()
)
"""Names of the fields that a log line may carry. Everything else is dropped before it is written."""


class Secret:
    """A secret text that shows itself only through `reveal()`; repr, str, format and pickle mask or refuse it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Wrap `value`."""
        self._value = value

    def reveal(self) -> str:
        """Return the secret. Keep it in a local name, for as short as possible."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")


def keep_loggable(fields: dict[str, Any]) -> dict[str, Any]:
    """Return only the allow-listed fields, values cut to 300 characters, with the number of dropped ones."""
    kept: dict[str, Any] = {}
    dropped = 0
    for name, value in fields.items():
        if name not in LOGGABLE_FIELDS:
            dropped += 1
        elif isinstance(value, str):
            kept[name] = value if len(value) <= 300 else value[:300] + "…"
        elif isinstance(value, (int, float, bool)) or value is None:
            kept[name] = value
        else:
            kept[name] = str(value)[:300]
    if dropped:
        kept["dropped_fields"] = dropped
    return kept
