"""The pages over HTTP: who gets in, what protects them, what they show and do (SECURITY A8, A9, G9, P7)."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import UUID

import pytest
import pytest_asyncio
from tests import applybed
from tests.pagesbed import PASSWORD, SetClock, Visitor, make_login, running_pages, token_of, visiting

from tidegate.commerce.commands import CommandKind
from tidegate.kernel.errors import TransientError
from tidegate.kernel.ids import public_id
from tidegate.monitor.alerts.operator import silence
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.sync.going_live import put_to_work
from tidegate.web.database import combiner_on, key_finder_on
from tidegate.web.logins import set_password
from tidegate.web.pages.desk import Desk
from tidegate.web.pages.live import STREAMS_MAX
from tidegate.web.pages.routes import ROUTES
from tidegate.web.passwords import PasswordCheck
from tidegate.web.settings import WebSettings
from tidegate.web.world import World

pytestmark = pytest.mark.asyncio
SIGN_IN_BURST = WebSettings().sign_in_burst
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}${7*7}\u202e mail@example.test +49 30 1234567"
)
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool) -> applybed.Bed:
    made = await applybed.make_bed(database, owner_pool)
    await make_login(owner_pool, made.tenant_id)
    return made


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest_asyncio.fixture
async def url(bed: applybed.Bed, clock: SetClock) -> AsyncIterator[str]:
    async with running_pages(bed.database, connectors={"hostile": bed.connector}, clock=clock) as found:
        yield found


@pytest_asyncio.fixture
async def stranger(url: str) -> AsyncIterator[Visitor]:
    async with visiting(url) as found:
        yield found


@pytest_asyncio.fixture
async def admin(stranger: Visitor) -> Visitor:
    assert (await stranger.sign_in()).status == 303
    return stranger


async def failed_command(bed: applybed.Bed, *, reason: str = "no such article", state: str = "failed") -> str:
    """Plan an order's create and let it fail; return the command's public id."""
    await bed.append([("shop_a", applybed.order_event("1", [("A", 1)]))])
    await bed.apply()
    command_id: UUID = await bed.pool.fetchval(
        "UPDATE command SET state = $1, code = 'rejected', reason = $2,"
        " finished_at = CASE WHEN $1 = 'failed' THEN clock_timestamp() END WHERE kind = $3 RETURNING command_id",
        state,
        reason,
        CommandKind.ORDER_CREATE,
    )
    return public_id("cmd", "c0", command_id)


# --- who gets in --------------------------------------------------------------------------------------------------------
async def test_a8_every_page_and_action_asks_for_a_session(stranger: Visitor) -> None:
    """The table of routes is the whole of it: nothing but the login and the assets answers a stranger."""
    assert len(ROUTES) > 15
    for route in ROUTES:
        path = re.sub(r"\{\w+:\w+\}", "x", route.path)
        answer = await (stranger.get(path) if route.method == "GET" else stranger.post(path, {"form_token": "0" * 64}))
        assert answer.status == 303, route
        assert answer.headers["Location"].startswith("/login"), route


async def test_a8_the_cookie_cannot_be_read_by_scripts_and_is_another_one_after_signing_in(stranger: Visitor) -> None:
    """Fixation: a cookie that was there before is not the session."""
    planted = "p" * 43
    stranger.http.cookie_jar.update_cookies({f"tidegate_{stranger.url.rsplit(':', 1)[1]}": planted})

    answer = await stranger.sign_in()

    cookie = next(each for each in answer.cookies if each.startswith("tidegate_") and "form" not in each)
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie
    assert "Secure" not in cookie  # plain HTTP, on loopback
    assert planted not in cookie
    assert (await stranger.get("/")).status == 200


async def test_a8_over_tls_the_cookie_is_bound_to_the_host(stranger: Visitor) -> None:
    page = await stranger.get("/login", **{"X-Forwarded-Proto": "https", "Host": "gate.example.test"})

    cookie = page.cookies[0]
    assert cookie.startswith("__Host-tidegate_form=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=strict"} <= {part.strip() for part in cookie.split(";")}
    assert "Domain" not in cookie
    assert "max-age=" in page.headers["Strict-Transport-Security"]


async def test_a8_no_password_over_plain_http_from_elsewhere(stranger: Visitor) -> None:
    """A password would travel readable: the page says what to do instead."""
    page = await stranger.get("/login", Host="gate.example.test:7481")
    assert 'type="password"' not in page.text
    assert "ssh -L" in page.text

    token = token_of((await stranger.get("/login")).text)
    fields = {"form_token": token, "name": "admin", "password": PASSWORD}
    answer = await stranger.post("/login", fields, Host="gate.example.test", Origin="http://gate.example.test")
    assert answer.status == 403
    assert not any(each.startswith("tidegate_8") for each in answer.cookies)


async def test_a8_a_form_from_elsewhere_is_refused(admin: Visitor) -> None:
    """CSRF: the token, and the origin, both."""
    token = await admin.token()
    foreign = [
        ({"form_token": token}, {"Origin": "https://evil.example.test"}),
        ({"form_token": token}, {"Origin": "null"}),
        ({"form_token": token}, {"Origin": admin.url.replace("127.0.0.1", "127.0.0.2")}),
        ({}, {}),
        ({"form_token": "0" * 64}, {}),
        ({"form_token": token[:-1] + ("0" if token[-1] != "0" else "1")}, {}),
    ]
    for fields, headers in foreign:
        answer = await admin.post("/logout", fields, **headers)
        assert answer.status == 403, (fields, headers)
    assert (await admin.get("/")).status == 200

    async with visiting(admin.url) as other:
        await other.sign_in()
        assert (await other.post("/logout", {"form_token": token})).status == 403  # somebody else's token


async def test_a8_wrong_passwords_are_told_alike_and_lock_the_door(stranger: Visitor, clock: SetClock) -> None:
    clock.hold()
    answers = [await stranger.sign_in("admin", "wrong") for _ in range(7)]
    unknown = [await stranger.sign_in("nobody", "wrong") for _ in range(7)]

    assert [answer.status for answer in answers] == [403] * 6 + [429]
    assert [answer.status for answer in unknown] == [answer.status for answer in answers]
    assert "The name or the password is wrong." in answers[0].text
    assert (await stranger.sign_in()).status == 429


async def test_a8_one_address_has_so_many_tries_whatever_names_it_invents(stranger: Visitor, clock: SetClock) -> None:
    clock.hold()
    answers = [await stranger.sign_in(f"name{number}", "wrong") for number in range(SIGN_IN_BURST + 1)]

    assert [answer.status for answer in answers] == [403] * SIGN_IN_BURST + [429]
    assert (await stranger.sign_in()).status == 429
    clock.advance(seconds=6)
    assert (await stranger.sign_in()).status == 303


async def test_a8_sessions_end_by_themselves_and_by_signing_out(admin: Visitor, clock: SetClock) -> None:
    assert (await admin.act("/logout")).headers["Location"] == "/login"
    assert (await admin.get("/")).status == 303

    await admin.sign_in()
    clock.advance(minutes=31)
    answer = await admin.get("/events?state=failed")

    assert answer.status == 303
    assert answer.headers["Location"] == "/login?next=%2Fevents%3Fstate%3Dfailed"
    back = await admin.sign_in(to="/events?state=failed")
    assert back.headers["Location"] == "/events?state=failed"


@pytest.mark.parametrize(
    "elsewhere", ["//evil.test", "/\\evil.test", "https://evil.test", "javascript:alert(1)", "/a\nb"]
)
async def test_a8_signing_in_leads_to_this_site_only(stranger: Visitor, elsewhere: str) -> None:
    assert (await stranger.sign_in(to=elsewhere)).headers["Location"] == "/"


@pytest.mark.parametrize(
    "headers", [{"Host": "x:99999"}, {"Host": "x:abc"}, {"Host": "["}, {"Origin": "http://["}, {"Origin": "http://x:y"}]
)
async def test_g12_a_host_or_an_origin_that_is_none_is_no_error_of_ours(
    stranger: Visitor, headers: dict[str, str]
) -> None:
    """Anybody may send them: none of them may leave a traceback in the log."""
    looks = [await stranger.get(path, **headers) for path in ("/", "/login", "/v1/events", "/healthz")]
    sent = await stranger.post("/login", {"form_token": "0" * 64}, **headers)

    assert {answer.status for answer in looks} == ({400} if "Host" in headers else {200, 303, 401})
    assert sent.status == (400 if "Host" in headers else 403)


async def test_a8_an_action_that_fails_after_the_password_was_typed_does_not_sign_out(
    admin: Visitor, clock: SetClock
) -> None:
    """The session went on under a new cookie: it must arrive, or the new one lies about without an owner."""
    clock.advance(minutes=11)
    failed = await admin.act("/config/999/rollback", at="/", password=PASSWORD)
    assert failed.status == 404
    assert (await admin.get("/")).status == 200


async def test_a8_a_password_that_is_replaced_while_it_is_checked_opens_nothing(
    bed: applybed.Bed, stranger: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reset ends all sessions: none may begin behind it with the old password."""
    check = PasswordCheck.matches

    async def replaced_meanwhile(self: PasswordCheck, stored: str | None, password: str) -> bool:
        found = await check(self, stored, password)
        async with bed.pool.acquire() as conn:
            await set_password(conn, tenant_id=bed.tenant_id, name="admin", password_hash="other", actor="test")
        return found

    monkeypatch.setattr(PasswordCheck, "matches", replaced_meanwhile)
    assert (await stranger.sign_in()).status == 403
    assert await bed.pool.fetchval("SELECT count(*) FROM login_session") == 0


