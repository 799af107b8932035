"""All pages and actions by address. Whoever is not signed in sees the login, the assets, and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import structlog
from litestar import Request, Response, Router
from litestar.datastructures import Cookie
from litestar.handlers import HTTPRouteHandler

from tidegate.kernel.errors import TidegateError
from tidegate.web.pages import (
    alerts,
    commands,
    configuration,
    connections,
    drift,
    events,
    flows,
    issues,
    login,
    overview,
    stock,
    stories,
)
from tidegate.web.pages.assets import KEPT
from tidegate.web.pages.desk import Desk
from tidegate.web.pages.visit import (
    Door,
    Here,
    PasswordNeeded,
    Redirect,
    answer_html,
    redirect,
    require_form_token,
)
from tidegate.web.problems import as_problem, request_id_of, respond
from tidegate.web.world import World

Show = Callable[[Here], Awaitable[Response[Any]]]
Method = Literal["GET", "POST"]
FRAME_SECONDS = 5.0
"""How old the verdict in a page's frame may be."""
_log = structlog.get_logger("web.pages")


@dataclasses.dataclass(frozen=True)
class Route:
    """A page (GET) or an action (POST) of somebody who is signed in."""

    method: Method
    path: str
    body: Show
    is_page: bool = True
    """False: no frame with the verdict around it."""


ROUTES: tuple[Route, ...] = (
    Route("GET", "/", overview.show),
    Route("GET", "/live", overview.stream, is_page=False),
    Route("GET", "/find", stories.show_found),
    Route("GET", "/connections", connections.show),
    Route("GET", "/events", events.show_list),
    Route("GET", "/events/replay", events.show_replay),
    Route("POST", "/events/replay", events.replay_many),
    Route("GET", "/events/{id:str}", events.show_one),
    Route("POST", "/events/{id:str}/replay", events.replay_one),
    Route("GET", "/commands", commands.show_list),
    Route("POST", "/commands/retry", commands.retry_many),
    Route("GET", "/commands/{id:str}", commands.show_one),
    Route("POST", "/commands/{id:str}/retry", commands.retry_one),
    Route("POST", "/commands/{id:str}/cancel", commands.cancel_one),
    Route("GET", "/orders/{number:str}", stories.show_order),
    Route("GET", "/skus/{sku:str}", stories.show_sku),
    Route("GET", "/flows", flows.show),
    Route("POST", "/flows/proposals", flows.decide),
    Route("POST", "/flows/{name:str}/mode", flows.move),
    Route("POST", "/writes/stop", flows.stop),
    Route("POST", "/writes/resume", flows.resume),
    Route("GET", "/drift", drift.show),
    Route("POST", "/drift", drift.look),
    Route("GET", "/stock", stock.show),
    Route("POST", "/stock/settle", stock.decide),
    Route("POST", "/stock/deleted", stock.replace),
    Route("GET", "/config", configuration.show_list),
    Route("GET", "/config/{number:str}", configuration.show_one),
    Route("POST", "/config/{number:str}/rollback", configuration.roll_back),
    Route("GET", "/issues", issues.show_list),
    Route("GET", "/issues/{id:str}", issues.show_one),
    Route("POST", "/issues/{id:str}", issues.change),
    Route("POST", "/issues/{id:str}/retry", issues.retry),
    Route("GET", "/alerts", alerts.show),
    Route("POST", "/alerts/silence", alerts.be_quiet),
    Route("POST", "/alerts/{id:str}/seen", alerts.see),
    Route("POST", "/logout", login.sign_out),
)


def build_pages(world: World) -> Router:
    """Return the pages as a part of the application."""
    desk = Desk(world)
    handlers = [_handler(desk, route) for route in ROUTES]
    return Router(path="/", route_handlers=[*handlers, *_open_handlers(desk)], include_in_schema=False)


