"""Words for what went wrong: what happened, and what to do next. Pure."""

from __future__ import annotations

import asyncpg
import msgspec

from tidegate.cli.output import safe
from tidegate.kernel.errors import AuthenticationError, InvariantError, TidegateError, TransientError

EXIT_TEMPORARY = 75
EXIT_BUG = 70
EXIT_CONFIG = 78
_HINTS: tuple[tuple[type[TidegateError], str], ...] = (
    (AuthenticationError, "check the credentials and run it again; nothing was changed"),
    (TransientError, "run it again in a moment; tidegate doctor looks at everything"),
    (InvariantError, "this is a bug in Tidegate: report it with the output of tidegate doctor"),
)
"""What to do where the error itself does not say it."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What to print and how to exit."""

    text: str
    exit_status: int


def describe_failure(error: Exception) -> Failure:
    """Return the words and the exit status (sysexits) for an error that ended a command."""
    if isinstance(error, TidegateError):
        hint = error.hint or next((words for kind, words in _HINTS if isinstance(error, kind)), None)
        return Failure(text=_words(str(error), hint, error.code), exit_status=error.exit_status)
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        hint = "the user of TIDEGATE_DATABASE_URL must own the database, or at least its schema public"
        return Failure(text=_words(f"the database refused: {error}", hint, "database_rights"), exit_status=EXIT_CONFIG)
    if isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError)):
        text = _words(f"the database refused: {error}", "look at it with: tidegate doctor", type(error).__name__)
        return Failure(text=text, exit_status=EXIT_TEMPORARY)
    if isinstance(error, (OSError, TimeoutError)):
        text = _words(f"the machine refused: {error or type(error).__name__}", "look at it with: tidegate doctor", "os")
        return Failure(text=text, exit_status=EXIT_TEMPORARY)
    hint = "run it again with TIDEGATE_DEBUG=1 and report what it shows"
    return Failure(text=_words(f"Tidegate has a bug: {type(error).__name__}", hint, "bug"), exit_status=EXIT_BUG)


def _words(message: str, hint: str | None, code: str) -> str:
    """Return the lines; the words may come from another system."""
    lines = [f"error: {message}", f"  code: {code}"]
    if hint:
        lines.append(f"  next: {hint}")
    return safe("\n".join(lines))