async def test_commands_that_cannot_exist_are_refused(admin: Visitor) -> None:
    assert (await admin.act("/commands/retry", at="/", command_x="yes")).status == 400


async def test_a8_a_dangerous_action_asks_for_the_password_when_it_was_typed_long_ago(
    bed: applybed.Bed, admin: Visitor, clock: SetClock
) -> None:
    command = await failed_command(bed)
    box = "command_" + (await bed.pool.fetchval("SELECT command_id FROM command")).hex
    clock.advance(minutes=11)

    asked = await admin.act("/commands/retry", at="/commands", **{box: "yes"})
    wrong = await admin.act("/commands/retry", at="/commands", **{box: "yes", "password": "wrong"})
    assert await bed.pool.fetchval("SELECT state FROM command") == "failed"
    fields = {
        name: html.unescape(value)
        for name, value in re.findall(
            r'type="hidden" name="([^"]+)" value="([^"]*)"', asked.text.split("Is it still")[1]
        )
    }
    done = await admin.post("/commands/retry", {**fields, "password": PASSWORD})

    assert "Is it still you?" in asked.text
    assert (wrong.status, "That was not the password" in wrong.text) == (403, True)
    assert fields[box] == "yes"
    assert done.status == 303
    assert any("tidegate_" in cookie and "note" not in cookie for cookie in done.cookies)  # another cookie than before
    assert (await admin.get(f"/commands/{command}")).status == 200
    assert await bed.pool.fetchval("SELECT state FROM command") == "pending"


