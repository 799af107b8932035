"""What all page requests of one process share: templates, the live hub, sessions, the configuration at work."""

from __future__ import annotations

from uuid import UUID

from tidegate.config.versions import ConfigVersion
from tidegate.kernel.errors import TransientError
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.web.buckets import buckets_for
from tidegate.web.database import reading
from tidegate.web.pages.assets import Assets
from tidegate.web.pages.live import Hub
from tidegate.web.pages.render import Renderer
from tidegate.web.sessions import Sessions
from tidegate.web.world import World

_TENANTS = query("tenant_ids")


class Desk:
    """One per process."""

    def __init__(self, world: World) -> None:
        """The pages show the tenant of the project that started the process."""
        self.world = world
        self.tenant = world.settings.tenant
        self.assets = Assets()
        self.renderer = Renderer(self.assets, world.cell)
        self.hub = Hub(world, self.renderer, self)
        self.guesses = buckets_for(
            world.run_dir,
            "sign-in",
            per_second=world.settings.sign_in_per_second,
            burst=world.settings.sign_in_burst,
            callers_max=world.settings.callers_max,
        )
        """How often one address may try to sign in, under whatever names."""
        self._tenant_id: UUID | None = None
        self._sessions: Sessions | None = None

    async def tenant_id(self) -> UUID:
        """Return the tenant's id. Raises TransientError while it was never started, or the database is away."""
        if self._tenant_id is None:
            async with reading(self.world, None) as conn:
                found = {name: tenant_id for tenant_id, name in await conn.fetch(_TENANTS)}
            if self.tenant not in found:
                raise TransientError(f"the tenant {self.tenant!r} was never started here", code="tenant_missing")
            self._tenant_id = found[self.tenant]
        return self._tenant_id

    def sessions(self, tenant_id: UUID) -> Sessions:
        """Return the sessions of the tenant."""
        if self._sessions is None:
            self._sessions = Sessions(self.world, tenant_id)
        return self._sessions

    async def config(self, conn: Connection) -> ConfigVersion:
        """Return the configuration that is at work; a version is parsed once.

        Raises TransientError while there is none.
        """
        tenant_id = await self.tenant_id()
        await self.world.snapshots.read(conn)
        version = self.world.snapshots.versions.get(tenant_id)
        if version is None:
            raise TransientError("no configuration was put to work yet", code="config_missing", hint="tidegate up")
        return version
