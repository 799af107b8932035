"""The application: health pages, the API under `/v1`, the pages for people."""

from __future__ import annotations

from typing import Any, cast

from litestar import Litestar, asgi
from litestar.config.app import AppConfig
from litestar.di import Provide

from tidegate.web import redirects
from tidegate.web.api.router import add_api
from tidegate.web.edge import App, Edge
from tidegate.web.health import HealthPages
from tidegate.web.pages.routes import build_pages
from tidegate.web.problems import answer_problem
from tidegate.web.world import World


def build_application(world: World) -> App:
    """Return the ASGI application of the web process."""
    return Edge(cast("App", build_litestar(world)), cell=world.cell, settings=world.settings)


def build_litestar(world: World) -> Litestar:
    """Return the application inside of the edge."""

    def add_routes(config: AppConfig) -> AppConfig:
        config.route_handlers.extend(
            asgi(path, copy_scope=True)(_asgi(app)) for path, app in HealthPages(world).apps().items()
        )
        config.route_handlers.append(asgi(redirects.PATH, copy_scope=True)(_asgi(redirects.redirect_app(world))))
        config.route_handlers.append(build_pages(world))
        add_api(config, world)
        return config

    return Litestar(
        on_app_init=[add_routes],
        dependencies={"world": Provide(lambda: world, sync_to_thread=False)},
        exception_handlers={Exception: answer_problem},
        request_max_body_size=world.settings.body_bytes_max,
        openapi_config=None,
        include_in_schema=False,
        logging_config=None,
        debug=False,
    )


def _asgi(app: App) -> Any:
    async def handler(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return handler
