"""The page of a rehearsal in headless Chromium: from a file, without a network, small and large, light and dark, under axe-core."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.real.chromium import AXE_RUN, chromium, fetch_axe, tab_of
from tests.unit.rehearsal.test_rehearsal_page import report, side

from tidegate.rehearsal.page import render
from tidegate.rehearsal.records import Advice, Calls, Held, Line, Load, Oversale, Plot

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
WHOLE = report(
    ours=side(oversold=3, oversales=(Oversale(sku="HOT-001", units=3, by_channel={"web": 3}, gone_at=4.0, last_at=6.5),)),
    naive=side(lost=3),
    calls={"shop": Calls(total=10, writes=5, limit_per_second=100.0, budget_use=0.5), "erp": Calls(total=9)},
    held=(Held(connection="erp", reason="calls_at_once", seconds=40),),
    loads=(Load(part="dispatch", average=0.4, busiest=0.9, while_waiting=0.8),),
    advice=(Advice(is_broken=True, what="3 units were sold", setting='overrides: [{match: "sku:HOT", stock.safety: 5}]'),),
    kills=("kill -9 apply (pid 7)",),
    plots=(Plot(title="Hot", unit="units", lines=(Line(name="there", points=((0.0, 5.0), (9.0, -3.0)), is_step=True),)),),
)  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize("width", [360, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_stands_alone_and_can_be_read(tmp_path: Path, width: int, scheme: str) -> None:
    """Nothing is fetched, nothing is wider than the screen, and axe-core finds nothing."""
    axe = fetch_axe()
    file = tmp_path / "report.html"
    file.write_text(render(WHOLE), encoding="utf-8")
    size = {"width": width, "height": 800}
    async with chromium() as browser, tab_of(browser, "", viewport=size, color_scheme=scheme, offline=True) as tab:
        asked: list[str] = []
        tab.page.on("request", lambda request: asked.append(request.url))
        await tab.page.goto(file.as_uri())
        assert asked == [file.as_uri()]
        assert await tab.page.evaluate("document.documentElement.scrollWidth") <= width
        await tab.page.evaluate(axe)
        assert await tab.page.evaluate(AXE_RUN) == []
        assert tab.trouble == []
