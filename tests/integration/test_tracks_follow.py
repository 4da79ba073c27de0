"""Trips and stops of a truck on a real database, and areas set by command."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collateral.domain import AssetKind
from iot.follow import chunks
from tests.iot_support import START, asset, device, register, rows, site, store
from tests.tracks_support import CUSTOMER_NORTH, HOME, POSITIONS, ZONE, truck_readings
from tests.truck_support import DAYS, EARLY, FIRST, MIDNIGHT, REGION, areas, look, run, strays, told, truck

__all__ = ["truck"]


def kept(database: str) -> list[tuple[Any, ...]]:
    return rows(
        database,
        "SELECT day, begins, ends, kind, length_m, top_km_h, place, place_to, line, flags FROM journey"
        " ORDER BY begins, kind",
    )


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
        ("S1-no", "forbidden"),
        ("S1-region", "region"),
        ("S1-way", "corridor"),
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
