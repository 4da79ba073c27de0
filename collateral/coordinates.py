"""Chinese map datums to WGS 84 at the door: GCJ-02 (AMap, Tencent, Google in China) and BD-09 (Baidu).

Both shift WGS 84 by a smooth, published-by-reverse-engineering formula: GCJ-02 by 100 to 700 m, BD-09 by about a further
900 m. The forward formulas are taken as the definition; the way back is their fixed-point inverse, which is exact to 1e-9
degrees (0.1 mm), not the one-step approximation that is off by up to 2 m. The shift applies inside the box that the formula
itself names (lon 72.004 to 137.8347, lat 0.8293 to 55.8271); outside it coordinates are left as they are. Inside a strip of
less than 1 km along the box's edge the two meet and the answer may be off by the shift. Taiwan, Hong Kong and Macau lie in
the box although map services there often publish unshifted positions: such files must say WGS84.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

Points = NDArray[np.float64]
"""N x 2: longitude and latitude, degrees."""


class CoordinateSystem(StrEnum):
    """The datums a portfolio file may name."""

    WGS84 = "WGS84"
    GCJ02 = "GCJ02"
    BD09 = "BD09"


_LON_MIN, _LON_MAX, _LAT_MIN, _LAT_MAX = 72.004, 137.8347, 0.8293, 55.8271
_SEMI_MAJOR_M = 6_378_245.0
"""Krasovsky 1940 ellipsoid, as the formula uses it."""
_ECCENTRICITY_2 = 0.006_693_421_622_965_943_23
_BAIDU_RATE = np.pi * 3000.0 / 180.0
_ITERATIONS = 12
"""Each shrinks the error by more than a factor of ten; seven reach double precision anywhere in the box."""


def to_wgs84(points: Points, system: CoordinateSystem) -> Points:
    """Positions given in `system` as WGS 84.

    Args:
        points: N x 2 longitude, latitude in degrees.
        system: what they are in.

    Returns:
        N x 2 longitude, latitude in degrees, within 1e-9 degrees of the exact inverse.
    """
    given = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    if system is CoordinateSystem.WGS84:
        return given.copy()
    gcj = given if system is CoordinateSystem.GCJ02 else _inverse(_baidu, given, given - np.array([0.0065, 0.006]))
    wgs = _inverse(_shifted, gcj, gcj)
    moved: Points = np.where(_in_box(wgs)[:, None], wgs, gcj)
    return moved


def from_wgs84(points: Points, system: CoordinateSystem) -> Points:
    """WGS 84 positions (N x 2, degrees) as `system` draws them; the definition that `to_wgs84` inverts."""
    given = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    if system is CoordinateSystem.WGS84:
        return given.copy()
    gcj: Points = np.where(_in_box(given)[:, None], _shifted(given), given)
    return gcj if system is CoordinateSystem.GCJ02 else _baidu(gcj)


def geometries_to_wgs84(geometries: Sequence[BaseGeometry | None], system: CoordinateSystem) -> list[BaseGeometry | None]:
    """The same shapes with every vertex moved to WGS 84, all at once; None stays None."""
    if system is CoordinateSystem.WGS84 or not geometries:
        return list(geometries)
    held = np.empty(len(geometries), dtype=object)
    held[:] = list(geometries)
    return list(shapely.transform(held, lambda points: to_wgs84(points, system)))


def _inverse(forward: Callable[[Points], Points], target: Points, start: Points) -> Points:
    found = start
    for _ in range(_ITERATIONS):
        found = found - (forward(found) - target)
    return found


def _in_box(points: Points) -> NDArray[np.bool_]:
    lon, lat = points[:, 0], points[:, 1]
    return (lon >= _LON_MIN) & (lon <= _LON_MAX) & (lat >= _LAT_MIN) & (lat <= _LAT_MAX)


def _shifted(points: Points) -> Points:
    """GCJ-02 of WGS 84 positions, without the box."""
    x, y = points[:, 0] - 105.0, points[:, 1] - 35.0
    root = np.sqrt(np.abs(x))
    ripple = (20.0 * np.sin(6.0 * x * np.pi) + 20.0 * np.sin(2.0 * x * np.pi)) * 2.0 / 3.0
    north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root + ripple
    north += (20.0 * np.sin(y * np.pi) + 40.0 * np.sin(y / 3.0 * np.pi)) * 2.0 / 3.0
    north += (160.0 * np.sin(y / 12.0 * np.pi) + 320.0 * np.sin(y * np.pi / 30.0)) * 2.0 / 3.0
    east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root + ripple
    east += (20.0 * np.sin(x * np.pi) + 40.0 * np.sin(x / 3.0 * np.pi)) * 2.0 / 3.0
    east += (150.0 * np.sin(x / 12.0 * np.pi) + 300.0 * np.sin(x / 30.0 * np.pi)) * 2.0 / 3.0
    phi = np.radians(points[:, 1])
    magic = 1.0 - _ECCENTRICITY_2 * np.sin(phi) ** 2
    metres_per_lat = _SEMI_MAJOR_M * (1.0 - _ECCENTRICITY_2) / magic**1.5
    metres_per_lon = _SEMI_MAJOR_M / np.sqrt(magic) * np.cos(phi)
    degrees = np.degrees(np.column_stack([east / metres_per_lon, north / metres_per_lat]))
    shifted: Points = points + degrees
    return shifted


def _baidu(points: Points) -> Points:
    """BD-09 of GCJ-02 positions."""
    lon, lat = points[:, 0], points[:, 1]
    radius = np.hypot(lon, lat) + 0.00002 * np.sin(lat * _BAIDU_RATE)
    angle = np.arctan2(lat, lon) + 0.000003 * np.cos(lon * _BAIDU_RATE)
    return np.column_stack([radius * np.cos(angle) + 0.0065, radius * np.sin(angle) + 0.006])
