"""`/v1/issues`: like failures as one thing to mend, and sending everything of one cause again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta

from tidegate.dispatch import issue_actions, issue_retry
from tidegate.kernel.ids import public_id
from tidegate.monitor import issues as view
from tidegate.store.connections import Connection as Conn
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, WRITE_PROBLEMS, answer, body, needs, problems
from tidegate.web.api.identifiers import Connection, IdempotencyKey, id_pattern, parse_id
from tidegate.web.api.lists import CURSOR_CHARS_MAX, CURSOR_PATTERN, read_id_cursor, write_cursor

LIST = "issue_failures"
STEP_MAX = 200
IssueId = Annotated[str, PathParameter(description="Id of an issue.", pattern=id_pattern("iss"))]


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """A group of like failures."""

    id: str
    connection: Annotated[str | None, Meta(description="null: not of one connection")]
    failure_class: Annotated[str, Meta(description="What happens next: rejected, conflict, quarantined, ...")]
    operation: str
    code: str
    shape: Annotated[str, Meta(description="The reason's words, as far as they are known ones")]
    state: str
    first_seen_at: datetime
    last_seen_at: datetime
    seen: Annotated[int, Meta(description="Failures ever")]
    standing: Annotated[int, Meta(description="Of these, the ones that still stand")]
    retried: Annotated[int, Meta(description="Sent again and not over yet")]
    regressions: int
    orders: Annotated[int, Meta(description="Orders that it holds up")]
    skus: int
    meaning: str
    action: Annotated[str, Meta(description="What to do about it")]
    note: str | None
    assigned_to: str | None


class IssueFailure(msgspec.Struct, frozen=True, kw_only=True):
    """One failure of an issue."""

    id: Annotated[str, Meta(description="Of a command or an event")]
    failed_at: datetime
    retried: bool


class IssueDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An issue with its first failures."""

    issue: Issue
    failures: tuple[IssueFailure, ...]


class IssueList(msgspec.Struct, frozen=True, kw_only=True):
    """Issues, those with the most standing failures first."""

    items: tuple[Issue, ...]


class RetryPreview(msgspec.Struct, frozen=True, kw_only=True):
    """What a retry would do. Nothing was changed."""

    standing: int
    on_their_way: int
    looked_at: int
    takes: Annotated[int, Meta(description="Of those looked at, the ones that would go")]
    left_out: Annotated[int, Meta(description="In doubt: left alone unless they were looked up at the other side")]
    calls: Annotated[int, Meta(description="Requests that it costs at the least")]
    again: Annotated[dict[str, int], Meta(description="Why they would be refused again, to how many")]
    waits: Annotated[tuple[str, ...], Meta(description="Why nothing would leave now")]


class RetryIssue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to send its failures again."""

    limit: Annotated[int, Meta(ge=1, le=STEP_MAX, description="Failures of this step at most")] = STEP_MAX
    after: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=CURSOR_CHARS_MAX,
                pattern=CURSOR_PATTERN,
                description="`last` of the step before",
            ),
        ]
        | None
    ) = None
    rebuild: Annotated[bool, Meta(description="Make requests anew, under new keys")] = False
    in_doubt: Annotated[bool, Meta(description="Also what is in doubt, which you have looked up")] = False


class RetryStep(msgspec.Struct, frozen=True, kw_only=True):
    """What one step did."""

    sent: Annotated[tuple[str, ...], Meta(description="Ids of commands and events that go again")]
    skipped: int
    last: Annotated[str | None, Meta(description="Where the next step goes on; null when nothing is left")]


class ChangeIssue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of it."""

    acknowledge: Annotated[bool, Meta(description="Somebody has seen it")] = False
    resolve: Annotated[bool, Meta(description="Close it; a further failure opens it again")] = False
    note: Annotated[str, Meta(max_length=2000, description="Kept with it; empty takes it back")] | None = None
    assigned_to: Annotated[str, Meta(max_length=200, description="Whose it is; empty takes it back")] | None = None


class IssueState(msgspec.Struct, frozen=True, kw_only=True):
    """What an issue is after the action."""

    issue_id: str
    state: str


_AT = datetime.fromisoformat("2026-11-27T10:00:00+00:00")
_ISSUE = Issue(
    id="iss_c0_06c6vd1t9kfsm3k0b4xk9qk2zw",
    connection="erp",
    failure_class="rejected",
    operation="order.create",
    code="sku_unbound",
    shape="article ... is not known",
    state="open",
    first_seen_at=_AT,
    last_seen_at=_AT,
    seen=12,
    standing=12,
    retried=0,
    regressions=0,
    orders=12,
    skus=0,
    meaning="an article has no counterpart in that system",
    action="give the article the same SKU in both systems, then retry",
    note=None,
    assigned_to=None,
)
_FAILURE = IssueFailure(id="cmd_c0_06c6vd1t9kfsm3k0b4xk9qk2zw", failed_at=_AT, retried=False)
_PREVIEW = RetryPreview(
    standing=12, on_their_way=0, looked_at=12, takes=12, left_out=0, calls=12, again={"sku_unbound": 3}, waits=()
)


@get(
    "/",
    **needs("issues:read"),
    summary="List issues",
    responses={200: answer(IssueList, "Issues", IssueList(items=(_ISSUE,))), **problems(*READ_PROBLEMS)},
)
async def list_issues(
    desk: NamedDependency[Desk],
    limit: Annotated[int, QueryParameter(ge=1, le=200, description="How many at most.")] = 100,
    connection: Connection = None,
    resolved: Annotated[bool, QueryParameter(description="Resolved ones too.")] = False,
) -> IssueList:
    """Failures grouped by their cause, those with the most standing failures first. All in one answer."""
    async with desk.reading() as conn:
        await desk.find_connection(conn, connection)
        found = await view.list_issues(conn, desk.tenant_id, all_=resolved, connection=connection, limit=limit)
    return IssueList(items=tuple(_issue(each, desk.cell) for each in found))