# --- what protects ------------------------------------------------------------------------------------------------------
async def test_a9_headers_of_private_pages(admin: Visitor) -> None:
    for path in ("/", "/login", "/events", "/commands/x", "/nothing-here-either"):
        headers = (await admin.get(path)).headers
        assert headers["Cache-Control"] == "no-store", path
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["X-Frame-Options"] == "DENY", path
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], path
        assert "unsafe" not in headers["Content-Security-Policy"], path
    assert (await admin.get("/")).headers["Content-Security-Policy"] == POLICY


async def test_assets_are_kept_for_a_year_under_their_content(admin: Visitor) -> None:
    page = (await admin.get("/")).text
    addresses = set(re.findall(r'"(/assets/[^"]+)"', page))

    assert len(addresses) == 3
    for address in addresses:
        answer = await admin.get(address)
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]
    assert (await admin.get("/assets/page.0000000000000000.css")).status == 404
    assert (await admin.get("/assets/..%2f..%2frender.py")).status == 404


async def test_a9_whatever_strangers_send_is_text(bed: applybed.Bed, admin: Visitor) -> None:
    """Stored XSS in every foreign field; people's addresses in the words of other systems are masked (P7)."""
    event = applybed.order_event("1", [("A", 1)])
    event["order"]["number"] = HOSTILE
    event["order"]["lines"][0]["title"] = HOSTILE
    await bed.append([("shop_a", event), ("erp", applybed.move_event("m1", "A", 5))])
    await bed.apply()
    sku = HOSTILE[:60].replace("/", "|")
    await bed.pool.execute("UPDATE inventory_item SET sku = $1 WHERE item_id = $2", sku, bed.items["A"])
    await bed.pool.execute("UPDATE order_line SET sku = $1, title = $2", sku, HOSTILE)
    await bed.pool.execute("UPDATE event_outcome SET reason = $1, code = $1", HOSTILE)
    await bed.pool.execute("UPDATE command SET reason = $1, code = $1", HOSTILE)
    await bed.pool.execute(
        "UPDATE event SET topic = $1, external_id = $1, ordering_key = $1, undecodable = $1", HOSTILE
    )
    await bed.pool.execute("UPDATE connection SET state_reason = $1, name = $1 || name", HOSTILE)
    await bed.pool.execute("UPDATE location SET name = $1", HOSTILE)
    await bed.pool.execute("UPDATE binding SET external_id = $1 || external_id", HOSTILE)
    await bed.pool.execute("UPDATE switch SET reason = $1, is_on = true", HOSTILE)
    ids = await bed.pool.fetchrow(
        'SELECT (SELECT order_id FROM "order"), (SELECT command_id FROM command LIMIT 1),'
        " (SELECT event_id FROM event LIMIT 1)"
    )
    assert ids is not None
    order, command, one = (public_id(kind, "c0", each) for kind, each in zip(("ord", "cmd", "evt"), ids, strict=True))
    paths = [
        "/", "/connections", "/events", f"/events/{one}", "/commands", f"/commands/{command}", f"/orders/{order}",
        f"/skus/{quote(sku, safe='')}", f"/find?q={quote(HOSTILE[:9])}", f"/events?connection={quote(HOSTILE)}&since={quote(HOSTILE)}",
        "/events/replay", "/flows", "/drift", "/config", "/issues", "/alerts", "/stock",
    ]  # fmt: skip
    seen = ""
    for path in paths:
        answer = await admin.get(path)
        assert answer.status == 200, (path, answer.text)
        assert "<script>alert" not in answer.text, path
        assert "<img src=x" not in answer.text, path
        assert "\u202e" not in answer.text, path
        assert not re.search(r"\{\{ 49|\$49|>49<", answer.text), path
        seen += answer.text
    assert "&lt;script&gt;alert(1)" in seen
    reasons = [line for line in seen.splitlines() if "[e-mail]" in line]
    assert reasons, "reasons of other systems show masked addresses"


