"""What `tidegate doctor` looks at in the database: version, schema, roles, keys, work that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from tidegate.cli.checks import Finding, fail, ok, warn
from tidegate.cli.session import Session
from tidegate.kernel.errors import ConfigurationError, InvariantError, TidegateError
from tidegate.monitor.conservation import read_balances, total_imbalance
from tidegate.monitor.status import Status, read_status
from tidegate.runtime.project import Project
from tidegate.store.connections import Connection
from tidegate.store.database import SERVER_VERSION_MIN, Database, Separation
from tidegate.store.sql import query
from tidegate.vault.keys import KeyRing, derive_class_root

OLDEST_SECONDS_MAX = 300.0
"""Events that wait longer than this do not wait for their turn but for help."""
CLOCK_SKEW_SECONDS_MAX = 2.0
AUDITED = timedelta(hours=48)
PARTITIONED_TABLES = 6
_SERVER = query("doctor_server")
_PARTITIONS = query("doctor_partitions")
_KEY_CLASSES = query("doctor_key_classes")


async def check_database(session: Session, database: Database) -> AsyncIterator[Finding]:
    """The server, the schema, the roles, the keys, and tomorrow's partitions."""
    server = await session.conn.fetchrow(_SERVER)
    if server is not None:
        major = session.conn.get_server_version().major
        words = f"PostgreSQL {server['version']}"
        yield ok("database", words) if major >= SERVER_VERSION_MIN else fail("database", words, "16 or newer is needed")
        yield _check_clock(server["now"])
    pending = await database.pending_migrations()
    if pending:
        yield fail("schema", f"{len(pending)} migrations are not applied", "tidegate migrate")
    else:
        yield ok("schema", "up to date")
    yield _check_roles(database.separation)
    yield await _check_keys(session)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y%m%d")
    found = await session.conn.fetchval(_PARTITIONS, tomorrow)
    if found == PARTITIONED_TABLES:
        yield ok("partitions", "made ahead")
    else:
        yield warn(
            "partitions", f"{PARTITIONED_TABLES - found} of tomorrow's are missing", "tidegate up makes them hourly"
        )


async def check_work(session: Session) -> AsyncIterator[Finding]:
    """Nothing stands still, nothing is lost."""
    status = await read_status(session.conn, session.tenant_id)
    for finding in _check_standing(status, datetime.now(UTC)):
        yield finding
    since = (datetime.now(UTC) - AUDITED).replace(minute=0, second=0, microsecond=0)
    imbalance = total_imbalance(await read_balances(session.conn, since=since, tenant_id=session.tenant_id))
    if imbalance:
        yield fail("conservation", f"{imbalance} events cannot be placed", "tidegate conservation shows the hours")
    else:
        yield ok("conservation", "everything received in the last 48 hours is accounted for")


def _check_standing(status: Status, now: datetime) -> list[Finding]:
    queue, found = status.queue, []
    age = (now - queue.oldest_at).total_seconds() if queue.oldest_at is not None else 0.0
    if age > OLDEST_SECONDS_MAX:
        words = f"{queue.waiting} wait, the oldest for {age:.0f} s"
        found.append(fail("events", words, "are apply processes running? tidegate status"))
    else:
        found.append(ok("events", f"{queue.waiting} wait, {queue.parked} are parked"))
    if queue.quarantined:
        words = f"{queue.quarantined} wait for a person"
        found.append(warn("quarantine", words, "tidegate events list --outcome quarantined"))
    for switch in status.switches:
        if switch.is_on:
            words = f"stopped by {switch.changed_by}: {switch.reason}"
            found.append(warn("writes", words, "tidegate writes resume"))
    failed = status.count("failed")
    if failed:
        found.append(warn("commands", f"{failed} failed", "tidegate commands list --state failed"))
    doubtful = status.count("in_doubt")
    if doubtful:
        found.append(warn("commands", f"{doubtful} in doubt", "tidegate commands list --state in_doubt"))
    if not failed and not doubtful:
        found.append(ok("commands", "none failed, none in doubt"))
    return found


def _check_clock(server_now: datetime) -> Finding:
    skew = abs((datetime.now(UTC) - server_now).total_seconds())
    if skew > CLOCK_SKEW_SECONDS_MAX:
        return warn("clock", f"the database's clock differs by {skew:.1f} s", "run NTP on both machines")
    return ok("clock", "agrees with the database's")


def _check_roles(separation: Separation) -> Finding:
    match separation:
        case Separation.LOGINS:
            return ok("roles", "each process has a database login of its own")
        case Separation.ASSUMED:
            return warn(
                "roles",
                "one login takes on a role per process",
                "for more, give each role a login and set TIDEGATE_DATABASE_URL_<ROLE>",
            )
        case Separation.NONE:
            return warn(
                "roles", "one login does everything", "let its user create roles, or give each role a login of its own"
            )


async def require_root_key(conn: Connection, project: Project, tenant_id: UUID) -> int:
    """Make sure that the root key opens the tenant's stored keys; return how many key classes there are.

    Raises ConfigurationError when it is another one: with it nothing could be read, and new secrets would be lost.
    """
    rows = await conn.fetch(_KEY_CLASSES, tenant_id)
    root_key = project.read_root_key()
    ring = KeyRing({row["key_class"]: derive_class_root(root_key, row["key_class"]) for row in rows})
    try:
        for row in rows:
            await ring.fingerprint(conn, tenant_id, row["key_class"], "probe")
    except InvariantError as error:
        raise ConfigurationError(
            "the root key is not the one that this database was made with",
            code="root_key_foreign",
            hint=f"restore {project.root_key_file} from its backup",
        ) from error
    return len(rows)


async def _check_keys(session: Session) -> Finding:
    """The root key opens what is stored."""
    try:
        classes = await require_root_key(session.conn, session.project, session.tenant_id)
    except TidegateError as error:
        return fail("stored keys", str(error), error.hint or "restore keys/root.key from its backup")
    return ok("stored keys", "the root key opens them" if classes else "none yet")
