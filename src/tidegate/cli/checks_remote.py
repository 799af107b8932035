"""What `tidegate doctor` asks the other sides: all connections at once, each with a deadline, none of them can hold it up."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from tidegate.cli.checks import Area, Finding, Repair, fail, of_area, ok, warn
from tidegate.cli.session import Session, operator
from tidegate.eventlog import self_test
from tidegate.intake.self_test import Leg, SelfTest, deliver
from tidegate.kernel.clock import SystemClock
from tidegate.kernel.errors import AuthenticationError, ConfigurationError, TidegateError
from tidegate.kernel.fixes import fix_of
from tidegate.kernel.ids import new_id
from tidegate.kernel.redaction import Secret
from tidegate.sdk.budgets import speed_of
from tidegate.sdk.client import HttpApi
from tidegate.sdk.connector import Connector
from tidegate.sdk.health import ApiVersion, CredentialLife, Grants, Limits, SubscriptionHealth
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.webhook_path import WebhookPaths
from tidegate.vault import credentials
from tidegate.vault.tokens import StoredTokens, TokenVault

T = TypeVar("T")
QUESTION_SECONDS = 10.0
"""For one question to one platform."""
CONNECTION_SECONDS = 40.0
"""For all questions to one platform."""
REMOTE_SKEW_SECONDS_MAX = 60.0
"""A Date header has whole seconds, and signatures tolerate minutes."""
EXPIRES_DAYS_SOON = 21
STALE_DELIVERY_SECONDS = 900.0
"""Deliveries that wait longer than this are not only slow."""
_CONNECTIONS = query("doctor_connections")
_RESUME = query("doctor_resume")
_DELIVERED_VERSIONS = query("doctor_delivered_versions")
_SET_WEBHOOK_STATE = query("connect_set_webhook_state")
_ANNOUNCE = query("connect_announce")
_AUDIT = query("audit_add")


@dataclass
class Remote:
    """One connection under examination."""

    name: str
    connection_id: UUID
    connector: Connector
    settings: Mapping[str, Any]
    state: str
    api: HttpApi
    url: str = ""
    """Our public webhook address."""
    secret: Secret | None = None
    findings: list[Finding] = field(default_factory=list)
    repairs: list[Repair] = field(default_factory=list)

    @property
    def check(self) -> str:
        """What findings about it are called."""
        return f"connection {self.name}"

    def add(self, area: Area, finding: Finding, act: Callable[[Session], Awaitable[str]] | None = None) -> None:
        """Keep a finding, with its repair."""
        placed = of_area(area, finding)
        self.findings.append(placed)
        if act is not None:
            self.repairs.append(Repair(finding=placed, act=act))


async def open_remotes(session: Session, connectors: Mapping[str, Connector]) -> tuple[list[Remote], list[Finding]]:
    """Return the connections that can be asked, and findings about those that cannot. Reads secrets; asks nobody yet."""
    remotes: list[Remote] = []
    findings: list[Finding] = []
    for row in await session.conn.fetch(_CONNECTIONS, session.tenant_id):
        connector = connectors.get(row["connector"])
        if connector is None or row["name"] not in session.config.connections:
            continue
        try:
            remotes.append(await _open(session, row, connector))
        except TidegateError as error:
            findings.append(
                of_area(
                    "secrets",
                    fail(
                        f"connection {row['name']}",
                        str(error),
                        error.hint or f"tidegate connect {row['name']}",
                        code=error.code,
                        why="without its secrets nothing is read from it or written to it",
                    ),
                )
            )
    return remotes, findings


async def _open(session: Session, row: Any, connector: Connector) -> Remote:
    settings = msgspec.json.decode(row["settings"])
    ring, ids = session.key_ring(), (session.tenant_id, row["connection_id"])
    secrets = await credentials.get_all(session.conn, ring, *ids, "credential")
    allow = [ip_network(text) for text in session.config.network.allow]
    kept = await TokenVault(ring, session.tenant_id, row["name"]).read(session.conn) if connector.oauth else None
    api = HttpApi(
        connector,
        str(settings.get("base_url", "")),
        settings,
        secrets,
        allow=allow,
        clock=SystemClock(),
        tokens=_HeldToken(kept) if kept is not None else None,
    )
    remote = Remote(row["name"], row["connection_id"], connector, settings, row["state"], api)
    if kept is not None:
        remote.add("secrets", judge_tokens(remote.check, remote.name, kept, datetime.now(UTC)))
    if connector.webhook is not None and row["path_hash"] is not None:
        paths = WebhookPaths(session.project.read_root_key(), session.config.cell)
        path = paths.path(row["connection_id"], int(settings.get("webhook_generation", 1)))
        active = await credentials.active_webhook_secrets(session.conn, ring, *ids)
        remote.url = session.config.webhook_base + path
        remote.secret = active[0] if active else None
        await compare_deliveries(session.conn, session.tenant_id, remote)
    remote.add("secrets", ok(remote.check, "its secrets can be read", code="secrets_readable"))
    return remote


async def compare_deliveries(conn: Connection, tenant_id: UUID, remote: Remote) -> None:
    """Compare the API version of the newest deliveries with the one that the connector was made for."""
    pinned, webhook = remote.connector.api_version, remote.connector.webhook
    if not pinned or webhook is None or not webhook.version_header:
        return
    told = await conn.fetch(
        _DELIVERED_VERSIONS, tenant_id, remote.connection_id, webhook.version_header, self_test.TOPIC
    )
    others = [f"{row['version']} ({row['deliveries']})" for row in told if row["version"] != pinned]
    if not others:
        return
    words = f"of its newest deliveries some are of API version {', '.join(others)} instead of {pinned}"
    remote.add(
        "webhooks",
        warn(
            remote.check,
            words,
            f"set the webhook version of the app to {pinned}; if that is not on offer any more, install a newer Tidegate",
            code="webhook_version_drift",
            why="fields of another version may be missing or mean something else",
        ),
    )


class _HeldToken:
    """The stored token as it is: looking changes nothing, so it is not renewed."""

    def __init__(self, kept: StoredTokens) -> None:
        self._kept = kept

    async def access(self, refused: Secret | None = None) -> tuple[Secret, datetime | None]:
        """See `sdk.oauth.TokenSource`."""
        if refused is not None or self._kept.refused is not None:
            raise AuthenticationError("the stored access token is not accepted", code="token_refused")
        return Secret(self._kept.tokens.access), None


def judge_tokens(check: str, name: str, kept: StoredTokens, now: datetime) -> Finding:
    """Return the finding about tokens that expire: until when they are good, and who has to do something. Pure."""
    tokens = kept.tokens
    if kept.refused is not None:
        fix = f"authorise the app anew: tidegate authorise {name}"
        why = "nothing is read from it or written to it until then"
        return fail(check, kept.refused, fix, code="token_refused", why=why)
    life = (
        f"its access token is good until {tokens.expires_at:%Y-%m-%d %H:%M} UTC"
        if tokens.expires_at
        else "its access token does not expire"
    )
    renews = (
        f"renewed by itself from {kept.use_until:%H:%M} on"
        if kept.use_until is not None
        else "renewed when it is refused"
    )
    words = f"{life}, {renews}"
    ends = tokens.refresh_expires_at
    if ends is not None:
        words += f"; the refresh token is good until {ends:%Y-%m-%d}, and replaced at each renewal"
    if ends is not None and ends <= now:
        fix = f"authorise the app anew: tidegate authorise {name}"
        return fail(check, words, fix, code="token_expired", why="nobody can renew it any more")
    if tokens.expires_at is not None and tokens.expires_at <= now:
        fix = "tidegate up, and look at the log of dispatch: it renews tokens when it needs them"
        return warn(check, words, fix, code="token_not_renewed", why="it has expired and is renewed at the next call")
    return ok(check, words, code="token_life")


async def ask_all(remotes: list[Remote], progress: Callable[[str], None]) -> None:
    """Ask every platform at the same time; each gets its findings."""
    await asyncio.gather(*(_ask_one(remote, progress) for remote in remotes))


async def _ask_one(remote: Remote, progress: Callable[[str], None]) -> None:
    try:
        async with asyncio.timeout(CONNECTION_SECONDS):
            await _ask(remote)
    except TimeoutError:
        remote.add(
            "connections",
            fail(
                remote.check,
                f"the other side answers too slowly: not done after {CONNECTION_SECONDS:.0f} s",
                "is it up? The checks that are missing were not made",
                code="too_slow",
            ),
        )
    finally:
        await remote.api.close()
        progress(f"{remote.name}: asked")


async def _ask(remote: Remote) -> None:
    if not await _log_in(remote):
        return
    _judge_clock(remote)
    checks = remote.connector.checks
    if checks.grants is not None:
        await _ask_about(remote, "scopes", checks.grants(remote.api), _judge_grants)
    else:
        remote.add("scopes", ok(remote.check, "the platform does not tell what the credential may do", code="not_told"))
    if checks.webhook is not None and remote.url:
        await _ask_about(remote, "webhooks", checks.webhook(remote.api, remote.url), _judge_webhook)
    if checks.credential is not None:
        await _ask_about(remote, "secrets", checks.credential(remote.api), _judge_life)
    if checks.version is not None:
        await _ask_about(remote, "connections", checks.version(remote.api), _judge_version)
    if checks.limits is not None:
        await _ask_about(remote, "limits", checks.limits(remote.api), _judge_limits)
    else:
        _judge_limits(remote, Limits())


async def _ask_about(remote: Remote, area: Area, question: Awaitable[T], judge: Callable[[Remote, T], None]) -> None:
    """Ask one thing; an answer is judged, a refusal is a finding of its own and ends nothing."""
    try:
        async with asyncio.timeout(QUESTION_SECONDS):
            answer = await question
    except TimeoutError:
        remote.add(
            area, warn(remote.check, f"no answer in {QUESTION_SECONDS:.0f} s", "ask again later", code="no_answer")
        )
    except TidegateError as error:
        remote.add(
            area,
            warn(
                remote.check,
                f"it could not be asked: {error}",
                error.hint or fix_of(error.code).action,
                code=error.code,
            ),
        )
    except Exception as error:  # a connector's bug must not hide what the other checks find
        words = f"its connector failed at this question: {type(error).__name__}"
        remote.add(area, warn(remote.check, words, "report it: this is a bug", code="connector_defect"))
    else:
        judge(remote, answer)


async def _log_in(remote: Remote) -> bool:
    """Make the cheapest authenticated call there is. Where a person's turn was waited for, offer to go on."""
    try:
        async with asyncio.timeout(QUESTION_SECONDS):
            await remote.api.session()
    except Exception as error:
        area: Area = "secrets" if isinstance(error, (AuthenticationError, KeyError)) else "connections"
        code, hint, words = _describe(error)
        again = f"tidegate connect {remote.name}"
        fix = again if isinstance(error, (AuthenticationError, ConfigurationError)) else f"is it up? if it is: {again}"
        remote.add(
            area,
            fail(
                remote.check,
                f"the other side: {words}",
                hint or fix,
                code=code,
                why="orders and numbers wait until it lets us in",
            ),
        )
        return False
    remote.add("secrets", ok(remote.check, "the other side lets us in", code="credential_valid"))
    if remote.state in ("paused", "waiting_auth"):

        async def go_on(session: Session) -> str:
            return await resume(session, remote)

        remote.add(
            "connections",
            warn(
                remote.check,
                f"it is {remote.state}, though the other side lets us in now",
                "tidegate doctor --fix",
                code="resumable",
                repair=f"let {remote.name} go on",
            ),
            go_on,
        )
    return True


