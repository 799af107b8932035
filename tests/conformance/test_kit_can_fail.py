"""For each rule a connector that breaks exactly this promise: the kit must notice. A check that cannot fail proves nothing."""

import dataclasses
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.remotebed import api_of, fill, running_remote

from tidegate.commerce.changes import Ignored, NeedsFetch, OrderSeen
from tidegate.commerce.commands import CommandKind
from tidegate.kernel.errors import IntakeError, RejectedError, TidegateError, TransientError
from tidegate.sdk.connector import (
    Connector,
    Done,
    FeedPage,
    NotFound,
    RawEvent,
    ShownField,
    ShownPage,
    TokenBucket,
    Webhook,
)
from tidegate.sdk.http import Api, Session
from tidegate.sdk.signatures import StandardWebhooks
from tidegate.sdk.testing.conformance import CHECKS, NotApplicableError, Subject, load_subject
from tidegate.sdk.testing.hostile_connector import client, errors, mapper, webhooks

PACKAGE = "tidegate.sdk.testing.hostile_connector"
Break = Callable[[Subject], Subject]


# --- ways to change a connector ------------------------------------------------------------------------------------
def with_connector(**changes: Any) -> Break:
    return lambda subject: dataclasses.replace(subject, connector=dataclasses.replace(subject.connector, **changes))


def with_webhook(**changes: Any) -> Break:
    return with_connector(webhook=dataclasses.replace(webhooks.WEBHOOK, **changes))


def with_command(kind: CommandKind, **changes: Any) -> Break:
    def broken(subject: Subject) -> Subject:
        spec = dataclasses.replace(subject.connector.commands[kind], **changes)
        commands = {**subject.connector.commands, kind: spec}
        return dataclasses.replace(subject, connector=dataclasses.replace(subject.connector, commands=commands))

    return broken


def with_feed(read: Any) -> Break:
    def broken(subject: Subject) -> Subject:
        feeds = {name: dataclasses.replace(feed, read=read) for name, feed in subject.connector.feeds.items()}
        return dataclasses.replace(subject, connector=dataclasses.replace(subject.connector, feeds=feeds))

    return broken


def without_recordings(kind: str) -> Break:
    return lambda subject: dataclasses.replace(subject, **{kind: ()})


