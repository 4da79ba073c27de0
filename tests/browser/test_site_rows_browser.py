"""Changes and readings in doubt as a person sees them: choosing kinds, hatching, both languages, a narrow screen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from collateral.settings import Settings
from tests.browser.test_dashboard_browser import Watched, dashboard_url, sign_in
from tests.dashboard_support import NOW, fill
from tests.integration.test_dashboard_site import LISTED, compare, judge

pytestmark = pytest.mark.browser
__all__ = ["dashboard_url"]


@pytest.fixture(autouse=True)
def patience(page: Page) -> Iterator[None]:
    """A page of charts waits for its scripts, on a busy machine for long."""
    page.set_default_timeout(90_000)
    expect.set_options(timeout=60_000)
    yield
    expect.set_options(timeout=5_000)


MANY: list[dict[str, object]] = [
    {"kind": kind, "direction": way, "area_m2": 50.0, "confidence": 0.8}
    for kind in ("stock", "construction", "vehicles") for way in ("appeared", "vanished", "moved", "altered")
]


def test_changes_are_chosen_by_kind_and_doubted_days_are_hatched(
    dashboard_url: str, settings: Settings, database: str, page: Page
) -> None:
    fill(database, settings.evidence)
    compare(database, LISTED)
    compare(database, MANY, NOW - timedelta(days=40))
    judge(database, "D1", (60, 50, 8, None), (20, 19, 64, 720.0))
    watched = Watched(page, dashboard_url)
    page.set_viewport_size({"width": 390, "height": 844})
    sign_in(page, dashboard_url, "risk_a", "/site/S1")
    rows = page.locator("#change-list tbody tr")
    expect(rows).to_have_count(10)
    expect(rows.first).to_contain_text("1,234 m²")
    more = page.locator("#change-more")
    expect(more).to_have_text("Show all 14")
    more.click()
    expect(rows).to_have_count(14)
    expect(more).to_have_text("Show only the newest 10")
    more.click()
    expect(rows).to_have_count(10)
    expect(page.locator("#site-doubts tbody tr")).to_have_count(2)
    hatched = page.locator("#site-telemetry .js-plotly-plot pattern")
    expect(hatched.first).to_be_attached()
    page.click("#change-kinds")
    page.get_by_role("option", name="Roof").click()
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("altered")
    expect(more).to_be_hidden()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, f"the page is {width} pixels wide"
    page.click("#language-switch")
    expect(page.locator("#site-doubts tbody tr").first).to_contain_text("设备时钟偏差")
    expect(more).to_have_text("显示全部 14 条")
    assert watched.faults == []