def _describe(error: Exception) -> tuple[str, str | None, str]:
    """Return code, hint and words of what a log-in met."""
    if isinstance(error, TidegateError):
        return error.code, error.hint, str(error)
    if isinstance(error, TimeoutError):
        return "too_slow", None, f"no answer in {QUESTION_SECONDS:.0f} s"
    if isinstance(error, KeyError):
        return "credential_missing", None, "a credential is missing"
    return "connector_defect", "report it: this is a bug", f"its connector failed: {type(error).__name__}"


def _judge_clock(remote: Remote) -> None:
    skew = remote.api.clock_skew_seconds
    if skew is None:
        remote.add("clock", ok(remote.check, "it does not tell its clock", code="not_told"))
    elif abs(skew) > REMOTE_SKEW_SECONDS_MAX:
        whose = "ahead of" if skew > 0 else "behind"
        remote.add(
            "clock",
            warn(
                remote.check,
                f"its clock is {abs(skew):.0f} s {whose} ours",
                "run NTP on both machines (timedatectl set-ntp true)",
                code="clock_skew",
                why="deliveries signed more than 5 minutes off are refused, and changes can look older than they are",
            ),
        )
    else:
        remote.add("clock", ok(remote.check, "its clock agrees with ours", code="clock_skew"))


def _judge_grants(remote: Remote, grants: Grants) -> None:
    if grants.missing:
        remote.add(
            "scopes",
            fail(
                remote.check,
                f"the credential may not: {', '.join(grants.missing)}",
                f"grant it there, as the README of the connector {remote.connector.name} says",
                code="scopes_missing",
                why="what needs it is refused, often only when the first order comes",
            ),
        )
    else:
        unknown = f"; it does not tell: {', '.join(grants.unknown)}" if grants.unknown else ""
        remote.add("scopes", ok(remote.check, f"the credential may do what is needed{unknown}", code="scopes"))
    if grants.surplus:
        remote.add(
            "scopes",
            warn(
                remote.check,
                f"the credential may also: {', '.join(grants.surplus[:10])}",
                "make a credential with fewer rights for Tidegate alone",
                code="scopes_surplus",
                why="whoever gets hold of it could do all of that",
            ),
        )


