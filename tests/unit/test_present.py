"""What trips and stops of the day that is not over say about areas, and what they leave to the day's judgement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from collateral.db.journeys import Journey
from collateral.domain import Device
from scoring.calendar import SiteCalendar
from scoring.findings import Finding
from scoring.present import present_findings, speakers
from tests.scoring_support import POLICY

ZONE = "Asia/Shanghai"
CALENDAR = SiteCalendar(POLICY.calendar, ZONE, frozenset())
TODAY = date(2026, 6, 10)
NOW = datetime(2026, 6, 10, 15, tzinfo=ZoneInfo(ZONE))
TRACKERS = {"T1": "a", "T2": "c"}


def journey(*flags: Mapping[str, Any], day: date = TODAY, device: str = "a", asset: str = "T1") -> Journey:
    begins = datetime(day.year, day.month, day.day, 9, tzinfo=ZoneInfo(ZONE))
    ends = begins + timedelta(hours=2)
    return Journey(device, day, begins, ends, "stop", "S1", asset, 0.0, None, 121, 31, 121, 31, "", "", None, flags)


def flag(kind: str, most: float, hour: int = 9, **more: float) -> dict[str, Any]:
    at = datetime(2026, 6, 10, hour, tzinfo=ZoneInfo(ZONE)).isoformat()
    return {"kind": kind, "from": at, "to": at, "most": most, "line": [], **more}


def clock(hour: int) -> datetime:
    return datetime(2026, 6, 10, hour, tzinfo=ZoneInfo(ZONE))


def found(*journeys: Journey, rules: Mapping[str, Any] = POLICY.rules, at: datetime = NOW) -> list[tuple[str, Finding]]:
    return list(present_findings(journeys, TRACKERS, rules, CALENDAR, at))


def test_the_first_tracker_of_a_thing_speaks() -> None:
    device = Device("b", "S1", "T1", "box", "bank", ("longitude_deg",), 900.0, "")
    others = replace(device, device_id="a"), replace(device, device_id="0", quantities=("speed_km_h",))
    found_of = speakers([device, *others, replace(device, device_id="d", asset_id="")], {"a", "b", "d"})
    assert found_of == {"T1": "a"}
    assert speakers([device, *others], {"b"}) == {"T1": "b"}, "one that never sent a position says nothing"
    outside = flag("outside_region", 900.0, sure=900.0)
    assert found(journey(outside, device="b")) == [] and len(found(journey(outside))) == 1


def test_only_what_reaches_the_limit_is_told_with_its_begin() -> None:
    ((rule, one),) = found(journey(
        flag("outside_region", 5_000.0, sure=60.0), flag("outside_region", 900.0, 11, sure=800.0), flag("speed", 500.0),
        flag("outside_region", 5_000.0),
    ))  # fmt: skip
    assert rule == "left_region" and [sample.figure for sample in one.samples] == [800.0]
    assert one.samples[0].at == datetime(2026, 6, 10, 11, tzinfo=ZoneInfo(ZONE))
    assert one.samples[0].facts["inside"] == {"outside_region_m": 800.0, "device": "a", "day": "2026-06-10"}
    inside = journey(flag("forbidden_area", 0.25, sure=0.25), flag("forbidden_area", 0.1, sure=0.1))
    assert [name for name, _ in found(inside)] == ["forbidden_area"]
    assert found(journey(flag("forbidden_area", 3.0, sure=0.1))) == []


def test_a_stretch_that_goes_on_from_a_trip_into_a_stop_is_one() -> None:
    def part(kind: str, begins: int, ends: int, *flags: tuple[dict[str, Any], int]) -> Journey:
        whole = journey(*({**one, "to": clock(last).isoformat()} for one, last in flags))
        return replace(whole, begins=clock(begins), ends=clock(ends), kind=kind)

    for kind, rule, figure in (("outside_region", "left_region", 900.0), ("forbidden_area", "forbidden_area", 0.5)):
        out = part("trip", 9, 10, (flag(kind, 1.0, 9, sure=figure * 0.6), 10))
        stood = part("stop", 10, 11, (flag(kind, 1.0, 10, sure=figure), 11))
        ((name, one),) = found(stood, out)
        assert name == rule and len(one.samples) == 1 and one.samples[0].at == out.begins
        assert one.samples[0].figure == (figure if rule == "left_region" else 0.8)
        back = part("stop", 11, 13, (flag(kind, 1.0, 12, sure=figure), 13))
        ((_, two),) = found(stood, back, out)
        assert [sample.at.hour for sample in two.samples] == [9, 12], "between them it was where it may be"


def test_judged_days_and_rules_of_several_days_are_left_to_the_judgement() -> None:
    far = flag("outside_region", 900.0, sure=900.0)
    yesterday = journey(far, day=TODAY - timedelta(days=1))
    assert found(yesterday) == [] and found(journey(far, day=TODAY + timedelta(days=1))) == []
    early = datetime(2026, 6, 10, 1, tzinfo=ZoneInfo(ZONE))
    assert len(found(yesterday, at=early)) == 1, "not judged before two hours after midnight"
    patient = {**POLICY.rules, "left_region": replace(POLICY.rules["left_region"], raise_count=2)}
    assert found(journey(far), rules=patient) == [] and found(journey(far), rules={}) == []