async def test_failures_have_a_page_without_a_traceback(admin: Visitor) -> None:
    for path, status in (
        ("/orders/none", 404),
        ("/skus/none", 404),
        ("/events/evt_c0_none", 404),
        ("/commands/cmd_c0_" + "0" * 26, 404),
        ("/commands?before=x", 400),
        ("/events?q=%00", 400),
        ("/events?since=%F0%9F%92%A9", 200),
    ):
        answer = await admin.get(path)
        assert answer.status == status, path
        assert "Traceback" not in answer.text, path
        assert answer.text.startswith("<!doctype html>"), path


# --- what it does -------------------------------------------------------------------------------------------------------
async def test_the_overview_shows_what_happens(bed: applybed.Bed, admin: Visitor) -> None:
    await failed_command(bed)

    page = (await admin.get("/")).text

    assert "commands that failed: 1" in page
    assert "Money at risk" in page
    assert "24.99 EUR" in page
    assert "shop_a" in page
    assert 'role="img"' in page


async def test_lists_are_searched_and_go_on_by_cursor(bed: applybed.Bed, admin: Visitor) -> None:
    await bed.append([("shop_a", applybed.order_event(str(number), [("A", 1)])) for number in range(60)])
    await bed.apply()

    first = (await admin.get("/events")).text
    further = html.unescape(re.findall(r'rel="next" href="([^"]+)"', first)[0])
    second = (await admin.get(further)).text
    ids = [set(re.findall(r'href="/events/(evt_\w+)"', page)) for page in (first, second)]
    assert (len(ids[0]), len(ids[1]), ids[0] & ids[1]) == (50, 10, set())

    about = (await admin.get("/commands?q=N7")).text
    assert len(set(re.findall(r'href="/commands/(cmd_\w+)"', about))) == 1
    events = (await admin.get("/events?q=N7")).text
    assert len(set(re.findall(r'href="/events/(evt_\w+)"', events))) == 1
    assert "No command is like that" in (await admin.get("/commands?q=A&state=failed")).text
    assert (await admin.get("/find?q=N7")).headers["Location"].startswith("/orders/ord_c0_")
    assert (await admin.get("/find?q=B")).headers["Location"] == "/skus/B"
    command = about.split("/commands/cmd_", 1)[1][:29]
    assert (await admin.get(f"/find?q=cmd_{command}")).headers["Location"] == f"/commands/cmd_{command}"
    assert "Nothing is called so" in (await admin.get("/find?q=nothing")).text


