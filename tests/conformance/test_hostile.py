"""The kit examines the hostile connector, with a running remote behind its feeds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.remotebed import api_of, fill, running_remote

from tidegate.sdk.http import Api
from tidegate.sdk.testing.conformance import conformance_suite


@asynccontextmanager
async def filled_remote() -> AsyncIterator[Api]:
    async with running_remote() as remote, api_of(remote) as api:
        fill(remote.world, orders=120)
        yield api


TestHostile = conformance_suite("tidegate.sdk.testing.hostile_connector", remote=filled_remote)