def _judge_webhook(remote: Remote, health: SubscriptionHealth) -> None:
    why = "what happens there is heard only by polling, late, or not at all"

    async def again(session: Session) -> str:
        return await register_again(session, remote)

    repair = f"register the webhook of {remote.name} again" if remote.connector.subscribe is not None else None
    act = again if repair is not None and remote.secret is not None else None
    fix = "tidegate doctor --fix" if act is not None else "set it up there"
    problems = []
    if not health.present:
        problems.append(("webhook_absent", "it has no subscription with our address"))
    elif not health.enabled:
        problems.append(("webhook_disabled", "it switched our subscription off"))
    if health.present and health.missing_topics:
        problems.append(("webhook_topics", f"our subscription lacks: {', '.join(health.missing_topics)}"))
    for code, words in problems:
        remote.add("webhooks", fail(remote.check, words, fix, code=code, why=why, repair=repair), act)
    if health.present and health.waiting and health.oldest_waiting_at is not None:
        age = (datetime.now(UTC) - health.oldest_waiting_at).total_seconds()
        if age > STALE_DELIVERY_SECONDS:
            words = f"{health.waiting} deliveries wait there, the oldest for {age / 60:.0f} min"
            words += f": {health.failure}" if health.failure else ""
            remote.add(
                "webhooks", warn(remote.check, words, "see the self-test below", code="webhook_waiting", why=why)
            )
    if health.others:
        words = f"it also delivers to {', '.join(health.others)}"
        fix = "remove what is old there; another installation of yours may stay"
        remote.add("webhooks", warn(remote.check, words, fix, code="webhook_others"))
    if not problems:
        told = (
            "" if health.last_delivered_at is None else f", last delivery {health.last_delivered_at:%Y-%m-%d %H:%M} UTC"
        )
        remote.add("webhooks", ok(remote.check, f"its subscription has our address{told}", code="webhook"))


