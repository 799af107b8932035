"""One request to a page: who asks, whether they may, and how they are answered.

Every page but the login asks for a session; every form for its token and for an origin that is ours.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from uuid import UUID

from litestar import Request, Response
from litestar.datastructures import Cookie

from tidegate.config import Config
from tidegate.store.connections import Connection
from tidegate.web.buckets import place_of
from tidegate.web.database import reading, writing
from tidegate.web.pages.desk import Desk
from tidegate.web.problems import ProblemError
from tidegate.web.sessions import Refused, Visit, form_token, is_form_token

CONTENT_POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers hide the origin of forms as well
    "Cross-Origin-Opener-Policy": "same-origin",
}
HSTS = {"Strict-Transport-Security": "max-age=31536000"}
FIELD_CHARS_MAX = 2000
FIELDS_MAX = 2000
NOTE_CHARS_MAX = 300
_LOOPBACK = re.compile(r"(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d+)?")
_LOCAL_PATH = re.compile(r"/(?![/\\])[\x21-\x7e]{0,2000}")


class Redirect(Exception):
    """Look there instead."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


class PasswordNeeded(Exception):
    """The action is dangerous, and the password was typed too long ago."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message


class Door:
    """What is known of a request before anybody signed in: how it came, and its cookies."""

    def __init__(self, request: Request[Any, Any, Any]) -> None:
        """Read the request's head."""
        self.request = request
        self.host = request.headers.get("host", "")
        self.is_tls = request.scope["scheme"] == "https" or request.headers.get("x-forwarded-proto", "") == "https"
        """A header that anybody may write, and that only who writes it feels: it makes the cookie `Secure`."""
        self.is_loopback = _LOOPBACK.fullmatch(self.host) is not None

    @property
    def may_sign_in(self) -> bool:
        """Whether a password would travel hidden from others."""
        return self.is_tls or self.is_loopback

    @property
    def address(self) -> str:
        """Who calls: the other end of the socket, an IPv6 network of 64 bits as one."""
        client = self.request.client
        return place_of(client.host) if client is not None else "?"

    def cookie_name(self, name: str) -> str:
        """Return the name of a cookie: bound to host and path over TLS, to the port on loopback."""
        return f"__Host-{name}" if self.is_tls else f"{name}_{urlsplit('//' + self.host).port or 80}"

    def cookie(self, name: str) -> str:
        """Return a cookie's value, '' when it is not there."""
        return self.request.cookies.get(self.cookie_name(name), "")

    def set_cookie(self, name: str, value: str, *, strict: bool = False) -> Cookie:
        """Return a cookie that ends with the browser; an empty value removes it."""
        return Cookie(
            key=self.cookie_name(name),
            value=value,
            path="/",
            httponly=True,
            secure=self.is_tls,
            samesite="strict" if strict else "lax",
            max_age=None if value else 0,
        )

    def require_own_origin(self) -> None:
        """Raise ProblemError when a form was sent from another site's page."""
        origin = self.request.headers.get("origin")
        if origin is not None:
            is_own = _netloc(origin) == self.host.lower() != ""
        else:
            is_own = self.request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
        if not is_own:
            raise ProblemError(
                403, "foreign_origin", "this form was sent from another site", hint="open the page itself"
            )

    async def fields(self) -> dict[str, str]:
        """Return the fields of the form, of repeated ones the last. Raises ProblemError for absurd ones."""
        form = await self.request.form()
        found: dict[str, str] = {}
        for name, value in form.multi_items():
            if not isinstance(value, str) or len(value) > FIELD_CHARS_MAX or len(found) > FIELDS_MAX:
                raise ProblemError(400, "form_invalid", "the form has a field that does not belong there")
            found[name] = value
        return found


def require_form_token(token: str, fields: Mapping[str, str]) -> None:
    """Raise ProblemError when the form was not made for the cookie that came with it."""
    if not token or not is_form_token(token, fields.get("form_token", "")):
        raise ProblemError(
            403, "form_expired", "this form is too old, or was not made here", hint="open the page again and repeat it"
        )


