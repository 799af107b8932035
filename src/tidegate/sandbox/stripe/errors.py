"""How Stripe says no: one object with type, code, parameter and message. Source: docs.stripe.com/api/errors, /error-codes."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """A request is refused. `is_validation`: before anything ran, so that no key keeps it. `reason` is which limit."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        should_retry: bool | None = None,
        is_validation: bool = False,
        reason: str | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.should_retry, self.is_validation = status, should_retry, is_validation
        self.reason = reason
        told = {"code": code, "message": message, "param": param, "type": kind}
        self.body: dict[str, Any] = {
            "error": {**{name: value for name, value in told.items() if value}, **(more or {})}
        }


def unknown_parameter(name: str) -> Refusal:
    """Return the refusal of a parameter that there is not."""
    return Refusal(f"Received unknown parameter: {name}", code="parameter_unknown", param=name, is_validation=True)


def missing_parameter(name: str) -> Refusal:
    """Return the refusal of a request without a parameter that it needs."""
    return Refusal(f"Missing required param: {name}.", code="parameter_missing", param=name, is_validation=True)


def invalid(kind: str, value: str, name: str, code: str | None = None) -> Refusal:
    """Return the refusal of a value of another kind."""
    return Refusal(f"Invalid {kind}: {value[:100]}", code=code, param=name, is_validation=True)


def no_such(kind: str, value: str, param: str, *, status: int = 404) -> Refusal:
    """Return the refusal of an id that there is not."""
    return Refusal(f"No such {kind}: '{value[:100]}'", status=status, code="resource_missing", param=param)
