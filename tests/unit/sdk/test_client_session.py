"""Logging in: lazily, once for all who wait, anew after a 401, and never in a circle."""

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from tests.rawserver import Peer, RawServer
from tests.remotebed import api_of, fill, order, running_remote

from tidegate.kernel.errors import AuthenticationError, TransientError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.http import Api, Session
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_connector import CONNECTOR, client
from tidegate.sdk.testing.hostile_faults import Fault

pytestmark = pytest.mark.asyncio


def asked(remote: HostileServer, route: str) -> int:
    return remote.world.requests.get(route, 0)


async def test_many_first_requests_share_one_log_in() -> None:
    async with running_remote() as remote, api_of(remote) as api:
        assert remote.world.logins == 0

        await asyncio.gather(*(client.inspect(api) for _ in range(20)))

        assert remote.world.logins == 1
        assert asked(remote, "GET /api/about") == 20


async def test_an_expired_token_is_renewed_once_for_all_and_the_requests_repeated() -> None:
    async with running_remote() as remote, api_of(remote) as api:
        fill(remote.world)
        await client.inspect(api)
        remote.world.tokens.clear()

        outcomes = await asyncio.gather(
            *(client.create_order(api, [order(f"ord_c0_e{number}")], "key") for number in range(8))
        )

        assert [len(outcome) for outcome in outcomes] == [1] * 8
        assert remote.world.logins == 2
        assert {remote.world.effects["order.create"][f"ord_c0_e{number}"] for number in range(8)} == {1}


async def test_a_token_that_is_refused_again_is_given_up_after_one_renewal() -> None:
    async with running_remote() as remote, api_of(remote) as api:
        remote.put_faults(Fault(kind="status", path="/api/about", status=401, times=None))

        with pytest.raises(AuthenticationError):
            await client.inspect(api)

        assert asked(remote, "GET /api/about") == 2
        assert remote.world.logins == 2


async def test_a_refused_key_is_tried_once_for_all_who_wait() -> None:
    async with running_remote() as remote, api_of(remote) as api:
        remote.world.api_key = "another"

        results = await asyncio.gather(*(client.inspect(api) for _ in range(10)), return_exceptions=True)

        assert {type(result) for result in results} == {AuthenticationError}
        assert asked(remote, "POST /api/token") == 1


async def test_a_failed_log_in_can_be_tried_again() -> None:
    async with running_remote() as remote, api_of(remote) as api:
        remote.put_faults(Fault(kind="reset", path="/api/token"))
        with pytest.raises(TransientError):
            await client.inspect(api)

        found = await client.inspect(api)

        assert found.external_account == "hostile"


async def test_a_waiting_caller_that_is_cancelled_does_not_end_the_log_in_of_the_others() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def open_slowly(api: Api, secrets: Mapping[str, Secret], settings: Mapping[str, Any]) -> Session:
        begun.set()
        await go_on.wait()
        return await client.open_session(api, secrets, settings)

    slow = dataclasses.replace(CONNECTOR, open_session=open_slowly)
    async with running_remote() as remote, api_of(remote, slow) as api:
        first = asyncio.create_task(client.inspect(api))
        await begun.wait()
        second = asyncio.create_task(client.inspect(api))
        await asyncio.sleep(0)

        first.cancel()
        go_on.set()

        assert (await second).external_account == "hostile"
        assert first.cancelled() or await asyncio.gather(first, return_exceptions=True)
        assert remote.world.logins == 1


async def test_a_closed_api_ends_its_log_in_and_can_be_used_again() -> None:
    begun = asyncio.Event()

    async def open_never(api: Api, secrets: Mapping[str, Secret], settings: Mapping[str, Any]) -> Session:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        return await client.open_session(api, secrets, settings)

    async with (
        running_remote() as remote,
        api_of(remote, dataclasses.replace(CONNECTOR, open_session=open_never)) as api,
    ):
        waiting = asyncio.create_task(client.inspect(api))
        await begun.wait()

        await api.close()

        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await client.inspect(api)).external_account == "hostile"


async def test_the_log_in_itself_runs_without_session_headers() -> None:
    seen: list[Mapping[str, str]] = []

    async def open_and_look(api: Api, secrets: Mapping[str, Secret], settings: Mapping[str, Any]) -> Session:
        assert dict(api.settings) == {}
        session = await client.open_session(api, secrets, settings)
        seen.append(session.headers)
        return session

    async with (
        running_remote() as remote,
        api_of(remote, dataclasses.replace(CONNECTOR, open_session=open_and_look)) as api,
    ):
        await client.inspect(api)
        remote.world.tokens.clear()
        await client.inspect(api)

    assert len(seen) == 2
    assert seen[0] != seen[1]


async def test_a_session_refused_inside_a_200_is_renewed_like_a_401() -> None:
    async def expired_once(peer: Peer) -> None:
        await peer.answer(body=b'{"expired":true}' if peer.number == 1 else b'{"done":true}')

    async def expired_always(peer: Peer) -> None:
        await peer.answer(body=b'{"expired":true}')

    logins = 0

    async def open_session(api: Api, secrets: Mapping[str, Secret], settings: Mapping[str, Any]) -> Session:
        nonlocal logins
        logins += 1
        return Session(headers={"X-Login": str(logins)})

    shy = dataclasses.replace(
        CONNECTOR, open_session=open_session, refuses_session=lambda response: b"expired" in response.body
    )
    async with RawServer(expired_once) as server, api_of(server.base_url, shy) as api:
        assert (await api.request("POST", "/x")).json() == {"done": True}
        assert [b"X-Login: 1" in request for request in server.requests] == [True, False]
    assert logins == 2
    async with RawServer(expired_always) as server, api_of(server.base_url, shy) as api:
        with pytest.raises(AuthenticationError) as caught:
            await api.request("POST", "/x")
        assert len(server.requests) == 2
    assert caught.value.code == "session_refused"
