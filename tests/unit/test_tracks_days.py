"""Trucks day by day: wild positions, the learnt way, stops at unknown places."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from iot.days import DAY_US, HOUR_US, grid_over
from iot.signals import Signal, View
from iot.tracks import learnt_deviation, route_deviation, unexplained_stops

EPSG = 32651
BACK = Transformer.from_crs(f"EPSG:{EPSG}", "EPSG:4326", always_xy=True)
BEGIN = int(datetime(2024, 6, 1, tzinfo=UTC).timestamp()) * 1_000_000
STEP = 5 * 60_000_000
PER_DAY = 288
HOME = (300_000.0, 3_430_000.0)


def positions(days: int) -> np.ndarray:
    """Out to a customer 40 km east in the morning, an hour there, back; parked at home else. Metres, noise of 5 m."""
    hour = np.arange(1, days * PER_DAY + 1) * STEP / HOUR_US % 24
    out = np.clip((hour - 7) / 1.0, 0, 1) - np.clip((hour - 9) / 1.0, 0, 1)
    xy = np.column_stack([HOME[0] + 40_000 * out, np.full(len(hour), HOME[1])])
    return xy + np.random.default_rng(1).normal(0, 5, xy.shape)


def signals(xy: np.ndarray) -> tuple[View, Signal, Signal]:
    lon, lat = BACK.transform(xy[:, 0], xy[:, 1])
    time = BEGIN + np.arange(1, len(xy) + 1, dtype=np.int64) * STEP
    east = Signal("t", "longitude_deg", STEP, time, lon, time + 1)
    north = Signal("t", "latitude_deg", STEP, time, lat, time + 1)
    grid = grid_over(ZoneInfo("UTC"), BEGIN, BEGIN + len(xy) // PER_DAY * DAY_US)
    both = {("t", "longitude_deg"): east, ("t", "latitude_deg"): north}
    return View(grid, both, None, both), east, north


def lonlat(west: float, south: float, east: float, north: float) -> shapely.Polygon:
    box = shapely.box(west, south, east, north)
    shape = shapely.transform(box, lambda xy: np.column_stack(BACK.transform(xy[:, 0], xy[:, 1])))
    assert isinstance(shape, shapely.Polygon)
    return shape


CORRIDOR = lonlat(HOME[0] - 500, HOME[1] - 500, HOME[0] + 40_500, HOME[1] + 500)
YARD = lonlat(HOME[0] - 100, HOME[1] - 100, HOME[0] + 100, HOME[1] + 100)


def test_one_wild_position_makes_no_deviation_and_a_detour_does() -> None:
    xy = positions(3)
    xy[PER_DAY + 20] += (0, 90_000)  # parked at 01:45 and 90 km away for one reading
    xy[2 * PER_DAY + 100 : 2 * PER_DAY + 104] += (0, 3_000)
    view, lon, lat = signals(xy)
    days = route_deviation(view, lon, lat, CORRIDOR, EPSG)
    assert days.value[:2].tolist() == [0.0, 0.0]
    assert days.value[2] == pytest.approx(2_500, abs=30)


def test_the_way_is_learnt_where_no_corridor_is_agreed() -> None:
    xy = positions(9)
    xy[8 * PER_DAY + 100 : 8 * PER_DAY + 104] += (0, 3_000)
    view, lon, lat = signals(xy)
    value = learnt_deviation(view, lon, lat, EPSG).value
    assert np.isnan(value[:5]).all()
    assert value[5:8].tolist() == [0.0, 0.0, 0.0]
    assert value[8] == pytest.approx(2_850, abs=60)


def test_a_stop_where_it_never_stood_is_unexplained_and_later_it_is_known() -> None:
    xy = positions(9)
    for day in (6, 8):
        xy[day * PER_DAY + 150 : day * PER_DAY + 170] = (HOME[0] + 9_000, HOME[1] + 200)
    view, lon, lat = signals(xy)
    found = unexplained_stops(view, lon, lat, YARD, EPSG)
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
    whole, part = signals(xy), signals(xy[: 7 * PER_DAY])
    np.testing.assert_array_equal(learnt_deviation(*whole, EPSG).value[:7], learnt_deviation(*part, EPSG).value)
    first, second = (unexplained_stops(*given, YARD, EPSG).hours.value[:7] for given in (whole, part))
    np.testing.assert_array_equal(first, second)