def _judge_version(remote: Remote, version: ApiVersion) -> None:
    newer = f"install a newer Tidegate: this one speaks {version.pinned}"
    if version.served and version.served != version.pinned:
        remote.add(
            "connections",
            fail(
                remote.check,
                f"it answers in API version {version.served}, asked was {version.pinned}",
                newer,
                code="api_version_drift",
                why="a version that is not supported any more is answered by another one, whose fields may mean something else",
            ),
        )
    elif version.supported and version.pinned not in version.supported:
        words = f"it does not list API version {version.pinned} any more (it lists {', '.join(version.supported)})"
        remote.add("connections", warn(remote.check, words, newer, code="api_version_unlisted"))
    elif version.supported[:1] == (version.pinned,) and len(version.supported) > 1:
        words = f"API version {version.pinned} is the oldest that it still supports"
        remote.add("connections", warn(remote.check, words, newer, code="api_version_oldest"))
    else:
        remote.add("connections", ok(remote.check, f"it speaks API version {version.pinned}", code="api_version"))


def _judge_life(remote: Remote, life: CredentialLife) -> None:
    if life.expires_at is None:
        remote.add("secrets", ok(remote.check, "its credential does not expire by itself", code="credential_life"))
        return
    days = (life.expires_at - datetime.now(UTC)).total_seconds() / 86_400
    words = f"its credential expires on {life.expires_at:%Y-%m-%d}"
    if life.renews_itself or days > EXPIRES_DAYS_SOON:
        remote.add("secrets", ok(remote.check, words, code="credential_life"))
        return
    make = fail if days <= 2 else warn
    fix = f"make a new one there, then tidegate connect {remote.name}"
    remote.add("secrets", make(remote.check, words, fix, code="credential_expires", why="then everything stops"))


def _judge_limits(remote: Remote, limits: Limits) -> None:
    budget = remote.connector.budget
    speed = speed_of(budget)
    ours = f"we spend at most {speed.per_second:g} calls/s (burst {speed.burst:g})"
    if not math.isfinite(speed.per_second):
        ours = f"we make at most {remote.connector.concurrency_max} calls at the same time"
    if limits.per_second is None:
        remote.add("limits", ok(remote.check, f"it announces no limit; {ours}: {budget.source}", code="limits"))
    elif limits.per_second < speed.per_second:
        remote.add(
            "limits",
            warn(
                remote.check,
                f"it allows {limits.per_second:g} calls/s ({limits.source}), and {ours}",
                "ask for a higher limit there, or report that the connector's budget is too high",
                code="limits_exceeded",
                why="calls are refused, and a payment may wait behind a catalogue",
            ),
        )
    else:
        remote.add("limits", ok(remote.check, f"it allows {limits.per_second:g} calls/s; {ours}", code="limits"))


