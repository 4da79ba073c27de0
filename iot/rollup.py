"""Minute, hour and local-day roll-ups of dirty ranges.

A bucket holds the readings with bucket <= time < bucket + width. Minutes and hours are UTC; days are the site's own. Only
the hours that a mark touches are written anew, and the days they lie in; minutes are made for recent times alone. `delta` is
the sum of interval amounts, or the growth of a register: the rises from each reading's predecessor (wherever that lies),
falls counting as nothing, so that the deltas of all buckets add up to the whole growth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db import rollups
from collateral.db.rollups import DirtyRange, Readings, RollupRows
from collateral.quantities import READING_QUANTITIES, Adds
from iot.days import HOUR_US, DayGrid, grid_over

MINUTE_US = 60_000_000


@dataclass(frozen=True)
class Span:
    """Whole local days, [from, to) in microseconds, and the dirty series in them."""

    from_us: int
    to_us: int
    series_ids: tuple[int, ...]
    hours: tuple[tuple[int, int], ...]
    """The dirty ranges in them, [from, to), widened to hours and joined."""


def dirty_spans(ranges: Sequence[DirtyRange], zone: ZoneInfo) -> list[Span]:
    """`ranges` of one site widened to local days and joined where they touch."""
    widened = sorted((*_day_bounds(zone, row.from_us, row.to_us), row.series_id, row.from_us, row.to_us) for row in ranges)
    spans: list[Span] = []
    for begin, end, series, from_us, to_us in widened:
        hour = (from_us // HOUR_US * HOUR_US, -(-to_us // HOUR_US) * HOUR_US)
        if spans and begin <= spans[-1].to_us:
            last = spans.pop()
            hours = (*last.hours, hour)
            spans.append(Span(last.from_us, max(last.to_us, end), (*last.series_ids, series), hours))
        else:
            spans.append(Span(begin, end, (series,), (hour,)))
    return [
        Span(span.from_us, span.to_us, tuple(sorted(set(span.series_ids))), tuple(_joined(span.hours))) for span in spans
    ]


def refresh_span(
    connection: Connection, span: Span, adds: Mapping[int, Adds], zone: ZoneInfo, minutes_from_us: int, horizon_us: int
) -> int:
    """Recomputes the roll-ups of a span from raw readings; returns how many rows were written.

    Args:
        connection: of the application.
        span: what is dirty; it grows to the next readings of its registers, whose rise begins inside it.
        adds: how each series adds up.
        zone: of the site.
        minutes_from_us: minutes are made from here on.
        horizon_us: readings before it were dropped: buckets that begin before it stay as they are.
    """
    registers = [series for series in span.series_ids if adds[series] is Adds.REGISTER]
    hours = list(span.hours)
    begin, end = span.from_us, span.to_us
    for _, hour_end in span.hours:
        following = set(rollups.first_times(connection, registers, hour_end).values()) if registers else set()
        hours.extend((time // HOUR_US * HOUR_US, time // HOUR_US * HOUR_US + HOUR_US) for time in following)
        end = max(end, *(_day_bounds(zone, time, time + 1)[1] for time in following), end)
    read_from, read_to = max(begin // HOUR_US * HOUR_US, horizon_us), -(-end // HOUR_US) * HOUR_US
    readings = rollups.read_readings(connection, span.series_ids, read_from, read_to)
    before = rollups.last_before(connection, registers, read_from) if registers else {}
    amounts = _amounts(readings, adds, before)
    written = 0
    for hour, hour_end in ((max(hour, horizon_us), hour_end) for hour, hour_end in _joined(hours) if hour_end > horizon_us):
        chosen = (readings.time_us >= hour) & (readings.time_us < hour_end)
        part, part_amounts = readings.where(chosen), amounts[chosen]
        rows = summarise(part, part_amounts, part.time_us // HOUR_US * HOUR_US)
        written += rollups.replace_rollups(connection, "1h", span.series_ids, hour, hour_end, rows)
        minutes_begin = max(hour, minutes_from_us)
        if minutes_begin < hour_end:
            recent = part.time_us >= minutes_begin
            late = part.where(recent)
            rows = summarise(late, part_amounts[recent], late.time_us // MINUTE_US * MINUTE_US)
            written += rollups.replace_rollups(connection, "1m", span.series_ids, minutes_begin, hour_end, rows)
    grid = grid_over(zone, begin, end)
    if begin < horizon_us:
        whole = grid.edges_us[grid.edges_us >= horizon_us]
        begin = int(whole[0]) if len(whole) else end
    inside = (readings.time_us >= begin) & (readings.time_us < end)
    kept = readings.where(inside)
    days = grid.edges_us[grid.starting_in(kept.time_us)]
    return written + rollups.replace_rollups(
        connection, "day", span.series_ids, begin, end, summarise(kept, amounts[inside], days)
    )


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def summarise(readings: Readings, amounts: NDArray[np.float64], bucket_us: NDArray[np.int64]) -> RollupRows:
    """One row per series and bucket. `readings` are ordered by series and time; `amounts` NaN where nothing adds up."""
    if len(readings) == 0:
        empty, whole = np.empty(0), np.empty(0, np.int64)
        count = np.empty(0, np.int32)
        return RollupRows(count, whole, count, empty, empty, empty, empty, empty, empty, whole)
    changes = np.flatnonzero((np.diff(readings.series_id) != 0) | (np.diff(bucket_us) != 0)) + 1
    starts = np.concatenate([[0], changes])
    n, value = np.diff(np.append(starts, len(readings))), readings.value
    return RollupRows(
        readings.series_id[starts],
        bucket_us[starts],
        n.astype(np.int32),
        np.add.reduceat(value, starts) / n,
        np.minimum.reduceat(value, starts),
        np.maximum.reduceat(value, starts),
        value[starts],
        value[starts + n - 1],
        np.add.reduceat(amounts, starts),
        np.maximum.reduceat(readings.received_us, starts),
    )


def series_adds(quantities: Mapping[int, str]) -> dict[int, Adds]:
    """How each series adds up, by its quantity."""
    return {series: READING_QUANTITIES[quantity].adds for series, quantity in quantities.items()}


def _amounts(
    readings: Readings, adds: Mapping[int, Adds], before: Mapping[int, tuple[int, float]]
) -> NDArray[np.float64]:
    """What each reading adds: its rise, its amount, or NaN."""
    amounts = np.full(len(readings), np.nan)
    if len(readings) == 0:
        return amounts
    rises, value, factor = readings.rises, readings.value, readings.factor
    starts = np.concatenate([[0], np.flatnonzero(np.diff(readings.series_id)) + 1, [len(readings)]])
    for begin, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        series = int(readings.series_id[begin])
        if adds[series] is Adds.REGISTER:
            amounts[begin:end] = np.maximum(rises[begin:end], 0.0)
            rise = readings.published[begin] - before[series][1] if series in before else 0.0
            amounts[begin] = max(0.0, rise if factor is None else rise * factor[begin])
        elif adds[series] is Adds.INTERVAL:
            amounts[begin:end] = value[begin:end]
    return amounts


def _day_bounds(zone: ZoneInfo, from_us: int, to_us: int) -> tuple[int, int]:
    grid: DayGrid = grid_over(zone, from_us, max(to_us, from_us + 1))
    return int(grid.edges_us[0]), int(grid.edges_us[-1])