class Here:
    """A page's request of somebody who is signed in."""

    def __init__(self, desk: Desk, door: Door, visit: Visit, fields: Mapping[str, str]) -> None:
        """`fields` is the form, empty for a look."""
        self.desk = desk
        self.door = door
        self.visit = visit
        self.fields = fields
        self.cookies: list[Cookie] = []
        self.now: datetime = desk.world.clock.now()
        self.tenant_id: UUID = visit.tenant_id
        self.connectors = desk.world.connectors
        self.cell = desk.world.cell

    @property
    def actor(self) -> str:
        """Who acts, for the audit log."""
        return self.visit.actor

    def path(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.door.request.path_params[name])

    def asked(self, name: str) -> str:
        """Return a query parameter without blanks around it, '' when it is not there. Raises ProblemError when absurd."""
        value = str(self.door.request.query_params.get(name, "")).strip()
        if len(value) > FIELD_CHARS_MAX or "\0" in value:
            raise ProblemError(400, "invalid_request", f"the parameter {name} cannot be looked for")
        return value

    def field(self, name: str) -> str:
        """Return a field of the form without blanks around it, '' when it is not there."""
        value = self.fields.get(name, "").strip()
        if "\0" in value:
            raise ProblemError(400, "form_invalid", f"the field {name} has a character that no text has")
        return value

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """See `web.database.reading`."""
        async with reading(self.desk.world, self.tenant_id) as conn:
            yield conn

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """See `web.database.writing`."""
        async with writing(self.desk.world, self.tenant_id) as conn:
            yield conn

    async def config(self) -> Config:
        """Return the configuration that is at work."""
        async with self.reading() as conn:
            return (await self.desk.config(conn)).config

    async def prove(self) -> None:
        """Ask for the password unless it was typed lately; the session goes on under a new cookie then.

        Raises PasswordNeeded when it has to be typed (again).
        """
        if self.visit.is_fresh(self.now):
            return
        password = self.fields.get("password")
        if not password:
            raise PasswordNeeded
        answer = await self.desk.sessions(self.tenant_id).confirm(self.visit, password, address=self.door.address)
        if isinstance(answer, Refused):
            wait = f"Wait {round(answer.wait_seconds)} s before the next try." if answer.wait_seconds else ""
            raise PasswordNeeded(f"That was not the password. {wait}")
        self.cookies.append(self.door.set_cookie("tidegate", answer.token))

    def show(self, template: str, *, http_status: int = 200, **values: Any) -> Response[Any]:
        """Return a page."""
        frame = {
            "name": self.visit.name,
            "form_token": self.visit.form_token,
            "is_fresh": self.visit.is_fresh(self.now),
            "now": self.now,
            "tenant": self.desk.tenant,
            "place": self.door.request.url.path,
            "note": self._note(),
            "frame": self.desk.hub.frame,
        }
        return self.answer(self.desk.renderer.page(template, {**frame, **values}), http_status=http_status)

    def answer(self, html: str, *, http_status: int = 200) -> Response[Any]:
        """Return HTML with the headers of a private page."""
        return answer_html(html, self.door, status=http_status, cookies=self.cookies)

    def go(self, place: str, note: str = "") -> Response[Any]:
        """Return the answer after an action: look there, with a sentence of what was done.

        The sentence travels in a cookie: in the address, a stranger's link could put words into our mouth.
        """
        if note:
            self.cookies.append(self.door.set_cookie("tidegate_note", quote(note[:NOTE_CHARS_MAX]), strict=True))
        if self.door.request.method == "POST":
            self.desk.hub.forget()
        return redirect(place, self.door, cookies=self.cookies)

    def _note(self) -> str:
        note = unquote(self.door.cookie("tidegate_note"))
        if note and self.door.request.method == "GET":
            self.cookies.append(self.door.set_cookie("tidegate_note", ""))
            return note[:NOTE_CHARS_MAX]
        return ""


def _netloc(origin: str) -> str:
    """Return host and port of an origin, '' for what is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def answer_html(html: str, door: Door, *, status: int = 200, cookies: list[Cookie] | None = None) -> Response[Any]:
    """Return HTML with the headers of a private page."""
    headers = {**HEADERS, **(HSTS if door.is_tls else {})}
    return Response(
        content=html, status_code=status, media_type="text/html; charset=utf-8", headers=headers, cookies=cookies or []
    )


def redirect(place: str, door: Door, *, cookies: list[Cookie] | None = None) -> Response[Any]:
    """Return 303: the next request is a GET of `place`."""
    headers = {**HEADERS, **(HSTS if door.is_tls else {}), "Location": place}
    return Response(content="", status_code=303, media_type="text/plain", headers=headers, cookies=cookies or [])


def local_path(text: str) -> str:
    """Return a path of this site, `/` for anything that leads elsewhere."""
    return text if _LOCAL_PATH.fullmatch(text) else "/"


def new_form_secret() -> str:
    """Return what the cookie of the login page holds."""
    return secrets.token_urlsafe(32)


def form_token_of(secret: str) -> str:
    """Return what the login's form carries under such a cookie."""
    return form_token(secret)
