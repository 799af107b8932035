"""Documents to the Admin API and fields of its answers. No retries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tidegate.connectors.shopify.errors import error_of
from tidegate.sdk.answers import read_answer
from tidegate.sdk.http import Api, Response

API_VERSION = "2026-10"
"""Pinned. Shopify serves another one when this is no longer supported, and says so in `X-Shopify-API-Version`."""
GRAPHQL_PATH = f"/admin/api/{API_VERSION}/graphql.json"
VERSION_HEADER = "x-shopify-api-version"
Raw = dict[str, Any]


async def send(api: Api, query: str, variables: Mapping[str, Any], *, changes_state: bool) -> Response:
    """Send a document and return the whole answer."""
    return await api.request(
        "POST", GRAPHQL_PATH, json={"query": query, "variables": variables}, changes_state=changes_state
    )


async def call(
    api: Api, query: str, variables: Mapping[str, Any], field: str, kind: Any, *, changes_state: bool = True
) -> Any:
    """Send a document and return one field of its data as `kind`."""
    response = await send(api, query, variables, changes_state=changes_state)
    return read_field(response, field, kind, changes_state=changes_state)


def read_field(response: Response, field: str, kind: Any, *, changes_state: bool) -> Any:
    """Return one field of an answer's data as `kind`. Raises the error that the answer stands for.

    An answer that has both data and errors is an error: what is missing from the data would be taken for nothing.
    """
    if response.status // 100 != 2:
        raise error_of(response, changes_state=changes_state)
    answer = read_answer(response, Raw, changes_state=changes_state)
    if answer.get("errors") or not isinstance(answer.get("data"), dict) or field not in answer["data"]:
        raise error_of(response, changes_state=changes_state)
    try:
        return msgspec.convert(answer["data"][field], kind)
    except msgspec.ValidationError as error:
        raise error_of(response, changes_state=changes_state) from error


def is_on(settings: Mapping[str, Any], name: str) -> bool:
    """Return whether a setting says yes, however it is written."""
    return str(settings.get(name, "no")).strip().lower() in ("yes", "true", "on", "1")


def gid(kind: str, external_id: str) -> str:
    """Return the id that the API takes: `gid://shopify/Order/1`."""
    return external_id if external_id.startswith("gid://") else f"gid://shopify/{kind}/{external_id}"


def number_of(global_id: str) -> str:
    """Return the number at the end of a `gid://shopify/Order/1`: what webhooks call the thing, and what we keep."""
    return global_id.partition("?")[0].rpartition("/")[2]