async def test_retry_and_giving_up_go_through_the_operator_under_the_logins_name(
    bed: applybed.Bed, admin: Visitor
) -> None:
    command = await failed_command(bed)

    retried = await admin.act(f"/commands/{command}/retry", at=f"/commands/{command}", rebuild="yes")
    page = await admin.get(f"/commands/{command}")
    silent = await admin.act(f"/commands/{command}/cancel", at=f"/commands/{command}", reason=" ")
    still = await bed.pool.fetchval("SELECT state FROM command")
    given_up = await admin.act(f"/commands/{command}/cancel", at=f"/commands/{command}", reason="by hand")
    again = await admin.act(f"/commands/{command}/cancel", at="/", reason="twice")

    assert (retried.status, silent.status, given_up.status, again.status) == (303, 303, 303, 409)
    assert "It is pending now." in page.text
    assert still == "pending"
    assert await bed.pool.fetchval("SELECT state FROM command") == "cancelled"
    audit = await bed.pool.fetch("SELECT actor, action FROM audit_log WHERE action LIKE 'command.%' ORDER BY at")
    assert [tuple(row) for row in audit] == [("page:admin", "command.retried"), ("page:admin", "command.cancelled")]


async def test_quarantine_is_replayed_after_a_preview(bed: applybed.Bed, admin: Visitor) -> None:
    poison = applybed.order_event("poison", [("A", 1)])
    poison["order"]["number"] = "N\u0000"
    await bed.append([("shop_a", poison)])
    await bed.apply()

    preview = await admin.get("/events/replay?connection=shop_a")
    none = await admin.get("/events/replay?connection=shop_b")
    done = await admin.act("/events/replay", at="/events/replay", connection="shop_a")

    assert "Replay 1 events" in preview.text
    assert "Nothing is in quarantine" in none.text
    assert done.status == 303
    assert await bed.pool.fetchval("SELECT count(*) FROM event_queue WHERE run = 1") == 1
    assert "1 events go through once more" in (await admin.get("/events")).text


async def test_writes_are_stopped_and_go_on(bed: applybed.Bed, admin: Visitor) -> None:
    silent = await admin.act("/writes/stop", at="/flows", reason="")
    stopped = await admin.act("/writes/stop", at="/flows", reason="wrong prices")
    page = await admin.get("/flows")
    resumed = await admin.act("/writes/resume", at="/flows")

    assert (silent.status, stopped.status, resumed.status) == (303, 303, 303)
    assert "Stopped by page:admin" in page.text
    assert "wrong prices" in page.text
    assert await bed.pool.fetchval("SELECT is_on FROM switch WHERE name = 'stop_all_writes'") is False


