"""What the shop answers: JSON, refusals in WordPress' words, and the pages that its host answers in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from tidegate.sandbox.faults import CallFault

_PAGE = (
    "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr><center>nginx</center></body></html>"
)


class Refusal(Exception):
    """The shop says no. `more` goes into its `data`."""

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.more = status, code, more

    def body(self) -> dict[str, Any]:
        """Return it as WordPress writes it."""
        return {"code": self.code, "message": str(self), "data": {"status": self.status, **self.more}}


def invalid(problems: Mapping[str, tuple[str, str]]) -> Refusal:
    """Return the refusal of parameters: name -> (code, message)."""
    return Refusal(
        400,
        "rest_invalid_param",
        f"Invalid parameter(s): {', '.join(problems)}",
        params={name: message for name, (_, message) in problems.items()},
        details={name: {"code": code, "message": message, "data": None} for name, (code, message) in problems.items()},
    )


def json_answer(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a body of the API."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        content_type="application/json",
        charset="UTF-8",
        headers={"X-Robots-Tag": "noindex", "Cache-Control": "no-cache, must-revalidate", **(headers or {})},
    )


def refused(refusal: Refusal) -> web.Response:
    """Return the answer of a refusal."""
    return json_answer(refusal.body(), status=refusal.status)


def page(status: int, title: str, *, retry_after: int | None = None) -> web.Response:
    """Return what the web server in front of WordPress writes."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.Response(
        status=status, text=_PAGE.format(f"{status} {title}"), content_type="text/html", headers=headers
    )


def of_fault(fault: CallFault, request: web.Request) -> web.StreamResponse:
    """Return the answer of a fault: WooCommerce has no limit, so it is the host that says too many."""
    match fault:
        case CallFault.THROTTLED:
            return page(429, "Too Many Requests", retry_after=1)
        case CallFault.EXPIRED:
            return refused(Refusal(401, "woocommerce_rest_authentication_error", "Consumer key is invalid."))
        case CallFault.BROKEN_AFTER:
            return json_answer(
                {
                    "code": "internal_server_error",
                    "message": "<p>There has been a critical error on this website.</p>",
                    "data": {"status": 500},
                },
                status=500,
            )
        case _:
            return page(502 if request.method == "GET" else 503, "Service Temporarily Unavailable")