# --- the way back to us ---------------------------------------------------------------------------------------------
async def test_deliveries(session: Session, remotes: list[Remote], progress: Callable[[str], None]) -> None:
    """Send one signed delivery per connection through the public address and wait until it is applied, one after the other."""
    for remote in remotes:
        webhook = remote.connector.webhook
        if webhook is None or not remote.url or remote.secret is None:
            continue
        if webhook.sign is None:
            remote.add(
                "webhooks", ok(remote.check, "its scheme cannot be signed by us: no self-test", code="not_signed")
            )
            continue
        progress(f"{remote.name}: a delivery to ourselves")
        seen = await deliver(
            session.conn,
            session.tenant_id,
            remote.connection_id,
            webhook,
            url=remote.url,
            secret=remote.secret,
            cell=session.config.cell,
        )
        remote.add("webhooks", judge_self_test(remote.check, seen, session.config.webhook_base))


def judge_self_test(check: str, seen: SelfTest, base: str) -> Finding:
    """Return the finding of a self-test. Pure; the address without its secret path."""
    if seen.leg is Leg.DONE:
        words = f"a delivery through {base} was answered in {seen.answer_ms} ms and applied after {seen.applied_ms} ms"
        return ok(check, words, code="self_test")
    words, fix = _LEGS[seen.leg]
    status = f" ({seen.status})" if seen.status is not None else ""
    return fail(
        check,
        f"a delivery to ourselves through {base}: {words}{status}",
        fix,
        code=f"self_test_{seen.leg}",
        why="what the sender meets is the same: webhooks do not arrive, and only polling finds what happened",
    )


_LEGS: Mapping[Leg, tuple[str, str]] = {
    Leg.NAME: ("the host's name does not resolve", "mend public_url in tidegate.yaml, or the name's DNS record"),
    Leg.CONNECT: (
        "nobody takes the connection",
        "is `tidegate up` running, and does the proxy or tunnel lead to listen.port?",
    ),
    Leg.TLS: ("the certificate is not trusted", "renew the certificate of the proxy (its whole chain)"),
    Leg.ANSWER: ("no answer came in time", "does the proxy lead to listen.port? look into logs/door-1.log"),
    Leg.REFUSED: (
        "our door refused it",
        "the proxy must pass the body as it is; is it the same installation? are the clocks right?",
    ),
    Leg.NOT_OURS: ("something else answered", "the proxy must pass POST /in/ as it is, without a redirect"),
    Leg.UNAVAILABLE: ("it cannot be stored now", "tidegate doctor --only database; is the disk full?"),
    Leg.ELSEWHERE: ("it was accepted, and is not in this database", "the address leads to another installation"),
    Leg.NOT_APPLIED: ("it was stored and not applied", "are apply processes running? tidegate status"),
}


# --- repairs --------------------------------------------------------------------------------------------------------
async def register_again(session: Session, remote: Remote) -> str:
    """Register address and secret, as they are, at the platform once more."""
    connector = remote.connector
    if connector.subscribe is None or remote.secret is None:
        raise ConfigurationError("it cannot be registered from here", code="not_registrable")
    try:
        subscription = await connector.subscribe(remote.api, remote.url, remote.secret)
    finally:
        await remote.api.close()
    state = "registered" if subscription.registered else "manual"
    async with session.conn.transaction():
        await session.conn.execute(_SET_WEBHOOK_STATE, session.tenant_id, remote.connection_id, state)
        await _record(session, "webhook.registered", remote.name, f'{{"state":"{state}"}}')
    return subscription.explanation


async def resume(session: Session, remote: Remote) -> str:
    """Let a connection go on that waited for a person."""
    async with session.conn.transaction():
        name = await session.conn.fetchval(_RESUME, session.tenant_id, remote.connection_id)
        if name is None:
            return "it goes on already"
        await _record(session, "connection.resumed", remote.name, "{}")
        await session.conn.execute(_ANNOUNCE, str(remote.connection_id))
    return "it goes on"


async def _record(session: Session, action: str, subject: str, detail: str) -> None:
    await session.conn.execute(_AUDIT, session.tenant_id, new_id(), operator(), action, subject, detail)
