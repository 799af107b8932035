"""A headless Chromium of this machine, and axe-core from the registry; neither is kept in the repository."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, async_playwright

AXE = "axe-core@4.14.1"
FOLDER = Path(__file__).parents[2] / ".real" / "axe"
"""Ignored by git."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FETCH_SECONDS = 120
AXE_RUN = """async () => {
    const found = await axe.run(document, {resultTypes: ["violations"]});
    return found.violations.map((each) => `${each.id} (${each.impact}): ${each.help} - ` +
        each.nodes.slice(0, 3).map((node) => node.html.slice(0, 160) + ' | ' + node.failureSummary).join(" ; "));
}"""


def find_chromium() -> str:
    """Return the program, or skip."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    pytest.skip("NOT TESTED: no Chromium on this machine (apt-get install chromium)")


def fetch_axe() -> str:
    """Return the source of axe-core, fetched once; skip where npm or its registry is missing."""
    script = FOLDER / "package" / "axe.min.js"
    if not script.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("NOT TESTED: npm is not installed, so axe-core cannot be fetched")
        FOLDER.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [npm, "pack", "--silent", "--pack-destination", str(FOLDER), AXE],
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"NOT TESTED: axe-core cannot be fetched: {done.stderr.strip()[:200]}")
        with tarfile.open(FOLDER / done.stdout.split()[-1]) as archive:
            archive.extractall(FOLDER, filter="data")
    return script.read_text(encoding="utf-8")


class Tab:
    """A page that notes what must never happen: dialogs, policy violations, errors of the script."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.trouble: list[str] = []
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.trouble.append(f"script: {error}"))
        page.on("dialog", self._note_dialog)

    async def open(self, path: str) -> None:
        """Go to a page and wait until it is there."""
        answer = await self.page.goto(self.url + path)
        assert answer is not None
        assert answer.status == 200, (path, answer.status, await self.page.content())

    async def press(self, text: str, *, within: str = "main") -> None:
        """Press the button, link or summary of that text, as a person finds it."""
        place = self.page.locator(within)
        found = place.locator(f'button:text-is("{text}"), a:text-is("{text}"), summary:text-is("{text}")')
        await found.locator("visible=true").first.click()

    async def note(self) -> str:
        """Return what the page says about the last action."""
        return await self.page.locator("p.note[role=status]").inner_text()

    async def sign_in(self, name: str, password: str) -> None:
        """Fill the login's form in."""
        await self.page.goto(self.url + "/login")
        await self.page.fill("#name", name)
        await self.page.fill("#password", password)
        await self.page.click("button.main")
        await self.page.wait_for_url(self.url + "/")

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.trouble.append(f"console: {message.text}")

    def _note_dialog(self, dialog: Dialog) -> None:
        self.trouble.append(f"dialog: {dialog.message}")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run a browser."""
    program = find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def tab_of(browser: Browser, url: str, **options: Any) -> AsyncIterator[Tab]:
    """Open a tab with cookies of its own. `options` as of a browser context: viewport, color_scheme, java_script_enabled."""
    context: BrowserContext = await browser.new_context(**options)
    context.set_default_timeout(20_000)
    try:
        yield Tab(await context.new_page(), url)
    finally:
        await context.close()
