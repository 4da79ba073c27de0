"""Journeys of trucks and pledged movables: which positions to believe, where they stood, where they left their usual way.

Pure. Coordinates are metres in one plane (the site's UTM zone), times seconds, ascending; arrays of one length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

MOST_M_S = 45.0
"""No lorry or bus drives faster (162 km/h)."""
LEAST_DEVIATION_M = 150.0
"""Nearer than this a parallel street, a lay-by or a car park beside the route is no deviation."""
STOP_RADIUS_M = 60.0
"""Positions of a vehicle that stands scatter within this."""
LEAST_STOP_S = 300.0


@dataclass(frozen=True)
class Track:
    """Positions of one journey."""

    time_s: NDArray[np.float64]
    xy: NDArray[np.float64]
    """N x 2, metres."""

    def __len__(self) -> int:
        return len(self.time_s)

    @property
    def length_m(self) -> float:
        """Sum of the straight lines between positions."""
        return float(np.hypot(*np.diff(self.xy, axis=0).T).sum()) if len(self) > 1 else 0.0


@dataclass(frozen=True)
class Stop:
    """Where a vehicle stood."""

    first: int
    last: int
    xy: tuple[float, float]
    """Median position."""
    seconds: float


@dataclass(frozen=True)
class Deviation:
    """Positions off the way, without one on it between them."""

    first: int
    last: int
    most_m: float
    """Greatest distance from the way."""


@dataclass(frozen=True)
class UsualWay:
    """Where a vehicle has gone before."""

    lines: shapely.MultiLineString
    allowed_m: float

    def distance_m(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance of positions N x 2 from the way."""
        return np.asarray(shapely.distance(self.lines, shapely.points(xy)), np.float64)


def jumps(track: Track, most_m_s: float = MOST_M_S) -> NDArray[np.bool_]:
    """Positions that cannot be: reaching or leaving them takes an impossible speed, going past them does not.

    The last and the first position are judged by their one neighbour and the one after it.
    """
    believed: list[int] = []
    wrong = np.zeros(len(track), bool)
    for index in range(len(track)):
        if believed and _speed(track, believed[-1], index) > most_m_s:
            further = index + 1
            if further < len(track) and _speed(track, index, further) <= most_m_s < _speed(track, believed[-1], further):
                wrong[believed[-1]] = True  # the one before was the odd one out
                believed.append(index)
                continue
            wrong[index] = True
            continue
        believed.append(index)
    return wrong


def _speed(track: Track, first: int, second: int) -> float:
    seconds = max(float(track.time_s[second] - track.time_s[first]), 1.0)
    return float(np.hypot(*(track.xy[second] - track.xy[first]))) / seconds


def stops(track: Track, radius_m: float = STOP_RADIUS_M, least_s: float = LEAST_STOP_S) -> list[Stop]:
    """Longest stretches within `radius_m` of their first position that last `least_s` or more."""
    out: list[Stop] = []
    first = 0
    while first < len(track):
        away = np.hypot(*(track.xy[first:] - track.xy[first]).T) > radius_m
        length = int(np.argmax(away)) if away.any() else len(away)
        last = first + length - 1
        seconds = float(track.time_s[last] - track.time_s[first])
        if seconds >= least_s:
            x, y = np.median(track.xy[first : last + 1], axis=0)
            out.append(Stop(first, last, (float(x), float(y)), seconds))
            first = last + 1
        else:
            first += 1
    return out


def learn_way(tracks: Sequence[Track], least_m: float = LEAST_DEVIATION_M) -> UsualWay:
    """The way that several journeys went; wider where they differ much among themselves.

    Three quarters of the journeys, each against the others, stay within a third of the allowed distance.
    """
    ways = [track.xy for track in tracks if len(track) > 1]
    spread = 0.0
    if len(ways) > 2:
        most = [_greatest(way, [other for other in ways if other is not way]) for way in ways]
        spread = float(np.quantile(most, 0.75))
    return UsualWay(shapely.MultiLineString(list(ways)), max(least_m, 3 * spread))


def _greatest(way: NDArray[np.float64], others: list[NDArray[np.float64]]) -> float:
    return float(shapely.distance(shapely.MultiLineString(others), shapely.points(way)).max())


def deviations(track: Track, way: UsualWay) -> list[Deviation]:
    """Where the track left the way; positions that cannot be are passed over."""
    away = way.distance_m(track.xy)
    out: list[Deviation] = []
    open_ = False
    for index in np.flatnonzero(~jumps(track)).tolist():
        off = bool(away[index] > way.allowed_m)
        if off and open_:
            out[-1] = Deviation(out[-1].first, index, max(out[-1].most_m, float(away[index])))
        elif off:
            out.append(Deviation(index, index, float(away[index])))
        open_ = off
    return out


def unexplained(found: Sequence[Stop], places: shapely.Geometry, usual: Sequence[Stop], near_m: float = 150.0) -> list[Stop]:
    """Stops outside the known `places` (sites, depots; metres) and away from where the vehicle has stood before."""
    known = [shapely.Point(stop.xy) for stop in usual]
    area = shapely.union_all([places, *shapely.buffer(known, near_m)]) if known else places
    shapely.prepare(area)
    return [stop for stop in found if not shapely.covers(area, shapely.Point(stop.xy))]
