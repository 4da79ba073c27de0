"""Positions of movables, day by day: corridor and usual way, region, forbidden areas, stops, positions that cannot be. Pure.

Distances in metres in the site's UTM zone. Positions that cannot be (`iot.routes.jumps`) are passed over; each day is judged
by its own positions and those of days before, so that it says the same whenever it is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from iot.amounts import DayValues, coverage
from iot.areas import NEAR_M, Areas, outside_m, to_metres
from iot.days import HOUR_US
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
STANDING_KM_H = 1.0
"""A tracker that reports less says that it stands."""
CARRIED_KM_H = 30.0
"""Faster between positions than this cannot be standing."""
CLOSE_S = 600.0
"""Positions farther apart in time say nothing about the speed between them that a reported one could contradict."""
_SHORTEST_S = 60.0
"""Over less time the error of positions makes speeds of its own."""

Floats = NDArray[np.float64]
AreasOf = Callable[[int], Areas]
"""Areas by number of the day."""


@dataclass(frozen=True)
class DayTrack:
    """Positions of one day; arrays of one length."""

    time_us: NDArray[np.int64]
    xy: Floats
    """N x 2, metres."""
    wrong: NDArray[np.bool_]
    """Positions that cannot be."""

    @cached_property
    def right(self) -> Track:
        """Positions that can be."""
        return Track(self.time_us[~self.wrong] / 1e6, self.xy[~self.wrong])


@dataclass(frozen=True)
class Movable:
    """One tracker through the days of a view."""

    view: View
    lon: Signal
    lat: Signal
    utm_epsg: int
    days: Mapping[int, DayTrack]
    """By number of the day, those with positions."""

    def nothing(self) -> Floats:
        """A value per day, unknown."""
        return np.full(len(self.view.grid), np.nan)

    def values(self, value: Floats, error: float = 0.0) -> DayValues:
        """Per-day figures with their error, how much of the day was seen, and when it was known."""
        known = np.maximum(latest_per_day(self.view.grid, self.lon), latest_per_day(self.view.grid, self.lat))
        return DayValues(value, np.maximum(0.0, value - error), value + error, coverage(self.view, self.lon), known)


@dataclass(frozen=True)
class DayStops:
    """Hours per day in stops that no known place explains, and where the longest was."""

    hours: DayValues
    lon: Floats
    lat: Floats
    """NaN where there was none."""


def movable(view: View, lon: Signal, lat: Signal, utm_epsg: int) -> Movable:
    """Positions of one tracker: readings of both coordinates of one time, by day."""
    times, at_lon, at_lat = np.intersect1d(lon.time_us, lat.time_us, assume_unique=True, return_indices=True)
    xy = np.column_stack(to_metres(utm_epsg).transform(lon.value[at_lon], lat.value[at_lat]))
    day = view.grid.ending_in(times)
    days: dict[int, DayTrack] = {}
    for number in np.unique(day[(day >= 0) & (day < len(view.grid))]).tolist():
        mine = day == number
        days[number] = day_track(times[mine], xy[mine])
    return Movable(view, lon, lat, utm_epsg, days)


def day_track(time_us: NDArray[np.int64], xy: Floats) -> DayTrack:
    """Judges which positions can be."""
    return DayTrack(time_us, xy, jumps(Track(time_us / 1e6, xy)))


def route_deviation(truck: Movable, areas: AreasOf) -> DayValues:
    """Largest distance from the corridor on each day that has one."""
    value = truck.nothing()
    for number, track in truck.days.items():
        corridor = areas(number).corridor
        if corridor is not None and len(track.right):
            value[number] = outside_m(corridor, track.right.xy).max()
    return truck.values(value, POSITION_ERROR_M)


def learnt_deviation(truck: Movable, areas: AreasOf) -> DayValues:
    """How much farther than usual it went from the way of its days before; on days for which no corridor is agreed."""
    value = truck.nothing()
    for number, track in truck.days.items():
        before = [one.right for day, one in truck.days.items() if number - LEARNT_DAYS <= day < number]
        journeys = [one for one in before if one.length_m >= LEAST_JOURNEY_M][-MOST_JOURNEYS:]
        if len(journeys) >= LEAST_DAYS and len(track.right) and areas(number).corridor is None:
            way = learn_way(journeys)
            value[number] = max(0.0, float(way.distance_m(track.right.xy).max()) - way.allowed_m)
    return truck.values(value, POSITION_ERROR_M)


def outside_region(truck: Movable, areas: AreasOf) -> DayValues:
    """Largest distance from the region, by two positions in a row or the day's last; on days that have a region."""
    value = truck.nothing()
    for number, track in truck.days.items():
        region = areas(number).region
        if region is not None and len(track.right):
            away = outside_m(region, track.right.xy)
            held = np.minimum(away, np.append(away[1:], away[-1]))
            value[number] = held.max()
    return truck.values(value, POSITION_ERROR_M)


def forbidden_hours(truck: Movable, areas: AreasOf) -> DayValues:
    """Hours in areas that must not be entered, on days that have one."""
    value = truck.nothing()
    for number, track in truck.days.items():
        forbidden = areas(number).forbidden
        if forbidden is not None and len(track.right):
            inside = outside_m(forbidden, track.right.xy) == 0
            value[number] = min(24.0, float(lasting_s(track.right, truck.lon.interval_us)[inside].sum()) / 3600)
    return truck.values(value)


