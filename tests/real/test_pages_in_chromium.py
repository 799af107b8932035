"""Every page and every action in a real browser: with and without JavaScript, on a phone, by keyboard, under axe-core.

SECURITY A9: text of strangers opens no dialog, and nothing violates the content policy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from tests import applybed
from tests.conftest import fresh_database
from tests.pagesbed import NAME, PASSWORD, make_login, running_pages
from tests.real.chromium import AXE_RUN, chromium, fetch_axe, tab_of

from tidegate.kernel.ids import new_id, public_id
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync.going_live import put_to_work

pytestmark = [pytest.mark.real, pytest.mark.asyncio, pytest.mark.timeout(600)]
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
MAKE_ISSUE = """
INSERT INTO issue (tenant_id, issue_id, fingerprint, class, connection_id, operation, code, first_seen_at, last_seen_at, seen,
                   standing, affected, sample)
VALUES ($1, $2, '\\x00', 'rejected', $3, 'order.create', 'rejected', now(), now(), 3, 1,
        '{"orders": 1, "skus": 0, "value": {"EUR": 2499}, "is_partial": false}', '{"request": {"lines": 2}}')
"""
MAKE_MEMBER = """
INSERT INTO issue_member (tenant_id, subject_id, issue_id, kind, failed_at)
SELECT tenant_id, command_id, $2, 'command', now() FROM command WHERE tenant_id = $1 AND state = 'failed' LIMIT 1
"""
MAKE_ALERT = """
INSERT INTO alert (tenant_id, alert_id, rule, subject, severity, state, since, fired_at, value, threshold, cause, next_command)
VALUES ($1, $2, 'failing_calls', 'erp', 'critical', 'firing', now(), now(), 9, 3, $3, 'tidegate status')
"""


@dataclass
class World:
    """A tenant with something of everything, and where to see it."""

    bed: applybed.Bed
    url: str
    ids: dict[str, str]

    def pages(self) -> list[str]:
        """Every address that shows something."""
        one = self.ids
        return [
            "/", "/connections", "/flows", "/events", "/events?state=quarantined", "/events?q=none", f"/events/{one['event']}",
            f"/events/{one['poison']}", "/events/replay", "/commands", "/commands?state=failed", f"/commands/{one['failed']}",
            f"/commands/{one['pending']}", f"/orders/{one['order']}", f"/skus/{one['sku']}", "/skus/B", "/find?q=N",
            "/find?q=zzz", "/drift", "/drift?field=stock", "/stock", "/issues", f"/issues/{one['issue']}", "/alerts", "/alerts?all=yes", "/config", "/config/2",
            "/config/1?against=2",
        ]  # fmt: skip


async def make_world(database: Database, pool: Pool) -> tuple[applybed.Bed, dict[str, str]]:
    bed = await applybed.make_bed(database, pool)
    await make_login(pool, bed.tenant_id)
    hostile = applybed.order_event("0", [("A", 1)])
    hostile["order"]["number"] = HOSTILE
    hostile["order"]["lines"][0]["title"] = HOSTILE
    poison = applybed.order_event("poison", [("A", 1)])
    poison["order"]["number"] = "N\u0000"
    orders = [("shop_a", applybed.order_event(str(number), [("A", 1), ("B", 2)])) for number in range(1, 8)]
    await bed.append([("erp", applybed.move_event("m1", "A", 10)), ("shop_a", hostile), *orders, ("shop_b", poison)])
    await bed.apply()
    t = bed.tenant_id
    sku = HOSTILE.replace("/", "|")
    await pool.execute("UPDATE inventory_item SET sku = $1 WHERE item_id = $2", sku, bed.items["A"])
    await pool.execute("UPDATE order_line SET sku = $1 WHERE sku = 'A'", sku)
    await pool.execute("UPDATE location SET name = $1", HOSTILE)
    await pool.execute("UPDATE event SET external_id = $1, topic = topic || $1", HOSTILE)
    commands = [row["command_id"] for row in await pool.fetch("SELECT command_id FROM command ORDER BY command_id")]
    await pool.execute(
        "UPDATE command SET state = 'failed', code = 'rejected', reason = $2, finished_at = now() WHERE command_id = ANY($1)",
        commands[:2],
        HOSTILE,
    )
    await pool.execute("UPDATE command SET state = 'proposed' WHERE command_id = ANY($1)", commands[2:5])
    await pool.execute("UPDATE connection SET state = 'waiting_auth', state_reason = $1 WHERE name = 'shop_b'", HOSTILE)
    changed = applybed.CONFIG.replace("tenant: main", f"tenant: main  # {HOSTILE}")
    async with pool.acquire() as conn:
        await put_to_work(conn, changed, applied_by=HOSTILE, connectors={"hostile": bed.connector})
    issue, alert = new_id(), new_id()
    await pool.execute(MAKE_ISSUE, t, issue, bed.connections["erp"])
    await pool.execute(MAKE_MEMBER, t, issue)
    await pool.execute(MAKE_ALERT, t, alert, HOSTILE)
    events = [row[0] for row in await pool.fetch("SELECT event_id FROM event ORDER BY event_id")]
    quarantined = await pool.fetchval("SELECT event_id FROM event_parked")
    order = await pool.fetchval('SELECT order_id FROM "order" WHERE number = $1', HOSTILE)
    ids = {
        "event": public_id("evt", "c0", events[1]),
        "poison": public_id("evt", "c0", quarantined),
        "failed": public_id("cmd", "c0", commands[0]),
        "failed_too": public_id("cmd", "c0", commands[1]),
        "pending": public_id("cmd", "c0", commands[-1]),
        "order": public_id("ord", "c0", order),
        "sku": quote(sku, safe=""),
        "issue": public_id("iss", "c0", issue),
    }
    return bed, ids


@pytest_asyncio.fixture
async def world(postgres: Any) -> AsyncIterator[World]:
    async with fresh_database(postgres) as database:
        pool = await database.pool("tidegate_migrator", application_name="test")
        try:
            bed, ids = await make_world(database, pool)
            async with running_pages(database, connectors={"hostile": bed.connector}) as url:
                yield World(bed, url, ids)
        finally:
            await pool.close()


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_accessible_and_fits_a_phone(world: World, browser: Browser, scheme: str) -> None:
    """axe-core finds nothing, at the width of a phone and of a desk; no page scrolls sideways; no policy is violated."""
    axe = fetch_axe()
    wrong: list[str] = []
    async with tab_of(browser, world.url, viewport=PHONE, color_scheme=scheme) as tab:
        await tab.page.goto(world.url + "/login")
        await tab.page.evaluate(axe)
        wrong += [f"/login: {each}" for each in await tab.page.evaluate(AXE_RUN)]
        await tab.sign_in(NAME, PASSWORD)
        for path in world.pages():
            for size in (PHONE, DESK):
                await tab.page.set_viewport_size(size)  # type: ignore[arg-type]
                await tab.open(path)
                await tab.page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
                await tab.page.evaluate(axe)
                wrong += [f"{path} at {size['width']}: {each}" for each in await tab.page.evaluate(AXE_RUN)]
                width = await tab.page.evaluate("document.documentElement.scrollWidth")
                if width > size["width"]:
                    wrong.append(f"{path} is {width} wide at {size['width']}")
        assert not wrong, "\n".join(wrong)
        assert tab.trouble == []


@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without JavaScript"])
async def test_every_action_works(world: World, browser: Browser, scripts: bool) -> None:
    """Through the forms, as a person does it."""
    one, pool = world.ids, world.bed.pool
    async with tab_of(browser, world.url, viewport=PHONE, java_script_enabled=scripts) as tab:
        page = tab.page
        await page.goto(world.url + "/commands?state=failed")
        assert "/login?next=" in page.url
        await page.fill("#name", NAME)
        await page.fill("#password", "wrong")
        await page.click("button.main")
        await expect(page.locator("[role=alert]")).to_have_text("The name or the password is wrong.")
        tab.trouble.clear()  # the browser notes that the answer was 403
        await page.fill("#password", PASSWORD)
        await page.click("button.main")
        await page.wait_for_url(world.url + "/commands?state=failed")

        await tab.open(f"/commands/{one['failed']}")
        await tab.press("Retry…")
        await page.check("input[name=rebuild]")
        await tab.press("Retry it")
        assert await tab.note() == "It is pending now."
        await tab.press("Give it up…")
        await page.fill("#reason", "entered by hand")
        await tab.press("Give it up")
        assert "It is given up." in await tab.note()

        await tab.open("/commands?state=failed")
        await page.locator('input[name^="command_"]').first.check()
        await tab.press("Retry the chosen ones…")
        await tab.press("Retry the chosen ones")
        assert await tab.note() == "1 are sent again."

        await tab.open("/flows")
        boxes = page.locator('input[name^="command_"]')
        assert await boxes.count() == 3
        await boxes.nth(0).check()
        await tab.press("Approve")
        assert await tab.note() == "1 approved."
        await page.locator('input[name^="command_"]').first.check()
        await page.fill("#reject-reason", "wrong price")
        await tab.press("Reject")
        assert await tab.note() == "1 rejected."
        await page.check("input[name=all]")
        await tab.press("Approve")
        assert await tab.note() == "1 approved."
        await tab.press("Move stock…")
        await page.select_option("#mode-stock", "observe")
        await page.fill("#match-stock", "B")
        await tab.press("Say what would follow")
        await tab.press("Move it to observe")
        assert "stock sku:B is observe from version 3 on." in await tab.note()
        await tab.press("Stop all writes…")
        await page.fill("#stop-reason", "counting")
        await tab.press("Stop all writes")
        await expect(page.locator("#frame-banner")).to_contain_text("All writes are stopped by page:admin: counting")
        await tab.press("Let them go on…")
        await tab.press("Let writes go on")
        assert await tab.note() == "Writes go on."

        await tab.open(f"/events/{one['event']}")
        await tab.press("Replay…")
        await tab.press("Replay it")
        assert await tab.note() == "It goes through once more."
        await tab.open("/events/replay")
        await tab.press("Replay 1 events")
        assert await tab.note() == "1 events go through once more."

        await tab.open("/config/1")
        await tab.press("Roll back…")
        await tab.press("Put version 1 to work again")
        assert "Version 4 is that of version 1" in await tab.note()

        await tab.open("/drift")
        await tab.press("Look now")
        assert "The systems are read now" in await tab.note()

        await tab.open(f"/issues/{one['issue']}")
        await tab.press("I have seen it")
        await tab.press("Note…")
        await page.fill("#note", "asked the ERP people")
        await tab.press("Keep it")
        await expect(page.locator("dl.facts")).to_contain_text("asked the ERP people")
        await tab.press("Close it…")
        await tab.press("Close it")
        assert await tab.note() == "It is kept."
        await tab.open("/alerts")
        await tab.press("Seen")
        assert "Seen" in await tab.note()
        await tab.press("Be quiet…")
        await page.fill("#s-subject", "erp")
        await page.fill("#s-reason", "maintenance")
        await tab.press("Be quiet")
        assert await tab.note() == "Nobody is told for 1 h."

        await page.fill("#find", "N3")
        await tab.press("Find", within="header")
        await expect(page.locator("h1")).to_contain_text("Order N3")
        await tab.press("Sign out", within="header")
        await page.wait_for_url(world.url + "/login")
        assert tab.trouble == [] or not scripts
    audit = {row["action"] for row in await pool.fetch("SELECT action FROM audit_log WHERE actor = 'page:admin'")}
    assert audit >= {
        "login.signed_in", "login.signed_out", "command.retried", "command.cancelled", "proposals.approved", "proposals.rejected",
        "writes.stopped", "writes.allowed", "mode.moved", "events.replayed", "issue.acknowledged", "issue.noted", "issue.resolved",
        "alert.acknowledged", "alert.silenced",
    }  # fmt: skip


async def test_the_keyboard_alone_is_enough_and_the_focus_is_seen(world: World, browser: Browser) -> None:
    async with tab_of(browser, world.url, viewport=DESK) as tab:
        page = tab.page
        await page.goto(world.url + "/login")
        await page.focus("#name")
        await page.keyboard.type(NAME)
        await page.keyboard.press("Tab")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await page.wait_for_url(world.url + "/")

        await tab.open(f"/commands/{world.ids['failed']}")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "content"
        for _ in range(20):
            await page.keyboard.press("Tab")
            seen = await page.evaluate(
                "(() => { const s = getComputedStyle(document.activeElement);"
                " return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2; })()"
            )
            assert seen, await page.evaluate("document.activeElement.outerHTML")
            if await page.evaluate("document.activeElement.textContent") == "Retry…":
                break
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.parentElement.open")
        await page.keyboard.press("Escape")
        assert not await page.evaluate("document.activeElement.parentElement.open")
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Space")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator("p.note[role=status]")).to_have_text("It is pending now.")

        await page.wait_for_load_state("load")  # the page is a new one, and its script listens from then on
        await page.keyboard.press("Control+k")
        await expect(page.locator("#find")).to_be_focused()
        await page.keyboard.type("N2")
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_contain_text("Order N2")
        assert tab.trouble == []


async def test_fragments_are_swapped_while_focus_and_opened_parts_stay(world: World, browser: Browser) -> None:
    async with tab_of(browser, world.url, viewport=DESK) as tab:
        page = tab.page
        await tab.sign_in(NAME, PASSWORD)
        await expect(page.locator("#live-state")).to_have_text("live")
        await page.locator("#rates-numbers summary").click()
        await page.locator("#overview-health a").first.focus()
        before = await page.locator("#overview-waiting").inner_text()

        await world.bed.append([("shop_a", applybed.order_event("99", [("B", 1)]))])

        await expect(page.locator("#overview-waiting")).not_to_have_text(before, timeout=30_000)
        await expect(page.locator("#overview-waiting")).to_contain_text("events to be applied")
        assert await page.evaluate("document.getElementById('rates-numbers').open")
        assert await page.evaluate("document.activeElement.closest('#overview-health') !== null")

        await page.get_by_role("button", name="Pause updates").click()
        await expect(page.locator("#live-state")).to_have_text("paused")
        paused = await page.locator("#overview-waiting").inner_html()
        await world.bed.append([("shop_a", applybed.order_event("100", [("B", 1)]))])
        async with asyncio.timeout(30):
            async with tab_of(browser, world.url) as other:  # somebody else sees it
                await other.sign_in(NAME, PASSWORD)
                await expect(other.page.locator("#overview-waiting")).not_to_have_text(before)
        assert await page.locator("#overview-waiting").inner_html() == paused
        assert tab.trouble == []


async def test_a_page_of_a_session_that_ended_says_so(world: World, browser: Browser) -> None:
    async with tab_of(browser, world.url, viewport=DESK) as tab:
        await tab.sign_in(NAME, PASSWORD)
        await expect(tab.page.locator("#live-state")).to_have_text("live")

        await world.bed.pool.execute("DELETE FROM login_session")

        await expect(tab.page.locator("#live-state")).to_contain_text("signed out", timeout=40_000)
