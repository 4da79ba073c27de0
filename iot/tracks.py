"""Positions of trucks, day by day: how far from the allowed corridor or from the usual way, and where they stood. Pure.

Distances in metres in the site's UTM zone. Positions that cannot be (`iot.routes.jumps`) are passed over; each day is judged
by its own positions and those of days before, so that it says the same whenever it is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from iot.amounts import DayValues, coverage
from iot.routes import Stop, Track, jumps, learn_way, stops, unexplained
from iot.signals import Signal, View, latest_per_day

POSITION_ERROR_M = 10.0
"""95 % error of a satellite receiver without correction."""
LEARNT_DAYS = 28
"""Days before from which the usual way and the usual stops are known."""
LEAST_DAYS = 5
"""With positions, before anything is usual."""
MOST_JOURNEYS = 10
"""Newest days from which the way is learnt."""
LEAST_JOURNEY_M = 1_000.0
"""A day with less teaches no way."""
LEAST_STOP_S = 1_800.0
NEAR_M = 150.0
"""A stop this near to a known place is explained by it."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DayStops:
    """Hours per day in stops that no known place explains, and where the longest was."""

    hours: DayValues
    lon: Floats
    lat: Floats
    """NaN where there was none."""


def deviation_m(corridor: BaseGeometry, lon: Floats, lat: Floats, utm_epsg: int) -> Floats:
    """Distance of each position from the corridor, 0 inside. Corridor and positions in WGS 84."""
    flat = _flat(corridor, utm_epsg)
    shapely.prepare(flat)
    points = shapely.points(*_to_metres(utm_epsg).transform(lon, lat))
    out = np.zeros(len(points))
    outside = ~shapely.covers(flat, points)
    out[outside] = shapely.distance(flat, points[outside])
    return out


def route_deviation(view: View, lon: Signal, lat: Signal, corridor: BaseGeometry, utm_epsg: int) -> DayValues:
    """Largest distance from the corridor on each day."""
    times, east, north = _together(lon, lat)
    away = deviation_m(corridor, east, north, utm_epsg)
    day = view.grid.ending_in(times)
    x, y = _to_metres(utm_epsg).transform(east, north)
    value = np.full(len(view.grid), np.nan)
    for number in np.unique(day[(day >= 0) & (day < len(view.grid))]).tolist():
        mine = day == number
        if away[mine].any():
            away[mine] = np.where(jumps(Track(times[mine] / 1e6, np.column_stack([x[mine], y[mine]]))), np.nan, away[mine])
        value[number] = np.fmax.reduce(away[mine])
    return _days(view, lon, lat, value)


def learnt_deviation(view: View, lon: Signal, lat: Signal, utm_epsg: int) -> DayValues:
    """How much farther than usual the truck went from the way of its days before; for where no corridor is agreed."""
    value = np.full(len(view.grid), np.nan)
    tracks = _daily_tracks(view, lon, lat, utm_epsg)
    for number, track in tracks.items():
        before = [one for day, one in tracks.items() if number - LEARNT_DAYS <= day < number]
        journeys = [one for one in before if one.length_m >= LEAST_JOURNEY_M][-MOST_JOURNEYS:]
        if len(journeys) >= LEAST_DAYS and len(track):
            way = learn_way(journeys)
            value[number] = max(0.0, float(way.distance_m(track.xy).max()) - way.allowed_m)
    return _days(view, lon, lat, value)


def unexplained_stops(view: View, lon: Signal, lat: Signal, home: BaseGeometry, utm_epsg: int) -> DayStops:
    """Stops of half an hour or longer outside `home` and away from where the truck stood in the weeks before."""
    hours, east, north = (np.full(len(view.grid), np.nan) for _ in range(3))
    place = shapely.buffer(_flat(home, utm_epsg), NEAR_M)
    back = Transformer.from_crs(f"EPSG:{utm_epsg}", "EPSG:4326", always_xy=True)
    least_s = max(LEAST_STOP_S, 2 * lon.interval_us / 1e6)
    stood: dict[int, list[Stop]] = {}
    for number, track in _daily_tracks(view, lon, lat, utm_epsg).items():
        stood[number] = stops(track, least_s=least_s)
        before = [day for day in stood if number - LEARNT_DAYS <= day < number]
        if len(before) < LEAST_DAYS:
            continue
        known = np.array([stop.xy for day in before for stop in stood[day]]).reshape(-1, 2)
        new = [stop for stop in stood[number] if not (np.hypot(*(known - stop.xy).T) <= NEAR_M).any()]
        found = unexplained(new, place, [])
        hours[number] = min(24.0, sum(stop.seconds for stop in found) / 3600)
        if found:
            longest = max(found, key=lambda stop: stop.seconds)
            east[number], north[number] = back.transform(*longest.xy)
    known_us = np.maximum(latest_per_day(view.grid, lon), latest_per_day(view.grid, lat))
    return DayStops(DayValues(hours, hours, hours, coverage(view, lon), known_us), east, north)


def _daily_tracks(view: View, lon: Signal, lat: Signal, utm_epsg: int) -> dict[int, Track]:
    """Positions that can be, by day."""
    times, east, north = _together(lon, lat)
    xy = np.column_stack(_to_metres(utm_epsg).transform(east, north))
    day = view.grid.ending_in(times)
    out: dict[int, Track] = {}
    for number in np.unique(day[(day >= 0) & (day < len(view.grid))]).tolist():
        track = Track(times[day == number] / 1e6, xy[day == number])
        right = ~jumps(track)
        out[number] = Track(track.time_s[right], track.xy[right])
    return out


def _together(lon: Signal, lat: Signal) -> tuple[NDArray[np.int64], Floats, Floats]:
    times, at_lon, at_lat = np.intersect1d(lon.time_us, lat.time_us, assume_unique=True, return_indices=True)
    return times, lon.value[at_lon], lat.value[at_lat]


def _days(view: View, lon: Signal, lat: Signal, value: Floats) -> DayValues:
    known = np.maximum(latest_per_day(view.grid, lon), latest_per_day(view.grid, lat))
    lower = np.maximum(0.0, value - POSITION_ERROR_M)
    return DayValues(value, lower, value + POSITION_ERROR_M, coverage(view, lon), known)


def _to_metres(utm_epsg: int) -> Transformer:
    return Transformer.from_crs("EPSG:4326", f"EPSG:{utm_epsg}", always_xy=True)


def _flat(shape: BaseGeometry, utm_epsg: int) -> BaseGeometry:
    project = _to_metres(utm_epsg).transform
    flat: BaseGeometry = shapely.transform(shape, lambda xy: np.column_stack(project(xy[:, 0], xy[:, 1])))
    return flat
