"""`/v1/config`: the versions of the configuration; put one to work, or an earlier one again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter
from msgspec import Meta

from tidegate.config.compare import Meaning, changes, meanings
from tidegate.config.history import History, Version, read_history, read_version
from tidegate.config.parse import parse
from tidegate.config.records import Config
from tidegate.config.versions import VERSION_MAX
from tidegate.kernel.errors import ConfigurationError
from tidegate.mapping.references import Files
from tidegate.store.connections import Connection as Conn
from tidegate.sync.going_live import put_to_work
from tidegate.web.api.consent import require_consent
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, WRITE_PROBLEMS, answer, body, needs, problems
from tidegate.web.api.identifiers import IdempotencyKey
from tidegate.web.api.lists import EXAMPLE_CURSOR, Cursor, Limit, read_cursor, write_cursor
from tidegate.web.problems import InvalidPart, ProblemError

LIST = "config"
Number = Annotated[int, PathParameter(ge=1, le=VERSION_MAX, description="Number of a version.")]
Consent = Annotated[
    bool, Meta(description="Say yes to what `meanings` tells: something begins to write, or rights change")
]


class ConfigSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A version in short."""

    version: int
    applied_by: str
    applied_at: datetime
    is_valid: Annotated[bool, Meta(description="False: this release refuses it")]


class ConfigPage(msgspec.Struct, frozen=True, kw_only=True):
    """Versions, newest first."""

    items: tuple[ConfigSummary, ...]
    next_cursor: Annotated[str | None, Meta(description="For the next page; null on the last one")]


class ConfigDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One version with its text. Secrets are never part of it."""

    version: int
    applied_by: str
    applied_at: datetime
    is_valid: bool
    document: Annotated[str, Meta(description="The text, YAML")]
    files: Annotated[tuple[str, ...], Meta(description="Names of the files that it uses")]


class ApplyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A configuration to put to work."""

    document: Annotated[str, Meta(min_length=1, max_length=500_000, description="The whole text, YAML")]
    consent: Consent = False
    dry_run: Annotated[bool, Meta(description="Only say what would change")] = False


class RollBack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to go back."""

    consent: Consent = False
    dry_run: Annotated[bool, Meta(description="Only say what would change")] = False


class ConfigChange(msgspec.Struct, frozen=True, kw_only=True):
    """A value that differs."""

    path: str
    before: Annotated[Any, Meta(description="null: not set")]
    after: Any


class ConfigMeaning(msgspec.Struct, frozen=True, kw_only=True):
    """What follows in what runs."""

    kind: Annotated[str, Meta(description="writes, rights, restart or note")]
    words: str


class ConfigApplied(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it."""

    version: Annotated[int, Meta(description="The version that is at work now")]
    is_new: Annotated[bool, Meta(description="False: it was at work already, or nothing was changed")]
    dry_run: bool
    changes: tuple[ConfigChange, ...]
    meanings: tuple[ConfigMeaning, ...]


_AT = datetime.fromisoformat("2026-11-27T10:00:00+00:00")
_SUMMARY = ConfigSummary(version=3, applied_by="cli:kim", applied_at=_AT, is_valid=True)
_TEXT = "connections: {}\n"
_DETAIL = ConfigDetail(version=3, applied_by="cli:kim", applied_at=_AT, is_valid=True, document=_TEXT, files=())
_APPLIED = ConfigApplied(
    version=4,
    is_new=True,
    dry_run=False,
    changes=(ConfigChange(path="flows.stock.mode", before="observe", after="live"),),
    meanings=(ConfigMeaning(kind="writes", words="stock numbers are told to shop"),),
)


@get(
    "/versions",
    **needs("config:read"),
    summary="List configurations",
    responses={
        200: answer(ConfigPage, "Versions", ConfigPage(items=(_SUMMARY,), next_cursor=EXAMPLE_CURSOR)),
        **problems(*READ_PROBLEMS),
    },
)
async def list_versions(desk: NamedDependency[Desk], limit: Limit = 50, cursor: Cursor = None) -> ConfigPage:
    """The versions of the configuration, newest first: by whom and when they were put to work."""
    after = read_cursor(LIST, cursor)
    if after is not None and not (after.isascii() and after.isdigit() and int(after) <= VERSION_MAX):
        raise ProblemError(404, "cursor_unknown", "no list has this position")
    async with desk.reading() as conn:
        below = int(after) if after is not None else VERSION_MAX
        found = await read_history(conn, desk.tenant_id, limit=limit + 1, below=below)
    more = write_cursor(LIST, str(found[limit - 1].version)) if len(found) > limit else None
    return ConfigPage(items=tuple(_summary(each) for each in found[:limit]), next_cursor=more)


