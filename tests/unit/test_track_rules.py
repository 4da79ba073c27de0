"""Rules about movables and tampering: raised by the day that shows it, cleared by calm days, never by late data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta

import pytest

from collateral.domain import AssetKind, Priority, SiteKind
from scoring.alerts import Move, Transition
from tests.scoring_support import Diary, days, evaluate, local, make_asset

FIRST, LAST = date(2026, 7, 1), date(2026, 8, 10)
DAY = date(2026, 7, 25)
TRUCK = (make_asset("T1", kind=AssetKind.TRUCK),)


def judged(figures: Mapping[str, Mapping[date, float]], late: datetime | None = None) -> list[Transition]:
    """Transitions of a site whose truck has these figures, else zero; those of `DAY` become known on `late`."""
    diary = Diary()
    for quantity, odd in figures.items():
        for day in days(FIRST, LAST):
            known = late if day == DAY else None
            diary.day(quantity, day, odd.get(day, 0.0), subject="T1", known_at=known)
    result = evaluate(SiteKind.WAREHOUSE, diary.rows, FIRST, LAST, assets=TRUCK)
    return [step for step in result.transitions if step.subject_id == "T1"]


@pytest.mark.parametrize(("quantity", "figure", "rule", "priority"), [
    ("outside_region_m", 900.0, "left_region", Priority.HIGH),
    ("forbidden_area_hours", 0.25, "forbidden_area", Priority.MEDIUM),
    ("unexplained_stop_hours", 4.5, "unexplained_stop", Priority.LOW),
    ("implausible_positions", 6.0, "positions_implausible", Priority.MEDIUM),
    ("tamper_contact_hours", 0.25, "tamper", Priority.HIGH),
    ("power_lost_hours", 3.0, "tamper", Priority.HIGH),
    ("moved_engine_off_m", 4_000.0, "tamper", Priority.HIGH),
    ("route_deviation_m", 4_000.0, "route_deviation", Priority.MEDIUM),
])  # fmt: skip
def test_one_day_raises_and_calm_days_clear(quantity: str, figure: float, rule: str, priority: Priority) -> None:
    steps = judged({quantity: {DAY: figure}})
    assert [(step.rule, step.move) for step in steps] == [(rule, Move.RAISE), (rule, Move.CLEAR)]
    assert steps[0].priority is priority and local(DAY + timedelta(days=1)) < steps[0].at <= local(DAY + timedelta(days=2))
    inside = steps[0].evidence["inside"]
    assert isinstance(inside, dict) and inside[quantity] == figure and steps[0].evidence["observations"]


@pytest.mark.parametrize(("quantity", "figure"), [
    ("outside_region_m", 120.0), ("unexplained_stop_hours", 1.5), ("implausible_positions", 2.0), ("power_lost_hours", 0.25),
    ("moved_engine_off_m", 300.0),
])  # fmt: skip
def test_small_figures_raise_nothing(quantity: str, figure: float) -> None:
    assert judged({quantity: {DAY: figure}}) == []


def test_power_that_is_switched_off_every_night_is_no_sign() -> None:
    nights = dict.fromkeys(days(FIRST, LAST), 9.0)
    assert [step for step in judged({"power_lost_hours": nights}) if step.at > local(FIRST + timedelta(days=6))
            and step.move is Move.RAISE] == []
    both = judged({"power_lost_hours": nights, "tamper_contact_hours": {DAY: 1.0}})
    assert [step.move for step in both if step.at > local(DAY)] == [Move.RAISE, Move.CLEAR]


def test_what_comes_late_about_the_past_raises_nothing() -> None:
    assert judged({"outside_region_m": {DAY: 9_000.0}}, late=local(DAY + timedelta(days=7), 8)) == []
    assert judged({"outside_region_m": {DAY: 9_000.0}}, late=local(DAY + timedelta(days=1), 5)) != []


def test_the_alert_names_the_devices_behind_it() -> None:
    diary = Diary()
    diary.day("tamper_contact_hours", DAY, 1.0, subject="T1", devices=["D1", "D2"])
    told = evaluate(SiteKind.WAREHOUSE, diary.rows, DAY, DAY + timedelta(days=2), assets=TRUCK).transitions
    (inside,) = [step.evidence["inside"] for step in told if step.rule == "tamper"]
    assert isinstance(inside, dict) and inside["device"] == "D1, D2"
