"""Pictures of the running dashboard, taken in a real Chromium."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from collateral.services.browser import Chromium


@dataclass(frozen=True)
class Shot:
    """One page to look at."""

    name: str
    path: str
    """Below the dashboard's address."""
    wait_for: str
    """Selector that is there when the page is whole."""


def take(
    url: str, username: str, password: str, shots: Sequence[Shot], folder: Path,
    chromium: Chromium, size: tuple[int, int] = (1440, 900),
) -> list[Path]:
    """Signs in and writes one PNG per shot into `folder`; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.executable, args=list(chromium.arguments), env=dict(chromium.environment)
        )
        try:
            page = _signed_in(browser, url, username, password, size)
            return [_shoot(page, url, shot, folder) for shot in shots]
        finally:
            browser.close()


def _signed_in(browser: Browser, url: str, username: str, password: str, size: tuple[int, int]) -> Page:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.goto(f"{url}/login")
    page.fill("#login-username", username)
    page.fill("#login-password", password)
    page.click("#login-submit")
    page.wait_for_url(lambda address: "/login" not in address)
    return page


def _shoot(page: Page, url: str, shot: Shot, folder: Path) -> Path:
    page.goto(f"{url}{shot.path}")
    page.wait_for_selector(shot.wait_for)
    page.wait_for_load_state("networkidle")
    target = folder / f"{shot.name}.png"
    page.screenshot(path=str(target))
    return target