@get(
    "/versions/{number:int}",
    **needs("config:read"),
    summary="Show a configuration",
    responses={200: answer(ConfigDetail, "One version", _DETAIL), **problems(*READ_PROBLEMS)},
)
async def show_version(desk: NamedDependency[Desk], number: Number) -> ConfigDetail:
    """One version of the configuration with its text."""
    async with desk.reading() as conn:
        found = await read_version(conn, desk.tenant_id, number)
    summary = msgspec.structs.asdict(_summary(found))
    return ConfigDetail(document=found.document, files=tuple(sorted(found.files)), **summary)


@post(
    "/",
    **needs("config:write"),
    status_code=200,
    summary="Apply a configuration",
    responses={200: answer(ConfigApplied, "It is at work", _APPLIED), **problems(*WRITE_PROBLEMS)},
)
async def apply_config(
    desk: NamedDependency[Desk],
    data: Annotated[ApplyConfig, body("Only say what would change", ApplyConfig(document=_TEXT, dry_run=True))],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Put a configuration to work as a new version, which workers take over within seconds.

    Where something begins to write or rights change, `consent` is asked for: without it the answer is 422
    `consent_needed` and says what it means. What is not valid never gets to work. Files that it names (value tables,
    hooks) are those of the version before. A file in a project folder is not changed: `tidegate config pull` writes it.
    """

    async def effect(conn: Conn) -> ConfigApplied:
        return await _put(desk, conn, data.document, None, consent=data.consent, dry_run=data.dry_run)

    return await desk.once(idempotency_key, effect)


@post(
    "/versions/{number:int}/rollback",
    **needs("config:write"),
    status_code=200,
    summary="Roll a configuration back",
    responses={200: answer(ConfigApplied, "It is at work again", _APPLIED), **problems(*WRITE_PROBLEMS)},
)
async def roll_back(
    desk: NamedDependency[Desk],
    number: Number,
    data: Annotated[RollBack, body("Only say what would change", RollBack(dry_run=True))],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Put an earlier version to work again, with its own files, as a new version. `consent` as when one is applied."""

    async def effect(conn: Conn) -> ConfigApplied:
        wanted = await read_version(conn, desk.tenant_id, number)
        return await _put(desk, conn, wanted.document, wanted.files, consent=data.consent, dry_run=data.dry_run)

    return await desk.once(idempotency_key, effect)


def build_router() -> Router:
    """Return the routes of the configuration."""
    return Router("/config", route_handlers=[list_versions, show_version, apply_config, roll_back], tags=["config"])


async def _put(
    desk: Desk, conn: Conn, document: str, files: Files | None, *, consent: bool, dry_run: bool
) -> ConfigApplied:
    """Put a document to work for the caller's tenant, and for no other.

    Raises ConfigurationError when it is not valid, ProblemError when consent is needed or it is another tenant's.
    """
    newest = await History(conn, desk.tenant_id).newest()
    wanted = parse(document, connectors=desk.world.connectors or None)
    if newest is None or newest.config.tenant != wanted.tenant:
        raise ProblemError(
            422,
            "tenant_foreign",
            "the configuration names another tenant than this key is for",
            errors=(InvalidPart(pointer="/document", message="`tenant` is not yours"),),
        )
    before: Config = newest.config
    told = meanings(before, wanted)
    require_consent(told, is_given=consent or dry_run)
    changed = tuple(
        ConfigChange(path=each.path, before=each.before, after=each.after) for each in changes(before, wanted)
    )
    version, is_new = newest.version, False
    if not dry_run:
        made = await put_to_work(
            conn,
            document,
            applied_by=desk.caller.actor,
            files=files,
            connectors=desk.world.connectors or None,
            expected_version=newest.version,
        )
        if made.tenant_id != desk.tenant_id:
            raise ConfigurationError("it is another tenant's", code="tenant_foreign")
        version, is_new = made.version, made.is_new
    return ConfigApplied(
        version=version,
        is_new=is_new,
        dry_run=dry_run,
        changes=changed,
        meanings=tuple(_meaning(each) for each in told),
    )


def _summary(version: Version) -> ConfigSummary:
    return ConfigSummary(
        version=version.version,
        applied_by=version.applied_by,
        applied_at=version.applied_at,
        is_valid=version.found is not None,
    )


def _meaning(meaning: Meaning) -> ConfigMeaning:
    return ConfigMeaning(kind=meaning.kind, words=meaning.words)
