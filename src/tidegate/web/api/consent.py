"""What begins to write at other systems, or stops, is asked for twice over the API: the second time with consent."""

from __future__ import annotations

from tidegate.config.compare import Meaning, needs_consent
from tidegate.web.problems import ProblemError


def require_consent(told: list[Meaning], *, is_given: bool) -> None:
    """Raise ProblemError 422 `consent_needed`, with what a change means, unless it needs no consent or has it."""
    if needs_consent(told) and not is_given:
        raise ProblemError(
            422,
            "consent_needed",
            "; ".join(each.words for each in told)[:1_000],
            hint="send it again with a new Idempotency-Key and consent: true",
        )
