"""The dispatch process: one node that keeps a lane for each connection of its slots."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from uuid import UUID

import msgspec
import structlog

from tidegate.commerce.commands import CommandKind
from tidegate.config import Config
from tidegate.config.lanes import lane_rules
from tidegate.config.schedule import seconds_of
from tidegate.config.snapshots import Snapshots
from tidegate.dispatch import statements
from tidegate.dispatch.guard import ClosableApi, LeaseLostError
from tidegate.dispatch.host import Hosts
from tidegate.dispatch.lane import Lane
from tidegate.dispatch.looks import begin_looks, plan_look
from tidegate.dispatch.mapping import FLOW_OF, NO_MAPS, MapsAtWork
from tidegate.dispatch.modes import sendable_kinds
from tidegate.dispatch.records import ConnectionRow, Ownership
from tidegate.dispatch.safety import safety_rules
from tidegate.dispatch.scope import Scope
from tidegate.dispatch.settings import DEFAULTS, DispatchSettings
from tidegate.dispatch.urgency import Urgency
from tidegate.kernel.clock import seconds_to_beat
from tidegate.kernel.errors import AuthenticationError, ConfigurationError
from tidegate.kernel.ids import slot_of
from tidegate.kernel.redaction import Secret
from tidegate.mapping.compile import compile_maps, has_hooks
from tidegate.mapping.hook_host import HookHost
from tidegate.sdk.client import HttpApi, ask_for_token
from tidegate.sdk.connector import Connector
from tidegate.sdk.http import Response
from tidegate.sdk.oauth import TokenSource
from tidegate.store.connections import DATABASE_ERRORS, Pool
from tidegate.store.context import Context
from tidegate.store.nodes import Node, session_name
from tidegate.store.pool import BY_KEY, create_pool
from tidegate.vault.bodies import BodyCipher
from tidegate.vault.credentials import get_all
from tidegate.vault.keys import KeyRing
from tidegate.vault.tokens import TokenKeeper, TokenVault

log = structlog.get_logger()

POOL_SIZE_MAX = 8
OTHERS_POOL_SIZE_MAX = 6
"""Connections for what is not urgent: more of it at once would only make what is urgent wait for processors and disk, and
each connection plans its statements anew."""
TICK_SECONDS = 1.0
"""How often the node's slots are looked at in memory."""

OpenConnection = Callable[[ConnectionRow, Connector, Callable[[], bool]], Awaitable[ClosableApi]]
"""(connection, connector, has_lease) -> its Api. Raises TidegateError."""


async def serve(context: Context, stop: asyncio.Event) -> None:
    """Keep lanes until `stop` is set; then finish the calls in flight and leave the slots to others."""
    await Worker(context).run(stop)


