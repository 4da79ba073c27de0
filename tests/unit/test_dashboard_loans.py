"""What the page of a site says of its loans and of alerts about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from shapely.geometry import box

from collateral.db.alerts import Alert
from collateral.db.coverage import CoverageRow
from collateral.domain import AlertState, Loan, Priority, Site, SiteKind, SubjectKind, User
from dashboard.components.alerts import alert_card
from dashboard.components.loans import facts_card
from dashboard.formats import Formats
from dashboard.model import LoanView, SiteView, Viewer
from tests.dashboard_support import words


def test_what_misses_a_limit_is_not_shown_as_reaching_it() -> None:
    en = Formats("en")
    assert [en.ratio(one) for one in (1.29999, 1.3, 1.15, 1.2345, 0.0, 12.5, None)] == [
        "129.99%", "130%", "115%", "123.45%", "0%", "1,250%", "–",
    ]  # fmt: skip


def test_a_broken_covenant_is_said_in_words_with_its_day_and_money_with_its_currency() -> None:
    day = datetime(2026, 8, 20, tzinfo=UTC)
    loan = Loan("L1", "B1", "north", "o", "USD", Decimal(100), Decimal(100), day.date(), day.date(), Decimal("1.2"))
    row = CoverageRow("L1", day, "USD", 100.0, 119.99, 119.99, 1.2, (), "1")
    viewer = Viewer(User("o", "O", "officer", "north", "en"), "en")
    card = words(facts_card(viewer, _view([LoanView(loan, row)])))
    assert "119.99% (below the least allowed)" in card and "2026-08-20 08:00 UTC+8" in card and "120%" in card
    kept = words(facts_card(viewer, _view([LoanView(loan, replace(row, value=120.0))])))
    assert "below" not in kept
    alert = Alert(
        1, "covenant_breach", SubjectKind.LOAN, "L1", "S1", Priority.HIGH, day, "1", AlertState.OPEN, day, "engine", "",
        None, {"loan": {"value": 119.99, "covenant": 1.255}},
    )  # fmt: skip
    told = words(alert_card(viewer, _view([LoanView(loan, row)]), (), alert))
    assert "USD 120" in told and "125.5%" in told


def _view(loans: Sequence[LoanView]) -> SiteView:
    site = Site(
        "S1", "B1", "甲", "A", SiteKind.FACTORY, "Asia/Shanghai", 32651, box(121, 31, 121.01, 31.01), False, None, None, None
    )
    return SiteView(site, None, list(loans), [], [], None, [], [], [], [], {}, [], [], [], False)
