"""What trips and stops of the day that is not over say about areas, and what they leave to the day's judgement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from collateral.db.journeys import Journey
from collateral.domain import Device
from scoring.calendar import SiteCalendar
from scoring.findings import Finding
from scoring.present import Told, present_findings, speakers, told
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


def out(first: datetime, last: datetime, metres: float = 900.0, stays: bool = True, kind: str = "stop") -> Journey:
    """One journey, outside from its begin; at its end too when it `stays`."""
    until = last if stays else last - timedelta(minutes=30)
    told = {"kind": "outside_region", "from": first.isoformat(), "to": until.isoformat(), "most": metres, "sure": metres}
    return replace(journey(told, day=first.date()), begins=first, ends=last, kind=kind)


def home(first: datetime, last: datetime) -> Journey:
    return replace(journey(day=first.date()), begins=first, ends=last)


def said(*journeys: Journey, of: datetime = NOW) -> Told:
    return told(journeys, "left_region", POLICY.rules["left_region"], CALENDAR, of)


DAY = timedelta(days=1)
FAR = datetime.max.replace(tzinfo=UTC)


def test_what_went_on_is_told_until_it_ends_days_later() -> None:
    today, night = out(clock(13), clock(23)), out(clock(0) + DAY, clock(23) + DAY)
    assert said(today) == Told(clock(23), TODAY, FAR), "nothing is known of what came after"
    assert said(today, night) == Told(clock(23) + DAY, TODAY + DAY, FAR)
    assert said(today, night, of=clock(0) + DAY) == said(today, night), "told by the judgement of its first day"
    back = out(clock(0) + 2 * DAY, clock(9) + 2 * DAY, stays=False)
    ended = Told(back.ends - timedelta(minutes=30), TODAY + 2 * DAY, clock(0) + 3 * DAY)
    assert said(today, night, back) == said(back, night, today) == ended, "in whatever order"
    moved, there = replace(home(clock(20), clock(22)), kind="silence"), out(clock(22), clock(23))
    assert said(out(clock(13), clock(20)), moved, there, night) == said(night, today)
    mute = replace(home(clock(23), clock(9) + 30 * DAY), kind="silence")
    heard = out(clock(9) + 30 * DAY, clock(20) + 30 * DAY)
    assert said(today, mute, heard) == Told(clock(23), TODAY, clock(0) + DAY), "what is heard a month later is another"


def test_a_stretch_is_known_by_when_it_began() -> None:
    first, second = out(clock(9), clock(12), stays=False), out(clock(14), clock(16), stays=False)
    midnight = clock(0) + DAY
    assert said(first, of=clock(10)) == Told(clock(11) + timedelta(minutes=30), TODAY, midnight)
    assert said(first, second, of=clock(10)).until == clock(0), "the day tells of another too"
    assert said(first, second, of=clock(15)) == Told(clock(15) + timedelta(minutes=30), TODAY, midnight)
    assert said(first, second, of=midnight) == Told(midnight, TODAY, midnight), "the judgement of the day told of both"
    small = out(clock(14), clock(16), 150.0, stays=False)
    assert said(first, small, of=clock(10)).until == midnight, "less than the limit is nothing to be told"
    over = out(clock(20), clock(23)), out(midnight, clock(3) + DAY, stays=False)
    again = out(clock(12) + DAY, clock(20) + DAY)
    assert said(*over, home(clock(3) + DAY, clock(12) + DAY), of=midnight).until == midnight + DAY
    assert said(*over, again, of=midnight) == Told(clock(2) + DAY + timedelta(minutes=30), TODAY + DAY, midnight)
    assert said(again, of=midnight) == Told(midnight, TODAY, midnight) == said(of=midnight)


def test_hours_of_short_visits_are_one_figure_as_in_the_judgement() -> None:
    def visit(hour: int, judged: float) -> Journey:
        told_of = {**flag("forbidden_area", 0.0, hour, sure=0.0), "judged": judged}
        return replace(home(clock(hour), clock(hour + 1)), flags=(told_of,))

    rule = POLICY.rules["forbidden_area"]
    seen = [visit(9, 0.25), visit(12, 0.15), visit(15, 0.15)]
    assert told(seen, "forbidden_area", rule, CALENDAR, clock(9)).until == clock(0)
    assert told(seen[:2], "forbidden_area", rule, CALENDAR, clock(9)).until == clock(0) + DAY
    one = [*seen[:1], visit(12, 0.25)]
    assert told(one, "forbidden_area", rule, CALENDAR, clock(9)).until == clock(0), "a lone position is judged too"


def test_a_stretch_ends_with_a_calm_day_and_is_told_only_if_it_had_reached_the_limit() -> None:
    near, far = out(clock(13), clock(23), 60.0), out(clock(0) + DAY, clock(23) + DAY)
    assert said(near, far) == Told(NOW, TODAY, clock(0) + DAY), "it became worse later"
    assert said(near, far, of=far.begins + timedelta(hours=2)).until == FAR
    calm, worse = out(clock(0) + DAY, clock(23) + DAY, 50.0), out(clock(0) + 2 * DAY, clock(23) + 2 * DAY)
    assert said(out(clock(13), clock(23)), calm, worse).begun_by == calm.ends
    last = out(clock(23), clock(23) + timedelta(minutes=59), 60.0)
    (alone,) = last.flags
    last = replace(last, flags=({**alone, "judged": 900.0},))
    assert said(last, far, of=clock(0) + DAY).until == FAR, "the day's last position alone reached it"


def test_between_two_silences_it_was_seen_where_it_may_be() -> None:
    first, last = out(clock(9), clock(10)), out(clock(12), clock(13))
    ((_, one),) = found(first, home(clock(11), clock(11)), last)
    assert [sample.at for sample in one.samples] == [first.begins, last.begins]
    silences = [replace(home(clock(hour), clock(hour + 1)), kind="silence") for hour in (10, 11)]
    ((_, one),) = found(first, *silences, last)
    assert [sample.at for sample in one.samples] == [first.begins, last.begins], "a lone position is no trip and no stop"
    ((_, one),) = found(first, replace(home(clock(10), clock(12)), kind="silence"), last)
    assert [sample.at for sample in one.samples] == [first.begins]
