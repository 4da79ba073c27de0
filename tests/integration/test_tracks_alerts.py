"""Alerts about areas on a real database: told with evidence, once for each stretch, and none of late data."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collateral.db.alerts import clear
from collateral.db.pool import Pool, Role
from collateral.db.rollups import give_turn, take_turn
from collateral.db.telemetry import from_us
from collateral.domain import AssetKind
from iot.observe import follow_present
from scoring.run import raise_present
from tests.iot_support import START, asset, device, number, register, rows, store
from tests.scoring_support import POLICY
from tests.tracks_support import HOME, POSITIONS, Change, Floats, Reading, truck_readings
from tests.truck_support import DAYS, EARLY, MIDNIGHT, REGION, areas, judge, look, run, strays, told, truck

__all__ = ["truck"]


def raised(database: str) -> list[tuple[Any, ...]]:
    return rows(database, "SELECT rule, subject_kind, subject_id, evidence FROM alert_current ORDER BY rule")


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


def test_late_data_that_fill_the_past_raise_nothing(truck: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    open_ones = "SELECT alert_id FROM alert_current WHERE rule = 'left_region' AND state <> 'cleared'"
    ((alert_id,),) = rows(database, open_ones)
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


def is_away(*stays: tuple[float, float]) -> Change:
    """Outside its region between these quarter-hours since midnight of day 8, at home else."""

    def change(day: int, place: Floats) -> None:
        if day >= 8:
            place[:] = HOME
            for first, last in stays:
                begin, end = (min(max(int(edge) - (day - 8) * 96, 0), 96) for edge in (first, last))
                place[begin:end] = (HOME[0] - 0.2, HOME[1])

    return change


@pytest.fixture
def bounded(truck: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A truck with a region that was judged until the morning of day 8."""
    run(capsys, "geofences", "set", str(areas(tmp_path / "a.geojson", ("R", "region", REGION, dict(EARLY)))))
    goes(truck, truck_readings(MIDNIGHT, 8), 0, 8 * 96)
    look(truck, 8.2)
    judge(truck, 8)
    return truck


def passes(database: str, readings: Sequence[Reading], day: int) -> None:
    """The day goes by, and is judged on the morning after; nothing is told at once."""
    goes(database, readings, day * 96, day * 96 + 116)
    look(database, day + 1.21)
    judge(database, day + 1)


def told_times(database: str) -> int:
    return number(database, "SELECT count(*) FROM alert WHERE rule = 'left_region'")


HOUR = 4


@pytest.mark.parametrize(("later", "alerts"), [((), 1), ((37 * HOUR, 40 * HOUR), 2)])
def test_what_a_day_told_of_is_not_told_again_for_the_hours_after_midnight(
    bounded: str, later: tuple[float, float], alerts: int
) -> None:
    """Away from 14 h of day 8 to 3 h of day 9, told by the judgement of day 8; maybe again on day 9 from 13 to 16 h."""
    readings = truck_readings(MIDNIGHT, 11, is_away((14 * HOUR, 27 * HOUR), *([later] if later else [])))
    passes(bounded, readings, 8)
    assert told_times(bounded) == 1
    clears(bounded, 9 * 96 + 30)
    passes(bounded, readings, 9)
    assert told_times(bounded) == alerts
    passes(bounded, readings, 10)
    assert told_times(bounded) == alerts


@pytest.mark.parametrize("told_at", ["once", "by the day before"])
def test_a_second_stretch_on_the_day_of_the_first_is_told_by_the_judgement(bounded: str, told_at: str) -> None:
    """Positions of the second arrive when the day is over: nothing is told at once."""
    first = (33 * HOUR, 35 * HOUR) if told_at == "once" else (14 * HOUR, 35 * HOUR)
    readings = truck_readings(MIDNIGHT, 11, is_away(first, (37 * HOUR, 40 * HOUR)))
    passes(bounded, readings, 8)
    goes(bounded, readings, 9 * 96, 9 * 96 + 10 * HOUR)
    if told_at == "once":
        assert at_once(bounded, 9 * 96 + 10 * HOUR + 0.5) == {"left_region": 1}
    clears(bounded, 9 * 96 + 10 * HOUR + 1)
    assert at_once(bounded, 9 * 96 + 10 * HOUR + 2) == {}
    passes(bounded, readings, 9)
    assert told_times(bounded) == 2
    clears(bounded, 10 * 96 + 30)
    passes(bounded, readings, 10)
    assert told_times(bounded) == 2, "all of that day was told"


@pytest.mark.parametrize("third", [(), (21 * HOUR, 23 * HOUR)])
def test_what_began_while_an_alert_stood_is_told_once_that_is_cleared(bounded: str, third: tuple[float, float]) -> None:
    stays = [(9 * HOUR, 11 * HOUR), (13 * HOUR, 20 * HOUR), *([third] if third else [])]
    readings = truck_readings(MIDNIGHT, 10, is_away(*stays))
    goes(bounded, readings, 8 * 96, 8 * 96 + 10 * HOUR)
    assert at_once(bounded, 8 * 96 + 10 * HOUR + 0.5) == {"left_region": 1}
    goes(bounded, readings, 8 * 96, 8 * 96 + 15 * HOUR)
    assert at_once(bounded, 8 * 96 + 15 * HOUR + 0.5) == {}, "while it stands"
    clears(bounded, 8 * 96 + 15 * HOUR + 1)
    assert at_once(bounded, 8 * 96 + 15 * HOUR + 2) == {"left_region": 1}
    clears(bounded, 8 * 96 + 15 * HOUR + 3)
    assert at_once(bounded, 8 * 96 + 15 * HOUR + 4) == {}
    passes(bounded, readings, 8)
    assert told_times(bounded) == len(stays), "the judgement tells of what nobody was told of"


def test_days_that_were_over_when_a_person_cleared_stay_cleared(bounded: str) -> None:
    readings = truck_readings(MIDNIGHT, 10, is_away((9 * HOUR, 11 * HOUR), (13 * HOUR, 20 * HOUR)))
    goes(bounded, readings, 8 * 96, 8 * 96 + 10 * HOUR)
    assert at_once(bounded, 8 * 96 + 10 * HOUR + 0.5) == {"left_region": 1}
    goes(bounded, readings, 8 * 96, 9 * 96 + 1)
    clears(bounded, 9 * 96 + 2)
    assert at_once(bounded, 9 * 96 + 3) == {}, "the day before is not judged yet"
    passes(bounded, readings, 8)
    assert told_times(bounded) == 1
