"""The application: health pages, the API under `/v1`, the pages for people."""

from __future__ import annotations

from typing import Any, cast

from litestar import Litestar, asgi
from litestar.di import Provide

from tidegate.web.edge import App, Edge
from tidegate.web.health import HealthPages
from tidegate.web.pages.routes import build_pages
from tidegate.web.problems import answer_problem
from tidegate.web.world import World


def build_application(world: World) -> App:
    """Return the ASGI application of the web process."""
    health = [asgi(path, copy_scope=True)(_asgi(app)) for path, app in HealthPages(world).apps().items()]
    inner = Litestar(
        route_handlers=[*health, build_pages(world)],
        dependencies={"world": Provide(lambda: world, sync_to_thread=False)},
        exception_handlers={Exception: answer_problem},
        request_max_body_size=world.settings.body_bytes_max,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    return Edge(cast("App", inner), cell=world.cell, settings=world.settings)


def _asgi(app: App) -> Any:
    async def handler(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return handler
