"""`tidegate issues`: like failures as one thing to mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import click

from tidegate.cli.issue_retry import RetryOptions, run_retry
from tidegate.cli.output import print_json, print_table, safe_line, show_age, show_time
from tidegate.cli.session import Session, json_option, known_connectors, operator, project_option, run_session
from tidegate.dispatch.issue_actions import acknowledge_issue, note_issue, resolve_issue
from tidegate.kernel.ids import parse_public_id, public_id
from tidegate.monitor.issues import (
    Affected,
    Issue,
    IssueDetail,
    describe_detail,
    describe_issue,
    list_issues,
    read_issue,
)

_COLUMNS = ("issue", "state", "standing", "seen", "last", "connection", "operation", "code", "holds up")


@click.group()
def issues() -> None:
    """Failures grouped by their cause: what to mend, and how to send everything again afterwards."""


@issues.command("list")
@project_option
@click.option("--all", "all_", is_flag=True, help="Resolved ones too.")
@click.option("--connection", help="Only of this connection.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
@json_option
def list_(project_dir: Path | None, *, all_: bool, connection: str | None, limit: int, as_json: bool) -> None:
    """List issues, those with the most standing failures first.

    \b
    Examples:
      tidegate issues list
      tidegate issues list --connection erp --json
    """

    async def body(session: Session) -> tuple[list[Issue], str]:
        found = await list_issues(session.conn, session.tenant_id, all_=all_, connection=connection, limit=limit)
        return found, session.config.cell

    found, cell = run_session(project_dir, body)
    if as_json:
        print_json([describe_issue(issue, cell) for issue in found])
    else:
        print_table(_COLUMNS, [_row(issue, cell) for issue in found], empty="no issues")


@issues.command()
@click.argument("issue")
@project_option
@click.option("--sample", is_flag=True, help="Show one request and its answer, redacted.")
@json_option
def show(issue: str, project_dir: Path | None, *, sample: bool, as_json: bool) -> None:
    """Show one issue (iss_...): what it means, what mends it, its failures, what was done to it."""
    issue_id = _issue_id(issue)

    async def body(session: Session) -> tuple[IssueDetail, str]:
        return await read_issue(session.conn, session.tenant_id, issue_id), session.config.cell

    detail, cell = run_session(project_dir, body)
    if as_json:
        print_json(describe_detail(detail, cell))
    else:
        _print_detail(detail, cell, with_sample=sample)


@issues.command()
@click.argument("issue")
@project_option
@click.option("--dry-run", is_flag=True, help="Only say what would be sent again, and what would be refused again.")
@click.option("--limit", type=click.IntRange(1), help="At most so many, oldest first.")
@click.option("--rebuild", is_flag=True, help="Make the requests anew from what is known now, under new keys.")
@click.option(
    "--in-doubt", is_flag=True, help="Also commands in doubt: you have looked that they were not carried out."
)
@click.option(
    "--canary",
    type=click.IntRange(0, 100),
    default=0,
    metavar="N",
    help="Send N first, and go on only when all of them succeed.",
)
@click.option(
    "--canary-seconds", type=click.IntRange(1, 3600), default=120, show_default=True, help="How long to wait for them."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def retry(
    issue: str,
    project_dir: Path | None,
    *,
    dry_run: bool,
    limit: int | None,
    rebuild: bool,
    in_doubt: bool,
    canary: int,
    canary_seconds: int,
    yes: bool,
    as_json: bool,
) -> None:
    """Send everything of an issue again, after the cause was mended. Says first what it will do.

    Commands keep their request and its key, so that a side that knows the key does nothing twice; with --rebuild they are
    made anew. Quarantined events are replayed. Of one target the oldest goes first. Ctrl-C stops between two steps: what is
    sent stays sent, and the same command goes on with the rest.

    \b
    Examples:
      tidegate issues retry iss_c0_06c6v... --dry-run
      tidegate issues retry iss_c0_06c6v... --canary 1 --yes
    """
    options = RetryOptions(
        issue_id=_issue_id(issue),
        limit=limit,
        rebuild=rebuild,
        in_doubt=in_doubt,
        canary=canary,
        canary_seconds=canary_seconds,
        is_dry=dry_run,
        asks=not yes,
        as_json=as_json,
    )
    connectors = known_connectors()
    status = run_session(project_dir, lambda session: run_retry(session, connectors, options))
    if status:
        raise SystemExit(status)


@issues.command()
@click.argument("issue")
@project_option
def ack(issue: str, project_dir: Path | None) -> None:
    """Say that somebody has seen it."""
    issue_id = _issue_id(issue)

    async def body(session: Session) -> str:
        return await acknowledge_issue(session.conn, tenant_id=session.tenant_id, issue_id=issue_id, actor=operator())

    click.echo(f"{issue}: {run_session(project_dir, body)}")


@issues.command()
@click.argument("issue")
@click.argument("text", required=False)
@project_option
@click.option("--assign", metavar="WHO", help="Whose it is; '' takes it back.")
def note(issue: str, text: str | None, project_dir: Path | None, *, assign: str | None) -> None:
    """Keep a note with an issue, or whose it is. An empty text takes the note back.

    \b
    Example:
      tidegate issues note iss_c0_06c6v... "asked the ERP people" --assign mia
    """
    issue_id = _issue_id(issue)
    if text is None and assign is None:
        raise click.UsageError("say a text, or --assign WHO")

    async def body(session: Session) -> str:
        return await note_issue(
            session.conn,
            tenant_id=session.tenant_id,
            issue_id=issue_id,
            actor=operator(),
            note=text,
            assigned_to=assign,
        )

    run_session(project_dir, body)
    click.echo(f"{issue}: noted")


@issues.command()
@click.argument("issue")
@project_option
@click.option("--reason", help="Why; it is kept in the audit log.")
def resolve(issue: str, project_dir: Path | None, *, reason: str | None) -> None:
    """Close an issue by hand. Its failures stay as they are; a further one opens it again as regressed."""
    issue_id = _issue_id(issue)

    async def body(session: Session) -> str:
        return await resolve_issue(
            session.conn, tenant_id=session.tenant_id, issue_id=issue_id, actor=operator(), reason=reason
        )

    click.echo(f"{issue}: {run_session(project_dir, body)}")


def _row(issue: Issue, cell: str) -> list[object]:
    return [
        public_id("iss", cell, issue.issue_id),
        issue.state,
        issue.standing,
        issue.seen,
        show_age(issue.last_seen_at),
        issue.connection,
        issue.operation,
        issue.code,
        holds_up(issue.affected),
    ]


def holds_up(affected: Affected) -> str:
    """Return what an issue holds up in words: "12 orders (EUR 1,234.50), 3 SKUs", '' for nothing."""
    from tidegate.commerce.money import Money

    parts = []
    more = "+" if affected.is_partial else ""
    if affected.orders:
        sums = ", ".join(
            f"{code} {Money(minor, code).to_decimal():,}" for code, minor in sorted(affected.value.items())
        )
        parts.append(f"{affected.orders}{more} orders" + (f" ({sums})" if sums else ""))
    if affected.skus:
        parts.append(f"{affected.skus}{more} SKUs")
    return ", ".join(parts)


def _print_detail(detail: IssueDetail, cell: str, *, with_sample: bool) -> None:
    issue = detail.issue
    lines: list[tuple[str, object]] = [
        ("issue", public_id("iss", cell, issue.issue_id)),
        ("state", issue.state + (f", came back {issue.regressions} times" if issue.regressions else "")),
        ("what", f"{issue.class_}: {issue.operation}" + (f" at {issue.connection}" if issue.connection else "")),
        ("code", issue.code),
        ("means", issue.fix.meaning),
        ("said", issue.shape or "-"),
        ("do", issue.fix.action.replace("ISSUE", public_id("iss", cell, issue.issue_id))),
        ("standing", f"{issue.standing} of {issue.seen} failures, {issue.retried} sent again"),
        ("first", show_time(issue.first_seen_at)),
        ("last", show_time(issue.last_seen_at)),
        ("holds up", holds_up(issue.affected) or "-"),
        ("whose", issue.assigned_to or "-"),
        ("note", issue.note or "-"),
    ]
    for name, value in lines:
        click.echo(f"{name:<10} {safe_line(str(value))}")
    for member in detail.members:
        subject = public_id("cmd" if member.kind == "command" else "evt", cell, member.subject_id)
        again = "  sent again" if member.retried else ""
        click.echo(f"  {show_time(member.failed_at)}  {subject}{again}")
    for act in detail.history:
        click.echo(safe_line(f"  {show_time(act.at)}  {act.actor} {act.action} {_said(act.detail)}"))
    if with_sample:
        print_json(detail.sample)


def _said(detail: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in detail.items())


def _issue_id(text: str) -> UUID:
    try:
        return parse_public_id(text, kind="iss")
    except ValueError as error:
        raise click.UsageError(f"{text!r} is no issue id; they look like iss_c0_06c6v...") from error
