"""The course of `tidegate issues retry`: preview, question, canary, steps, summary."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import click

from tidegate.cli.output import plain, print_json, safe_line
from tidegate.cli.session import Session, operator
from tidegate.dispatch.issue_retry import PREVIEW_MAX, Preview, Result, preview_retry, read_result, retry_step
from tidegate.monitor.issues import list_members
from tidegate.sdk.connector import Connector

POLL_SECONDS = 0.5
EXIT_CANARY = 1


@dataclass(frozen=True, kw_only=True)
class RetryOptions:
    """What was asked for."""

    issue_id: UUID
    limit: int | None
    rebuild: bool
    in_doubt: bool
    canary: int
    canary_seconds: int
    is_dry: bool
    asks: bool
    as_json: bool


@dataclass
class _Course:
    """How far a retry came."""

    sent: int = 0
    skipped: int = 0
    canaries: dict[str, str] = field(default_factory=dict)
    after: UUID | None = None
    is_over: bool = False


async def run_retry(session: Session, connectors: Mapping[str, Connector], options: RetryOptions) -> int:
    """Do it; return the exit status: 0 done, 1 a canary did not succeed."""
    preview = await preview_retry(
        session.conn,
        tenant_id=session.tenant_id,
        issue_id=options.issue_id,
        connectors=connectors,
        in_doubt=options.in_doubt,
        limit=options.limit,
    )
    if not options.as_json:
        _print_preview(preview, options)
    if options.is_dry or not preview.takes:
        if options.as_json:
            print_json({"preview": plain(preview), "sent": 0, "skipped": 0})
        return 0
    if options.asks:
        click.confirm(f"Send {_number(preview, options)} again?", abort=True, err=True)
    course = _Course()
    try:
        status = await _send(session, options, course, preview)
    finally:
        if options.as_json:
            print_json(
                {"preview": plain(preview), "sent": course.sent, "skipped": course.skipped, "canaries": course.canaries}
            )
        else:
            click.echo(f"sent again: {course.sent}, skipped: {course.skipped}")
    return status


async def _send(session: Session, options: RetryOptions, course: _Course, preview: Preview) -> int:
    if options.canary and not await _canary_lives(session, options, course):
        return EXIT_CANARY
    is_live = not options.as_json
    while not course.is_over and (options.limit is None or course.sent < options.limit):
        await _step(session, options, course, left=None if options.limit is None else options.limit - course.sent)
        if is_live:
            click.echo(f"\r{course.sent} of {_number(preview, options)} sent again", nl=False, err=True)
    if is_live:
        click.echo(err=True)
    return 0


async def _step(session: Session, options: RetryOptions, course: _Course, *, left: int | None) -> tuple[UUID, ...]:
    limits = {} if left is None else {"limit": left}
    step = await retry_step(
        session.conn,
        tenant_id=session.tenant_id,
        issue_id=options.issue_id,
        actor=operator(),
        after=course.after,
        rebuild=options.rebuild,
        in_doubt=options.in_doubt,
        **limits,
    )
    course.sent += len(step.sent)
    course.skipped += step.skipped
    course.after = step.last or course.after
    course.is_over = step.last is None
    return step.sent


async def _canary_lives(session: Session, options: RetryOptions, course: _Course) -> bool:
    """Send the first ones and wait for their answers; say what kept them when they have none."""
    sent: list[UUID] = []
    while len(sent) < options.canary and not course.is_over:
        sent += await _step(session, options, course, left=options.canary - len(sent))
    events = await _events(session, options, sent)
    for subject in sent:
        result = await _wait(session, options, subject, is_event=subject in events)
        course.canaries[str(subject)] = result.state
        if result.state != "succeeded":
            words = {
                "failed": f"failed again ({result.code}: {result.reason})",
                "waiting": f"has no answer after {options.canary_seconds} s",
            }[result.state]
            click.echo(safe_line(f"the canary {words}; nothing else was sent"), err=True)
            return False
        click.echo("the canary succeeded", err=True)
    return True


async def _events(session: Session, options: RetryOptions, subjects: list[UUID]) -> set[UUID]:
    """Return which of these are events: an issue has either those or commands."""
    members = await list_members(session.conn, session.tenant_id, options.issue_id, limit=1)
    return set(subjects) if members and members[0].kind == "event" else set()


async def _wait(session: Session, options: RetryOptions, subject: UUID, *, is_event: bool) -> Result:
    result = Result(state="waiting")
    try:
        async with asyncio.timeout(options.canary_seconds):
            while result.state == "waiting":
                result = await read_result(
                    session.conn, tenant_id=session.tenant_id, subject_id=subject, is_event=is_event
                )
                if result.state == "waiting":
                    await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        return Result(state="waiting")
    return result


def _number(preview: Preview, options: RetryOptions) -> int:
    whole = preview.takes if preview.looked_at < PREVIEW_MAX else preview.standing
    return min(whole, options.limit) if options.limit is not None else whole


_AGAIN = {
    "sku_unbound": "would be refused again: their article still has no counterpart there",
    "overtaken": "are left alone: a later command of their target went out already",
    "same_code": "would be put aside again: connector and code are those that could not read them",
}


def _print_preview(preview: Preview, options: RetryOptions) -> None:
    lines: list[Any] = [
        f"{preview.standing} failures stand, {preview.on_their_way} are on their way again",
        f"to send again: {_number(preview, options)}, at the cost of {preview.calls} calls"
        + (f" for the first {preview.looked_at}" if preview.looked_at >= PREVIEW_MAX else ""),
    ]
    if preview.first:
        lines.append(f"first: {', '.join(preview.first)}")
    if preview.left_out:
        lines.append(
            f"{preview.left_out} are in doubt and left alone; when you have looked that they were not carried out: --in-doubt"
        )
    lines += [f"{count} {_AGAIN[why]}" for why, count in sorted(preview.again.items())]
    lines += list(preview.waits)
    if not preview.fix.is_cured_by_retry:
        lines.append(f"the cause comes first: {preview.fix.action}")
    if preview.fix.wants_rebuild and not options.rebuild:
        lines.append("the frozen requests hold what was refused: --rebuild makes them anew")
    for line in lines:
        click.echo(safe_line(str(line)), err=options.as_json)
