"""The routes under `/v1`."""

from __future__ import annotations

from typing import Any

from litestar import Request, Router
from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.exceptions import NotFoundException

from tidegate.web.api import (
    alerts,
    commands,
    configuration,
    connections,
    drift,
    events,
    flows,
    issues,
    lanes,
    ledger,
    looks,
    orders,
    oversold,
    owners,
    plan,
    proposals,
    reservations,
    status,
    stock,
    tombstones,
)
from tidegate.web.api.desk import provide_desk
from tidegate.web.api.documents import API_PATH, SCHEMA_FILE, describe_api
from tidegate.web.api.gate import Doorman, Gate, check_body, check_parameters, require_scope
from tidegate.web.world import World

RESOURCES = (
    events,
    commands,
    proposals,
    orders,
    stock,
    reservations,
    connections,
    lanes,
    ledger,
    oversold,
    flows,
    configuration,
    plan,
    owners,
    drift,
    looks,
    tombstones,
    issues,
    alerts,
    status,
)
TAGS = {
    "events": "What came in, and what became of it.",
    "commands": "What other systems are told.",
    "orders": "Orders, without whose they are.",
    "stock": "Levels, their ledger, and what channels are told.",
    "reservations": "Units that are held for a while.",
    "proposals": "What waits for a person before it is sent.",
    "flows": "What moves where, and in which mode.",
    "config": "The versions of the configuration.",
    "plan": "What would happen if every flow went live now.",
    "drift": "Where systems differ.",
    "matches": "Articles that were deleted over there, and what took their place.",
    "runs": "Reads and comparisons of systems.",
    "issues": "Like failures as one thing to mend.",
    "alerts": "What the rules found.",
    "connections": "The systems that are connected.",
    "lanes": "What waits for each of them, and what holds it.",
    "status": "How it does.",
}


def add_api(config: AppConfig, world: World) -> None:
    """Add the routes of the API and its description to an application."""
    doorman = Doorman(world)
    config.route_handlers.append(
        Router(
            API_PATH,
            route_handlers=[resource.build_router() for resource in RESOURCES],
            middleware=[_gate(doorman, needs_key=True)],
            guards=[require_scope, check_parameters, check_body],
            dependencies={"desk": Provide(provide_desk)},
            include_in_schema=True,
        )
    )
    schema_router = Router(
        API_PATH,
        route_handlers=[],
        include_in_schema=False,
        middleware=[_gate(doorman, needs_key=False)],
        before_request=_only_the_schema,
    )
    config.openapi_config = describe_api(schema_router, TAGS)


def _gate(doorman: Doorman, *, needs_key: bool) -> Any:
    """Return a maker of gates that share one doorman. A function, because Litestar copies what handlers are given."""

    def make(app: Any) -> Gate:
        return Gate(app, doorman, needs_key=needs_key)

    return make


def _only_the_schema(request: Request[Any, Any, Any]) -> None:
    """Keep the catch-all of the description to its one file. Raises NotFoundException for every other address."""
    if request.scope["path"] != API_PATH + SCHEMA_FILE:
        raise NotFoundException