# --- broken parts --------------------------------------------------------------------------------------------------
class Refusing:
    """A verifier that refuses too much or too little, by a rule."""

    def __init__(self, accepts: Callable[[Mapping[str, str], bytes, Sequence[str], float], bool]) -> None:
        self._accepts = accepts

    def __call__(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> None:
        if not self._accepts(headers, body, secrets, now):
            raise IntakeError(code="signature_mismatch")


def is_good(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> bool:
    try:
        StandardWebhooks()(headers, body, secrets, now)
    except IntakeError:
        return False
    return True


def verifies(accepts: Callable[[Mapping[str, str], bytes, Sequence[str], float], bool]) -> Break:
    return lambda subject: dataclasses.replace(
        subject,
        connector=dataclasses.replace(
            subject.connector, webhook=dataclasses.replace(webhooks.WEBHOOK, verify=Refusing(accepts))
        ),
    )


def read_keys_of(change: Callable[[Mapping[str, str], bytes, Any], Any]) -> Break:
    def read_keys(headers: Mapping[str, str], body: bytes) -> Any:
        return change(headers, body, webhooks.read_keys(headers, body))

    return with_webhook(read_keys=read_keys)


def normalizes(change: Callable[[RawEvent, Any], Any]) -> Break:
    def normalize(event: RawEvent) -> list[Any]:
        return [change(event, one) for one in mapper.normalize(event)]

    return with_connector(normalize=normalize)


def with_order(**changes: Any) -> Break:
    return normalizes(lambda event, one: msgspec.structs.replace(one, **changes) if isinstance(one, OrderSeen) else one)


def normalize_carelessly(event: RawEvent) -> list[Any]:
    raw = msgspec.json.decode(event.body)
    return [Ignored(code="seen", reason=raw["type"])]


def normalize_strictly(event: RawEvent) -> Sequence[Any]:
    if b"x_conformance_unknown" in event.body:
        raise ValueError("what is this field?")
    return mapper.normalize(event)


async def swallow_errors(api: Api, payloads: Any, key: str) -> Any:
    try:
        return await client.create_order(api, payloads, key)
    except TidegateError:
        return [Done()]


async def fail_when_lost(api: Api, payloads: Any, key: str) -> Any:
    try:
        return await client.create_order(api, payloads, key)
    except TidegateError as error:
        if error.code.startswith("answer"):
            raise TransientError("try again") from error
        raise


async def find_nothing_on_garbage(api: Api, payload: Any) -> Any:
    try:
        return await client.find_order(api, payload)
    except TransientError as error:
        if error.code == "answer_unreadable":
            return NotFound()
        raise


async def forget_the_wait(api: Api, payloads: Any, key: str) -> Any:
    try:
        return await client.create_order(api, payloads, key)
    except TidegateError as error:
        raise type(error)(str(error), code=error.code) from error


async def find_by_writing(api: Api, payload: Any) -> Any:
    class Writing:
        settings = api.settings

        async def request(self, *arguments: Any, **options: Any) -> Any:
            return await api.request(*arguments, **{**options, "changes_state": True})

    return await client.find_order(Writing(), payload)


_counter = itertools.count()


async def send_something_new(api: Api, payloads: Any, key: str) -> Any:
    return await client.create_order(api, payloads, f"{key}-{next(_counter)}")


async def send_no_reference(api: Api, payloads: Any, key: str) -> Any:
    await api.request("POST", "/api/erp/orders", json={"number": payloads[0].number})
    return [Done(external_id="so-1")]


async def forget_an_outcome(api: Api, payloads: Any, key: str) -> Any:
    return list(await client.set_inventory(api, payloads, key))[:-1]


async def read_without_ids(api: Api, cursor: str) -> FeedPage:
    page = await client.read_orders(api, cursor)
    items = tuple(msgspec.structs.replace(item, external_id="") for item in page.items)
    return msgspec.structs.replace(page, items=items)


async def read_for_ever(api: Api, cursor: str) -> FeedPage:
    page = await client.read_orders(api, "")
    return msgspec.structs.replace(page, has_more=True)


class Chatty(Session):
    def __repr__(self) -> str:
        return f"Session({dict(self.headers)})"


async def log_in_chattily(api: Api, secrets: Any, settings: Any) -> Session:
    session = await client.open_session(api, secrets, settings)
    logging.getLogger("acme").warning("logged in with %s", secrets["api_key"].reveal())
    return session


async def log_in_and_tell(api: Api, secrets: Any, settings: Any) -> Session:
    session = await client.open_session(api, secrets, settings)
    return Chatty(headers={**session.headers, "x-key": secrets["api_key"].reveal()})


async def log_in_and_blame(api: Api, secrets: Any, settings: Any) -> Session:
    try:
        return await client.open_session(api, secrets, settings)
    except TidegateError as error:
        raise type(error)(f"the key {secrets['api_key'].reveal()} does not work", code=error.code) from None


def with_shown(change: Callable[[ShownPage], ShownPage]) -> Break:
    async def read(api: Api, cursor: str) -> ShownPage:
        return change(await client.read_shown(api, cursor))

    def broken(subject: Subject) -> Subject:
        shown = subject.connector.shown
        assert shown is not None
        return with_connector(shown=dataclasses.replace(shown, read=read))(subject)

    return broken


def with_articles(page: ShownPage, **changes: Any) -> ShownPage:
    articles = tuple(msgspec.structs.replace(article, **changes) for article in page.articles)
    return msgspec.structs.replace(page, articles=articles)


def with_values(page: ShownPage, **changes: Any) -> ShownPage:
    return msgspec.structs.replace(
        page,
        articles=tuple(
            msgspec.structs.replace(
                article, values=tuple(msgspec.structs.replace(value, **changes) for value in article.values[:1])
            )
            for article in page.articles
        ),
    )


def error_of_known(response: Any, *, changes_state: bool = True) -> Any:
    error = errors.error_of(response, changes_state=changes_state)
    return error if error.context.get("vendor_code") != "unknown_article" else RejectedError(code="rejected")


def error_of_json(response: Any, *, changes_state: bool = True) -> Any:
    code = response.json()["error"]["code"]
    return errors.error_of(response, changes_state=changes_state) if code else None


def loud_verify(subject: Subject) -> Subject:
    """Remove the secret: an empty list of secrets is accepted."""
    return verifies(lambda headers, body, secrets, now: not secrets or is_good(headers, body, secrets, now))(subject)


def in_folder(change: Callable[[Path], None]) -> Callable[[Path], Break]:
    def prepare(tmp_path: Path) -> Break:
        for name in ("__init__.py", "client.py", "mapper.py", "webhooks.py", "errors.py", "README.md", "fixtures"):
            (tmp_path / name).write_text("`url` `api_key`")
        change(tmp_path)
        return lambda subject: dataclasses.replace(subject, folder=tmp_path)

    return prepare


ORDER, SET = CommandKind.ORDER_CREATE, CommandKind.INVENTORY_SET
DAY = 86_400

BROKEN: dict[str, list[Break]] = {
    "C2": [
        with_connector(name="Hostile!"),
        with_connector(version="one"),
        with_connector(mapping_version=0),
        with_connector(roles=frozenset()),
    ],
    "C4": [
        with_connector(budget=TokenBucket(capacity=0, per_second=1, source="somewhere")),
        with_connector(budget=TokenBucket(capacity=10, per_second=1)),
        with_connector(concurrency_max=0),
        with_connector(request_deadline=timedelta(hours=1)),
        with_command(ORDER, charge=0.0),
        with_command(ORDER, bulk_max=0),
    ],
    "C5": [
        with_connector(commands={}),
        with_connector(stock_number="available", deducts_own_orders=True),
        without_recordings("events"),
    ],
    "W1": [
        verifies(lambda headers, body, secrets, now: is_good(headers, body, secrets[:1], now)),
        without_recordings("events"),
    ],
    "W2": [
        verifies(
            lambda headers, body, secrets, now: (
                "webhook-signature" not in headers or is_good(headers, body, secrets, now)
            )
        )
    ],
    "W3": [loud_verify],
    "W4": [
        with_webhook(verify=StandardWebhooks(tolerance_seconds=DAY)),
        verifies(
            lambda headers, body, secrets, now: is_good(headers, body, secrets, int(headers["webhook-timestamp"]))
        ),
        verifies(
            lambda headers, body, secrets, now: is_good(
                headers, body, secrets, max(now, int(headers["webhook-timestamp"]))
            )
        ),
    ],
    "W5": [
        verifies(
            lambda headers, body, secrets, now: (
                is_good(headers, body.replace(b"\x00", b""), secrets, now) or b"evt" in body
            )
        ),
        verifies(lambda headers, body, secrets, now: True),
    ],
    "W6": [
        read_keys_of(
            lambda headers, body, keys: msgspec.structs.replace(keys, sender_event_id=headers["webhook-timestamp"])
        ),
        read_keys_of(lambda headers, body, keys: msgspec.structs.replace(keys, sender_event_id="1")),
    ],
    "W7": [read_keys_of(lambda headers, body, keys: msgspec.structs.replace(keys, ordering_key="all"))],
    "W8": [with_webhook(read_keys=lambda headers, body: msgspec.json.decode(body)["id"])],
    "W9": [
        read_keys_of(
            lambda headers, body, keys: msgspec.structs.replace(keys, ordering_key=str(len(msgspec.json.decode(body))))
        )
    ],
    "W10": [
        with_webhook(stored_headers=frozenset({"Content-Type"})),
        with_webhook(stored_headers=frozenset({"webhook-signature"})),
        with_webhook(body_bytes_max=1 << 30),
    ],
    "W11": [with_webhook(sign=lambda secret, message_id, body, now: {})],
    "M1": [without_recordings("events")],
    "M2": [normalizes(lambda event, change: Ignored(code="nothing"))],
    "M3": [
        normalizes(
            lambda event, change: (
                msgspec.structs.replace(change, sequence=next(_counter)) if isinstance(change, OrderSeen) else change
            )
        )
    ],
    "M4": [with_connector(normalize=normalize_strictly)],
    "M5": [with_connector(normalize=normalize_carelessly)],
    "M6": [
        with_order(version=-1),
        with_order(external_id=""),
        with_order(currency="Euro"),
        with_order(total_minor=12.5),
    ],
    "M7": [
        normalizes(
            lambda event, change: (
                msgspec.structs.replace(change, version=1) if isinstance(change, OrderSeen) else change
            )
        )
    ],
    "M8": [normalizes(lambda event, change: NeedsFetch(topic="customer", external_id="1"))],
    "X1": [with_command(ORDER, execute=client.cancel_order), with_command(ORDER, execute=swallow_errors)],
    "X2": [without_recordings("exchanges")],
    "X3": [with_command(ORDER, find=find_by_writing)],
    "X4": [with_command(ORDER, execute=fail_when_lost), with_command(ORDER, execute=swallow_errors)],
    "X5": [with_command(ORDER, execute=fail_when_lost)],
    "X6": [with_command(ORDER, find=find_nothing_on_garbage)],
    "X7": [with_command(ORDER, execute=swallow_errors), with_command(ORDER, execute=forget_the_wait)],
    "X8": [with_command(ORDER, execute=send_something_new)],
    "X9": [with_command(ORDER, execute=send_no_reference)],
    "X10": [with_command(SET, execute=forget_an_outcome), with_command(SET, bulk_max=1)],
    "X11": [with_feed(read_without_ids)],
    "X12": [with_feed(read_for_ever)],
    "X13": [
        with_shown(lambda page: msgspec.structs.replace(page, has_more=True, cursor="")),
        with_shown(lambda page: with_values(page, place="")),
        with_shown(lambda page: with_values(page, value=Decimal("NaN"))),
        with_shown(lambda page: with_values(page, value=Decimal("0.0000001"))),
        with_shown(lambda page: with_values(page, field=ShownField.PRICE)),
        with_shown(lambda page: with_articles(page, external_id="")),
    ],
    "X14": [
        with_shown(lambda page: msgspec.structs.replace(page, articles=page.articles[1:])),
        with_shown(lambda page: msgspec.structs.replace(page, has_more=True, cursor="art")),
    ],
    "E1": [lambda subject: dataclasses.replace(subject, error_of=error_of_known), without_recordings("errors")],
    "E2": [lambda subject: dataclasses.replace(subject, error_of=error_of_json)],
    "S1": [
        with_connector(open_session=log_in_chattily),
        with_connector(open_session=log_in_and_tell),
        with_connector(open_session=log_in_and_blame),
    ],
}

BROKEN_FOLDERS: dict[str, Callable[[Path], Break]] = {
    "C1": in_folder(lambda folder: (folder / "mapper.py").unlink()),
    "C3": in_folder(lambda folder: (folder / "README.md").write_text("no fields here")),
}


@asynccontextmanager
async def filled_remote() -> AsyncIterator[Api]:
    async with running_remote() as remote, api_of(remote) as api:
        fill(remote.world, orders=120)
        yield api


def good_subject() -> Subject:
    return load_subject(PACKAGE, remote=filled_remote)


CASES = [(number, index) for number, breaks in BROKEN.items() for index in range(len(breaks))]


@pytest.mark.parametrize(("number", "index"), CASES, ids=[f"{number}-{index}" for number, index in CASES])
def test_a_broken_promise_is_noticed(number: str, index: int) -> None:
    subject = BROKEN[number][index](good_subject())

    with pytest.raises(Exception, match=r".") as caught:
        CHECKS[number](subject)

    assert not isinstance(caught.value, (NotApplicableError, TidegateError)), caught.value


@pytest.mark.parametrize("number", BROKEN_FOLDERS)
def test_a_broken_folder_is_noticed(number: str, tmp_path: Path) -> None:
    subject = BROKEN_FOLDERS[number](tmp_path)(good_subject())

    with pytest.raises(AssertionError):
        CHECKS[number](subject)


def test_every_check_has_a_broken_connector() -> None:
    assert BROKEN.keys() | BROKEN_FOLDERS.keys() == CHECKS.keys()


def test_rules_about_absent_things_do_not_apply() -> None:
    subject = with_connector(webhook=None)(dataclasses.replace(good_subject(), remote=None))

    for number in ("W1", "X12"):
        with pytest.raises(NotApplicableError):
            CHECKS[number](subject)


def test_a_foreign_scheme_must_be_explained_to_the_kit() -> None:
    unknown: Connector = dataclasses.replace(
        good_subject().connector, webhook=Webhook(verify=Refusing(is_good), read_keys=webhooks.read_keys)
    )

    with pytest.raises(AssertionError, match="signing"):
        CHECKS["W1"](dataclasses.replace(good_subject(), connector=unknown, signing=None))
