"""Requests of Tryton's REST protocol (8.2): paths, domains, and the JSON of its own types. Pure but for `Rest`."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import msgspec

from tidegate.connectors.tryton.errors import error_of
from tidegate.kernel.errors import ConfigurationError
from tidegate.sdk.answers import read_answer
from tidegate.sdk.http import Api

Raw = dict[str, Any]
DATABASE_DEFAULT = "tryton"


def packed(value: object) -> str:
    """Return a value as Tryton takes domains, orders and contexts: URL-safe base64 of JSON."""
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode()


def decimal_value(amount: Decimal) -> Raw:
    """Return a decimal number in Tryton's JSON."""
    return {"__class__": "Decimal", "decimal": str(amount)}


class Rest:
    """The REST protocol over one connection."""

    def __init__(self, api: Api, headers: Mapping[str, str] | None = None) -> None:
        """`headers` are only needed before there is a session."""
        self._api = api
        self._headers = headers
        self._root = f"/{api.settings.get('database', DATABASE_DEFAULT)}/rest/model"

    async def search(
        self,
        model: str,
        domain: Sequence[Any],
        fields: Sequence[str],
        *,
        order: Sequence[tuple[str, str]] = (("id", "ASC"),),
        records_max: int | None = None,
    ) -> list[Raw]:
        """Return the records of a domain in order, at most `records_max` of them. The end of a range is exclusive.

        Tryton leaves out what the key's user may not read: raises ConfigurationError when a field is missing.
        """
        query = [("d", packed(domain)), ("o", packed(order)), *(("f", name) for name in fields)]
        headers = {"Range": f"records=0-{records_max}"} if records_max else {}
        found: list[Raw] = await self._send("GET", f"{model}?{urlencode(query)}", None, headers, kind=list[Raw])
        missing = {name.partition(".")[0] for name in fields} - found[0].keys() if found else None
        if missing:
            raise ConfigurationError(
                f"Tryton does not show {', '.join(sorted(missing))} of {model}",
                code="field_unreadable",
                hint="give the key's user the groups that the connector's README lists",
            )
        return found

    async def create(self, model: str, values: Raw, fields: Sequence[str]) -> Raw:
        """Create one record and return some of its fields."""
        made: Raw = await self._send("POST", f"{model}?{_fields(fields)}", values, {})
        return made

    async def press(self, model: str, record_id: int, button: str, fields: Sequence[str] = ("state",)) -> Raw:
        """Press a button and return some fields afterwards. Raises RejectedError for one that the state forbids."""
        pressed: Raw = await self._send("POST", f"{model}/{record_id}/{button}?{_fields(fields)}", {}, {})
        return pressed

    async def _send(
        self, method: str, path: str, body: Raw | None, headers: Mapping[str, str], *, kind: Any = Raw
    ) -> Any:
        writes = method != "GET"
        response = await self._api.request(
            method,
            f"{self._root}/{path}",
            json=body,
            headers={**(self._headers or {}), **headers},
            changes_state=writes,
        )
        if response.status // 100 != 2:
            raise error_of(response, changes_state=writes)
        return read_answer(response, kind, changes_state=writes)


def _fields(names: Sequence[str]) -> str:
    return urlencode([("f", name) for name in names])
