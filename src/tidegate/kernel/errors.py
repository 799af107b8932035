"""All errors of Tidegate, as a tree by what to do next (recovery), not by where they happen.

TidegateError
├── ConfigurationError      the operator must fix something; refuse to start or pause the connection
├── AuthenticationError     the credential was refused; log in again once, then pause and ask
├── RateLimitedError        told to wait; snooze the bucket, the command keeps its attempt
├── TransientError          certainly not done; try later
├── OutcomeUnknownError     sent, no usable answer; verify before anything is sent again
├── ConflictError           the other side moved on; read again, plan again
├── RejectedError           the other side says never; a person decides
├── IntakeError             the sender's fault; nothing is stored but a counter
└── InvariantError          our bug; stop this unit, never retry
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class TidegateError(Exception):
    """Something went wrong in Tidegate."""

    code = "error"
    exit_status = 1

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        hint: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep a message for people, a stable `code`, a `hint` (what to do next) and a redacted `context`."""
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.code = code or type(self).code
        self.hint = hint
        self.context: Mapping[str, Any] = dict(context or {})


class ConfigurationError(TidegateError):
    """The configuration or the environment must be fixed by the operator."""

    code = "configuration"
    exit_status = 78


class AuthenticationError(TidegateError):
    """The other side refused the credential."""

    code = "authentication"
    exit_status = 77


class RateLimitedError(TidegateError):
    """The other side told us to wait."""

    code = "rate_limited"
    exit_status = 75

    def __init__(self, message: str | None = None, *, wait_seconds: float | None = None, **kwargs: Any) -> None:
        """`wait_seconds` is what the other side asked for (Retry-After), None when it named no time."""
        super().__init__(message, **kwargs)
        self.wait_seconds = wait_seconds


class TransientError(TidegateError):
    """It certainly did not happen this time and may work later."""

    code = "transient"
    exit_status = 75

    def __init__(
        self, message: str | None = None, *, wait_seconds: float | None = None, is_further: bool = False, **kwargs: Any
    ) -> None:
        """`wait_seconds` is a wait the other side asked for, None for our own backoff.

        `is_further`: a part was done this time, which stays, so that the next try has less to do. Only where that comes to an
        end: it is tried again soon, and does not count as a failure.
        """
        super().__init__(message, **kwargs)
        self.wait_seconds = wait_seconds
        self.is_further = is_further


class OutcomeUnknownError(TidegateError):
    """It was sent and no usable answer came: it may have happened."""

    code = "outcome_unknown"
    exit_status = 75

    def __init__(
        self,
        message: str | None = None,
        *,
        wait_seconds: float | None = None,
        is_key_spent: bool = False,
        **kwargs: Any,
    ) -> None:
        """`wait_seconds` is a wait the other side asked for, before it is looked or tried again; None: it named none.

        `is_key_spent`: this is the other side's kept answer to our idempotency key, and will be for ever.
        """
        super().__init__(message, **kwargs)
        self.wait_seconds = wait_seconds
        self.is_key_spent = is_key_spent


class ConflictError(TidegateError):
    """The other side is in another state than we planned for."""

    code = "conflict"
    exit_status = 75


class RejectedError(TidegateError):
    """The other side says that it will never do this."""

    code = "rejected"
    exit_status = 65


class IntakeError(TidegateError):
    """A delivery was refused at the door; the fault is the sender's."""

    code = "refused"
    exit_status = 65

    def __init__(self, message: str | None = None, *, status: int = 401, **kwargs: Any) -> None:
        """`status` is the HTTP status that the sender is answered with."""
        super().__init__(message, **kwargs)
        self.status = status


class InvariantError(TidegateError):
    """Tidegate found its own state impossible."""

    code = "invariant"
    exit_status = 70