async def test_proposals_are_approved_and_rejected_singly_and_in_bulk(bed: applybed.Bed, admin: Visitor) -> None:
    await bed.append([("shop_a", applybed.order_event(str(number), [("A", 1)])) for number in range(4)])
    await bed.apply()
    await bed.pool.execute("UPDATE command SET state = 'proposed'")
    ids = [row["command_id"] for row in await bed.pool.fetch("SELECT command_id FROM command ORDER BY command_id")]

    page = await admin.get("/flows")
    one = await admin.act("/flows/proposals", at="/flows", verb="approve", **{f"command_{ids[0].hex}": "yes"})
    unsaid = await admin.act("/flows/proposals", at="/flows", verb="reject", **{f"command_{ids[1].hex}": "yes"})
    two = await admin.act(
        "/flows/proposals", at="/flows", verb="reject", reason="by hand", **{f"command_{ids[1].hex}": "yes"}
    )
    nothing = await admin.act("/flows/proposals", at="/flows", verb="approve")
    rest = await admin.act("/flows/proposals", at="/flows", verb="approve", all="yes")
    odd = await admin.act("/flows/proposals", at="/flows", verb="approve", command_x="yes")

    assert page.text.count('name="command_') == 4
    assert "24.99 EUR" in page.text
    assert [each.status for each in (one, unsaid, two, nothing, rest, odd)] == [303, 303, 303, 303, 303, 400]
    states = [row["state"] for row in await bed.pool.fetch("SELECT state FROM command ORDER BY command_id")]
    assert states == ["pending", "cancelled", "pending", "pending"]
    assert await bed.pool.fetchval("SELECT approved_by FROM command WHERE command_id = $1", ids[0]) == "page:admin"


async def test_a_flow_and_a_sku_are_moved_after_saying_what_follows(
    bed: applybed.Bed, admin: Visitor, clock: SetClock
) -> None:
    await bed.append([("erp", applybed.move_event("m1", "A", 10)), ("erp", applybed.move_event("m2", "B", 5))])
    await bed.apply()

    asked = await admin.act("/flows/stock/mode", at="/flows", mode="observe", match="A", verb="ask")
    assert await bed.pool.fetchval("SELECT max(version) FROM config_version") == 1
    one = await admin.act("/flows/stock/mode", at="/flows", mode="observe", match="A", verb="move")
    whole = await admin.act("/flows/orders/mode", at="/flows", mode="propose", verb="move")
    clock.advance(minutes=11)
    unproven = await admin.act("/flows/orders/mode", at="/flows", mode="live", verb="move")
    proven = await admin.act("/flows/orders/mode", at="/flows", mode="live", verb="move", password=PASSWORD)
    odd = await admin.act("/flows/prices/mode", at="/flows", mode="live", verb="move")

    assert "What would follow" in asked.text
    assert [each.status for each in (asked, one, whole, unproven, proven, odd)] == [200, 303, 303, 200, 303, 404]
    assert "Is it still you?" in unproven.text
    assert "stock flow" in (await admin.get("/skus/A")).text
    assert 'badge plain">observe' in (await admin.get("/skus/A")).text
    assert 'badge good">live' in (await admin.get("/skus/B")).text
    rows = await bed.pool.fetch("SELECT version, applied_by FROM config_version ORDER BY version")
    assert [tuple(row) for row in rows[1:]] == [(2, "page:admin"), (3, "page:admin"), (4, "page:admin")]


