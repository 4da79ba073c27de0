"""A tracker's day as trips, stops and silences, with the stretches that are not as they should be. Pure.

Made for the map: what the rules judge is in `iot.tracks`. Thresholds are lower here, so that a person sees what a rule has
not raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from collateral.db.journeys import SILENCE, STOP, TRIP, Journey
from collateral.db.telemetry import from_us
from iot.areas import Areas, outside_m, to_metres
from iot.routes import LEAST_STOP_S as SHORTEST_STOP_S
from iot.routes import Stop, Track, UsualWay, stops
from iot.signals import Signal
from iot.tracks import LEAST_STOP_S, DayTrack, carried_steps, contradicted, lasting_s, near, reported, step_km_h

LEAST_TRIP_M = 200.0
"""Less is manoeuvring, or the scatter of positions."""
LEAST_SILENCE_S = 1_800.0
SILENT_STEPS = 3.0
"""Expected intervals without a position that make a silence."""
LEAST_MOVED_M = 500.0
"""A silence at one place is none: trackers sleep while parked."""
MARKED_M = 50.0
"""Farther from the corridor or region than this is marked."""
FAST_KM_H = 110.0
"""A tenth above what lorries may drive anywhere in China (100 km/h)."""
LINE_ERROR_M = 10.0
MOST_POINTS = 300
"""Of one line."""
MOST_FLAGS = 20
"""Of one trip or stop; those that raise alerts go before others (`worst`)."""
_FLAG_POINTS = 40

_OF_MOTION = frozenset({"speed", "contradicted", "moved_engine_off"})

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Tracker:
    """Whose positions they are."""

    device_id: str
    site_id: str
    asset_id: str
    interval_s: float
    utm_epsg: int


@dataclass(frozen=True)
class Past:
    """What is known of the weeks before a day."""

    stood: NDArray[np.float64]
    """N x 2, metres: where it stood; None is known with fewer than five days."""
    way: UsualWay | None
    known: bool
    """False while there are too few days to call anything unusual."""


@dataclass(frozen=True)
class _Marks:
    """Per position that can be: how far off (metres, km/h) and where that is marked."""

    kind: str
    most: NDArray[np.float64]
    on: Mask


def journeys_of_day(
    tracker: Tracker, day: date, track: DayTrack, areas: Areas, past: Past, speed: Signal | None, engine: Signal | None
) -> list[Journey]:
    """Trips, stops and silences in order; positions that cannot be are passed over, and marked where they lie in time."""
    maker = _Maker(tracker, day, track, areas, past, speed, engine)
    return list(maker.journeys())


class _Maker:
    def __init__(
        self, tracker: Tracker, day: date, track: DayTrack, areas: Areas, past: Past, speed: Signal | None,
        engine: Signal | None,
    ) -> None:
        self._tracker, self._day, self._track, self._areas, self._past = tracker, day, track, areas, past
        self._right = track.right
        self._to = to_metres(tracker.utm_epsg)
        self._told = np.full(len(self._right), np.nan) if speed is None else reported(self._right, speed)
        self._marks = [] if len(self._right) < 2 else list(self._all_marks(speed, engine))

    def journeys(self) -> Iterator[Journey]:
        right = self._right
        if not len(right):
            return
        least_s = max(SHORTEST_STOP_S, 2 * self._tracker.interval_s)
        before = 0
        for stop in stops(right, least_s=least_s):
            yield from self._between(before, stop.first)
            yield self._stop(stop)
            before = stop.last
        yield from self._between(before, len(right) - 1)

    def _between(self, first: int, last: int) -> Iterator[Journey]:
        """Trips between two stops, cut where the tracker was silent and moved meanwhile."""
        time_s, xy = self._right.time_s, self._right.xy
        quiet_s = max(LEAST_SILENCE_S, SILENT_STEPS * self._tracker.interval_s)
        begin = first
        for index in range(first, last):
            away = float(np.hypot(*(xy[index + 1] - xy[index])))
            if time_s[index + 1] - time_s[index] > quiet_s and away > LEAST_MOVED_M:
                yield from self._trip(begin, index)
                yield self._journey(SILENCE, index, index + 1, away, None, ())
                begin = index + 1
        yield from self._trip(begin, last)

    def _trip(self, first: int, last: int) -> Iterator[Journey]:
        part = Track(self._right.time_s[first : last + 1], self._right.xy[first : last + 1])
        flags = tuple(worst(self._flags(first, last), MOST_FLAGS))
        if last > first and (part.length_m >= LEAST_TRIP_M or flags):
            told = self._told[first : last + 1]
            top = max(float(step_km_h(part).max()), float(np.nanmax(told)) if np.isfinite(told).any() else 0.0)
            yield self._journey(TRIP, first, last, part.length_m, round(top, 1), flags)

    def _stop(self, stop: Stop) -> Journey:
        flags = worst(self._flags(stop.first, stop.last, moving=False), MOST_FLAGS - 1)
        place = self._areas.place_of(stop.xy)
        strange = not place and not near(self._past.stood, stop.xy)
        if strange and self._past.known and stop.seconds >= LEAST_STOP_S:
            hours = round(stop.seconds / 3600, 2)
            flags.insert(0, self._flag("unexplained_stop", stop.first, stop.last, hours, np.array([stop.xy])))
        lon, lat = self._lonlat(np.array([stop.xy]))[0]
        begins, ends = self._at(stop.first), self._at(stop.last)
        return Journey(
            self._tracker.device_id, self._day, begins, ends, STOP, self._tracker.site_id, self._tracker.asset_id, 0.0, None,
            lon, lat, lon, lat, place, place, None, tuple(flags),
        )  # fmt: skip

    def _journey(
        self, kind: str, first: int, last: int, length_m: float, top: float | None, flags: Sequence[Mapping[str, Any]]
    ) -> Journey:
        xy = self._right.xy[first : last + 1]
        (lon, lat), (lon_to, lat_to) = self._lonlat(xy[[0, -1]])
        return Journey(
            self._tracker.device_id, self._day, self._at(first), self._at(last), kind, self._tracker.site_id,
            self._tracker.asset_id, round(length_m, 1), top, lon, lat, lon_to, lat_to,
            self._areas.place_of(tuple(xy[0])), self._areas.place_of(tuple(xy[-1])),
            shapely.LineString(self._lonlat(thinned(xy, MOST_POINTS))), tuple(flags),
        )  # fmt: skip

    def _all_marks(self, speed: Signal | None, engine: Signal | None) -> Iterator[_Marks]:
        right, areas = self._right, self._areas
        if areas.corridor is not None:
            yield _marks("route_deviation", outside_m(areas.corridor, right.xy), MARKED_M)
        elif self._past.way is not None:
            away = self._past.way.distance_m(right.xy)
            yield _marks("learnt_route_deviation", away, self._past.way.allowed_m)
        if areas.region is not None:
            yield _marks("outside_region", outside_m(areas.region, right.xy), MARKED_M)
        if areas.forbidden is not None:
            inside = outside_m(areas.forbidden, right.xy) == 0
            yield _Marks("forbidden_area", np.zeros(len(right)), inside)
        fast = np.append(step_km_h(right), 0.0)
        fast[:-1][np.hypot(*np.diff(right.xy, axis=0).T) < LEAST_MOVED_M] = 0.0
        yield _marks("speed", np.fmax(fast, self._told), FAST_KM_H)
        yield _Marks("contradicted", np.append(0.0, step_km_h(right)), contradicted(right, speed))
        if engine is not None and len(engine.time_us):
            carried = carried_steps(right, engine)
            length = np.append(np.hypot(*np.diff(right.xy, axis=0).T), 0.0)
            yield _Marks("moved_engine_off", length, np.append(carried, False) | np.concatenate([[False], carried]))

    def _flags(self, first: int, last: int, moving: bool = True) -> list[Mapping[str, Any]]:
        """Marks of a trip, or (not `moving`) of a stop, whose first and last position are also those of trips."""
        chosen = (marks for marks in self._marks if moving or marks.kind not in _OF_MOTION)
        told = [flag for marks in chosen for flag in self._runs(marks, first, last)]
        return [*told, *self._jumps(first, last)]

    def _runs(self, marks: _Marks, first: int, last: int) -> Iterator[Mapping[str, Any]]:
        on = np.flatnonzero(marks.on[first : last + 1]) + first
        for run in np.split(on, np.flatnonzero(np.diff(on) > 1) + 1):
            if len(run):
                begin, end = int(run[0]), int(run[-1])
                around = slice(max(first, begin - 1), min(last, end + 1) + 1)
                if marks.kind == "moved_engine_off":
                    most = float(marks.most[begin:end].sum())
                elif marks.kind == "forbidden_area":
                    most = float(self._right.time_s[end] - self._right.time_s[begin]) / 3600
                else:
                    most = float(np.nanmax(marks.most[run]))
                flag = self._flag(marks.kind, begin, end, round(most, 2), self._right.xy[around])
                yield {**flag, **self._sure(marks, begin, end)}

    def _sure(self, marks: _Marks, begin: int, end: int) -> Mapping[str, float]:
        """What the day's observation will say of these positions at least, and what it says when the day ends with them."""
        if marks.kind == "outside_region":
            both = np.fmin(marks.most[begin:end], marks.most[begin + 1 : end + 1])
            sure = float(both.max(initial=0.0))
            judged = max(sure, float(marks.most[end])) if end + 1 == len(self._right) else sure
            return {"sure": round(sure, 2), "judged": round(judged, 2)}
        if marks.kind == "forbidden_area":
            inside = lasting_s(self._right, round(self._tracker.interval_s * 1e6))[begin : end + 1] / 3600
            return {"sure": round(float(inside[1:].sum()), 4), "judged": round(float(inside.sum()), 4)}
        return {}

    def _jumps(self, first: int, last: int) -> Iterator[Mapping[str, Any]]:
        """Positions that cannot be between two that can, or after the last: how far they lie from the one before."""
        begin = self._right.time_s[first] * 1e6
        end = self._right.time_s[last] * 1e6 if last + 1 < len(self._right) else np.inf
        begin = begin if first else -np.inf
        times = self._track.time_us
        for index in np.flatnonzero(self._track.wrong & (times >= begin) & (times < end)).tolist():
            place = max(0, int(np.searchsorted(self._right.time_s * 1e6, times[index])) - 1)
            away = float(np.hypot(*(self._track.xy[index] - self._right.xy[place])))
            moment = from_us(int(times[index])).isoformat()
            line = self._lonlat(self._track.xy[[index]])
            yield {"kind": "jump", "from": moment, "to": moment, "most": round(away), "line": line}

    def _flag(self, kind: str, first: int, last: int, most: float, xy: NDArray[np.float64]) -> Mapping[str, Any]:
        line = self._lonlat(thinned(xy, _FLAG_POINTS))
        return {
            "kind": kind, "from": self._at(first).isoformat(), "to": self._at(last).isoformat(), "most": most, "line": line
        }

    def _at(self, index: int) -> Any:
        return from_us(round(float(self._right.time_s[index]) * 1e6))

    def _lonlat(self, xy: NDArray[np.float64]) -> list[tuple[float, float]]:
        return lonlat(self._to, xy)