def lasting_s(track: Track, interval_us: int) -> Floats:
    """Time each position speaks for: since the one before, two intervals at most."""
    first = track.time_s[:1] - interval_us / 1e6
    return np.minimum(np.diff(track.time_s, prepend=first), 2 * interval_us / 1e6)


def implausible_positions(truck: Movable, speed: Signal | None) -> DayValues:
    """Positions per day that cannot be, or that the tracker's own speed contradicts."""
    value = truck.nothing()
    for number, track in truck.days.items():
        value[number] = float(track.wrong.sum()) + float(contradicted(track.right, speed).sum())
    return truck.values(value)


def contradicted(track: Track, speed: Signal | None) -> NDArray[np.bool_]:
    """Positions reached at speed while the tracker reported, before and there, that it stood."""
    out = np.zeros(len(track), bool)
    if speed is None or len(track) < 2:
        return out
    told = reported(track, speed)
    seconds = np.diff(track.time_s)
    close = (seconds >= _SHORTEST_S) & (seconds <= CLOSE_S)
    standing = (told[1:] < STANDING_KM_H) & (told[:-1] < STANDING_KM_H)
    out[1:] = close & standing & (step_km_h(track) > CARRIED_KM_H)
    return out


def reported(track: Track, signal: Signal) -> Floats:
    """The signal's value at each position's time; NaN where there is none."""
    out = np.full(len(track), np.nan)
    times = np.rint(track.time_s * 1e6).astype(np.int64)
    place = np.searchsorted(signal.time_us, times)
    there = place < len(signal.time_us)
    there[there] = signal.time_us[place[there]] == times[there]
    out[there] = signal.value[place[there]]
    return out


def step_km_h(track: Track) -> Floats:
    """Speed from each position to the next, N - 1; too short steps as if they took a minute."""
    seconds = np.maximum(np.diff(track.time_s), _SHORTEST_S)
    return np.asarray(np.hypot(*np.diff(track.xy, axis=0).T) / seconds * 3.6, np.float64)


def unexplained_stops(truck: Movable, areas: AreasOf) -> DayStops:
    """Stops of half an hour or longer away from known places and from where it stood in the weeks before."""
    hours, east, north = truck.nothing(), truck.nothing(), truck.nothing()
    back = to_metres(truck.utm_epsg)
    stood: dict[int, list[Stop]] = {}
    for number, track in truck.days.items():
        stood[number] = stops(track.right, least_s=max(LEAST_STOP_S, 2 * truck.lon.interval_us / 1e6))
        before = [day for day in stood if number - LEARNT_DAYS <= day < number]
        if len(before) < LEAST_DAYS:
            continue
        known = np.array([stop.xy for day in before for stop in stood[day]]).reshape(-1, 2)
        found = unexplained([stop for stop in stood[number] if not near(known, stop.xy)], areas(number).known, [])
        hours[number] = min(24.0, sum(stop.seconds for stop in found) / 3600)
        if found:
            longest = max(found, key=lambda stop: stop.seconds)
            east[number], north[number] = back.transform(*longest.xy, direction="INVERSE")
    return DayStops(truck.values(hours), east, north)


def near(known: Floats, xy: tuple[float, float]) -> bool:
    """Whether it stood there before; `known` is N x 2, metres."""
    return bool((np.hypot(*(known - xy).T) <= NEAR_M).any())


def moved_engine_off(truck: Movable, engine: Signal) -> DayValues:
    """Metres moved with the engine off, by three positions or more in a row: towed, carried or pushed."""
    value = truck.nothing()
    for number, track in truck.days.items():
        if len(track.right) > 1:
            steps = carried_steps(track.right, engine)
            value[number] = float(np.hypot(*np.diff(track.right.xy, axis=0).T)[steps].sum())
    engine_known = latest_per_day(truck.view.grid, engine)
    days = truck.values(value, 2 * POSITION_ERROR_M)
    return DayValues(days.value, days.lower, days.upper, days.coverage, np.maximum(days.known_us, engine_known))


LEAST_CARRIED_M = 100.0
"""Shorter steps are scatter."""


def carried_steps(track: Track, engine: Signal) -> NDArray[np.bool_]:
    """Steps (N - 1) of at least two in a row that moved while the engine was off at both ends and all the time between."""
    times = np.rint(track.time_s * 1e6).astype(np.int64)
    place = np.searchsorted(engine.time_us, times, side="right") - 1
    held = np.maximum(place, 0)
    fresh = (place >= 0) & (times - engine.time_us[held] <= max(2 * engine.interval_us, 2 * HOUR_US))
    off = fresh & (engine.value[held] < 0.5)
    ran = np.concatenate([[0], np.cumsum(engine.value > 0.5)])
    quiet = ran[place[1:] + 1] == ran[place[:-1] + 1]
    moved = np.hypot(*np.diff(track.xy, axis=0).T) >= LEAST_CARRIED_M
    step = off[1:] & off[:-1] & quiet & moved
    beside = np.zeros(len(step), bool)
    beside[1:] |= step[:-1]
    beside[:-1] |= step[1:]
    return np.asarray(step & beside, bool)
