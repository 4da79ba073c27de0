"""What a person sees while the database is away, and after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import psycopg2
import pytest
from playwright.sync_api import Page, expect
from psycopg2 import sql

from collateral.settings import Settings
from dashboard.commands import serving
from tests.conftest import with_database
from tests.dashboard_support import PASSWORD, fill

pytestmark = pytest.mark.browser


@contextmanager
def away(url: str) -> Iterator[None]:
    """The database takes nobody in while the block runs, and whoever was in is put out."""
    name = urlsplit(url).path.lstrip("/")
    allow = sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}")
    with closing(psycopg2.connect(with_database(url, "postgres"))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        try:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                           " WHERE datname = %s AND backend_type = 'client backend'", (name,))
            yield
        finally:
            cursor.execute(allow.format(sql.Identifier(name), sql.SQL("true")))


def test_an_outage_is_told_and_ends(settings: Settings, database: str, page: Page) -> None:
    alert_id = fill(database, settings.evidence)
    state, acknowledge = f"#alert-{alert_id} .alert-head .state", f"#alert-{alert_id} .act-acknowledge"
    with serving(settings, "127.0.0.1", 0) as url:
        page.goto(f"{url}/login?next=/site/S1")
        page.fill("#login-username", "risk_a")
        page.fill("#login-password", PASSWORD)
        page.click("#login-submit")
        expect(page.locator(state)).to_have_text("Open", timeout=30_000)
        expect(page.locator("#unanswered")).to_be_hidden()
        with away(database):
            page.click(acknowledge)
            expect(page.locator("#unanswered")).to_contain_text("may not have been recorded", timeout=30_000)
            for path in ("/", "/site/S1", "/alerts"):
                answer = page.request.get(f"{url}{path}")
                assert answer.status == 503
                assert "数据库没有响应" in answer.text()  # in the default language: nobody is known
        expect(page.locator(state)).to_have_text("Open")
        for _ in range(3):  # a connection that rested for less than five seconds is used unasked
            with page.expect_response(lambda one: "acknowledge" in (one.request.post_data or "")) as answered:
                page.click(acknowledge)
            if answered.value.ok:
                break
        expect(page.locator(state)).to_have_text("Acknowledged", timeout=30_000)
        expect(page.locator("#unanswered")).to_be_hidden()
