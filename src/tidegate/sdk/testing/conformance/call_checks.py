"""Checks of calls: what is sent, what answers mean, what is known when an answer is missing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import msgspec

from tidegate.commerce.commands import CommandKind, SendEvent, VoidPayment
from tidegate.kernel import errors as kernel_errors
from tidegate.kernel.clock import SystemClock
from tidegate.kernel.errors import (
    AuthenticationError,
    OutcomeUnknownError,
    RateLimitedError,
    TidegateError,
    TransientError,
)
from tidegate.sdk.connector import (
    SIBLING_REFUSED,
    Failed,
    FeedItem,
    FeedPage,
    Inspection,
    RawEvent,
    Shown,
    ShownField,
    ShownValue,
)
from tidegate.sdk.failures import refusal_of
from tidegate.sdk.health import Checks
from tidegate.sdk.http import Response
from tidegate.sdk.looking import look_at
from tidegate.sdk.testing.conformance.fixtures import Answered, ExchangeFixture
from tidegate.sdk.testing.conformance.script import (
    NOW,
    Fault,
    ScriptedApi,
    answered,
    call,
    contains,
    describe,
    lost,
    not_sent,
    payloads_of,
)
from tidegate.sdk.testing.conformance.subject import NotApplicableError, Subject

_READS = ("open_session", "inspect", "articles", "feed", "fetch", "shown", "find", "check")
_SLOW_DOWN = Answered(status=429, headers={"Retry-After": "17"}, body={})
_REFUSED = Answered(status=401, body={})
_GARBAGE = Answered(status=200, headers={"content-type": "text/html"}, body_text="<html>maintenance</html>")


def check_recorded_calls(subject: Subject) -> None:
    """X1: every recorded call makes the recorded requests, in order and no others, and gives the recorded result."""
    for fixture in subject.exchanges:
        result, api = _run(subject, fixture)
        found = describe(result)
        assert contains(found, fixture.expected), f"{fixture.name}: {found}"
        assert len(api.sent) == len(fixture.exchanges), f"{fixture.name}: only {len(api.sent)} requests were made"


def check_everything_is_recorded(subject: Subject) -> None:
    """X2: log-in, inspection, articles, shown pages, every feed, fetch, command and check is recorded; a find with and without a result."""
    recorded = {(fixture.call.do, fixture.call.name) for fixture in subject.exchanges}
    connector = subject.connector
    wanted = {("open_session", ""), ("inspect", "")}
    wanted |= {("subscribe", "")} if connector.subscribe is not None else set()
    wanted |= {("articles", "")} if connector.articles is not None else set()
    wanted |= {("shown", "")} if connector.shown is not None else set()
    wanted |= {("feed", name) for name in connector.feeds} | {("fetch", topic) for topic in connector.fetch}
    wanted |= {("execute", kind.value) for kind in connector.commands}
    wanted |= {("check", field.name) for field in fields(Checks) if getattr(connector.checks, field.name) is not None}
    assert not wanted - recorded, f"not recorded: {sorted(wanted - recorded)}"
    for kind, spec in connector.commands.items():
        if spec.find is not None:
            found = {key for fixture in _finds(subject, kind) for key in describe(_run(subject, fixture)[0])}
            assert {"done", "not_found"} <= found, f"record a find of {kind.value} with and one without a result"


def check_reads_change_nothing(subject: Subject) -> None:
    """X3: log-in, inspection, articles, feeds, fetches, shown pages, finds and checks declare every request as a read; a command writes."""
    mending = {name for name, feed in subject.connector.feeds.items() if feed.mends}
    for fixture in subject.exchanges:
        if fixture.call.do == "feed" and fixture.call.name in mending:
            continue
        _, api = _run(subject, fixture)
        writes = [request.path for request in api.sent if request.changes_state]
        if fixture.call.do in _READS:
            assert not writes, f"{fixture.name}: {writes} must be declared with changes_state=False"
        elif _is_done(fixture):
            assert writes, f"{fixture.name}: a command that is done has written something"


def check_lost_answers_are_in_doubt(subject: Subject) -> None:
    """X4: a command whose write got no answer, repeated as it may, is an OutcomeUnknownError: not done, failed or to be retried.

    Of a call with several requests, what an earlier one settled may stay as it is, and what was not asked goes with the next call.
    """
    for fixture, position in _writes(subject):
        result, _ = _run(subject, fixture, {position: lost})
        what = f"{fixture.name}: the answer of request {position + 1} was lost"
        _assert_failed(subject, fixture, position, result, OutcomeUnknownError, what)


def check_unreadable_answers_are_in_doubt(subject: Subject) -> None:
    """X5: a command whose write was answered with a page of HTML and 200 ends as OutcomeUnknownError; of several requests see X4."""
    if subject.connector.answers_by_status:
        raise NotApplicableError("the platform answers by status alone")
    for fixture, position in _writes(subject):
        result, _ = _run(subject, fixture, {position: answered(_GARBAGE)})
        what = f"{fixture.name}: the answer of request {position + 1} was HTML"
        _assert_failed(subject, fixture, position, result, OutcomeUnknownError, what)


def check_reads_survive_unreadable_answers(subject: Subject) -> None:
    """X6: a read that gets a page of HTML raises a TidegateError; it finds nothing and moves nothing."""
    for fixture in subject.exchanges_of(*_READS):
        for position in range(len(fixture.exchanges)):
            result, _ = _run(subject, fixture, {position: answered(_GARBAGE)})
            assert isinstance(result, TidegateError), f"{fixture.name}: made {describe(result)} of HTML"


def check_errors_pass_through(subject: Subject) -> None:
    """X7: a 429 with its wait, a refused credential and an unsent request reach the engine as they are; of several requests see X4."""
    cases: tuple[tuple[Fault, type[TidegateError]], ...] = (
        (answered(_SLOW_DOWN), RateLimitedError),
        (answered(_REFUSED), AuthenticationError),
        (not_sent, TransientError),
    )
    for fixture in subject.exchanges:
        for position in range(len(fixture.exchanges)):
            for fault, expected in cases:
                result, _ = _run(subject, fixture, {position: fault})
                what = f"{fixture.name}: {expected.__name__} at request {position + 1}"
                for error in _assert_failed(subject, fixture, position, result, expected, what):
                    if isinstance(error, RateLimitedError):
                        assert error.wait_seconds == 17, f"{fixture.name}: waits {error.wait_seconds}, asked were 17 s"


def check_equal_calls_send_equal_requests(subject: Subject) -> None:
    """X8: the same command under the same key sends the same bytes again, so that a platform can recognise it."""
    for fixture in subject.exchanges_of("execute"):
        first, again = (_run(subject, fixture)[1].sent for _ in range(2))
        assert first == again, f"{fixture.name}: a second execution differs"


def check_reference_is_sent(subject: Subject) -> None:
    """X9: what is created carries our reference, so that a read-back can find it."""
    kinds = (CommandKind.ORDER_CREATE, CommandKind.FULFILLMENT_CREATE, CommandKind.REFUND_CREATE)
    creating = tuple(kind.value for kind in kinds)
    for fixture in subject.exchanges_of("execute"):
        if fixture.call.name not in creating or not any("done" in outcome for outcome in _listed(fixture.expected)):
            continue
        _, api = _run(subject, fixture)
        written = msgspec.json.encode([request for request in api.sent if request.changes_state]).decode()
        for payload in payloads_of(fixture):
            assert not isinstance(payload, VoidPayment | SendEvent), "a release or an event creates nothing"
            assert payload.reference in written, f"{fixture.name}: {payload.reference} is in no request"


def check_every_payload_has_an_outcome(subject: Subject) -> None:
    """X10: a call gives one outcome per payload, and takes no more payloads than it declares."""
    for fixture in subject.exchanges_of("execute"):
        count = len(fixture.call.payloads)
        assert 1 <= count <= subject.connector.commands[CommandKind(fixture.call.name)].bulk_max, fixture.name
        result, _ = _run(subject, fixture)
        if not isinstance(result, TidegateError):
            assert len(result) == count, f"{fixture.name}: {len(result)} outcomes for {count} payloads"


def check_read_items_are_mapped(subject: Subject) -> None:
    """X11: what feeds and fetches give, the mapper understands; the same read gives the same bytes."""
    for fixture in subject.exchanges_of("feed", "fetch"):
        first, again = (_items(_run(subject, fixture)[0]) for _ in range(2))
        assert first == again, f"{fixture.name}: a second reading of the same answer has other bytes"
        source: Any = "poll" if fixture.call.do == "feed" else "fetch"
        for item in first:
            assert item.external_id, f"{fixture.name}: an item without external id"
            assert item.ordering_key, f"{fixture.name}: an item without ordering key"
            changes = subject.connector.normalize(RawEvent(source=source, topic=item.topic, body=item.body))
            assert changes, f"{fixture.name}: the mapper makes nothing of {item.external_id}"


def check_feeds_end(subject: Subject) -> None:
    """X12: against a running fake, every feed reaches its end, its cursors never come back, a new start gives all again."""
    if subject.remote is None:
        raise NotApplicableError("there is no running fake of the platform")
    asyncio.run(_read_feeds(subject))


def check_shown_pages_are_well_formed(subject: Subject) -> None:
    """X13: a shown page names each article by its id, holds declared fields with their place or currency, and ends."""
    shown = subject.connector.shown
    if shown is None:
        raise NotApplicableError("the connector shows nothing")
    for fixture in subject.exchanges_of("shown"):
        page, again = (_run(subject, fixture)[0] for _ in range(2))
        if isinstance(page, TidegateError):
            continue
        assert page == again, f"{fixture.name}: a second reading of the same answer differs"
        assert len(page.articles) <= shown.articles_max, f"{fixture.name}: more articles than articles_max"
        assert not page.has_more or page.cursor != fixture.call.cursor, f"{fixture.name}: the cursor stands still"
        for article in page.articles:
            assert article.external_id, f"{fixture.name}: an article without external id"
            places = [(value.field, value.place) for value in article.values]
            assert len(places) == len(set(places)), f"{fixture.name}: {article.external_id} shows a number twice"
            for value in article.values:
                _assert_well_formed(value, shown.fields, f"{fixture.name}: {article.external_id} {value.field}")


def check_shown_ends(subject: Subject) -> None:
    """X14: against a running fake, reading what is shown ends, and shows every article that the inspection found."""
    if subject.remote is None or subject.connector.shown is None:
        raise NotApplicableError("there is no running fake of the platform, or the connector shows nothing")
    asyncio.run(_read_shown(subject, subject.connector.shown))


def check_documented_errors(subject: Subject) -> None:
    """E1: every recorded refusal gives the recorded class, code and wait."""
    assert subject.errors, "record the documented refusals in fixtures/errors/"
    for fixture in subject.errors:
        response = fixture.answer.response()
        expected = fixture.expected
        error = refusal_of(
            response.status, response.headers, changes_state=fixture.changes_state, now=NOW
        ) or subject.error_of(response, changes_state=fixture.changes_state)
        assert error is not None, f"{fixture.name}: taken for a good answer"
        found = (type(error).__name__, error.code, getattr(error, "wait_seconds", None))
        assert found == (expected.error, expected.code, expected.wait_seconds), f"{fixture.name}: {found}"


def check_unknown_errors_have_a_class(subject: Subject) -> None:
    """E2: a refusal that nobody documented, of whatever shape, has a class of the kernel too."""
    bodies = (
        b"",
        b"{}",
        b"[]",
        b"null",
        b"<html>no</html>",
        b'{"error":{"code":"x_conformance"}}',
        b"\xff",
        b"[" * 20_000,
    )
    for status in (301, 400, 403, 404, 409, 418, 422, 499):
        for body in bodies:
            for headers in ({}, {"content-type": "application/json"}):
                error = subject.error_of(Response(status=status, headers=headers, body=body))
                assert isinstance(error, TidegateError), f"{status} {body[:20]!r} gives {error!r}"
                assert getattr(kernel_errors, type(error).__name__, None) is type(error), (
                    f"{error!r} is no class of the kernel"
                )


# --- helpers of the checks -----------------------------------------------------------------------------------------
def _run(subject: Subject, fixture: ExchangeFixture, faults: dict[int, Fault] | None = None) -> tuple[Any, ScriptedApi]:
    return asyncio.run(call(subject.connector, fixture, faults=faults))


def _writes(subject: Subject) -> Iterator[tuple[ExchangeFixture, int]]:
    """Yield every recorded command with the position of each of its writing requests."""
    for fixture in subject.exchanges_of("execute"):
        _, api = _run(subject, fixture)
        yield from ((fixture, position) for position, request in enumerate(api.sent) if request.changes_state)


def _finds(subject: Subject, kind: CommandKind) -> list[ExchangeFixture]:
    return [fixture for fixture in subject.exchanges_of("find") if fixture.call.name == kind.value]


def _is_done(fixture: ExchangeFixture) -> bool:
    outcomes = _listed(fixture.expected)
    return fixture.call.do == "execute" and bool(outcomes) and all("done" in outcome for outcome in outcomes)


def _listed(expected: Any) -> list[Any]:
    return expected if isinstance(expected, list) else []


def _assert_failed(
    subject: Subject,
    fixture: ExchangeFixture,
    position: int,
    result: Any,
    kind: type[TidegateError],
    what: str,
) -> list[TidegateError]:
    """Return the errors of a call whose request at `position` failed: of all its commands, or of those that this one was about.

    What an earlier request settled is as without the failure; what was not asked any more goes with the next call.
    """
    if isinstance(result, TidegateError):
        assert isinstance(result, kind), f"{what} became {describe(result)}"
        return [result]
    outcomes = list(result) if isinstance(result, list | tuple) else [result]
    whole = _run(subject, fixture)[0] if position and fixture.call.do == "execute" else None
    before = whole if isinstance(whole, list | tuple) else [None] * len(outcomes)
    assert len(outcomes) == len(before), f"{what} became {describe(result)}"
    failed: list[TidegateError] = []
    for outcome, settled in zip(outcomes, before, strict=True):
        if isinstance(outcome, Failed) and isinstance(outcome.error, kind):
            failed.append(outcome.error)
        else:
            assert settled is not None, f"{what} became {describe(result)}"
            assert _is_of_others(outcome, settled), f"{what} became {describe(result)}"
    assert failed, f"{what} became {describe(result)}"
    return failed


def _is_of_others(outcome: Any, before: Any) -> bool:
    """Whether an outcome is that of a request which did not fail, or of one that was not made."""
    is_left = isinstance(outcome, Failed) and outcome.error.code == SIBLING_REFUSED
    return is_left or bool(describe(outcome) == describe(before))


def _items(result: Any) -> list[FeedItem]:
    if isinstance(result, FeedPage):
        return list(result.items)
    return [result] if isinstance(result, FeedItem) else []


def _assert_well_formed(value: ShownValue, declared: frozenset[ShownField], what: str) -> None:
    assert value.field in declared, f"{what}: not declared"
    assert value.value.is_finite(), f"{what}: {value.value} is no number"
    assert abs(value.value) < 10**12, f"{what}: {value.value} is beyond every bound"
    assert value.value == round(value.value, 6), f"{what}: more than 6 decimals"
    if value.field in (ShownField.STOCK, ShownField.ON_HAND):
        assert value.place, f"{what}: units stand at a place"
        assert not value.currency, f"{what}: units have no currency"
    else:
        assert re.fullmatch("[A-Z]{3}", value.currency), f"{what}: currency {value.currency!r}"
        assert not value.place, f"{what}: a price has no place"


async def _read_shown(subject: Subject, shown: Shown) -> None:
    assert subject.remote is not None
    async with subject.remote() as api:
        cursors, seen = [""], set()
        while True:
            page = await shown.read(api, cursors[-1])
            seen |= {article.external_id for article in page.articles}
            if not page.has_more:
                break
            assert page.cursor not in cursors, f"cursor {page.cursor!r} came back"
            assert len(cursors) <= 1000, "no end after 1000 pages"
            cursors.append(page.cursor)
        found = {variant.external_id for variant in (await _look(subject, api)).variants}
        assert found <= seen, f"not shown: {sorted(found - seen)[:5]}"


async def _look(subject: Subject, api: Any) -> Inspection:
    return await look_at(subject.connector, api, clock=SystemClock(), sleep=asyncio.sleep)


async def _read_feeds(subject: Subject) -> None:
    assert subject.remote is not None
    async with subject.remote() as api:
        for name, feed in subject.connector.feeds.items():
            cursors = [""]
            seen: list[FeedItem] = []
            while True:
                page = await feed.read(api, cursors[-1])
                seen += page.items
                assert len(cursors) <= 1000, f"feed {name}: no end after 1000 pages"
                assert not page.has_more or page.cursor not in cursors, f"feed {name}: cursor {page.cursor!r} came back"
                cursors.append(page.cursor)
                if not page.has_more:
                    break
            assert len(cursors) > 2, f"feed {name}: the fake should have more than one page"
            after = await feed.read(api, cursors[-1])
            assert not after.has_more, f"feed {name}: more after the end"
            again = await feed.read(api, "")
            assert again.items[0].external_id == seen[0].external_id, f"feed {name}: a new start gives something else"
