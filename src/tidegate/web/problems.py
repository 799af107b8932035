"""How errors are told over HTTP: problem details (RFC 9457), never a traceback and never a statement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from tidegate.kernel.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    RateLimitedError,
    RejectedError,
    TidegateError,
    TransientError,
)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:tidegate:problem:"
_TITLES = {
    400: "The request is not valid",
    401: "No valid API key",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "The request came too slowly",
    409: "In conflict with the present state",
    413: "The request is too large",
    415: "Unsupported media type",
    422: "It cannot be done",
    429: "Too many requests",
    500: "An error of ours",
    503: "Try again later",
}
_CODES = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
}
_log = structlog.get_logger("web.problems")


class InvalidPart(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a request that was refused."""

    pointer: str
    """Where: `/name` inside of the body (RFC 6901), `?name` for a query parameter, `:name` for a header or path part."""
    message: str


class ShortLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of which there is not enough."""

    sku: str
    wanted: int
    available: int
    """How many could have been held, were it the only line."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong. `code` is stable, words are not."""

    type: str
    """`urn:tidegate:problem:` and the code."""
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    """Name it when you ask for help: the log has it too."""
    hint: str | None = None
    """What to do next."""
    errors: tuple[InvalidPart, ...] = ()
    shortages: tuple[ShortLine, ...] = ()
    """Of what there is not enough (`insufficient_stock`)."""


class ProblemError(Exception):
    """An answer that is a problem, with its status. For what has no error class of its own."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
        errors: tuple[InvalidPart, ...] = (),
        shortages: tuple[ShortLine, ...] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.hint = hint
        self.headers = dict(headers or {})
        self.errors = errors
        self.shortages = shortages


def build_problem(problem: ProblemError, request_id: str) -> Problem:
    """Return the document of a problem. Pure."""
    return Problem(
        type=TYPE_PREFIX + problem.code,
        title=_TITLES.get(problem.status, "It did not work"),
        status=problem.status,
        code=problem.code,
        detail=problem.detail,
        request_id=request_id,
        hint=problem.hint,
        errors=problem.errors,
        shortages=problem.shortages,
    )


def as_problem(error: Exception) -> ProblemError:
    """Return what an exception means to a caller. Pure; what is not known is an error of ours, without any words of it."""
    match error:
        case ProblemError():
            return error
        case TidegateError():
            return _of_tidegate(error)
        case ValidationException():
            parts = tuple(_invalid_part(part) for part in error.extra or () if isinstance(part, dict))
            return ProblemError(400, "invalid_request", "a part of the request is not valid", errors=parts)
        case HTTPException() if error.status_code < 500:
            status = error.status_code
            code = _CODES.get(status, "refused")
            return ProblemError(status, code, _plain_words(status), headers=error.headers)
    return ProblemError(500, "internal", "an error of ours; it is in the log under the request id")


def answer_problem(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer an exception that a handler raised. Litestar calls it."""
    request_id = request_id_of(request.scope)
    problem = as_problem(error)
    if problem.status == 500:
        _log.error("web.failed", error_class=type(error).__name__, request_id=request_id, exc_info=error)
    return respond(problem, request_id)


def respond(problem: ProblemError, request_id: str) -> Response[Any]:
    """Return the response of a problem."""
    return Response(
        content=msgspec.json.encode(build_problem(problem, request_id)),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=problem.headers,
    )


def request_id_of(scope: Mapping[str, Any]) -> str:
    """Return the id of a request: `web.edge` gives one to each."""
    return str(scope.get("tidegate_request_id", ""))


def _of_tidegate(error: TidegateError) -> ProblemError:
    detail = str(error)
    match error:
        case ConfigurationError():
            status = 422
            if error.code.endswith(("_unknown", "_missing")):
                status = 404
            elif error.code.endswith("_ambiguous"):
                status = 409
            return ProblemError(status, error.code, detail, hint=error.hint)
        case ConflictError():
            return ProblemError(409, error.code, detail, hint=error.hint)
        case RejectedError():
            return ProblemError(422, error.code, detail, hint=error.hint)
        case AuthenticationError():
            return ProblemError(424, error.code, detail, hint=error.hint)
        case TransientError() | RateLimitedError():
            wait = str(max(1, round(error.wait_seconds or 5)))
            return ProblemError(503, error.code, detail, hint=error.hint, headers={"Retry-After": wait})
    return ProblemError(500, "internal", "an error of ours; it is in the log under the request id")


def _invalid_part(part: dict[str, Any]) -> InvalidPart:
    key = str(part.get("key", ""))
    source = part.get("source")
    if source == "body":
        pointer = "" if key in ("", "data") else "/" + key.replace(".", "/")
    elif source == "query":
        pointer = f"?{key}"
    else:
        pointer = f":{key}"
    return InvalidPart(pointer=pointer, message=str(part.get("message", "not valid"))[:300])


def _plain_words(status: int) -> str:
    return {
        400: "the request cannot be read",
        404: "there is nothing at this address",
        405: "this address does not know the method",
        413: "the body is larger than allowed",
        415: "send JSON: Content-Type: application/json",
    }.get(status, _TITLES.get(status, "it did not work").lower())
