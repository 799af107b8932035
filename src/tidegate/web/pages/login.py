"""Signing in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from litestar import Response

from tidegate.web.pages.desk import Desk
from tidegate.web.pages.visit import (
    Door,
    Here,
    answer_html,
    form_token_of,
    local_path,
    new_form_secret,
    redirect,
)
from tidegate.web.sessions import Refused

FIELD_NAME_CHARS_MAX = 200


def address_for(door: Door, *, is_action: bool) -> str:
    """Return the login's address, with the way back: to the page, or after an action to where its form stood."""
    place = door.request.url.path if not is_action else "/"
    asked = door.request.url.query
    full = f"{place}?{asked}" if asked and not is_action else place
    return "/login" if full == "/" else f"/login?next={quote(full, safe='')}"


async def show(desk: Desk, door: Door) -> Response[Any]:
    """Show the form."""
    return await _show(desk, door, local_path(str(door.request.query_params.get("next", "/"))))


async def sign_in(desk: Desk, door: Door, fields: Mapping[str, str]) -> Response[Any]:
    """Begin a session and go where the visitor wanted to; or show the form again."""
    place = local_path(fields.get("next", "/"))
    if not door.may_sign_in:
        return await _show(desk, door, place, status=403)
    sessions = desk.sessions(await desk.tenant_id())
    name = fields.get("name", "").strip()[:FIELD_NAME_CHARS_MAX]
    grant = desk.guesses.take(door.address, desk.world.clock.monotonic())
    if not grant.allowed:
        message = f"There were too many tries from your address. Wait {grant.retry_after_seconds} s, then try again."
        return await _show(desk, door, place, message=message, name=name, status=429)
    answer = await sessions.sign_in(name, fields.get("password", ""), address=door.address)
    if isinstance(answer, Refused):
        if answer.wait_seconds:
            message = f"There were too many failures. Wait {round(answer.wait_seconds) or 1} s, then try again."
            return await _show(desk, door, place, message=message, name=name, status=429)
        return await _show(desk, door, place, message="The name or the password is wrong.", name=name, status=403)
    cookies = [door.set_cookie("tidegate", answer.token), door.set_cookie("tidegate_form", "", strict=True)]
    return redirect(place, door, cookies=cookies)


async def sign_out(here: Here) -> Response[Any]:
    """End the session."""
    await here.desk.sessions(here.tenant_id).end(here.visit)
    return redirect("/login", here.door, cookies=[here.door.set_cookie("tidegate", "")])


async def _show(
    desk: Desk, door: Door, place: str, *, message: str = "", name: str = "", status: int = 200
) -> Response[Any]:
    secret = door.cookie("tidegate_form") or new_form_secret()  # two open login pages share it
    values = {
        "form_token": form_token_of(secret),
        "next": place,
        "message": message,
        "name": name,
        "may_sign_in": door.may_sign_in,
        "host": door.host,
        "has_login": await desk.sessions(await desk.tenant_id()).anybody(),
        "tenant": desk.tenant,
    }
    html = desk.renderer.page("login.html", values)
    return answer_html(html, door, status=status, cookies=[door.set_cookie("tidegate_form", secret, strict=True)])
