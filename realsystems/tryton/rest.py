"""A small blocking client for the ERP's REST protocol: the part that plays people and warehouse staff uses it.

It is not Tidegate's connector, and shares nothing with it, so that one cannot hide the other's mistakes.
"""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

REQUEST_TIMEOUT_SECONDS = 60.0
BUSY_STATUS = 503
"""Somebody else holds a record's lock; the ERP tried a few times and rolled everything back."""
BUSY_RETRIES_MAX = 40
BUSY_WAIT_SECONDS = 0.25

RawRecord = dict[str, Any]


class RestError(RuntimeError):
    """The ERP refused a request; `status` and `body` are its answer."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body[:400]}")
        self.status = status
        self.body = body


class RestClient:
    """Requests as one REST user of one database. Safe to share between threads.

    Every method raises RestError when the ERP refuses, and waits its turn while a record is locked.
    """

    def __init__(self, base_url: str, database: str, key: str, company: int) -> None:
        self._root = f"{base_url}/{database}/rest/model"
        self._key = key
        self._company = company

    def search(
        self,
        model: str,
        domain: Sequence[Any],
        fields: Sequence[str],
        *,
        order: Sequence[tuple[str, str]] = (("id", "ASC"),),
        limit: int | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> list[RawRecord]:
        """Return the records that match a domain, in the given order: all, or the first few."""
        query = [("d", _packed(domain)), ("o", _packed(order)), *(("f", name) for name in fields)]
        if limit is not None:
            query.append(("s", str(limit)))
        found: list[RawRecord] = self._send("GET", model, query, context=context)
        return found

    def count(self, model: str, domain: Sequence[Any]) -> int:
        """Return how many records match a domain."""
        return int(self._send("POST", f"{model}/search_count", [], body={"domain": list(domain)}))

    def create(self, model: str, values: RawRecord, fields: Sequence[str] = ("id",)) -> RawRecord:
        """Create one record and return some of its fields."""
        created: RawRecord = self._send("POST", model, [("f", name) for name in fields], body=values)
        return created

    def create_many(self, model: str, values: Sequence[RawRecord]) -> list[int]:
        """Create records in one transaction and return their ids in the same order."""
        created: list[int] = self._send("POST", f"{model}/create", [], body={"vlist": list(values)})
        return created

    def write(self, model: str, record_id: int, values: RawRecord) -> None:
        """Change fields of one record."""
        self._send("PUT", f"{model}/{record_id}", [("f", "id")], body=values)

    def press(self, model: str, record_id: int, button: str, fields: Sequence[str] = ("state",)) -> RawRecord:
        """Press a button of one record and return some of its fields afterwards.

        A button that the record's state does not offer is refused with status 400.
        """
        query = [("f", name) for name in fields]
        pressed: RawRecord = self._send("POST", f"{model}/{record_id}/{button}", query, body={})
        return pressed

    def _send(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        *,
        body: RawRecord | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Any:
        request = urllib.request.Request(
            f"{self._root}/{path}?{urllib.parse.urlencode(query)}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Authorization": f"Bearer {self._key}",
                "Content-Type": "application/json",
                "X-Tryton-Context": _packed({"company": self._company, **(context or {})}),
            },
        )
        for _ in range(BUSY_RETRIES_MAX):
            try:
                return _answer(request)
            except RestError as error:
                if error.status != BUSY_STATUS:
                    raise
            time.sleep(BUSY_WAIT_SECONDS)
        return _answer(request)


def _answer(request: urllib.request.Request) -> Any:
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_SECONDS) as response:
            text = response.read()
    except urllib.error.HTTPError as error:
        with error:
            raise RestError(error.code, error.read().decode(errors="replace")) from error
    return json.loads(text) if text else None


def decimal_value(amount: Decimal) -> RawRecord:
    """Return a decimal number in the ERP's JSON."""
    return {"__class__": "Decimal", "decimal": str(amount)}


def parse_decimal(raw_value: RawRecord) -> Decimal:
    """Read a decimal number from the ERP's JSON."""
    return Decimal(raw_value["decimal"])


def _packed(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