async def test_versions_are_shown_compared_and_put_to_work_again(bed: applybed.Bed, admin: Visitor) -> None:
    changed = applybed.CONFIG.replace("stock: {from: erp, to: [shop_a, shop_b], mode: live}", "")
    async with bed.pool.acquire() as conn:
        await put_to_work(conn, changed, applied_by="test", connectors={"hostile": bed.connector})

    listed = (await admin.get("/config")).text
    second = (await admin.get("/config/2")).text
    first = (await admin.get("/config/1?against=2")).text
    shown = (await admin.get("/config/1")).text
    overtaken = await admin.act("/config/1/rollback", at="/config/1", newest="1")
    done = await admin.act("/config/1/rollback", at="/config/1", newest="2")
    same = await admin.act("/config/1/rollback", at="/config/2")

    assert "/config/1" in listed
    assert "/config/2" in listed
    assert 'class="del">-  stock:' in second
    assert 'class="add">+  stock:' in first
    assert 'name="newest" value="2"' in shown
    assert (overtaken.status, done.status, same.status) == (409, 303, 303)
    row = await bed.pool.fetchrow(
        "SELECT version, applied_by, document FROM config_version ORDER BY version DESC LIMIT 1"
    )
    assert row is not None
    assert (row["version"], row["applied_by"], row["document"]) == (3, "page:admin", applybed.CONFIG)
    for path in ("/config/99", "/config/x", "/config/1?against=99"):
        assert (await admin.get(path)).status == 404


async def test_a_fresh_look_for_drift_is_asked_for_and_differences_are_shown(bed: applybed.Bed, admin: Visitor) -> None:
    first = await admin.get("/drift")
    asked = await admin.act("/drift", at="/drift")
    again = await admin.act("/drift", at="/drift")
    page = await admin.get("/drift?field=stock&connection=shop_a")

    assert "Nobody looked yet" in first.text
    assert (asked.status, again.status, page.status) == (303, 303, 200)
    assert "Asked for by page:admin" in page.text
    assert await bed.pool.fetchval("SELECT count(*) FROM sync_run") == 1


async def test_oversold_orders_and_deleted_articles_are_decided_about(bed: applybed.Bed, admin: Visitor) -> None:
    assert "Nothing is sold more often" in (await admin.get("/stock")).text
    await bed.append([("shop_a", applybed.placed_now(applybed.order_event(number, [("A", 1)]))) for number in "12"])
    await bed.apply()
    await bed.pool.execute(
        "WITH gone AS (DELETE FROM binding WHERE connection_id = $1 AND external_id = 'v-B' RETURNING *)"
        " INSERT INTO tombstone (tenant_id, connection_id, external_id, variant_id, parent_id)"
        " SELECT tenant_id, connection_id, external_id, internal_id, '' FROM gone",
        bed.connections["shop_a"],
    )
    first, second = await bed.pool.fetch('SELECT order_id FROM "order" ORDER BY number')
    page = (await admin.get("/stock")).text
    assert page.count('name="order_') == 2
    assert "v-B" in page

    async def settle(verb: str, order: UUID | None) -> str:
        chosen = {f"order_{order.hex}": "yes"} if order is not None else {}
        await admin.act("/stock/settle", at="/stock", sku="A", verb=verb, **chosen)
        return (await admin.get("/stock")).text

    assert "Nothing was chosen" in await settle("cancel", None)
    assert "1 of 1 orders wait for goods" in await settle("wait", first[0])
    assert "no day promised" in (await admin.get(f"/orders/{public_id('ord', 'c0', first[0])}")).text
    assert "1 of 1 orders are as if nobody had decided" in await settle("undo", first[0])
    refused = await admin.act("/stock/settle", at="/stock", sku="A", verb="cancel", **{f"order_{second[0].hex}": "yes"})
    assert refused.status == 422, "this shop gives no money back, and nobody else does"
    assert "pays nothing back" in refused.text
    gone = {"connection": "shop_a", "external_id": "v-B"}
    nobody = await admin.act("/stock/deleted", at="/stock", verb="relink", successor="v-B2", **gone)
    assert nobody.status == 404
    done = await admin.act("/stock/deleted", at="/stock", verb="forget", **gone)
    assert done.status == 303
    assert "stands for B no longer" in (await admin.get("/stock")).text
    actions = await bed.pool.fetch(
        "SELECT actor, action FROM audit_log WHERE action ~ '^(stock|tombstone)' ORDER BY at"
    )
    assert [tuple(row) for row in actions] == [
        ("page:admin", "stock.settled"), ("page:admin", "stock.settled"), ("page:admin", "tombstone.forgotten"),
    ]  # fmt: skip


