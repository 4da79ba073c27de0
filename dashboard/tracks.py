"""Trips and stops of a site's movables in a period, ready for map and table. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import shapely
from shapely.geometry.base import BaseGeometry

from collateral.db.geofences import Geofence
from collateral.db.journeys import SILENCE, STOP, TRIP, Journey
from collateral.domain import Asset, Site

PERIODS = (1, 3, 7, 30)
"""Days that can be chosen."""
MOST_JOURNEYS = 600
"""Rows read for one period, newest first."""
MOST_POINTS = 6_000
"""Of all lines together that are sent to a browser."""
MOST_MARKS = 200
"""Drawn, newest first; each has at most 40 points."""
MOST_AREA_POINTS = 300
"""Of one area."""
_NEAR_DEGREES = 0.002
"""Some 200 m: a stop goes on at the place where it was."""
_ACROSS = timedelta(hours=12)
"""Over a longer silence nothing goes on."""

Feature = dict[str, Any]


@dataclass(frozen=True)
class TracksView:
    """What is known of one site's movables in a period."""

    site: Site
    assets: Sequence[Asset]
    """Pledged things of the site, or the chosen one, by id."""
    journeys: Sequence[Journey]
    """Newest first, whole across midnights."""
    fences: Sequence[Geofence]
    """Areas that hold on the last day."""
    first_day: date
    last_day: date
    """Local days shown, both included."""
    oldest: datetime | None
    newest: datetime | None
    """Of everything that is kept of the site; None: nothing."""
    cut: bool = False
    """True when the period holds more than was read."""


def span_of(zone: str, last_day: date, days: int) -> tuple[datetime, datetime]:
    """From the beginning of the first local day to the end of the last."""
    local = ZoneInfo(zone)

    def midnight(day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=local)

    return midnight(last_day - timedelta(days=days - 1)), midnight(last_day + timedelta(days=1))


