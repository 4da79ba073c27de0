"""Policy file, calendar, evidence as known, and what is normal."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from collateral.domain import Observation, Quality, SiteKind
from collateral.errors import InvalidInputError
from scoring.baseline import Baseline, baseline_of, daily_baseline, scene_baseline, values_by_class, window
from scoring.calendar import DayClass, SiteCalendar
from scoring.context import SiteContext
from scoring.evidence import Datum, Evidence, datum, gsd_class
from scoring.policy import BaselinePolicy, load_policy, parse_policy
from tests.scoring_support import HOLIDAYS, POLICY, Diary, days, local, make_site, morning

CALENDAR = SiteCalendar(POLICY.calendar, "Asia/Shanghai", HOLIDAYS)
TEN = BaselinePolicy(from_days=300, until_days=30, min_n=10, min_spread=0.02)
THREE = replace(TEN, min_n=3)
DAY = date(2026, 8, 20)


def data(rows: list[Observation]) -> list[Datum]:
    return [datum(row, CALENDAR) for row in rows]


def test_the_shipped_policy_weighs_every_kind_with_a_hundred() -> None:
    policy = load_policy()
    for kind in SiteKind:
        assert sum(row.weights.get(kind, 0.0) for row in policy.indicators.values()) == pytest.approx(100.0)
    assert [name for name, _ in policy.grades] == ["A", "B", "C", "D"]
    assert parse_policy(policy.body) == policy


@pytest.mark.parametrize(("old", "new", "said"), [
    ("solar = 20.0", "solar = 21.0", "sum to"),
    ("clear_at = 0.08", "clear_at = 0.5", "flap"),
    ("[[0.15, 0.0], [0.6, 1.0]]", "[[0.6, 0.0], [0.15, 1.0]]", "rising"),
    ('version = "2026.2"', "", "not valid"),
    ("borrower = 0.95", "borrower = 1.05", "trust"),
    ("factory = 25.0", "factory = nan", "weights"),
    ("factory = 25.0", "factory = -25.0", "weights"),
    ("slots = 7", "slots = 0", "slot at least"),
    ("half_life_days = 10.0", "half_life_days = 0.0", "half-life"),
    ("curve = [[0.0, 1.0], [0.3, 0.9], [0.85, 0.0]]", "curve = []", "rising"),
    ("[grades]", "[grades", "not valid"),
])  # fmt: skip
def test_a_policy_that_cannot_be_meant_is_refused(old: str, new: str, said: str) -> None:
    assert old in POLICY.body
    with pytest.raises(InvalidInputError, match=said):
        parse_policy(POLICY.body.replace(old, new, 1))


def test_normals_over_other_stretches_of_the_past_are_kept_apart() -> None:
    diary = Diary()
    for day in days(DAY - timedelta(days=299), DAY):
        diary.day("energy_kwh_per_day", day, 10.0 if day < DAY - timedelta(days=100) else 30.0)
    evidence = Evidence(data(diary.rows))
    evidence.advance(morning(DAY))
    context = SiteContext(make_site(SiteKind.FACTORY), POLICY, CALENDAR, evidence, morning(DAY))
    normals = [
        context.normal("energy_kwh_per_day", "site:X01", replace(TEN, from_days=reach, min_n=least), None)
        for reach, least in ((300, 10), (90, 10), (90, 1000))
    ]
    assert [None if one is None else one.median for one in normals] == [10.0, 30.0, None]


def test_kinds_of_days() -> None:
    assert CALENDAR.day_class(date(2026, 8, 20)) is DayClass.WORKING
    assert CALENDAR.day_class(date(2026, 8, 22)) is DayClass.SATURDAY
    assert CALENDAR.day_class(date(2026, 8, 23)) is DayClass.SUNDAY
    assert CALENDAR.day_class(date(2025, 10, 3)) is DayClass.HOLIDAY
    assert CALENDAR.day_class(date(2026, 2, 26)) is DayClass.HOLIDAY, "work starts slowly after Spring Festival"
    assert SiteCalendar(POLICY.calendar, "Asia/Shanghai").day_class(date(2031, 10, 2)) is DayClass.HOLIDAY


def test_a_day_is_due_three_hours_after_it_ended() -> None:
    assert CALENDAR.last_due(local(DAY, 6)) == DAY - timedelta(days=1)
    assert CALENDAR.last_due(local(DAY, 2.5)) == DAY - timedelta(days=2)
    assert CALENDAR.last_due(local(DAY, 23)) == DAY - timedelta(days=1)


def test_evidence_is_what_was_known_and_the_newest_revision_of_it() -> None:
    diary = Diary()
    diary.day("energy_kwh_per_day", DAY, 100.0)
    diary.day("energy_kwh_per_day", DAY, 120.0, known_at=local(DAY, 60), revision=2)
    evidence = Evidence(data(diary.rows))
    values = []
    for hour in (20, 26, 59, 60):
        evidence.advance(local(DAY, hour))
        series = evidence.subjects("energy_kwh_per_day").get("site:X01")
        values.append([item.value for item in series] if series else [])
    assert values == [[], [100.0], [100.0], [120.0]]
    with pytest.raises(AssertionError):
        evidence.advance(local(DAY, 1))


def test_median_and_spread_are_not_moved_by_a_few_bad_days() -> None:
    good = [100.0 + number % 5 for number in range(40)]
    clean, dirty = baseline_of(good, TEN), baseline_of([*good, 0.0, 0.0, 0.0], TEN)
    assert clean is not None and dirty is not None
    assert abs(clean.median - dirty.median) <= 1.0
    assert baseline_of(good[:9], TEN) is None
    assert baseline_of([5.0] * 10, TEN) == Baseline(5.0, 0.1, 10)


def test_working_days_saturdays_and_holidays_are_kept_apart() -> None:
    diary = Diary()
    for day in days(date(2026, 1, 1), DAY):
        usual = {DayClass.WORKING: 100.0, DayClass.SATURDAY: 60.0}.get(CALENDAR.day_class(day), 5.0)
        diary.day("energy_kwh_per_day", day, usual)
    past = values_by_class(data(diary.rows), CALENDAR)
    for day_class, expected in ((DayClass.WORKING, 100.0), (DayClass.SATURDAY, 60.0), (DayClass.SUNDAY, 5.0)):
        found = daily_baseline(past, TEN, day_class)
        assert found is not None and found.median == expected


def test_bad_data_make_no_normal() -> None:
    diary = Diary()
    for day in days(date(2026, 7, 1), DAY):
        diary.day("energy_kwh_per_day", day, 7.0, quality=Quality.BAD)
    assert daily_baseline(values_by_class(data(diary.rows), CALENDAR), TEN, DayClass.WORKING) is None


def test_the_window_ends_before_now_and_stands_still_during_an_alert() -> None:
    now = morning(DAY)
    assert window(now, None, TEN) == (now - timedelta(days=300), now - timedelta(days=30))
    frozen = now - timedelta(days=50)
    assert window(now, frozen, TEN) == (frozen - timedelta(days=300), frozen - timedelta(days=30))


def test_pictures_are_compared_with_their_own_method_and_preferably_their_own_resolution() -> None:
    diary = Diary()
    workdays = [day for day in days(date(2026, 6, 1), date(2026, 7, 20)) if CALENDAR.day_class(day) is DayClass.WORKING]
    for number, day in enumerate(workdays[:20]):
        diary.picture("vehicle_count", day, 20.0 if number % 2 else 30.0, 2.0, gsd_m=0.3 if number % 2 else 0.15)
    for day in workdays[20:26]:
        diary.picture("vehicle_count", day, 99.0, 2.0, method="net@new", hour=15.0)
    past = data(diary.rows)

    def normal(gsd_m: float, hour: float = 10.5, method: str = "net@abc") -> Baseline | None:
        probe = Diary()
        probe.picture("vehicle_count", DAY, 25.0, 2.0, gsd_m=gsd_m, hour=hour, method=method)
        return scene_baseline(past, THREE, CALENDAR, data(probe.rows)[0], DayClass.WORKING)

    fine, medium, other_hour = normal(0.15), normal(0.3), normal(0.3, hour=16.0)
    assert fine is not None and medium is not None and other_hour is not None
    assert (fine.median, medium.median) == (30.0, 20.0)
    assert other_hour.pooled and other_hour.spread > 5.0
    newer = normal(0.3, hour=15.0, method="net@new")
    assert newer is not None and newer.median == 99.0
    assert normal(0.3, method="net@unseen") is None


def test_classes_of_ground_sampling_distance() -> None:
    assert [gsd_class(gsd) for gsd in (None, 0.15, 0.3, 0.5)] == ["", "fine", "medium", "coarse"]