def _handler(desk: Desk, route: Route) -> HTTPRouteHandler:
    async def handle(request: Request[Any, Any, Any]) -> Response[Any]:
        door = Door(request)
        here: Here | None = None
        try:
            here = await _enter(desk, door)
            if route.is_page and route.method == "GET":
                await _refresh_frame(desk)
            return await route.body(here)
        except Redirect as elsewhere:
            return redirect(elsewhere.place, door)
        except PasswordNeeded as question:
            return await _ask_password(desk, door, question.message)
        except Exception as error:
            return answer_failure(desk, door, error, cookies=here.cookies if here is not None else ())

    return HTTPRouteHandler(route.path, http_method=route.method, status_code=200)(handle)


async def _refresh_frame(desk: Desk) -> None:
    """Let the frame say how everything is now. A page is shown without it rather than not at all."""
    with contextlib.suppress(TidegateError):
        await desk.hub.figures(age_seconds=FRAME_SECONDS)


async def _enter(desk: Desk, door: Door) -> Here:
    """Return the request of somebody who is signed in. Raises Redirect to the login, or ProblemError for a forged form."""
    is_action = door.request.method == "POST"
    if is_action:
        door.require_own_origin()
    token = door.cookie("tidegate")
    visit = await desk.sessions(await desk.tenant_id()).find(token) if token else None
    if visit is None:
        raise Redirect(login.address_for(door, is_action=is_action))
    fields: dict[str, str] = {}
    if is_action:
        fields = await door.fields()
        require_form_token(token, fields)
    return Here(desk, door, visit, fields)


async def _ask_password(desk: Desk, door: Door, message: str) -> Response[Any]:
    """Return a form that repeats the action with the password."""
    try:
        here = await _enter(desk, door)
    except Redirect as elsewhere:
        return redirect(elsewhere.place, door)
    kept = {name: value for name, value in here.fields.items() if name not in ("password", "form_token")}
    return here.show("password.html", http_status=200 if not message else 403, message=message, kept=kept)


def _open_handlers(desk: Desk) -> list[HTTPRouteHandler]:
    """Return what needs no session."""

    async def show_login(request: Request[Any, Any, Any]) -> Response[Any]:
        door = Door(request)
        try:
            return await login.show(desk, door)
        except Exception as error:
            return answer_failure(desk, door, error)

    async def sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
        door = Door(request)
        try:
            door.require_own_origin()
            fields = await door.fields()
            require_form_token(door.cookie("tidegate_form"), fields)
            return await login.sign_in(desk, door, fields)
        except Exception as error:
            return answer_failure(desk, door, error)

    async def give_asset(request: Request[Any, Any, Any]) -> Response[Any]:
        found = desk.assets.find(str(request.path_params["name"]))
        if found is None:
            return Response(content=b"not found\n", status_code=404, media_type="text/plain")
        return Response(content=found.content, media_type=found.media_type, headers={"Cache-Control": KEPT})

    return [
        HTTPRouteHandler("/login", http_method="GET", status_code=200)(show_login),
        HTTPRouteHandler("/login", http_method="POST", status_code=200)(sign_in),
        HTTPRouteHandler("/assets/{name:str}", http_method="GET", status_code=200)(give_asset),
    ]


def answer_failure(desk: Desk, door: Door, error: Exception, *, cookies: Sequence[Cookie] = ()) -> Response[Any]:
    """Return the page of a failure: what happened, what to do, and under which id the log has it.

    `cookies` were made before it failed: after the password was typed, the session goes on under the new one only.
    """
    request_id = request_id_of(door.request.scope)
    problem = as_problem(error)
    if problem.status == 500:
        _log.error("pages.failed", error_class=type(error).__name__, request_id=request_id, exc_info=error)
    if "text/html" not in door.request.headers.get("accept", "text/html") and door.request.url.path == "/live":
        return respond(problem, request_id)
    values = {"problem": problem, "request_id": request_id, "now": desk.world.clock.now(), "tenant": desk.tenant}
    return answer_html(desk.renderer.page("failure.html", values), door, status=problem.status, cookies=list(cookies))
