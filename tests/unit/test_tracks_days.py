"""Movables day by day: wild positions, the learnt way, stops at unknown places, regions, forced removal."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from collateral.db.geofences import FenceKind, Geofence, in_force
from collateral.domain import Asset, AssetKind
from iot.areas import AreaBook, Areas
from iot.days import DAY_US, HOUR_US, grid_over
from iot.signals import Signal, View
from iot.tamper import contact_hours, power_lost_hours
from iot.tracks import (
    AreasOf,
    Movable,
    forbidden_hours,
    implausible_positions,
    learnt_deviation,
    movable,
    moved_engine_off,
    outside_region,
    route_deviation,
    unexplained_stops,
)
from tests.iot_support import asset, site

EPSG = 32651
BACK = Transformer.from_crs(f"EPSG:{EPSG}", "EPSG:4326", always_xy=True)
BEGIN = int(datetime(2024, 6, 1, tzinfo=UTC).timestamp()) * 1_000_000
STEP = 5 * 60_000_000
PER_DAY = 288
HOME = (300_000.0, 3_430_000.0)
Floats = NDArray[np.float64]


def positions(days: int) -> Floats:
    """Out to a customer 40 km east in the morning, an hour there, back; parked at home else. Metres, noise of 5 m."""
    hour = np.arange(1, days * PER_DAY + 1) * STEP / HOUR_US % 24
    out = np.clip((hour - 7) / 1.0, 0, 1) - np.clip((hour - 9) / 1.0, 0, 1)
    xy = np.column_stack([HOME[0] + 40_000 * out, np.full(len(hour), HOME[1])])
    return np.asarray(xy + np.random.default_rng(1).normal(0, 5, xy.shape))


def tracker(xy: Floats, **more: Floats) -> Movable:
    """A tracker at these positions, every five minutes; `more`: other readings of the same times."""
    lon, lat = BACK.transform(xy[:, 0], xy[:, 1])
    time = BEGIN + np.arange(1, len(xy) + 1, dtype=np.int64) * STEP
    told = {"longitude_deg": lon, "latitude_deg": lat, **more}
    signals = {("t", name): Signal("t", name, STEP, time, np.asarray(value), time + 1) for name, value in told.items()}
    grid = grid_over(ZoneInfo("UTC"), BEGIN, BEGIN + len(xy) // PER_DAY * DAY_US)
    view = View(grid, signals, None, signals)
    return movable(view, signals["t", "longitude_deg"], signals["t", "latitude_deg"], EPSG)


def metres(west: float, south: float, east: float, north: float) -> shapely.Polygon:
    """A rectangle, metres from home."""
    return shapely.box(HOME[0] + west, HOME[1] + south, HOME[0] + east, HOME[1] + north)


def lonlat(*edges: float) -> shapely.Polygon:
    shape = shapely.transform(metres(*edges), lambda xy: np.column_stack(BACK.transform(xy[:, 0], xy[:, 1])))
    assert isinstance(shape, shapely.Polygon)
    return shape


YARD = metres(-100, -100, 100, 100)


def areas(
    corridor: shapely.Polygon | None = None, region: shapely.Polygon | None = None, forbidden: shapely.Polygon | None = None
) -> AreasOf:
    wide = shapely.buffer(YARD, 150)
    return lambda number: Areas(corridor, region, forbidden, wide, (("site", wide),))


CORRIDOR = metres(-500, -500, 40_500, 500)


def test_one_wild_position_makes_no_deviation_and_a_detour_does() -> None:
    xy = positions(3)
    xy[PER_DAY + 20] += (0, 90_000)  # parked at 01:45 and 90 km away for one reading
    xy[2 * PER_DAY + 100 : 2 * PER_DAY + 104] += (0, 3_000)
    truck = tracker(xy)
    days = route_deviation(truck, areas(corridor=CORRIDOR))
    assert days.value[:2].tolist() == [0.0, 0.0]
    assert days.value[2] == pytest.approx(2_500, abs=30)
    assert implausible_positions(truck, None).value.tolist() == [0.0, 1.0, 0.0]


def test_the_way_is_learnt_where_no_corridor_is_agreed() -> None:
    xy = positions(9)
    xy[8 * PER_DAY + 100 : 8 * PER_DAY + 104] += (0, 3_000)
    value = learnt_deviation(tracker(xy), areas()).value
    assert np.isnan(value[:5]).all()
    assert value[5:8].tolist() == [0.0, 0.0, 0.0]
    assert value[8] == pytest.approx(2_850, abs=60)
    assert np.isnan(learnt_deviation(tracker(xy), areas(corridor=CORRIDOR)).value).all()


def test_a_stop_where_it_never_stood_is_unexplained_and_later_it_is_known() -> None:
    xy = positions(9)
    for day in (6, 8):
        xy[day * PER_DAY + 150 : day * PER_DAY + 170] = (HOME[0] + 9_000, HOME[1] + 200)
    found = unexplained_stops(tracker(xy), areas())
    assert np.isnan(found.hours.value[:5]).all()
    assert found.hours.value[5] == 0.0
    assert found.hours.value[6] == pytest.approx(19 * 5 / 60)
    assert found.hours.value[7:].tolist() == [0.0, 0.0]
    east, north = BACK.transform(HOME[0] + 9_000, HOME[1] + 200)
    assert (found.lon[6], found.lat[6]) == pytest.approx((east, north), abs=1e-5)
    assert np.isnan(found.lon[5])


def test_a_day_says_the_same_without_the_days_after_it() -> None:
    xy = positions(9)
    xy[6 * PER_DAY + 150 : 6 * PER_DAY + 170] = (HOME[0] + 9_000, HOME[1] + 5_000)
    whole, part = tracker(xy), tracker(xy[: 7 * PER_DAY])
    np.testing.assert_array_equal(learnt_deviation(whole, areas()).value[:7], learnt_deviation(part, areas()).value)
    first, second = (unexplained_stops(given, areas()).hours.value[:7] for given in (whole, part))
    np.testing.assert_array_equal(first, second)


def test_leaving_the_region_takes_two_positions_or_the_last_known_one() -> None:
    xy = positions(4)
    xy[PER_DAY + 150] += (0, 2_000)  # once: a wild position that could be driven to
    xy[2 * PER_DAY + 150 : 2 * PER_DAY + 152] += (0, 2_000)
    xy[4 * PER_DAY - 1] += (0, 3_000)  # gone, and nothing after it
    value = outside_region(tracker(xy), areas(region=metres(-500, -500, 40_500, 500))).value
    assert value == pytest.approx([0.0, 0.0, 1_500, 2_500], abs=20)
    assert np.isnan(outside_region(tracker(xy), areas()).value).all()


def test_hours_in_a_forbidden_area() -> None:
    value = forbidden_hours(tracker(positions(2)), areas(forbidden=metres(39_000, -500, 41_000, 500))).value
    assert value == pytest.approx([1.0, 1.0], abs=0.2)  # the customer's hour
    assert forbidden_hours(tracker(positions(1)), areas(forbidden=metres(-900, -900, -500, -500))).value.tolist() == [0.0]


def test_positions_that_move_while_the_tracker_says_it_stands_are_not_believed() -> None:
    xy = positions(2)
    honest = np.append(np.hypot(*np.diff(xy, axis=0).T) * 12 / 1000, 0.0)
    standing = np.where(np.arange(len(xy)) < PER_DAY, honest, 0.0)
    truck = tracker(xy, speed_km_h=standing)
    value = implausible_positions(truck, truck.view.signals["t", "speed_km_h"]).value
    assert value[0] == 0 and value[1] == 24  # two hours at 40 km/h, a position every five minutes


def test_moved_with_the_engine_off_is_towed_and_a_short_drive_between_two_reports_is_not() -> None:
    xy = positions(3)
    engine = (np.hypot(*np.diff(xy, axis=0, prepend=xy[:1]).T) > 50).astype(float)
    engine = np.maximum(engine, np.append(engine[1:], 0))
    engine[PER_DAY : 2 * PER_DAY] = 0  # carried there and back on a trailer
    xy[2 * PER_DAY + 200 :] += (3_000, 0)  # once, between two reports
    truck = tracker(xy, engine_on=engine)
    value = moved_engine_off(truck, truck.view.signals["t", "engine_on"]).value
    assert value[0] == 0 and value[1] == pytest.approx(80_000, rel=0.02) and value[2] == 0


def test_contact_and_power() -> None:
    contact, fed = np.zeros(2 * PER_DAY), np.ones(2 * PER_DAY)
    contact[PER_DAY + 10], fed[PER_DAY + 20 : PER_DAY + 32] = 1.0, 0.0
    view = tracker(positions(2), tamper_contact=contact, external_power=fed).view
    opened = contact_hours(view, view.signals["t", "tamper_contact"]).value
    lost = power_lost_hours(view, view.signals["t", "external_power"]).value
    assert opened == pytest.approx([0.0, 1 / 12]) and lost == pytest.approx([0.0, 1.0])


def fence(name: str, kind: FenceKind, first: date, revision: int = 1, ended: bool = False, asset_id: str = "") -> Geofence:
    shape = lonlat(-1_000, -1_000, 1_000 * revision, 1_000)
    return Geofence(name, "S1", asset_id, kind, name, "", first, ended, shape, revision)


def test_a_day_is_judged_by_the_areas_that_held_on_it() -> None:
    june = [date(2024, 6, day) for day in (1, 5, 9)]
    rows = [fence("R", FenceKind.REGION, june[0]), fence("R", FenceKind.REGION, june[1], 2),
            fence("R", FenceKind.REGION, june[2], 3, ended=True), fence("T", FenceKind.PLACE, june[0], asset_id="T9")]
    assert [[one.revision for one in in_force(rows, date(2024, 6, day), "T1")] for day in (1, 4, 5, 8, 9)] == [
        [1], [1], [2], [2], []
    ]
    assert [one.fence_id for one in in_force(rows, june[0], "T9")] == ["R", "T"]
    assert in_force(rows, date(2024, 5, 31)) == []
    book = AreaBook(site(), truck_asset(AssetKind.TRUCK), rows)
    first, second = book.on(june[0]).region, book.on(june[1]).region
    assert first is not None and second is not None and second.area == pytest.approx(1.5 * first.area)
    assert book.on(june[0]) is book.on(date(2024, 6, 2)), "made once"
    assert book.on(june[2]).region is None


def truck_asset(kind: AssetKind, corridor: shapely.Polygon | None = None) -> Asset:
    return asset("T1", kind, corridor=corridor)


def test_what_is_no_vehicle_must_stay_at_its_site_and_a_corridor_takes_in_site_and_places() -> None:
    day = date(2024, 6, 1)
    assert AreaBook(site(), truck_asset(AssetKind.TRUCK), []).on(day).region is None
    machine = AreaBook(site(), truck_asset(AssetKind.MACHINE), []).on(day)
    assert machine.region is not None and machine.corridor is None
    middle = machine.region.centroid
    assert machine.place_of((middle.x, middle.y)) == "site"
    place = fence("P", FenceKind.PLACE, day)
    agreed = AreaBook(site(), truck_asset(AssetKind.TRUCK, lonlat(0, 0, 40_000, 100)), [place]).on(day)
    assert agreed.corridor is not None and agreed.region is None
    assert agreed.corridor.covers(shapely.Point(HOME[0] - 900, HOME[1] - 900)), "the known place is allowed"
    assert agreed.place_of((HOME[0] - 900, HOME[1] - 900)) == "P" and agreed.place_of((HOME[0] + 20_000, HOME[1])) == ""