def last_day_of(ends: datetime, zone: str) -> date:
    """The local day on which something ended; at midnight the one before."""
    return (ends - timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date()


def merged(journeys: Sequence[Journey]) -> list[Journey]:
    """Trips and stops that local midnights cut, made whole again; newest first."""
    found: list[Journey] = []
    open_: dict[str, int] = {}
    for one in sorted(journeys, key=lambda held: (held.begins, held.kind)):
        place = open_.get(one.device_id)
        if place is not None and _goes_on(found[place], one):
            found[place] = _joined(found[place], one)
        else:
            open_[one.device_id] = len(found)
            found.append(one)
    return sorted(found, key=lambda held: (held.begins, held.device_id), reverse=True)


def _goes_on(first: Journey, second: Journey) -> bool:
    across = first.kind == second.kind != SILENCE and first.day < second.day and second.begins - first.ends < _ACROSS
    near = abs(first.lon_to - second.lon) < _NEAR_DEGREES and abs(first.lat_to - second.lat) < _NEAR_DEGREES
    return across and (near or (first.kind == TRIP and second.begins - first.ends < timedelta(hours=1)))


def _joined(first: Journey, second: Journey) -> Journey:
    line = first.line
    if first.line is not None and second.line is not None:
        line = shapely.LineString([*first.line.coords, *second.line.coords])
    tops = [top for top in (first.top_km_h, second.top_km_h) if top is not None]
    return replace(
        first, day=second.day, ends=second.ends, length_m=first.length_m + second.length_m, top_km_h=max(tops, default=None),
        lon_to=second.lon_to, lat_to=second.lat_to, place_to=second.place_to, line=line, flags=(*first.flags, *second.flags),
    )  # fmt: skip


def thinned(journeys: Sequence[Journey], most: int = MOST_POINTS) -> list[Journey]:
    """The same with lines simplified, ever more, until they have `most` points together or only their ends."""
    drawn, error = list(journeys), 0.0001  # degrees: some 10 m
    while error < 1.0 and sum(_points(one) for one in drawn) > most:
        drawn = [
            one if one.line is None else replace(one, line=shapely.simplify(one.line, error, preserve_topology=False))
            for one in drawn
        ]
        error *= 2
    return drawn


def _points(one: Journey) -> int:
    return 0 if one.line is None else len(one.line.coords)


def area_features(view: TracksView, say: Mapping[str, str], names: Mapping[str, str]) -> list[Feature]:
    """The site, the corridors agreed for its movables, and the areas that hold on the last day; large ones first.

    Args:
        view: what is shown.
        say: words for kinds of areas.
        names: name of each area by id, as the reader writes it.
    """
    shapes: list[tuple[str, str, BaseGeometry]] = [("site", say["site"], view.site.geometry)]
    shapes += [("agreed", f"{say['agreed']} · {one.name}", one.corridor) for one in view.assets if one.corridor is not None]
    shapes += [
        (one.kind.value, f"{say[one.kind.value]} · {names[one.fence_id]}", one.geometry)
        for one in view.fences
    ]
    return [
        {"type": "Feature", "properties": {"kind": kind, "tip": tip}, "geometry": shapely.geometry.mapping(_light(shape))}
        for kind, tip, shape in sorted(shapes, key=lambda held: -held[2].area)
    ]


def _light(shape: BaseGeometry) -> BaseGeometry:
    error = 0.00005
    while shapely.get_num_coordinates(shape) > MOST_AREA_POINTS and error < 0.1:
        shape = shapely.simplify(shape, error)
        error *= 2
    return shape


def line_features(journeys: Sequence[Journey], tips: Sequence[str]) -> list[Feature]:
    """Trips and silences as lines; `tips`: a text for each journey."""
    return [
        _feature(one.kind, tip, {"type": "LineString", "coordinates": [_short(at) for at in one.line.coords]})
        for one, tip in zip(journeys, tips, strict=True)
        if one.line is not None and one.kind in (TRIP, SILENCE)
    ]


def stop_features(journeys: Sequence[Journey], tips: Sequence[str]) -> list[Feature]:
    """Stops as points that know their hours; `known` ones stand where they may."""
    return [
        _feature("stop", tip, {"type": "Point", "coordinates": _short((one.lon, one.lat))}, hours=hours_of(one),
                 known=bool(one.place))
        for one, tip in zip(journeys, tips, strict=True)
        if one.kind == STOP
    ]  # fmt: skip


def flag_features(journeys: Sequence[Journey], tips: Sequence[Sequence[str]]) -> list[Feature]:
    """Marked stretches as lines or points, `MOST_MARKS` at most; `tips`: a text for each flag of each journey."""
    found = []
    for one, said in zip(journeys, tips, strict=True):
        for flag, tip in zip(one.flags, said, strict=True):
            line = [_short(at) for at in flag["line"]]
            stretch = {"type": "LineString", "coordinates": line}
            shape = stretch if len(line) > 1 else {"type": "Point", "coordinates": line[0]}
            found.append(_feature("flag", tip, shape, flag=flag["kind"]))
    return found[:MOST_MARKS]


def _feature(kind: str, tip: str, geometry: Feature, **more: object) -> Feature:
    return {"type": "Feature", "properties": {"kind": kind, "tip": tip, **more}, "geometry": geometry}


def _short(at: Sequence[float]) -> list[float]:
    return [round(at[0], 5), round(at[1], 5)]


def hours_of(one: Journey) -> float:
    """How long it lasted."""
    return (one.ends - one.begins).total_seconds() / 3600


def bounds_of(view: TracksView) -> list[list[float]]:
    """South-west and north-east corner of everything believed, [latitude, longitude], a little wider.

    Positions that cannot be are left out: they would shrink the rest to a point.
    """
    west, south, east, north = view.site.geometry.bounds
    for one in view.journeys:
        places = [(one.lon, one.lat), (one.lon_to, one.lat_to)] if one.line is None else list(one.line.coords)
        west, east = min(west, *(at[0] for at in places)), max(east, *(at[0] for at in places))
        south, north = min(south, *(at[1] for at in places)), max(north, *(at[1] for at in places))
    wide, high = max(0.002, 0.04 * (east - west)), max(0.002, 0.04 * (north - south))
    return [[south - high, west - wide], [north + high, east + wide]]
