"""What `tidegate doctor` looks at in the database: version, schema, roles, keys, work that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from tidegate.cli.checks import Finding, fail, ok, warn
from tidegate.cli.session import Session, operator
from tidegate.config.snapshots import Snapshots
from tidegate.eventlog import partitions
from tidegate.kernel.errors import ConfigurationError, InvariantError, TidegateError
from tidegate.kernel.ids import new_id
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
SESSIONS_SHARE_HIGH = 0.8
OLD_TRANSACTION_SECONDS = 300.0
_SERVER = query("doctor_server")
_SESSIONS = query("doctor_sessions")
_DURABILITY = query("doctor_durability")
_UNTOLD = query("doctor_untold")
_MARK_UNTOLD = query("doctor_mark_untold")
_CONFIG = query("doctor_config")
_ISSUES = query("doctor_issues")
_AUDIT = query("audit_add")
_KEY_CLASSES = query("doctor_key_classes")


async def check_database(session: Session, database: Database) -> AsyncIterator[Finding]:
    """The server, the schema, the roles, the keys, and tomorrow's partitions."""
    server = await session.conn.fetchrow(_SERVER)
    if server is not None:
        major = session.conn.get_server_version().major
        words = f"PostgreSQL {server['version']}"
        yield ok("database", words) if major >= SERVER_VERSION_MIN else fail("database", words, "16 or newer is needed")
    pending = await database.pending_migrations()
    if pending:
        yield fail("schema", f"{len(pending)} migrations are not applied", "tidegate migrate")
    else:
        yield ok("schema", "up to date")
    yield _check_roles(database.separation)
    yield await _check_keys(session)
    async for finding in _check_server(session):
        yield finding


async def check_partitions(session: Session) -> Finding:
    """Tomorrow's partitions are there."""
    missing = await partitions.missing_tomorrow(session.conn, datetime.now(UTC))
    if not missing:
        return ok("partitions", "made ahead")
    return warn(
        "partitions",
        f"tomorrow's are missing: {', '.join(missing)}",
        "tidegate up makes them hourly; tidegate doctor --fix makes them now",
        code="partitions_missing",
        why="rows without a partition go into the default one, which has to be split by hand later",
        repair="make the missing partitions",
    )


async def make_partitions(session: Session) -> str:
    """Make what `check_partitions` misses."""
    made = await partitions.ensure(session.conn)
    return f"{len(made)} made"


async def check_told(session: Session) -> AsyncIterator[Finding]:
    """No channel shows a number that nobody knows and nobody will tell."""
    for row in await session.conn.fetch(_UNTOLD, session.tenant_id):
        yield warn(
            "numbers",
            f"{row['items']} numbers of {row['name']} are not known there, and nobody tells them",
            "tidegate doctor --fix",
            code="stock_untold",
            why="the shop may sell what is not there",
            repair=f"mark {row['items']} items of {row['name']}, so that their numbers are told anew",
        )


async def mark_untold(session: Session) -> str:
    """Mark what `check_told` finds; the lanes compute the numbers."""
    async with session.conn.transaction():
        marked = await session.conn.fetchval(_MARK_UNTOLD, session.tenant_id)
        await session.conn.execute(
            _AUDIT, session.tenant_id, new_id(), operator(), "stock.marked", "untold", f'{{"items":{marked}}}'
        )
        await session.conn.execute("SELECT pg_notify('tidegate_command', '')")
    return f"{marked} marked"


async def check_configuration_at_work(session: Session) -> Finding:
    """The file is what works."""
    row = await session.conn.fetchrow(_CONFIG, session.tenant_id)
    if row is None:
        return warn("configuration at work", "none was put to work yet", "tidegate config apply", code="config_none")
    snapshots = Snapshots()
    await snapshots.read(session.conn)
    refusal = snapshots.refused.get(session.tenant_id)
    if refusal is not None:
        older = snapshots.versions.get(session.tenant_id)
        serving = f"version {older.version} goes on serving" if older is not None else "nothing is applied or sent"
        return fail(
            "configuration at work",
            f"this release refuses version {refusal.version}: {refusal.reason}; {serving}",
            "mend tidegate.yaml and put it to work: tidegate config apply",
            code="config_refused",
            why="what was put to work last does not count",
        )
    document = session.project.config_file.read_text(encoding="utf-8")
    if row["document"] == document:
        return ok("configuration at work", f"version {row['version']}, as in the file", code="config_at_work")
    return warn(
        "configuration at work",
        f"the file differs from version {row['version']}, made by {row['applied_by']} at {row['applied_at']:%Y-%m-%d %H:%M} UTC",
        "tidegate config diff shows how; tidegate config apply puts the file to work",
        code="config_differs",
        why="what you read in the file is not what happens",
    )


async def _check_server(session: Session) -> AsyncIterator[Finding]:
    """Sessions, old transactions, durability."""
    row = await session.conn.fetchrow(_SESSIONS)
    assert row is not None
    words = f"{row['used']} of {row['allowed']} in use"
    if row["used"] > SESSIONS_SHARE_HIGH * row["allowed"]:
        fix = "raise max_connections, or start fewer processes"
        yield warn("sessions", words, fix, code="sessions", why="the next process cannot connect")
    else:
        yield ok("sessions", words, code="sessions")
    if row["oldest_seconds"] > OLD_TRANSACTION_SECONDS:
        yield warn(
            "transactions",
            f"{row['oldest_name'] or 'somebody'} (pid {row['oldest_pid']}) holds one open for {row['oldest_seconds']:.0f} s",
            f"end it: SELECT pg_terminate_backend({row['oldest_pid']})",
            code="old_transaction",
            why="dead rows cannot be removed meanwhile, and everything gets slower by the hour",
        )
    else:
        yield ok("transactions", "none is old", code="old_transaction")
    settings = await session.conn.fetchrow(_DURABILITY)
    assert settings is not None
    off = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if settings[name] == "off"]
    if off:
        words = f"{', '.join(off)} is off"
        fix = "switch it on in postgresql.conf"
        yield fail(
            "durability", words, fix, code="durability", why="an acknowledged delivery may be gone after a power cut"
        )
    else:
        archive = "archived" if settings["archive_mode"] != "off" else "not archived: is there another backup of it?"
        yield ok("durability", f"what is committed survives a power cut; its log is {archive}", code="durability")


async def check_work(session: Session) -> AsyncIterator[Finding]:
    """Nothing stands still, nothing is lost."""
    status = await read_status(session.conn, session.tenant_id)
    for finding in _check_standing(status, datetime.now(UTC)):
        yield finding
    issues = await session.conn.fetchrow(_ISSUES, session.tenant_id)
    if issues is not None and issues["issues"]:
        words = f"{issues['issues']} issues with {issues['standing']} failures that stand"
        yield warn(
            "issues", words, "tidegate issues list", code="issues", why="each holds something up until it is mended"
        )
    else:
        yield ok("issues", "none", code="issues")
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


async def check_clock(session: Session) -> Finding:
    """Our clock and the database's."""
    server = await session.conn.fetchrow(_SERVER)
    assert server is not None
    server_now: datetime = server["now"]
    skew = abs((datetime.now(UTC) - server_now).total_seconds())
    if skew > CLOCK_SKEW_SECONDS_MAX:
        return warn(
            "clock",
            f"the database's clock differs by {skew:.1f} s",
            "run NTP on both machines",
            code="clock_skew",
            why="leases and deadlines are counted on both",
        )
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
