"""A small synchronous GraphQL client for a Vendure shop's two APIs; safe to use from many threads."""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any

REQUEST_TIMEOUT_SECONDS = 30.0
TOKEN_HEADER = "vendure-auth-token"


class ShopError(RuntimeError):
    """The shop refused a call, answered no JSON, or could not be reached."""


class GraphQLClient:
    """Calls `admin-api` and `shop-api` of one shop on the loopback interface."""

    def __init__(self, port: int, username: str, password: str) -> None:
        self.port = port
        self._credentials = {"username": username, "password": password}
        self._admin_token: str | None = None
        self._login_lock = threading.Lock()

    def admin(self, document: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run an Admin API operation as the superadmin (logs in first) and return its data.

        Raises ShopError when there are GraphQL errors; members of result unions are returned as data.
        """
        with self._login_lock:
            if self._admin_token is None:
                self._admin_token = self._login()
        return self.call("admin-api", document, variables, self._admin_token)[0]

    def call(
        self, api: str, document: str, variables: dict[str, Any] | None, token: str | None
    ) -> tuple[dict[str, Any], str | None]:
        """Run one operation; return its data and the session token to use from now on."""
        headers = {"content-type": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        body = json.dumps({"query": document, "variables": variables or {}})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_TIMEOUT_SECONDS)
        try:
            connection.request("POST", f"/{api}", body, headers)
            response = connection.getresponse()
            raw_answer: dict[str, Any] = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ShopError(f"shop on port {self.port} gave no answer: {error!r}") from error
        finally:
            connection.close()
        if raw_answer.get("errors"):
            raise ShopError("; ".join(str(error["message"]) for error in raw_answer["errors"]))
        return raw_answer["data"], response.headers.get(TOKEN_HEADER) or token

    def _login(self) -> str:
        document = """mutation ($username: String!, $password: String!) {
            login(username: $username, password: $password) { __typename }
        }"""
        data, token = self.call("admin-api", document, dict(self._credentials), None)
        if data["login"]["__typename"] != "CurrentUser" or not token:
            raise ShopError(f"the shop does not accept the superadmin: {data['login']['__typename']}")
        return token