async def test_issues_and_alerts_are_shown_and_acted_on(bed: applybed.Bed, admin: Visitor) -> None:
    await failed_command(bed)
    async with bed.pool.acquire() as conn:
        await silence(
            conn, tenant_id=bed.tenant_id, actor="test", rule=None, subject="erp", until=datetime.now(UTC) + timedelta(hours=1),
            reason="maintenance", now=datetime.now(UTC),
        )  # fmt: skip

    issues, alerts = await admin.get("/issues"), await admin.get("/alerts")
    quiet = await admin.act("/alerts/silence", at="/alerts", subject="shop_a", hours="4", reason="moving")

    assert (issues.status, alerts.status, quiet.status) == (200, 200, 303)
    assert "maintenance" in alerts.text
    assert await bed.pool.fetchval("SELECT created_by FROM alert_silence WHERE subject = 'shop_a'") == "page:admin"
    assert (await admin.get("/issues/iss_c0_" + "0" * 26)).status == 404


# --- live ---------------------------------------------------------------------------------------------------------------
async def read_events(visitor: Visitor, path: str, number: int) -> list[str]:
    """Return the first server-sent events of a stream."""
    async with asyncio.timeout(200), visitor.http.get(visitor.url + path) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        found: list[str] = []
        buffer = ""
        async for chunk in answer.content.iter_any():
            buffer += chunk.decode()
            *whole, buffer = buffer.split("\n\n")
            found += [event for event in whole if event.startswith("event:")]
            if len(found) >= number:
                return found
    return found


async def test_the_stream_sends_every_fragment_and_then_what_changes(bed: applybed.Bed, admin: Visitor) -> None:
    reading = asyncio.create_task(read_events(admin, "/live?topics=frame,overview", 9))
    await asyncio.sleep(0)
    await failed_command(bed)

    found = await reading

    ids = [event.split("\n")[1].removeprefix("data: ") for event in found]
    assert set(ids) >= {"frame-health", "frame-banner", "overview-health", "overview-money"}
    assert len(ids) > len(set(ids)), "something was sent again when it changed"


async def test_fifty_open_pages_cost_one_round_of_queries_and_no_more_than_the_cap_are_let_in(
    bed: applybed.Bed,
) -> None:
    pool = await bed.database.pool(Role.WEB, application_name="test-web")
    world = World(
        pool=pool,
        key_finder=key_finder_on(pool, acquire_seconds=1),
        clock=SetClock(),
        cell="c0",
        settings=WebSettings(),
        keys={},
        connectors={},
        project=None,
        combiner=combiner_on(pool),
    )
    hub = Desk(world).hub

    async def first_events(number: int) -> list[bytes]:
        events = await hub.stream(b"s" * 32, ["overview"])
        return [event async for event, _ in _zip(events, range(number))]

    pages = await asyncio.gather(*(first_events(7) for _ in range(50)))

    assert hub.rounds <= 2
    assert all(page == pages[0] for page in pages)
    assert len({line for line in pages[0] if line.startswith(b"event: swap")}) == 6
    streams = [await hub.stream(b"s" * 32, ["frame"]) for _ in range(STREAMS_MAX - hub.streams)]
    for stream in streams:
        await anext(stream)
    with pytest.raises(TransientError, match="too many pages"):
        await hub.stream(b"s" * 32, ["frame"])
    async with asyncio.timeout(200):
        while await anext(streams[0], None) is not None:  # nobody of that session is signed in
            pass
    world.stopping.set()
    for stream in streams:
        async for _ in stream:
            pass
    assert hub.streams == 0
    await pool.close()


async def _zip(events: AsyncIterator[bytes], numbers: range) -> AsyncIterator[tuple[bytes, int]]:
    for number in numbers:
        yield await anext(events), number
    await events.aclose()  # type: ignore[attr-defined]
