"""`tidegate alerts`: what is wrong, who is told, and whether telling works."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import msgspec

from tidegate.cli.moments import MOMENT
from tidegate.cli.output import plain, print_json, print_table, safe_line, show_age, show_seconds, show_time
from tidegate.cli.session import Session, json_option, operator, project_option, run_session
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import new_id, parse_public_id, public_id
from tidegate.monitor.alerts import operator as acts
from tidegate.monitor.alerts.addresses import SECURITY_MODES, build_target
from tidegate.monitor.alerts.delivery import Message, tell
from tidegate.monitor.alerts.post import Answer
from tidegate.monitor.alerts.records import Alert
from tidegate.monitor.alerts.rules import RULES, tune

STALE_SECONDS = 60.0
"""Rules that were not looked at for longer are not looked at."""
KINDS = ("mail", "slack", "webhook", "heartbeat", "other")


@click.group(invoke_without_command=True)
@click.option("--all", "show_all", is_flag=True, help="Also what is over.")
@project_option
@json_option
@click.pass_context
def alerts(ctx: click.Context, project_dir: Path | None, *, show_all: bool, as_json: bool) -> None:
    """Show what is wrong, and say who is told.

    Rules are looked at all the time, also when nobody is told: `tidegate alerts rules` lists them.

    \b
    Examples:
      tidegate alerts                                what is wrong now
      tidegate alerts add ops                        asks whom to tell: mail, Slack, a webhook
      tidegate alerts test                           sends a real notice to each target
      tidegate alerts ack alr_c0_...                 I have seen it
      tidegate alerts silence --connection erp --for 2h --reason "maintenance"
    """
    if ctx.invoked_subcommand is None:
        _list(project_dir, show_all=show_all, limit=50, as_json=as_json)


@alerts.command("list")
@click.option("--all", "show_all", is_flag=True, help="Also what is over.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@project_option
@json_option
def list_(project_dir: Path | None, limit: int, *, show_all: bool, as_json: bool) -> None:
    """Show what is wrong now, newest first."""
    _list(project_dir, show_all=show_all, limit=limit, as_json=as_json)


def _list(project_dir: Path | None, *, show_all: bool, limit: int, as_json: bool) -> None:
    async def body(session: Session) -> tuple[str, list[Alert], list[Any], datetime | None]:
        found = await acts.list_alerts(session.conn, session.tenant_id, include_resolved=show_all, limit=limit)
        silences = await acts.list_silences(session.conn, session.tenant_id, datetime.now(UTC))
        return session.config.cell, found, silences, await acts.read_last_round(session.conn)

    cell, found, silences, last = run_session(project_dir, body)
    if as_json:
        print_json(
            {
                "evaluated_at": last,
                "alerts": [
                    {**plain(alert), "alert_id": public_id("alr", cell, alert.alert_id), "title": _title(alert)}
                    for alert in found
                ],
                "silences": [plain(each) for each in silences],
            }
        )
        return
    if last is None or (datetime.now(UTC) - last).total_seconds() > STALE_SECONDS:
        click.echo(
            f"THE RULES ARE NOT LOOKED AT (last time: {show_age(last)}): does the web process run? tidegate status"
        )
    rows = [
        [
            alert.severity if alert.state == "firing" else "over",
            _title(alert),
            alert.cause,
            show_age(alert.since),
            _heard(alert),
            public_id("alr", cell, alert.alert_id),
        ]
        for alert in found
    ]
    print_table(("severity", "what", "cause", "since", "told", "alert"), rows, empty="nothing is wrong")
    for alert in found:
        if alert.state == "firing" and alert.next_command:
            click.echo(f"next: {safe_line(alert.next_command)}")
    for each in silences:
        about = " ".join(filter(None, (each.rule or "every rule", each.subject)))
        click.echo(f"silenced until {show_time(each.until)}: {safe_line(about)} ({safe_line(each.reason)})")


@alerts.command()
@project_option
@json_option
def rules(project_dir: Path | None, *, as_json: bool) -> None:
    """List the rules with what they measure and what they are set to here."""

    async def body(session: Session) -> Any:
        return tune(session.config.alerts)

    tuned = run_session(project_dir, body)
    if as_json:
        print_json(
            [
                {
                    "rule": each.rule.id,
                    "meaning": each.rule.meaning,
                    "unit": each.rule.unit,
                    "enabled": each.enabled,
                    "threshold": each.threshold,
                    "is_floor": each.rule.is_floor,
                    "for_seconds": each.hold_seconds,
                    "severity": each.severity,
                    "effect": each.rule.effect,
                    "next_command": each.rule.next_command,
                }
                for each in tuned.values()
            ]
        )
        return
    rows = [
        [
            name,
            each.severity if each.enabled else "off",
            f"{'below' if each.rule.is_floor else 'above'} {each.threshold:g} {each.rule.unit}",
            show_seconds(each.hold_seconds) if each.hold_seconds else "at once",
            each.rule.meaning,
        ]
        for name, each in tuned.items()
    ]
    print_table(("rule", "severity", "fires", "for", "what is measured"), rows, empty="no rules")
    click.echo(
        "change one in tidegate.yaml:  alerts: {rules: {backlog_age: {threshold: 120, for: 5m, severity: warning}}}"
    )


@alerts.command()
@click.argument("name")
@click.option(
    "--from-json",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=str),
    help="Read the target from a JSON object in a file, or from standard input with -.",
)
@project_option
def add(name: str, project_dir: Path | None, from_json: str | None) -> None:
    """Tell somebody: store the target NAME, encrypted.

    Without --from-json it asks. Addresses are secrets: they are in no file and never shown again.

    \b
    Examples of --from-json:
      {"kind": "mail", "host": "smtp.example.com", "user": "tide", "password": "...",
       "from": "tide@example.com", "to": ["ops@example.com"]}       (security: starttls, tls or none)
      {"kind": "slack", "url": "https://hooks.slack.com/services/..."}
      {"kind": "webhook", "url": "https://example.com/hook"}       POST of JSON, with Idempotency-Key
      {"kind": "heartbeat", "url": "https://..."}                  called every minute while all is watched
      {"url": "tgram://..."}                                       a service that apprise knows
    """
    given = _read_json(from_json) if from_json is not None else _ask()
    target = build_target(name, given)

    async def body(session: Session) -> None:
        await acts.add_target(
            session.conn, session.key_ring(), tenant_id=session.tenant_id, actor=operator(), target=target
        )

    run_session(project_dir, body)
    click.echo(f"stored {name} ({target.kind}); try it: tidegate alerts test --target {name}")


@alerts.command()
@click.argument("name")
@project_option
def remove(name: str, project_dir: Path | None) -> None:
    """Forget the target NAME. Safe to repeat."""

    async def body(session: Session) -> bool:
        return await acts.remove_target(session.conn, tenant_id=session.tenant_id, actor=operator(), name=name)

    click.echo(f"removed {name}" if run_session(project_dir, body) else f"there is no target {name!r}")


@alerts.command()
@project_option
@json_option
def targets(project_dir: Path | None, *, as_json: bool) -> None:
    """List who is told, and what each of them answered last."""

    async def body(session: Session) -> tuple[list[acts.TargetView], list[Any]]:
        return (
            await acts.list_targets(session.conn, session.tenant_id),
            await acts.list_notices(session.conn, session.tenant_id, 20),
        )

    found, notices = run_session(project_dir, body)
    if as_json:
        print_json({"targets": [plain(each) for each in found], "notices": [plain(dict(row)) for row in notices]})
        return
    rows = [[each.name, each.kind, each.fingerprint, show_age(each.last_ok_at), each.last_error] for each in found]
    print_table(
        ("target", "kind", "fingerprint", "took one", "error"), rows, empty="nobody is told; tidegate alerts add NAME"
    )
    if notices:
        rows = [
            [row["created_at"], row["target"], row["title"], row["state"], row["tries"], row["last_error"]]
            for row in notices
        ]
        print_table(("notice", "target", "title", "state", "tries", "error"), rows, empty="")


@alerts.command()
@click.option("--target", "name", help="Only this one.")
@project_option
@json_option
def test(project_dir: Path | None, name: str | None, *, as_json: bool) -> None:
    """Send a real notice to each target, and print what each one answered. Status 1 when one did not take it."""

    async def body(session: Session) -> list[tuple[str, str, Answer]]:
        known = await acts.open_targets(session.conn, session.key_ring(), session.tenant_id)
        chosen = [target for target in known if name in (None, target.name)]
        if not chosen:
            words = f"there is no target {name!r}" if name else "nobody is told yet"
            raise ConfigurationError(words, code="target_unknown", hint="tidegate alerts add NAME")
        allow = [ip_network(text) for text in session.config.network.allow]
        message = Message(
            key=f"test:{new_id()}",
            kind="test",
            severity="info",
            title=f"[tidegate {session.config.tenant}] test: notices arrive here",
            body=f"{operator()} asked for this with `tidegate alerts test`. Nothing is wrong.",
            tenant=session.config.tenant,
            cell=session.config.cell,
        )
        answers = await asyncio.gather(*(tell(target, message, allow) for target in chosen))
        return [(target.name, target.kind, answer) for target, answer in zip(chosen, answers, strict=True)]

    answered = run_session(project_dir, body)
    if as_json:
        print_json([{"target": each, "kind": kind, **plain(answer)} for each, kind, answer in answered])
    else:
        rows = [[each, kind, "ok" if answer.ok else "FAILED", answer.words] for each, kind, answer in answered]
        print_table(("target", "kind", "verdict", "answer"), rows, empty="")
    if not all(answer.ok for _, _, answer in answered):
        click.get_current_context().exit(1)


@alerts.command()
@click.argument("alert_ids", metavar="ALERT...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that fire.")
@project_option
def ack(project_dir: Path | None, alert_ids: tuple[str, ...], *, everything: bool) -> None:
    """Say that you have seen alerts: no reminders, only the all-clear.

    \b
    Examples:
      tidegate alerts ack alr_c0_0r4kq2...
      tidegate alerts ack --all
    """
    if bool(alert_ids) == everything:
        raise click.UsageError("name alerts, or say --all")
    chosen = [_parse(text) for text in alert_ids]

    async def body(session: Session) -> int:
        known = chosen
        if everything:
            firing = await acts.list_alerts(session.conn, session.tenant_id, include_resolved=False, limit=1000)
            known = [alert.alert_id for alert in firing]
        done = await acts.acknowledge(
            session.conn, tenant_id=session.tenant_id, actor=operator(), alert_ids=known, now=datetime.now(UTC)
        )
        return len(done)

    count = run_session(project_dir, body)
    click.echo(f"acknowledged {count}" if count else "nothing to acknowledge: they are over, or were seen before")


@alerts.command()
@click.option("--rule", help="Only this rule. Default: every rule.")
@click.option("--connection", "subject", help="Only this connection, or what else the alert is about.")
@click.option("--for", "length", help="For so long from now on: 30m, 2h, 1d.")
@click.option("--until", type=MOMENT, help="Until this moment.")
@click.option("--end", is_flag=True, help="End it now.")
@click.option("--reason", default="", help="Why; everybody sees it.")
@project_option
def silence(
    project_dir: Path | None,
    rule: str | None,
    subject: str | None,
    length: str | None,
    until: datetime | None,
    reason: str,
    *,
    end: bool,
) -> None:
    """Tell nobody for a time. Rules go on: what is wrong is shown, and told afterwards when it still is.

    \b
    Examples:
      tidegate alerts silence --connection erp --for 2h --reason "maintenance"
      tidegate alerts silence --rule traffic_spike --until 2026-11-28T08:00
      tidegate alerts silence --rule traffic_spike --end
    """
    if sum(bool(each) for each in (length, until, end)) != 1:
        raise click.UsageError("say how long: --for 2h, or --until MOMENT, or --end")
    now = datetime.now(UTC)
    moment = now if end else until or now + _length(length or "")
    if not end and moment <= now:
        raise click.UsageError("it would be over already: name a later moment")

    async def body(session: Session) -> None:
        await acts.silence(
            session.conn, tenant_id=session.tenant_id, actor=operator(), rule=rule, subject=subject, until=moment,
            reason=reason.encode("utf-8", "replace").decode().replace("\0", "?"), now=now,
        )  # fmt: skip

    run_session(project_dir, body)
    click.echo("the silence has ended" if end else f"nobody is told until {show_time(moment)}")


def _length(text: str) -> timedelta:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    if not text[:-1].isdecimal() or text[-1:] not in units or len(text) > 6:
        raise click.UsageError(f"--for {text!r}: write for example 30m, 2h or 1d")
    return timedelta(seconds=int(text[:-1]) * units[text[-1]])


def _parse(text: str) -> UUID:
    try:
        return parse_public_id(text, kind="alr")
    except ValueError as error:
        raise click.UsageError(f"{safe_line(text)!r} is no alert; `tidegate alerts` lists them") from error


def _title(alert: Alert) -> str:
    rule = RULES.get(alert.rule)
    return rule.title.format(subject=alert.subject) if rule is not None else f"{alert.rule} {alert.subject}".strip()


def _heard(alert: Alert) -> str:
    if alert.acked_by is not None:
        return f"seen by {alert.acked_by}"
    return show_age(alert.told_at) if alert.told_at is not None else "-"


def _read_json(place: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if place == "-" else Path(place).read_text(encoding="utf-8")
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise click.UsageError('--from-json needs a JSON object such as {"kind": "webhook", "url": "..."}') from error
    except OSError as error:
        raise click.UsageError(f"{place} cannot be read: {error.strerror}") from error


def _ask() -> dict[str, Any]:
    kind = click.prompt("Who is told", type=click.Choice(KINDS))
    if kind == "other":
        return {"url": click.prompt("Its address for apprise, such as tgram://...", hide_input=True)}
    if kind != "mail":
        return {"kind": kind, "url": click.prompt("Its web address", hide_input=True)}
    given: dict[str, Any] = {"kind": "mail", "host": click.prompt("SMTP server")}
    given["security"] = click.prompt("Security", type=click.Choice(sorted(SECURITY_MODES)), default="starttls")
    given["user"] = click.prompt("User (empty: none)", default="", show_default=False)
    if given["user"]:
        given["password"] = click.prompt("Password", hide_input=True)
    given["from"] = click.prompt("From")
    given["to"] = click.prompt("To (several with commas)")
    return given