class Worker:
    """One dispatch node."""

    def __init__(
        self,
        context: Context,
        *,
        settings: DispatchSettings = DEFAULTS,
        open_connection: OpenConnection | None = None,
    ) -> None:
        """`open_connection` makes the Api of a connection; by default an `HttpApi` with decrypted credentials."""
        self._context = context
        self._settings = settings
        self._open_connection = open_connection or self._open_http
        self._ring = KeyRing(context.keys)
        self._cipher = BodyCipher(self._ring)
        self._name = f"dispatch-{context.index}"
        self._lanes: dict[UUID, tuple[Lane, asyncio.Task[None]]] = {}
        self._connections: list[ConnectionRow] = []
        self._rest_until: dict[UUID, float] = {}
        self._snapshots = Snapshots()
        self._compared_under = Snapshots()
        """Read by lanes inside of their transactions, and apart from what the worker goes by."""
        self._maps: dict[UUID, MapsAtWork] = {}
        self._maps_of: dict[UUID, int] = {}
        self._planned: dict[UUID, Config] = {}
        """By which configuration the looks of each connection were planned."""
        self._hosts = Hosts()
        self._urgency = Urgency()
        self._wake = asyncio.Event()
        self._poll_due = 0.0
        self._read_due = 0.0
        self._pool: Pool | None = None
        self._others_pool: Pool | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Join, keep the lanes, drain, leave."""
        name = session_name("dispatch", self._context.index)
        access = self._context.access
        self._pool = await create_pool(access, application_name=name, size_max=POOL_SIZE_MAX, server_settings=BY_KEY)
        self._others_pool = await create_pool(
            access, application_name=name, size_min=0, size_max=OTHERS_POOL_SIZE_MAX, server_settings=BY_KEY
        )
        lease = self._settings.lease_seconds
        node = await Node.join(self._context.access, role="dispatch", name=self._name, lease_seconds=lease)
        await node.listen(statements.COMMAND_CHANNEL, self._commanded)
        await node.listen("tidegate_connection", self._connection_changed)
        await node.listen("tidegate_config", self._changed)
        stopper = asyncio.create_task(self._wake_on(stop))
        try:
            while not stop.is_set():
                self._wake.clear()
                await self._round(node, self._pool)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(
                        self._wake.wait(), seconds_to_beat(TICK_SECONDS, self._context.clock.monotonic())
                    )
                    await asyncio.sleep(self._settings.wake_seconds)
        finally:
            stopper.cancel()
            await self._drain(node)
            await node.leave()
            await self._pool.close()
            await self._others_pool.close()

    # --- wake-ups ------------------------------------------------------------------------------------------------
    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    def _commanded(self, payload: str) -> None:
        """Lanes that the payload names are woken at once (see `sync.write`); without names the next poll finds out."""
        named = [part for part in payload.split(",") if part]
        for text in named:
            with contextlib.suppress(ValueError, KeyError):
                self._lanes[UUID(text.removeprefix("!"))][0].wake(is_urgent=text.startswith("!"))
        if not named:
            self._poll_due = 0.0
            self._wake.set()

    def _connection_changed(self, payload: str) -> None:
        """Settings or secrets are others now: the lane ends, and starts anew with them."""
        with contextlib.suppress(ValueError, KeyError):
            self._lanes[UUID(payload)][0].stop()
        self._changed(payload)

    def _changed(self, _payload: str) -> None:
        self._read_due = self._poll_due = 0.0
        self._wake.set()

    # --- one round -----------------------------------------------------------------------------------------------
    async def _round(self, node: Node, pool: Pool) -> None:
        now = self._context.clock.monotonic()
        try:
            if now >= self._read_due:
                await self._read(pool)
                self._read_due = now + self._settings.config_seconds
            self._keep_lanes(node, pool)
            await self._plan_looks(pool)
            if now >= self._poll_due:
                await self._poll(pool)
                self._poll_due = now + self._settings.poll_seconds
        except DATABASE_ERRORS as error:
            log.warning("dispatch.database_away", error_class=type(error).__name__, node=self._name)

    async def _read(self, pool: Pool) -> None:
        """Read the active connections and the newest configurations."""
        async with pool.acquire() as conn:
            await self._snapshots.read(conn)
            self._take_maps()
            rows = await conn.fetch(statements.CONNECTIONS)
        self._connections = [
            ConnectionRow(**{**row, "settings": msgspec.json.decode(row["settings"])}) for row in map(dict, rows)
        ]

    async def _poll(self, pool: Pool) -> None:
        """Ask which lanes have work, in one query, and wake those."""
        if not self._lanes:
            return
        scopes = [lane.scope for lane, _ in self._lanes.values()]
        tenants, connections = zip(*(scope.ids for scope in scopes), strict=True)
        row = await pool.fetchrow(statements.POLL, list(tenants), list(connections))
        if row is None:
            return
        for lane, _ in self._lanes.values():
            lane.set_writes(not row["is_stopped"])
        for connection_id in row["waiting"]:
            self._lanes[connection_id][0].wake()
        await self._begin_looks(pool, row["looks"])

    async def _begin_looks(self, pool: Pool, due: Sequence[UUID]) -> None:
        """Begin the looks that are due; a lane is woken by what is begun for it."""
        for tenant_id in {self._lanes[connection_id][0].scope.connection.tenant_id for connection_id in due}:
            moment = self._context.clock.now()
            effective = self._snapshots.at(tenant_id, moment)
            if effective is not None:
                async with pool.acquire() as conn:
                    await begin_looks(conn, tenant_id, effective.planned, self._context.connectors, moment)

    async def _plan_looks(self, pool: Pool) -> None:
        """Have the looks of lanes be due by a configuration that was put to work, or changed by the time."""
        for connection_id, (lane, _) in self._lanes.items():
            tenant_id, name = lane.scope.connection.tenant_id, lane.scope.connection.name
            effective = self._snapshots.at(tenant_id, self._context.clock.now())
            if effective is None or self._planned.get(connection_id) is effective.planned:
                continue
            async with pool.acquire() as conn:
                now = self._context.clock.now()
                await plan_look(conn, lane.scope.ids, name, effective.planned, self._context.connectors, now)
            self._planned[connection_id] = effective.planned

    # --- lanes ---------------------------------------------------------------------------------------------------
    def _keep_lanes(self, node: Node, pool: Pool) -> None:
        """Start the lanes that are ours, stop the ones that are not. A stopped lane keeps its slot until it is done."""
        self._forget_ended(node)
        wanted = self._wanted(node)
        now = self._context.clock.monotonic()
        for connection_id, (lane, _) in self._lanes.items():
            if wanted.get(connection_id) != (lane.scope.connection, lane.scope.owner):
                lane.stop()
            else:
                self._tell(lane)
        for connection_id, (connection, owner) in wanted.items():
            is_resting = self._rest_until.get(connection_id, now) > now
            if connection_id not in self._lanes and not is_resting:
                self._start(node, pool, connection, owner)

    def _wanted(self, node: Node) -> dict[UUID, tuple[ConnectionRow, Ownership]]:
        slots = node.slots()
        wanted = {}
        for connection in self._connections:
            slot = slot_of(connection.tenant_id, str(connection.connection_id))
            held = slots.get(slot)
            if held is not None and connection.connector in self._context.connectors:
                owner = Ownership(node_id=node.node_id, slot=slot, epoch=held.epoch)
                wanted[connection.connection_id] = (connection, owner)
        return wanted

    def _forget_ended(self, node: Node) -> None:
        for connection_id, (lane, task) in list(self._lanes.items()):
            if not task.done():
                continue
            del self._lanes[connection_id]
            self._planned.pop(connection_id, None)
            node.in_use.discard(lane.scope.owner.slot)
            if not task.cancelled() and task.exception() is not None:
                log.error("lane.failed", connection=lane.scope.connection.name, exc_info=task.exception())
            if lane.is_halted:
                self._read_due = 0.0
                self._rest_until[connection_id] = self._context.clock.monotonic() + self._settings.rest_seconds
        node.in_use.update(lane.scope.owner.slot for lane, _ in self._lanes.values())

    def _start(self, node: Node, pool: Pool, connection: ConnectionRow, owner: Ownership) -> None:
        connector = self._context.connectors[connection.connector]
        scope = Scope(
            connection=connection,
            connector=connector,
            owner=owner,
            pool=pool,
            cipher=self._cipher,
            clock=self._context.clock,
            cell=self._context.cell,
            writer=self._name,
            settings=self._settings,
            maps=lambda: self._maps.get(connection.tenant_id, NO_MAPS),
            snapshots=self._compared_under,
        )

        def has_lease() -> bool:
            return node.node_id == owner.node_id and node.has_lease(self._settings.lease_margin_seconds)

        lane = Lane(
            scope,
            lambda: self._open_connection(connection, connector, has_lease),
            has_lease=has_lease,
            host=self._hosts.of(connection.tenant_id, connection.settings, is_shared=connector.shares_host),
            urgency=self._urgency,
            others_pool=self._others_pool,
        )
        self._tell(lane)
        task = asyncio.create_task(lane.run(), name=f"lane-{connection.name}")
        task.add_done_callback(lambda _: self._wake.set())
        self._lanes[connection.connection_id] = (lane, task)
        node.in_use.add(owner.slot)

    def _config(self, tenant_id: UUID) -> Config | None:
        """Return what the tenant's configuration says now, timed overrides and blackouts included."""
        effective = self._snapshots.at(tenant_id, self._context.clock.now())
        return effective.config if effective is not None else None

    def _take_maps(self) -> None:
        """Put the maps of newer configurations to work.

        They were checked before they were applied; should they not be valid for this version of Tidegate, those before
        them stay at work, and without any nothing leaves that they should have shaped.
        """
        for tenant_id, version in self._snapshots.versions.items():
            if self._maps_of.get(tenant_id) == version.version:
                continue
            self._maps_of[tenant_id] = version.version
            config = version.config
            before = self._maps.get(tenant_id)
            maps, problems = compile_maps(config.maps, config.tables, config.hooks, files=version.files)
            if problems:
                words = "; ".join(f"{'.'.join(map(str, each.place))}: {each.message}" for each in problems[:3])
                log.error("maps.invalid", tenant_id=tenant_id, version=version.version, reason=words)
                self._maps.setdefault(tenant_id, MapsAtWork(is_usable=False))
                continue
            if before is not None and before.maps is not None and before.maps.digest == maps.digest:
                hooks = before.hooks
            else:
                hooks = HookHost(maps, config.hooks, version.files) if has_hooks(maps) else None
                if before is not None and before.hooks is not None:
                    before.hooks.retire()
            self._maps[tenant_id] = MapsAtWork(config_version=version.version, maps=maps, hooks=hooks)

    def _kinds(self, config: Config, connection: ConnectionRow) -> frozenset[CommandKind]:
        kinds = sendable_kinds(config, connection.name)
        return kinds if self._maps.get(connection.tenant_id, NO_MAPS).is_usable else kinds - FLOW_OF.keys()

    def _tell(self, lane: Lane) -> None:
        """Tell a lane what its configuration says now, when that is something else than before."""
        connection = lane.scope.connection
        config = self._config(connection.tenant_id)
        if config is None or config is lane.config:
            return
        lane.config = config
        lane.set_feeds(_reads_feeds(config, lane.scope.connector))
        lane.set_feed_interval_min(seconds_of(config.polling.interval_min) if config.polling.interval_min else 0)
        lane.set_kinds(self._kinds(config, connection))
        lane.set_safety(safety_rules(config, connection.name))
        lane.set_rules(lane_rules(config.lanes, connection.name))

    async def _drain(self, node: Node) -> None:
        for lane, _ in self._lanes.values():
            lane.stop()
        await asyncio.gather(*(task for _, task in self._lanes.values()), return_exceptions=True)
        self._forget_ended(node)
        await asyncio.gather(*(maps.hooks.close() for maps in self._maps.values() if maps.hooks is not None))

    # --- the way out ---------------------------------------------------------------------------------------------
    async def _open_http(
        self, connection: ConnectionRow, connector: Connector, has_lease: Callable[[], bool]
    ) -> ClosableApi:
        """Return the connection's HttpApi. Its credentials are decrypted here and nowhere else."""
        base_url = connection.settings.get("base_url")
        if not base_url:
            raise ConfigurationError("the connection has no address", code="base_url_missing")
        if self._pool is None:
            raise ConfigurationError("the worker is not running", code="not_running")
        async with self._pool.acquire() as conn:
            ids = (connection.tenant_id, connection.connection_id)
            secrets = await get_all(conn, self._ring, *ids, "credential")
        wanted = {field.name for field in connector.fields if field.secret}
        if not wanted <= secrets.keys():
            raise AuthenticationError(
                "a credential is missing", code="credential_missing", hint=f"run `tidegate connect {connection.name}`"
            )

        def check_lease() -> None:
            if not has_lease():
                raise LeaseLostError

        api = HttpApi(
            connector,
            str(base_url),
            connection.settings,
            secrets,
            allow=self._allowed(connection.tenant_id),
            clock=self._context.clock,
            tokens=await self._token_source(self._pool, connection, connector, secrets, check_lease),
        )
        api.before_send = check_lease
        return api

    async def _token_source(
        self,
        pool: Pool,
        connection: ConnectionRow,
        connector: Connector,
        secrets: Mapping[str, Secret],
        check_lease: Callable[[], None],
    ) -> TokenSource | None:
        """Return where the connection's tokens come from, None when they do not expire or it was given none."""
        if connector.oauth is None:
            return None
        vault = TokenVault(self._ring, connection.tenant_id, connection.name)
        async with pool.acquire() as conn:
            if await vault.read(conn) is None:
                return None

        async def ask(form: Mapping[str, str]) -> Response:
            return await ask_for_token(
                connector,
                str(connection.settings["base_url"]),
                form,
                allow=self._allowed(connection.tenant_id),
                clock=self._context.clock,
                before_send=check_lease,
            )

        return TokenKeeper(
            pool.acquire,
            vault,
            connector.oauth,
            settings=connection.settings,
            secrets=secrets,
            ask=ask,
            clock=self._context.clock,
        )

    def _allowed(self, tenant_id: UUID) -> tuple[IPv4Network | IPv6Network, ...]:
        config = self._config(tenant_id)
        return tuple(ip_network(text) for text in config.network.allow) if config is not None else ()


def _reads_feeds(config: Config, connector: Connector) -> bool:
    """Channels are not polled when polling is off; a system that may be the ERP always is."""
    return config.polling.enabled or "erp" in connector.roles
