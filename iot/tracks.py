"""Positions of trucks: distance from the allowed corridor. Pure; distances in metres in the site's UTM zone."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from iot.amounts import DayValues, coverage
from iot.signals import Signal, View, latest_per_day

POSITION_ERROR_M = 10.0
"""95 % error of a satellite receiver without correction."""


def deviation_m(
    corridor: BaseGeometry, lon: NDArray[np.float64], lat: NDArray[np.float64], utm_epsg: int
) -> NDArray[np.float64]:
    """Distance of each position from the corridor, 0 inside. Corridor and positions in WGS 84."""
    project = Transformer.from_crs("EPSG:4326", f"EPSG:{utm_epsg}", always_xy=True).transform
    flat = shapely.transform(corridor, lambda xy: np.column_stack(project(xy[:, 0], xy[:, 1])))
    shapely.prepare(flat)
    x, y = project(lon, lat)
    points = shapely.points(x, y)
    out = np.zeros(len(points))
    outside = ~shapely.covers(flat, points)
    out[outside] = shapely.distance(flat, points[outside])
    return out


def route_deviation(view: View, lon: Signal, lat: Signal, corridor: BaseGeometry, utm_epsg: int) -> DayValues:
    """Largest distance from the corridor on each day."""
    grid = view.grid
    times, at_lon, at_lat = np.intersect1d(lon.time_us, lat.time_us, assume_unique=True, return_indices=True)
    value = np.full(len(grid), np.nan)
    day = grid.ending_in(times)
    inside = (day >= 0) & (day < len(grid))
    if inside.any():
        away = deviation_m(corridor, lon.value[at_lon[inside]], lat.value[at_lat[inside]], utm_epsg)
        np.fmax.at(value, day[inside], away)
    known = np.maximum(latest_per_day(grid, lon), latest_per_day(grid, lat))
    lower = np.maximum(0.0, value - POSITION_ERROR_M)
    return DayValues(value, lower, value + POSITION_ERROR_M, coverage(view, lon), known)
