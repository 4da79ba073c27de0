"""Trips and stops of a truck on a real database, areas set by command, alerts of what is found and none of late data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from collateral.cli import main
from collateral.db.alerts import clear
from collateral.db.pool import Pool, Role
from collateral.db.rollups import give_turn, take_turn
from collateral.db.telemetry import from_us
from collateral.domain import AssetKind
from iot.follow import chunks
from iot.observe import follow_present, observe
from scoring.run import raise_present, score_days
from tests.iot_support import START, asset, device, number, register, rows, site, store
from tests.scoring_support import POLICY
from tests.tracks_support import CUSTOMER_NORTH, HOME, POSITIONS, Floats, Reading, truck_readings

ZONE = ZoneInfo("Asia/Shanghai")
FIRST = date(2024, 6, 3)
MIDNIGHT = datetime(2024, 6, 3, tzinfo=ZONE)
DAYS = 9


def strays(day: int, place: Floats) -> None:
    """On day 6 a stop of four hours 8 km east of home, on day 8 30 km west of everything and no way back."""
    if day == 6:
        place[44:60] = (HOME[0] + 0.08, HOME[1])
    if day == 8:
        place[56:] = (HOME[0] - 0.3, HOME[1])
        place[54:56] = [(HOME[0] - 0.1, HOME[1]), (HOME[0] - 0.2, HOME[1])]


@pytest.fixture
def truck(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    register(database, [device("gps", POSITIONS, asset_id="T1")], assets=[asset("T1", AssetKind.TRUCK)])
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    return database


def look(database: str, after_days: float, since: date | None = None) -> None:
    with Pool(database, Role.APP, size=2) as pool:
        assert not observe(pool, (MIDNIGHT + timedelta(days=after_days)).astimezone(UTC), since).failed


def kept(database: str) -> list[tuple[Any, ...]]:
    return rows(
        database,
        "SELECT day, begins, ends, kind, length_m, top_km_h, place, place_to, line, flags FROM journey"
        " ORDER BY begins, kind",
    )


def told(database: str, quantity: str) -> list[float]:
    found = rows(database, "SELECT DISTINCT ON (valid_from) value FROM observation WHERE quantity = %s"
                 " ORDER BY valid_from, revision DESC", (quantity,))
    return [row[0] for row in found]


def test_days_become_trips_and_stops_the_same_in_any_order(truck: str) -> None:
    readings = truck_readings(MIDNIGHT, DAYS, strays)
    order = np.random.default_rng(8).permutation(len(readings))
    for part in np.array_split(order, 4):
        store(truck, [readings[i] for i in part])
        look(truck, DAYS + 0.2)
    found = kept(truck)
    look(truck, DAYS + 0.2, FIRST)
    assert kept(truck) == found, "made anew in order"
    trips = [row for row in found if row[3] == "trip" and row[0] == FIRST]
    assert len(trips) == 4
    assert all(row[4] == pytest.approx(20_000, rel=0.03) for row in trips)
    assert [(row[6], row[7]) for row in trips] == [("site", ""), ("", "site")] * 2
    assert trips[0][5] == pytest.approx(20.0, rel=0.05)
    flagged = [(row[0].day, row[3], flag["kind"]) for row in found for flag in row[9]]
    assert (9, "stop", "unexplained_stop") in flagged and (11, "stop", "unexplained_stop") in flagged
    assert {day for day, _, _ in flagged} == {9, 11}
    stop = next(flag for row in found for flag in row[9] if row[0].day == 9 and flag["kind"] == "unexplained_stop")
    assert stop["most"] == pytest.approx(3.75) and stop["line"][0] == pytest.approx([HOME[0] + 0.08, HOME[1]], abs=1e-3)


def test_the_present_day_is_there_before_it_is_over_and_grows(truck: str) -> None:
    readings = truck_readings(MIDNIGHT, 1)
    half = [row for row in readings if row[2] <= readings[0][2] + 46 * 900_000_000]
    store(truck, half)
    look(truck, 0.5)
    assert [row[3] for row in kept(truck)] == ["stop", "trip", "stop", "trip"]
    store(truck, readings)
    look(truck, 0.9)
    assert [row[3] for row in kept(truck)].count("trip") == 4
    assert told(truck, "implausible_positions") == []


def test_a_site_whose_time_zone_was_wrong_is_followed_on(database: str) -> None:
    tracker, lorry = [device("gps", POSITIONS, asset_id="T1")], [asset("T1", AssetKind.TRUCK)]
    register(database, tracker, [site(zone="UTC")], lorry)
    readings = truck_readings(datetime(2024, 6, 3, tzinfo=UTC), 4)
    store(database, readings[: 3 * len(readings) // 4])
    look(database, 3.5)
    register(database, tracker, [site()], lorry, START + timedelta(days=1))
    store(database, readings[3 * len(readings) // 4 :])
    look(database, 4.6)  # the stop at 17 h UTC began on the day before, and begins on this one
    stops = [row[1] for row in kept(database) if row[3] == "stop"]
    assert len(stops) == len(set(stops)) and max(stops) > datetime(2024, 6, 6, tzinfo=UTC)


def test_days_years_apart_are_read_by_themselves() -> None:
    days = [FIRST, FIRST + timedelta(days=61), FIRST + timedelta(days=62), FIRST + timedelta(days=3_000)]
    assert chunks(days) == [days[:2], days[2:3], days[3:]]
    assert chunks([]) == []


def areas(path: Path, *features: tuple[str, str, Sequence[float] | None, dict[str, Any]], **more: Any) -> Path:
    """Rectangles (west, south, east, north), or lines where `line` is given."""
    listed = []
    for name, kind, box, extra in features:
        line = extra.pop("line", None)
        geometry: dict[str, Any] = {"type": "LineString", "coordinates": line}
        if box is not None:
            west, south, east, north = box
            ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
            geometry = {"type": "Polygon", "coordinates": [ring]}
        properties = {"fence": name, "site": "S1", "kind": kind, "name": name, **extra}
        listed.append({"type": "Feature", "properties": properties, "geometry": geometry})
    path.write_text(json.dumps({"type": "FeatureCollection", "coordinate_system": "WGS84", "features": listed, **more}))
    return path


REGION = (HOME[0] - 0.15, HOME[1] - 0.1, HOME[0] + 0.15, HOME[1] + 0.3)
EARLY = {"holds_from": "2024-06-01"}


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*words, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_areas_set_by_command_judge_the_days_on_which_they_hold(
    truck: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(truck, truck_readings(MIDNIGHT, DAYS, strays))
    look(truck, DAYS + 0.2)
    assert told(truck, "outside_region_m") == [] and told(truck, "learnt_route_deviation_m")[-1] > 20_000
    path = areas(
        tmp_path / "areas.geojson",
        ("S1-region", "region", REGION, {"holds_from": "2024-06-05"}),
        ("S1-way", "corridor", None, {"line": [list(HOME), [HOME[0], HOME[1] + CUSTOMER_NORTH]], "width_m": 800, **EARLY}),
        ("S1-no", "forbidden", (HOME[0] + 0.07, HOME[1] - 0.01, HOME[0] + 0.09, HOME[1] + 0.01), dict(EARLY)),
    )
    first = run(capsys, "geofences", "set", str(path), "--by", "officer")
    assert first["written"] == 3 and "--since 2024-06-01" in first["note"]
    assert run(capsys, "geofences", "set", str(path))["written"] == 0, "the same again"
    look(truck, DAYS + 0.2, FIRST)
    outside = told(truck, "outside_region_m")
    assert len(outside) == DAYS - 2, "not before the region held"
    assert outside[:-1] == [0.0] * (DAYS - 3) and outside[-1] == pytest.approx(14_300, rel=0.02)
    assert told(truck, "forbidden_area_hours") == [0.0] * 6 + [4.0] + [0.0] * 2
    deviation = told(truck, "route_deviation_m")
    assert max(deviation[:6]) == 0.0 and deviation[6] == pytest.approx(7_230, rel=0.02)
    kinds = {flag["kind"] for row in kept(truck) for flag in row[9]}
    assert kinds == {"outside_region", "route_deviation", "forbidden_area", "unexplained_stop"}

    listed = run(capsys, "geofences", "list", "--site", "S1")
    assert [(one["fence"], one["kind"]) for one in listed["areas"]] == [
        ("S1-no", "forbidden"), ("S1-region", "region"), ("S1-way", "corridor"),
    ]
    exported = tmp_path / "again.geojson"
    assert run(capsys, "geofences", "export", str(exported))["areas"] == 3
    assert run(capsys, "geofences", "set", str(exported))["written"] == 0, "what was exported is what is held"
    assert run(capsys, "geofences", "remove", "S1-no", "--from", "2024-06-08")["removed"] == ["S1-no"]
    look(truck, DAYS + 0.2, FIRST)
    assert len(told(truck, "forbidden_area_hours")) == DAYS, "what was said stays"
    assert run(capsys, "geofences", "list")["count"] == 2
    assert "S1-no does not hold" in run(capsys, "geofences", "remove", "S1-no", code=1)["error"]


def test_areas_that_end_later_or_are_planned_are_listed_with_their_days(
    truck: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    today = datetime.now(ZONE).date()
    ends, starts, sooner = (str(today + timedelta(days=n)) for n in (20, 40, 9))
    run(capsys, "geofences", "set", str(areas(tmp_path / "a.geojson", ("R", "region", REGION, dict(EARLY)))))
    later = areas(tmp_path / "b.geojson", ("P", "place", REGION, {"holds_from": starts}))
    run(capsys, "geofences", "set", str(later))

    def listed(*more: str) -> list[tuple[str | None, ...]]:
        found = run(capsys, "geofences", "list", *more)["areas"]
        return [(one["fence"], one["state"], one["holds_from"], one["until"]) for one in found]

    assert listed() == [("P", "planned", starts, None), ("R", "holds", "2024-06-01", None)]
    run(capsys, "geofences", "remove", "R", "--from", ends)
    assert listed("--site", "S1")[1] == ("R", "holds", "2024-06-01", ends), "it holds until then"
    assert f"ends on {ends} already" in run(capsys, "geofences", "remove", "R", "--from", starts, code=1)["error"]
    run(capsys, "geofences", "remove", "R", "--from", sooner)
    assert listed()[1] == ("R", "holds", "2024-06-01", sooner)
    run(capsys, "geofences", "remove", "R", "P")
    assert listed() == []
    assert listed("--ended") == [("R", "ended", "2024-06-01", str(today))], "P never held"


def test_an_area_does_not_move_to_another_site_and_hold_at_both(
    truck: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register(truck, [], sites=[site(), site("S2")], known_at=START + timedelta(days=1))
    here, there = (
        str(areas(tmp_path / f"{name}.geojson", ("R", "region", REGION, {**EARLY, "site": name}))) for name in ("S1", "S2")
    )
    checked = run(capsys, "geofences", "set", here, "--check")
    assert (checked["written"], checked["would_write"]) == (0, 1)
    assert run(capsys, "geofences", "list")["areas"] == []
    run(capsys, "geofences", "set", here)
    for more in ([], ["--check"]):
        refused = run(capsys, "geofences", "set", there, *more, code=1)
        assert "R belongs to site S1, not S2; remove it first" in refused["error"]
    run(capsys, "geofences", "remove", "R", "--from", EARLY["holds_from"])
    run(capsys, "geofences", "set", there)
    assert [one["site"] for one in run(capsys, "geofences", "list")["areas"]] == ["S2"]


@pytest.mark.parametrize(("change", "said"), [
    ({"kind": "wall"}, "kind is 'wall'"),
    ({"fence": "site", "kind": "place"}, "Fence is 'site'"),
    ({"site": "S9"}, "Site 'S9' is not in the portfolio"),
    ({"asset": "T9"}, "Asset 'T9' is no pledged thing of site S1"),
    ({"line": [list(HOME), [121.0, 31.2]]}, "A line has no width"),
    ({"line": [[31.0, 121.0], [31.2, 121.0]], "width_m": 100}, "no longitude and latitude"),
    ({"box": (121.0, 31.0, 121.00001, 31.00001)}, "covers 1 m2"),
    ({"box": (21.0, 31.0, 21.1, 31.1)}, "km from site S1"),
    ({"holds_from": "01/06/2024"}, "holds_from"),
])  # fmt: skip
def test_a_wrong_area_is_refused_with_a_reason_and_nothing_is_written(
    truck: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    box = change.pop("box", None if "line" in change else REGION)
    path = areas(tmp_path / "a.geojson", ("good", "region", REGION, {}), ("bad", "region", box, change))
    refused = run(capsys, "geofences", "set", str(path), code=1)
    problems = [one for one in refused["problems"] if one["severity"] == "error"]
    assert len(problems) == 1 and said in problems[0]["problem"] and problems[0]["row"] == 2 and problems[0]["remedy"]
    assert rows(truck, "SELECT 1 FROM geofence_version") == []


def raised(database: str) -> list[tuple[Any, ...]]:
    return rows(database, "SELECT rule, subject_kind, subject_id, evidence FROM alert_current ORDER BY rule")


def judge(database: str, day: int) -> None:
    last = FIRST + timedelta(days=day)
    with Pool(database, Role.APP, size=3) as pool:
        score_days(pool, POLICY, last, last, ["S1"], datetime(2024, 8, 1, tzinfo=UTC))


def test_what_is_found_becomes_an_alert_with_its_evidence(
    truck: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "geofences", "set", str(areas(tmp_path / "a.geojson", ("R", "region", REGION, dict(EARLY)))))
    readings = truck_readings(MIDNIGHT, DAYS, strays)
    store(truck, readings)
    look(truck, DAYS + 0.2)
    judge(truck, DAYS)  # the morning after
    found = {row[0]: row for row in raised(truck)}
    assert "left_region" in found and "tamper" not in found and "positions_implausible" not in found
    _, kind, subject, evidence = found["left_region"]
    assert (kind, subject) == ("asset", "T1")
    assert evidence["inside"]["outside_region_m"] == pytest.approx(14_300, rel=0.02) and evidence["observations"]


def test_late_data_that_fill_the_past_raise_nothing(
    truck: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "geofences", "set", str(areas(tmp_path / "a.geojson", ("R", "region", REGION, dict(EARLY)))))
    whole = truck_readings(MIDNIGHT, DAYS + 8, strays)
    gone = (MIDNIGHT + timedelta(days=8)).timestamp() * 1e6
    back = (MIDNIGHT + timedelta(days=9)).timestamp() * 1e6
    late: list[Reading] = [(*row[:4], int(back + 7 * 86_400e6)) for row in whole if gone < row[2] <= back]
    store(truck, [row for row in whole if not gone < row[2] <= back])
    look(truck, DAYS + 6.5)
    judge(truck, DAYS + 6)
    store(truck, late)
    look(truck, DAYS + 8.2)
    assert max(told(truck, "outside_region_m")) > 14_000, "it is observed all the same"
    judge(truck, DAYS + 8)
    assert [row[0] for row in raised(truck) if row[0] in ("left_region", "unexplained_stop", "route_deviation")] == []


LEAVES = 8 * 96 + 56
"""Quarter-hours from midnight to the first position outside."""
NO = (HOME[0] + 0.07, HOME[1] - 0.01, HOME[0] + 0.09, HOME[1] + 0.01)


def quarter(number: float) -> datetime:
    return (MIDNIGHT + number * timedelta(minutes=15)).astimezone(UTC)


def goes(database: str, readings: Sequence[Reading], first: int, last: int) -> None:
    """Positions of these quarter-hours arrive, and trips and stops are brought up to date two minutes later."""
    until = quarter(last)
    store(database, [row for row in readings if quarter(first) <= from_us(row[2]) <= until])
    with Pool(database, Role.APP, size=2) as pool:
        done = follow_present(pool, until + timedelta(minutes=2))
        assert not done.failed and done.sites == 1


def at_once(database: str, number: float) -> dict[str, int]:
    with Pool(database, Role.APP, size=2) as pool:
        return dict(raise_present(pool, POLICY, quarter(number)).alerts)


def clears(database: str, number: float) -> None:
    (alert_id,) = [row[0] for row in rows(database, "SELECT alert_id FROM alert_current WHERE rule = 'left_region'")]
    with Pool(database, Role.APP, size=1) as pool, pool.connection() as connection:
        clear(connection, alert_id, "officer", quarter(number), "agreed by telephone")


@pytest.fixture
def leaving(truck: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[Reading]:
    """A truck that is judged until the morning of day 8; on that day it leaves its region after 14 h."""
    path = areas(tmp_path / "a.geojson", ("R", "region", REGION, dict(EARLY)), ("N", "forbidden", NO, dict(EARLY)))
    run(capsys, "geofences", "set", str(path))
    readings = truck_readings(MIDNIGHT, DAYS + 4, strays)
    goes(truck, readings, 0, 8 * 96)
    assert at_once(truck, 8 * 96 + 9) == {}, "a site that was never judged is left to its judgement"
    look(truck, 8.2)
    judge(truck, 8)
    return readings


def test_leaving_a_region_is_told_minutes_later_once_and_cleared_by_the_days_after(
    truck: str, leaving: list[Reading]
) -> None:
    before, epoch = raised(truck), number(truck, "SELECT epoch FROM dirty_epoch")
    goes(truck, leaving, 8 * 96, LEAVES)
    assert at_once(truck, LEAVES + 0.5) == {}, "one position alone may be a reflection"
    with Pool(truck, Role.APP, size=3) as pool, pool.connection() as other:
        take_turn(other)
        assert follow_present(pool, quarter(LEAVES + 0.2)).sites == 0, "who observes makes them too"
        give_turn(other)
    goes(truck, leaving, LEAVES, LEAVES + 1)
    assert number(truck, "SELECT count(*) FROM dirty_range") > 0, "all else is left for `observe`"
    assert number(truck, "SELECT epoch FROM dirty_epoch") == epoch, "nothing has to be marked a second time"
    assert at_once(truck, LEAVES + 1.2) == {"left_region": 1}
    assert at_once(truck, LEAVES + 1.3) == {}, "once"
    goes(truck, leaving, LEAVES, 9 * 96)
    assert at_once(truck, 9 * 96 + 0.2) == {}
    (told_of,) = [row for row in raised(truck) if row not in before]
    assert told_of[:3] == ("left_region", "asset", "T1")
    assert told_of[3]["inside"]["device"] == "gps"
    assert told_of[3]["inside"]["outside_region_m"] == pytest.approx(4_777, rel=0.02), "what two positions had said by then"
    store(truck, [row for row in leaving if from_us(row[2]) > quarter(9 * 96)])
    for day in (9, 10, 11, 12):
        look(truck, day + 0.2)
        judge(truck, day)
        state = rows(truck, "SELECT state, count(*) OVER () FROM alert_current WHERE rule = 'left_region'")
        assert state == [("cleared" if day >= 11 else "open", 1)], day


def test_what_a_person_cleared_is_not_raised_again_for_the_same_stretch(
    truck: str, leaving: list[Reading], capsys: pytest.CaptureFixture[str]
) -> None:
    goes(truck, leaving, 8 * 96, LEAVES + 4)
    assert at_once(truck, LEAVES + 4.5) == {"left_region": 1}
    clears(truck, LEAVES + 8)
    goes(truck, leaving, LEAVES, 9 * 96)
    assert at_once(truck, 9 * 96 + 1) == {}
    look(truck, 9.2)
    judge(truck, 9)
    assert at_once(truck, 9 * 96 + 30) == {}, "days that are judged raise nothing at once"
    assert number(truck, "SELECT count(*) FROM alert WHERE rule = 'left_region'") == 1
    assert run(capsys, "observe", "--trackers", "--until", quarter(9 * 96 + 30).isoformat())["failed"] == {}
    assert run(capsys, "score", "--areas")["alerts"] == {}
    assert "--areas" in run(capsys, "score", "--areas", "--site", "S1", code=2)["error"]
    assert "--trackers" in run(capsys, "observe", "--trackers", "--since", "2024-06-01", code=2)["error"]


@pytest.mark.parametrize("told_by", ["at once", "the day's judgement"])
def test_what_goes_on_over_midnight_after_a_person_cleared_it_is_the_same_stretch_until_it_ends(
    truck: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], told_by: str
) -> None:
    """From the afternoon of day 8 to the morning of day 11 the truck is outside, then at home, and outside once more."""
    run(capsys, "geofences", "set", str(areas(tmp_path / "a.geojson", ("R", "region", REGION, dict(EARLY)))))

    def stays(day: int, place: Floats) -> None:
        strays(day, place)
        if day in (9, 10):
            place[:] = (HOME[0] - 0.3, HOME[1])
        if day == 11:
            place[:36] = (HOME[0] - 0.3, HOME[1])
            place[36:] = HOME
            place[60:] = (HOME[0] - 0.2, HOME[1])

    readings = truck_readings(MIDNIGHT, DAYS + 4, stays)
    alerts = "SELECT count(*) FROM alert WHERE rule = 'left_region'"
    goes(truck, readings, 0, 8 * 96)
    look(truck, 8.2)
    judge(truck, 8)
    goes(truck, readings, 8 * 96, LEAVES + 4)
    if told_by == "at once":
        assert at_once(truck, LEAVES + 4.5) == {"left_region": 1}
        clears(truck, LEAVES + 8)
        goes(truck, readings, LEAVES, 9 * 96 + 6)
        assert at_once(truck, 9 * 96 + 6.5) == {}, "the day before is not judged yet"
    for day in (9, 10, 11):
        goes(truck, readings, (day - 1) * 96, day * 96 + 20)
        look(truck, day + 0.21)
        judge(truck, day)
        if (told_by, day) == ("the day's judgement", 9):
            clears(truck, 9 * 96 + 29)
        goes(truck, readings, day * 96 + 20, day * 96 + 30)
        assert at_once(truck, day * 96 + 30.5) == {}, day
    assert number(truck, alerts) == 1
    goes(truck, readings, 11 * 96 + 30, 11 * 96 + 63)
    assert at_once(truck, 11 * 96 + 63.5) == {"left_region": 1}, "it was at home meanwhile"
    assert number(truck, alerts) == 2


def test_what_was_seen_at_home_between_two_silences_leaves_anew(
    truck: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "geofences", "set", str(areas(tmp_path / "a.geojson", ("R", "region", REGION, dict(EARLY)))))

    def twice(day: int, place: Floats) -> None:
        if day == 8:
            place[32:] = (HOME[0] - 0.2, HOME[1])
            place[56:64] = HOME

    silent = [(8 * 96 + first, 8 * 96 + last) for first, last in ((24, 33), (48, 57), (64, 71))]
    readings = [
        row for row in truck_readings(MIDNIGHT, DAYS, twice)
        if not any(quarter(first) < from_us(row[2]) < quarter(last) for first, last in silent)
    ]  # fmt: skip
    goes(truck, readings, 0, 8 * 96)
    look(truck, 8.2)
    judge(truck, 8)
    goes(truck, readings, 8 * 96, 8 * 96 + 64)
    assert at_once(truck, 8 * 96 + 64.5) == {"left_region": 1}
    clears(truck, 8 * 96 + 65)
    assert at_once(truck, 8 * 96 + 65.5) == {}
    goes(truck, readings, 8 * 96, 8 * 96 + 80)
    silences = "SELECT count(*) FROM journey WHERE kind = 'silence' AND begins >= %s"
    assert rows(truck, silences, (quarter(8 * 96),)) == [(3,)]
    assert at_once(truck, 8 * 96 + 80.5) == {"left_region": 1}


def test_what_goes_on_after_a_person_cleared_it_is_no_new_stretch_and_a_spare_tracker_says_nothing(
    truck: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On day 8 the truck drives about outside for an hour and then stands there."""
    run(capsys, "geofences", "set", str(areas(tmp_path / "a.geojson", ("R", "region", REGION, dict(EARLY)))))
    spare, gps = (device(name, POSITIONS, asset_id="T1") for name in ("a-spare", "gps"))
    register(truck, [spare, gps], assets=[asset("T1", AssetKind.TRUCK)], known_at=START + timedelta(days=1))

    def wanders(day: int, place: Floats) -> None:
        if day == 8:
            place[52:56] = [(HOME[0] - 0.2 - 0.03 * step, HOME[1]) for step in range(4)]
            place[56:] = (HOME[0] - 0.4, HOME[1])

    readings = truck_readings(MIDNIGHT, DAYS, wanders)
    goes(truck, readings, 0, 8 * 96)
    look(truck, 8.2)
    judge(truck, 8)
    goes(truck, readings, 8 * 96, 8 * 96 + 55)
    assert at_once(truck, 8 * 96 + 55.2) == {"left_region": 1}
    clears(truck, 8 * 96 + 55.5)
    goes(truck, readings, 8 * 96, 8 * 96 + 80)
    flagged = "SELECT DISTINCT kind FROM journey WHERE ends > %s AND flags <> '[]' ORDER BY kind"
    assert rows(truck, flagged, (quarter(8 * 96),)) == [("stop",), ("trip",)]
    assert at_once(truck, 8 * 96 + 80.5) == {}