@get(
    "/{issue_id:str}",
    **needs("issues:read"),
    summary="Show an issue",
    responses={
        200: answer(IssueDetail, "One issue", IssueDetail(issue=_ISSUE, failures=(_FAILURE,))),
        **problems(*READ_PROBLEMS),
    },
)
async def show_issue(desk: NamedDependency[Desk], issue_id: IssueId) -> IssueDetail:
    """One issue with the first failures of it, in the order in which a retry takes them."""
    wanted = parse_id("iss", issue_id)
    async with desk.reading() as conn:
        found = await view.read_issue(conn, desk.tenant_id, wanted)
    return IssueDetail(
        issue=_issue(found.issue, desk.cell),
        failures=tuple(
            IssueFailure(
                id=public_id("cmd" if each.kind == "command" else "evt", desk.cell, each.subject_id),
                failed_at=each.failed_at,
                retried=each.retried,
            )
            for each in found.members
        ),
    )


@get(
    "/{issue_id:str}/retry",
    **needs("issues:read"),
    summary="Preview a retry",
    responses={200: answer(RetryPreview, "What a retry would do", _PREVIEW), **problems(*READ_PROBLEMS, 422)},
)
async def preview_retry(
    desk: NamedDependency[Desk],
    issue_id: IssueId,
    in_doubt: Annotated[bool, QueryParameter(description="Also what is in doubt.")] = False,
) -> RetryPreview:
    """What sending its failures again would do and cost, and which of them would be refused again. Changes nothing."""
    wanted = parse_id("iss", issue_id)
    async with desk.reading() as conn:
        found = await issue_retry.preview_retry(
            conn, tenant_id=desk.tenant_id, issue_id=wanted, connectors=desk.world.connectors, in_doubt=in_doubt
        )
    return RetryPreview(**{name: getattr(found, name) for name in RetryPreview.__struct_fields__})


@post(
    "/{issue_id:str}/retry",
    **needs("issues:write"),
    status_code=200,
    summary="Retry an issue",
    responses={
        200: answer(RetryStep, "What the step did", RetryStep(sent=(_FAILURE.id,), skipped=0, last=None)),
        **problems(*WRITE_PROBLEMS),
    },
)
async def retry_issue(
    desk: NamedDependency[Desk],
    issue_id: IssueId,
    data: Annotated[RetryIssue, body("The next fifty", RetryIssue(limit=50))],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Send the next failures of an issue again, in order. Repeat with `after` and a new Idempotency-Key until `last` is null.

    What is on its way already is left alone. Look at the preview first: some may be refused again.
    """
    wanted = parse_id("iss", issue_id)
    after = read_id_cursor(LIST, data.after)

    async def effect(conn: Conn) -> RetryStep:
        step = await issue_retry.retry_step(
            conn,
            tenant_id=desk.tenant_id,
            issue_id=wanted,
            actor=desk.caller.actor,
            after=after,
            limit=data.limit,
            rebuild=data.rebuild,
            in_doubt=data.in_doubt,
        )
        last = write_cursor(LIST, step.last) if step.last is not None else None
        sent = tuple(desk.public("evt" if each in step.events else "cmd", each) for each in step.sent)
        return RetryStep(sent=sent, skipped=step.skipped, last=last)

    return await desk.once(idempotency_key, effect)


@post(
    "/{issue_id:str}",
    **needs("issues:write"),
    status_code=200,
    summary="Change an issue",
    responses={
        200: answer(IssueState, "Its state", IssueState(issue_id=_ISSUE.id, state="acknowledged")),
        **problems(*WRITE_PROBLEMS),
    },
)
async def change_issue(
    desk: NamedDependency[Desk],
    issue_id: IssueId,
    data: Annotated[ChangeIssue, body("It is mine", ChangeIssue(acknowledge=True, assigned_to="kim"))],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Say that it was seen, whose it is, what is known of it, or close it. All together, or nothing."""
    wanted = parse_id("iss", issue_id)
    tenant_id, actor = desk.tenant_id, desk.caller.actor

    async def effect(conn: Conn) -> IssueState:
        state = (await view.read_issue(conn, desk.tenant_id, wanted, members_max=1)).issue.state
        shown: str = state
        if data.note is not None or data.assigned_to is not None:
            shown = await issue_actions.note_issue(
                conn, tenant_id=tenant_id, issue_id=wanted, actor=actor, note=data.note, assigned_to=data.assigned_to
            )
        if data.acknowledge:
            shown = await issue_actions.acknowledge_issue(conn, tenant_id=tenant_id, issue_id=wanted, actor=actor)
        if data.resolve:
            shown = await issue_actions.resolve_issue(conn, tenant_id=tenant_id, issue_id=wanted, actor=actor)
        return IssueState(issue_id=desk.public("iss", wanted), state=shown)

    return await desk.once(idempotency_key, effect)


def build_router() -> Router:
    """Return the routes of issues."""
    return Router(
        "/issues", route_handlers=[list_issues, show_issue, preview_retry, retry_issue, change_issue], tags=["issues"]
    )


def _issue(issue: view.Issue, cell: str) -> Issue:
    own = {"id", "failure_class", "orders", "skus", "meaning", "action"}
    return Issue(
        id=public_id("iss", cell, issue.issue_id),
        failure_class=issue.class_,
        orders=issue.affected.orders,
        skus=issue.affected.skus,
        meaning=issue.fix.meaning,
        action=issue.fix.action,
        **{name: getattr(issue, name) for name in Issue.__struct_fields__ if name not in own},
    )
