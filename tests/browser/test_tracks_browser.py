"""Trips and stops as a person sees them: the map with its marks, the table, the choice of the period."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from collateral.settings import Settings
from dashboard.commands import serving
from dashboard.components.tracks import PANES
from tests.browser.test_dashboard_browser import Watched, sign_in
from tests.dashboard_support import NOW
from tests.tracks_support import fill_tracks

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """A map waits for its scripts, on a busy machine for long."""
    expect.set_options(timeout=30_000)
    yield
    expect.set_options(timeout=5_000)


def test_trips_stops_and_marks_on_map_and_table_in_both_languages_and_narrow(
    settings: Settings, database: str, page: Page
) -> None:
    last = fill_tracks(database, NOW)
    with serving(settings, "127.0.0.1", 0) as url:
        watched = Watched(page, url)
        sign_in(page, url, "risk_a", "/site/S3")
        card = page.locator("#site-tracks")
        expect(card.locator("#tracks-sum")).to_contain_text(re.compile(r"28 trips, \d+ km · "))
        expect(card.locator(".leaflet-interactive").first).to_be_attached()
        expect(card.locator(".track-flag")).to_have_count(2)
        expect(card.locator(".degree").first).to_be_attached()
        marked = card.locator("tr.marked")
        expect(marked.first).to_be_visible()
        for said in ("unexplained stop · 3.8 h", "in a forbidden area", "off its corridor · 6.", "position that cannot be"):
            expect(card.locator("#tracks-table")).to_contain_text(said)
        expect(card.locator("#tracks-table")).to_contain_text("the site → Customer A")
        panes = [page.locator(f".leaflet-{name}-pane path") for name in PANES]
        for pane, least in zip(panes, (5, 3, 1, 3), strict=True):  # areas, trips, marks, stops: each above the one before
            expect(pane.nth(least - 1)).to_be_attached()
        card.locator(".track-flag").first.hover()
        expect(page.locator(".leaflet-tooltip")).to_be_visible()

        shown = card.locator("#tracks-shown")
        expect(shown).to_contain_text(last.date().isoformat())
        expect(card.locator("#tracks-later")).to_be_disabled()
        card.locator("#tracks-earlier").click()
        expect(shown).to_contain_text(f"to {(last - timedelta(days=7)).date().isoformat()}")
        expect(card.locator(".track-flag")).to_have_count(0)
        expect(card.locator("#tracks-earlier")).to_be_disabled()
        card.locator("#tracks-later").click()
        expect(card.locator(".track-flag")).to_have_count(2)

        page.click("#language-switch")
        expect(card.locator("#tracks-table")).to_contain_text("不明停留")
        expect(card.locator("#tracks-table")).to_contain_text("本场地 → 客户甲")
        page.set_viewport_size({"width": 390, "height": 844})
        page.reload()
        expect(card.locator(".leaflet-interactive").first).to_be_attached()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390

        page.evaluate("dash_clientside.set_props('tracks-last-day', {data: 'yesterday'})")
        card.locator("#tracks-earlier").click()
        expect(page.locator("#odd-value")).to_contain_text("本页发送了无法识别的值：'yesterday'")
        expect(card.locator(".leaflet-interactive").first).to_be_attached()
        assert watched.faults == []


def test_a_site_without_trackers_has_no_such_part_and_one_without_positions_says_so(
    settings: Settings, database: str, page: Page
) -> None:
    fill_tracks(database, NOW - timedelta(days=60), store_positions=False)
    with serving(settings, "127.0.0.1", 0) as url:
        watched = Watched(page, url)
        sign_in(page, url, "officer_b", "/site/S3")
        expect(page.locator("#tracks-body")).to_have_text("本场地的定位器尚未报告过位置。")
        page.goto(f"{url}/site/S1")
        expect(page.locator("#problem-missing")).to_be_visible()
        page.click("#logout")
        sign_in(page, url, "officer_a", "/site/S1")
        expect(page.locator("#site-facts, .page-site").first).to_be_visible()
        expect(page.locator("#site-tracks")).to_have_count(0)
        assert watched.faults == []
