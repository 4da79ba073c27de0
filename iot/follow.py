"""Keeps the trips and stops of trackers: makes the local days anew that new readings touch, the present day included."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import shapely
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db import geofences, rollups
from collateral.db.journeys import STOP, TRIP, Journey, journeys_of_days, kept_days, replace_journeys
from collateral.db.rollups import DirtyRange, Series
from collateral.db.telemetry import to_us
from collateral.domain import Asset, Device, Site
from iot.areas import AreaBook, to_metres
from iot.days import grid_over
from iot.journeys import Past, Tracker, journeys_of_day
from iot.routes import Track, learn_way
from iot.signals import Signal
from iot.tracks import LEARNT_DAYS, LEAST_DAYS, LEAST_JOURNEY_M, MOST_JOURNEYS, day_track

FOLLOWED = ("longitude_deg", "latitude_deg", "speed_km_h", "engine_on")
"""Readings that trips and stops are made of."""
_CHUNK_DAYS = 62
"""Read together, with all between them."""


@dataclass(frozen=True)
class Span:
    """Which readings there can be."""

    horizon_us: int
    """Days that begin earlier stay as they are: retention dropped their readings, or trips before them."""
    now_us: int


@dataclass(frozen=True)
class _Followed:
    """One tracker of one pledged thing."""

    tracker: Tracker
    asset: Asset
    series: Mapping[str, int]
    """By quantity."""


def follow(
    connection: Connection, site: Site, devices: Sequence[Device], assets: Sequence[Asset], series: Sequence[Series],
    ranges: Sequence[DirtyRange], since: date | None, span: Span,
) -> int:  # fmt: skip
    """Makes the days of a site's trackers anew that the ranges touch, and all since a local date; returns how many days.

    Days are made in order, and kept days after them again, because stops and ways of earlier ones explain those of later
    ones: so the table is the same in whatever order readings came. Days before the horizon stay as they are.
    """
    followed = _followed(site, devices, assets, series)
    if not followed:
        return 0
    zone = ZoneInfo(site.time_zone)
    touched = _touched(zone, ranges, since, span)
    fences = geofences.geofences_of_site(connection, site.site_id) if touched else []
    done = 0
    for one in followed:
        for chunk in chunks(_with_later(connection, one.tracker.device_id, touched)):
            _make(connection, one, AreaBook(site, one.asset, fences), zone, chunk)
            done += len(chunk)
    return done


def chunks(days: Sequence[date]) -> list[list[date]]:
    """Ordered days in parts of `_CHUNK_DAYS` from first to last: of two days years apart, nothing between them is read."""
    parts: list[list[date]] = []
    for day in days:
        if parts and (day - parts[-1][0]).days < _CHUNK_DAYS:
            parts[-1].append(day)
        else:
            parts.append([day])
    return parts


def _with_later(connection: Connection, device_id: str, touched: Mapping[str, set[date]]) -> list[date]:
    """The touched days, and those kept after them whose usual stops and way they are part of."""
    days = touched.get(device_id, set()) | touched.get("", set())
    if not days:
        return []
    reach = timedelta(days=LEARNT_DAYS)
    kept = kept_days(connection, device_id, min(days), max(days) + reach)
    ordered = sorted(days)
    places = (bisect_left(ordered, day) for day in kept)
    later = {day for day, place in zip(kept, places, strict=True) if place and day - ordered[place - 1] <= reach}
    return sorted(days | later)


def _followed(
    site: Site, devices: Sequence[Device], assets: Sequence[Asset], series: Sequence[Series]
) -> list[_Followed]:
    numbers: dict[str, dict[str, int]] = defaultdict(dict)
    for row in series:
        if row.quantity in FOLLOWED:
            numbers[row.device_id][row.quantity] = row.series_id
    pledged = {asset.asset_id: asset for asset in assets}
    return [
        _Followed(
            Tracker(device.device_id, site.site_id, device.asset_id, device.interval_s, site.utm_epsg),
            pledged[device.asset_id], numbers[device.device_id],
        )
        for device in devices
        if device.asset_id in pledged and {"longitude_deg", "latitude_deg"} <= numbers[device.device_id].keys()
    ]  # fmt: skip


def _touched(zone: ZoneInfo, ranges: Sequence[DirtyRange], since: date | None, span: Span) -> dict[str, set[date]]:
    """Local days by device; under the empty name those of every device."""
    touched = [(row.device_id, row.from_us, row.to_us) for row in ranges if row.quantity in FOLLOWED]
    if since is not None:
        begin = to_us(datetime(since.year, since.month, since.day, tzinfo=zone))
        touched.append(("", max(begin, span.horizon_us) + 1, span.now_us + 1))
    found: dict[str, set[date]] = defaultdict(set)
    for device, from_us, until_us in touched:
        if from_us < until_us:
            grid = grid_over(zone, from_us - 1, until_us - 1)  # a reading at midnight closes the day before
            whole = (number for number in range(len(grid)) if grid.edges_us[number] >= span.horizon_us)
            found[device].update(grid.day(number) for number in whole)
    return found


def _make(connection: Connection, one: _Followed, book: AreaBook, zone: ZoneInfo, days: Sequence[date]) -> None:
    begin, end = (to_us(datetime(day.year, day.month, day.day, tzinfo=zone)) for day in (days[0], days[-1]))
    grid = grid_over(zone, begin, end + 1)
    signals = _signals(connection, one, int(grid.edges_us[0]), int(grid.edges_us[-1]))
    first = days[0] - timedelta(days=LEARNT_DAYS)
    held: dict[date, list[Journey]] = defaultdict(list)
    for journey in journeys_of_days(connection, one.tracker.device_id, first, days[-1]):
        held[journey.day].append(journey)
    lon, lat = signals["longitude_deg"], signals["latitude_deg"]
    times, at_lon, at_lat = np.intersect1d(lon.time_us, lat.time_us, assume_unique=True, return_indices=True)
    project = to_metres(one.tracker.utm_epsg)
    xy = np.column_stack(project.transform(lon.value[at_lon], lat.value[at_lat]))
    number = grid.ending_in(times)
    for day in days:
        mine = number == (day - grid.first).days
        track = day_track(times[mine], xy[mine])
        past = _past(held, day, one.tracker.utm_epsg)
        held[day] = journeys_of_day(
            one.tracker, day, track, book.on(day), past, signals.get("speed_km_h"), signals.get("engine_on")
        )
    replace_journeys(connection, one.tracker.device_id, days, [journey for day in days for journey in held[day]])


def _signals(connection: Connection, one: _Followed, begin_us: int, end_us: int) -> dict[str, Signal]:
    """Readings in (begin, end], by quantity."""
    readings = rollups.read_readings(connection, list(one.series.values()), begin_us + 1, end_us + 1)
    found = {}
    for quantity, series_id in one.series.items():
        mine = readings.where(readings.series_id == series_id)
        found[quantity] = Signal(
            one.tracker.device_id, quantity, round(one.tracker.interval_s * 1e6), mine.time_us, mine.value, mine.received_us
        )
    return found


def _past(held: Mapping[date, Sequence[Journey]], day: date, utm_epsg: int) -> Past:
    """Stops and way of the weeks before a day, as they are kept."""
    before = [one for back in range(LEARNT_DAYS, 0, -1) if (one := held.get(day - timedelta(days=back)))]
    project = to_metres(utm_epsg)
    stood = [(one.lon, one.lat) for journeys in before for one in journeys if one.kind == STOP]
    xy = np.column_stack(project.transform(*np.array(stood).T)) if stood else np.empty((0, 2))
    tracks = []
    for journeys in before:
        lines = [shapely.get_coordinates(one.line) for one in journeys if one.kind == TRIP and one.line is not None]
        if lines and sum(one.length_m for one in journeys if one.kind == TRIP) >= LEAST_JOURNEY_M:
            line = np.concatenate(lines)
            tracks.append(Track(np.zeros(len(line)), np.column_stack(project.transform(line[:, 0], line[:, 1]))))
    way = learn_way(tracks[-MOST_JOURNEYS:]) if len(tracks) >= LEAST_DAYS else None
    return Past(xy, way, len(before) >= LEAST_DAYS)