def worst(flags: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """At most `most`, in the same order. Alerts are made of those with `sure`, whose unit is the kind's own: the greatest
    of each kind goes before all, then others with `sure`, the greater ones first."""
    sure = [float(flag.get("sure", -1.0)) for flag in flags]
    greatest: dict[str, int] = {}
    for place in sorted(range(len(flags)), key=sure.__getitem__):
        greatest[flags[place]["kind"]] = place
    first = {place for place in greatest.values() if sure[place] >= 0}
    order = sorted(range(len(flags)), key=lambda place: (place not in first, -sure[place]))
    return [flags[place] for place in sorted(order[:most])]


def _marks(kind: str, most: NDArray[np.float64], above: float) -> _Marks:
    return _Marks(kind, most, most > above)


def lonlat(to_metres_: Transformer, xy: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Positions N x 2 in metres as degrees, rounded to a decimetre."""
    lon, lat = to_metres_.transform(xy[:, 0], xy[:, 1], direction="INVERSE")
    return [(round(float(x), 6), round(float(y), 6)) for x, y in zip(lon, lat, strict=True)]


def thinned(xy: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """The line through the positions with at most `most` of them; two at least, as near to it as that allows."""
    if len(xy) < 3:
        return xy if len(xy) != 1 else xy.repeat(2, axis=0)[:1]
    line, error = shapely.LineString(xy), LINE_ERROR_M
    thin = shapely.simplify(line, error, preserve_topology=False)
    while len(thin.coords) > most:
        error *= 2
        thin = shapely.simplify(line, error, preserve_topology=False)
    found = np.asarray(thin.coords)
    return found if len(found) > 1 else xy[[0, -1]]
