"""The dashboard as a person uses it: the real server in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from collateral.settings import Settings
from dashboard.commands import serving
from tests.dashboard_support import PASSWORD, fill, import_portfolio

pytestmark = pytest.mark.browser


class Watched:
    """What the browser must never do: load from elsewhere, log errors, get an error from the server."""

    def __init__(self, page: Page, url: str) -> None:
        self.faults: list[str] = []
        host = urlsplit(url).netloc
        page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: self._outside(request.url, host))

    def _outside(self, url: str, host: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.netloc != host:
            self.faults.append(f"outside: {url}")


@pytest.fixture
def dashboard_url(settings: Settings) -> Iterator[str]:
    with serving(settings, "127.0.0.1", 0) as url:
        yield url


def sign_in(page: Page, url: str, username: str, path: str = "/") -> None:
    page.goto(f"{url}/login?next={path}")
    page.fill("#login-username", username)
    page.fill("#login-password", PASSWORD)
    page.click("#login-submit")
    page.wait_for_url(lambda address: "/login" not in address)


def test_from_signing_in_to_an_act_on_an_alert(dashboard_url: str, settings: Settings, database: str, page: Page) -> None:
    alert_id = fill(database, settings.evidence)
    watched = Watched(page, dashboard_url)

    page.goto(dashboard_url)
    page.fill("#login-username", "risk_a")
    page.fill("#login-password", "not the password")
    page.click("#login-submit")
    expect(page.locator("#login-problem")).to_be_visible()
    watched.faults.clear()  # the browser logs the refusal

    sign_in(page, dashboard_url, "risk_a")
    expect(page.locator("#site-map .leaflet-marker-icon").first).to_be_visible()
    expect(page.locator(".site-item")).to_have_count(3)
    expect(page.locator(".site-item .grade").first).to_have_text("U")

    page.fill("#filter-text", "plant")
    expect(page.locator(".site-item")).to_have_count(1)
    expect(page.locator("#site-count")).to_have_text("1 of 3 sites")
    pin = page.locator("#site-map .pin-E")
    expect(pin).to_be_visible()
    pin.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/site/S1$"))

    expect(page.locator("#site-score .js-plotly-plot")).to_be_visible()
    expect(page.locator("#breakdown-equation")).to_have_text("100.00 − 57.90 = 42.10")
    for side in ("#imagery-before", "#imagery-after"):
        picture = page.locator(f"{side} img")
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.complete && image.naturalWidth") == 1, "the evidence is served"
    expect(page.locator(f"#alert-{alert_id} .side-above")).to_contain_text("Vehicles")
    expect(page.locator(f"#alert-{alert_id} .side-inside")).to_contain_text("7,733 kWh")

    page.click(f"#alert-{alert_id} .act-clear")
    expect(page.locator("#alert-result")).to_have_text("Write a reason first.")
    page.click(f"#alert-{alert_id} .act-acknowledge")
    expect(page.locator(f"#alert-{alert_id} .alert-head .state")).to_have_text("Acknowledged")

    page.click("#language-switch")
    expect(page.locator(f"#alert-{alert_id} .alert-head .state")).to_have_text("已确认")
    expect(page.locator("h1")).to_have_text("一号工厂")
    assert page.evaluate("document.documentElement.lang") == "zh"
    page.click("#logout")
    page.wait_for_url(re.compile("/login$"))
    assert watched.faults == []


def test_a_narrow_screen_needs_no_sideways_scrolling_and_other_branches_stay_closed(
    dashboard_url: str, settings: Settings, database: str, page: Page
) -> None:
    fill(database, settings.evidence)
    watched = Watched(page, dashboard_url)
    page.set_viewport_size({"width": 390, "height": 844})
    sign_in(page, dashboard_url, "officer_a")
    for path, shown in (("/", ".site-item"), ("/site/S1", "#site-score"), ("/alerts", ".table")):
        page.goto(f"{dashboard_url}{path}")
        expect(page.locator(shown).first).to_be_visible()
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{path} is {width} pixels wide"
    page.goto(f"{dashboard_url}/site/S3")
    expect(page.locator("#problem-missing")).to_be_visible()
    expect(page.locator("body")).not_to_contain_text("三号仓库")
    assert watched.faults == []


def test_without_any_score_sites_are_unknown(dashboard_url: str, database: str, page: Page) -> None:
    import_portfolio(database)
    watched = Watched(page, dashboard_url)
    sign_in(page, dashboard_url, "officer_b", "/site/S3")
    expect(page.locator(".site-title .grade")).to_have_text("U")
    expect(page.locator("#site-score")).to_contain_text("这是未知")
    page.click(".brand")
    expect(page.locator("#site-map .pin-U")).to_be_visible()
    page.click("#site-map .pin-U")
    page.wait_for_url(re.compile("/site/S3$"))
    assert watched.faults == []


def test_filters_stay_after_back_and_what_was_asked_for_after_signing_in(
    dashboard_url: str, settings: Settings, database: str, page: Page
) -> None:
    fill(database, settings.evidence)
    watched = Watched(page, dashboard_url)
    page.set_default_timeout(60_000)
    page.goto(f"{dashboard_url}/?a=1&b=2")
    page.fill("#login-username", "risk_a")
    page.fill("#login-password", PASSWORD)
    page.click("#login-submit")
    page.wait_for_url(f"{dashboard_url}/?a=1&b=2")
    items = page.locator(".site-item")
    expect(items).to_have_count(3, timeout=60_000)
    page.fill("#filter-text", "plant")
    expect(items).to_have_count(1, timeout=60_000)
    items.first.locator("a").click()
    expect(page.locator("#site-score")).to_be_visible(timeout=60_000)
    page.go_back()
    expect(page.locator("#filter-text")).to_have_value("plant", timeout=60_000)
    expect(items).to_have_count(1, timeout=60_000)
    expect(page.locator("#site-map .pin")).to_have_count(1, timeout=60_000)
    page.goto(f"{dashboard_url}/alerts")
    boxes = page.locator(".page-alerts input[type=checkbox]")
    first = boxes.first
    expect(first).to_be_checked(timeout=60_000)
    first.uncheck()
    page.reload()
    expect(first).not_to_be_checked(timeout=60_000)
    assert watched.faults == []
