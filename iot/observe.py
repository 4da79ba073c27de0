"""Roll-ups, quality of readings and daily observations of everything that changed.

Per site and completed local day the first revision uses what came until two hours after the day's end, whenever it is run;
what came later makes a second one, known since the latest arrival it used. Silence is observed too (reporting_ratio 0), and
then amounts are absent, never 0.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db import passports, reference, rollups
from collateral.db.geofences import Geofence, geofences_of_site
from collateral.db.observations import write_observations
from collateral.db.pool import Pool
from collateral.db.qualities import Block
from collateral.db.rollups import DirtyRange, Series
from collateral.db.telemetry import to_us
from collateral.domain import Asset, Device, Site
from collateral.errors import ServiceError
from collateral.progress import progress
from collateral.quantities import READING_QUANTITIES, Adds
from iot import judging
from iot.checks import LOOKBACK_DAYS
from iot.days import DAY_US, HOUR_US, DayGrid, grid_over
from iot.follow import FOLLOWED, Span, follow
from iot.liveness import Awaited
from iot.rollup import dirty_spans, refresh_span, series_adds
from iot.signals import Signal, View, as_of_cutoff
from iot.statements import CUTOFF_US, SETTLE_US, observations, statements
from iot.trust import SiteContext

_LOG = logging.getLogger("iot.observe")
MINUTE_DAYS = 30
"""Roll-ups of minutes are made for this many days before the present."""
PRESENT_DAYS = 2
"""As far back `follow_present` looks: the day that is not over everywhere, and the one before it."""
ORPHANS = "(devices without a site)"
"""Stands for a site in `ObserveSummary.failed`: roll-ups of devices that are not in the portfolio any more."""


@dataclass(frozen=True)
class ObserveSummary:
    """What one run did."""

    sites: int = 0
    """Sites that were worked on."""
    rollups: int = 0
    """Roll-up rows written."""
    days: int = 0
    """Site days looked at."""
    written: int = 0
    """New observation revisions."""
    unchanged: int = 0
    judged: int = 0
    """Blocks of readings whose quality changed."""
    rejudged: int = 0
    """Blocks judged anew because the rules are not those that judged them."""
    below_horizon: int = 0
    """Ranges of readings that came for days whose readings retention had dropped: stored, and in no roll-up."""
    seconds: float = 0.0
    failed: Mapping[str, str] = field(default_factory=dict)
    """Site -> why nothing could be done there; its dirty ranges are kept for the next run."""

    def __add__(self, other: ObserveSummary) -> ObserveSummary:
        return ObserveSummary(
            self.sites + other.sites,
            self.rollups + other.rollups,
            self.days + other.days,
            self.written + other.written,
            self.unchanged + other.unchanged,
            self.judged + other.judged,
            self.rejudged + other.rejudged,
            self.below_horizon + other.below_horizon,
            self.seconds + other.seconds,
            {**self.failed, **other.failed},
        )


@dataclass(frozen=True)
class _SiteWork:
    """One site and what is to be done there."""

    site: Site
    devices: tuple[Device, ...]
    assets: tuple[Asset, ...]
    ranges: tuple[DirtyRange, ...]
    observed_until: datetime | None
    """Begin of the last day observed so far."""
    horizon_us: int
    """Readings before it were dropped by retention."""


def observe(pool: Pool, now: datetime, since: date | None = None) -> ObserveSummary:
    """Brings roll-ups and observations up to date; a site that fails is left as it was and named in `failed`.

    Args:
        pool: acting as the application, two connections at least.
        now: days whose cutoff lies after it are left for later.
        since: besides what changed, all days from this local date on are looked at again.
    """
    began = time.monotonic()
    with _turn(pool, wait=True):
        total = _observe(pool, to_us(now), since)
    return replace(total, seconds=time.monotonic() - began)


def follow_present(pool: Pool, now: datetime) -> ObserveSummary:
    """Brings trips and stops of the present days up to date and nothing else; what changed stays marked for `observe`.

    Nothing is done while another process observes: it makes them too, and waiting would hold up other jobs.

    Args:
        pool: acting as the application, two connections at least.
        now: readings of the two days before it are taken.
    """
    began = time.monotonic()
    with _turn(pool, wait=False) as mine:
        total = _follow_present(pool, to_us(now)) if mine else ObserveSummary()
    return replace(total, seconds=time.monotonic() - began)


@contextmanager
def _turn(pool: Pool, wait: bool) -> Iterator[bool]:
    """Whether no other process observes until the end of the block; with `wait` it is waited for."""
    with pool.connection() as turn:
        if wait:
            rollups.take_turn(turn)
        elif not rollups.try_turn(turn):
            yield False
            return
        turn.commit()  # the lock belongs to the session; no transaction stays open meanwhile
        try:
            yield True
        finally:
            rollups.give_turn(turn)


def _follow_present(pool: Pool, now_us: int) -> ObserveSummary:
    first_us = now_us - PRESENT_DAYS * DAY_US
    total = ObserveSummary()
    with pool.connection() as connection:
        dirty = rollups.see_dirty(connection, FOLLOWED, first_us)
        if not dirty:
            return total
        horizon_us = rollups.journey_horizon_us(connection)
        work, _ = _work(connection, [replace(row, from_us=max(row.from_us, first_us)) for row in dirty], horizon_us)
    for site_work in work:
        if site_work.ranges:
            total += _alone(pool, site_work.site.site_id, partial(_follow_site, work=site_work, now_us=now_us))
    return total


def _follow_site(connection: Connection, work: _SiteWork, now_us: int) -> ObserveSummary:
    series = rollups.series_of_devices(connection, [device.device_id for device in work.devices])
    span = Span(work.horizon_us, now_us)
    days = follow(connection, work.site, work.devices, work.assets, series, work.ranges, None, span)
    return ObserveSummary(sites=1, days=days)


def _observe(pool: Pool, now_us: int, since: date | None) -> ObserveSummary:
    with pool.connection() as connection:
        dirty = rollups.take_dirty(connection)
    with pool.connection() as connection:
        horizon_us = rollups.reading_horizon_us(connection)
        dirty, below = _above(connection, dirty, horizon_us)
        work, orphans = _work(connection, dirty, horizon_us)
        outdated = judging.outdated(connection)
    total = ObserveSummary(below_horizon=below)
    for site_work in progress(work, "observe", unit="sites"):
        total += _alone(pool, site_work.site.site_id, partial(_observe_site, work=site_work, now_us=now_us, since=since))
        if any(device.device_id in outdated for device in site_work.devices):
            total += _alone(pool, site_work.site.site_id, partial(_rejudge, work=site_work, outdated=outdated))
    if orphans:
        total += _alone(pool, ORPHANS, partial(_refresh_orphans, ranges=orphans, now_us=now_us, horizon_us=horizon_us))
    return total


def _above(connection: Connection, dirty: Sequence[DirtyRange], horizon_us: int) -> tuple[list[DirtyRange], int]:
    """The ranges from the horizon on; marks of what lies before it are forgotten and counted."""
    below = [row for row in dirty if row.to_us <= horizon_us]
    if below:
        named = ", ".join(sorted({row.device_id for row in below})[:10])
        _LOG.warning("readings came for days that retention had dropped; their roll-ups stay as they were: %s", named)
        rollups.forget_dirty(connection, [row.dirty_id for row in below])
    above = [replace(row, from_us=max(row.from_us, horizon_us)) for row in dirty if row.to_us > horizon_us]
    return above, len(below)


def _alone(pool: Pool, name: str, act: Callable[[Connection], ObserveSummary]) -> ObserveSummary:
    """One site in a transaction of its own: what goes wrong there rolls back, is told, and stops no other site.

    Raises:
        ServiceError: the database is away, so no site can be worked on.
    """
    try:
        with pool.connection() as connection:
            return act(connection)
    except ServiceError:
        raise
    except Exception as error:  # whatever it is, the other sites must not wait for it
        _LOG.exception("site %s failed and is tried again next time", name)
        return ObserveSummary(failed={name: f"{type(error).__name__}: {error}".strip()})


def _refresh_orphans(
    connection: Connection, ranges: Sequence[DirtyRange], now_us: int, horizon_us: int
) -> ObserveSummary:
    return ObserveSummary(rollups=_refresh(connection, ranges, ZoneInfo("UTC"), now_us, horizon_us))


def _work(
    connection: Connection, dirty: Sequence[DirtyRange], horizon_us: int
) -> tuple[list[_SiteWork], list[DirtyRange]]:
    by_site: dict[str, list[DirtyRange]] = defaultdict(list)
    for row in dirty:
        by_site[row.site_id].append(row)
    devices: dict[str, list[Device]] = defaultdict(list)
    for device in reference.devices(connection):
        devices[device.site_id].append(device)
    assets: dict[str, list[Asset]] = defaultdict(list)
    for asset in reference.assets(connection):
        assets[asset.site_id].append(asset)
    until = rollups.last_observed(connection, "reporting_ratio")
    sites = [site for site in reference.sites(connection) if devices.get(site.site_id)]
    work = [
        _SiteWork(
            site, tuple(devices[site.site_id]), tuple(assets[site.site_id]), tuple(by_site.pop(site.site_id, ())),
            until.get(site.site_id), horizon_us,
        )
        for site in sites
    ]  # fmt: skip
    return work, [row for rows in by_site.values() for row in rows]


def _refresh(
    connection: Connection, ranges: Sequence[DirtyRange], zone: ZoneInfo, now_us: int, horizon_us: int
) -> int:
    adds = series_adds({row.series_id: row.quantity for row in ranges})
    minutes_from_us = (now_us - MINUTE_DAYS * DAY_US) // HOUR_US * HOUR_US
    spans = dirty_spans(ranges, zone)
    written = sum(refresh_span(connection, span, adds, zone, minutes_from_us, horizon_us) for span in spans)
    rollups.forget_dirty(connection, [row.dirty_id for row in ranges])
    return written


def _observe_site(connection: Connection, work: _SiteWork, now_us: int, since: date | None) -> ObserveSummary:
    zone = ZoneInfo(work.site.time_zone)
    rows = _refresh(connection, work.ranges, zone, now_us, work.horizon_us) if work.ranges else 0
    series = rollups.series_of_devices(connection, [device.device_id for device in work.devices])
    span = Span(rollups.journey_horizon_us(connection), now_us)
    follow(connection, work.site, work.devices, work.assets, series, work.ranges, since, span)
    firsts = rollups.first_times(connection, [row.series_id for row in series], work.horizon_us)
    if not firsts:
        return ObserveSummary(rollups=rows)
    grid, chosen = _days_to_observe(connection, work, zone, min(firsts.values()), now_us, since)
    judged = _judge(connection, work, series, since, bool(chosen.any()), now_us)
    if not chosen.any():
        return ObserveSummary(sites=1 if rows else 0, rollups=rows, judged=judged)
    wanted = int(np.flatnonzero(chosen)[0])
    begin = max(0, wanted - LOOKBACK_DAYS - 1)
    grid = DayGrid(zone, grid.day(begin), grid.edges_us[begin:])
    chosen = chosen[begin:]
    signals = _load(connection, work, series, int(grid.edges_us[0]))
    registered = rollups.registered_times(connection, [device.device_id for device in work.devices])
    awaited = _awaited(work, zone, min(firsts.values()), registered)
    fences = geofences_of_site(connection, work.site.site_id)
    calibrations = passports.calibrations(connection, [device.device_id for device in work.devices])
    context = replace(_context(work, series, firsts, awaited, fences), calibrations=calibrations)
    cutoffs = grid.edges_us[1:] + CUTOFF_US
    early = as_of_cutoff(grid, signals, cutoffs)
    said = list(observations(early, context, statements(early, context), chosen, cutoffs))
    late = chosen & _late_days(grid, signals, cutoffs)
    if late.any():
        now_view = View(grid, signals, None, signals)
        said += observations(now_view, context, statements(now_view, context), late, None)
    summary = write_observations(connection, said, reason="telemetry")
    return ObserveSummary(1, rows, int(chosen.sum()), summary.written, summary.unchanged, judged)


def _judge(
    connection: Connection, work: _SiteWork, series: Sequence[Series], since: date | None, observed: bool, now_us: int
) -> int:
    """Marks what changed and judges what is due: the past at once, the present weeks with the site's day, once a day."""
    passports.hold_calibrations(connection)
    intervals = {device.device_id: interval_us(device) for device in work.devices}
    changed = list(work.ranges)
    if since is not None:
        begin = to_us(datetime(since.year, since.month, since.day, tzinfo=ZoneInfo(work.site.time_zone)))
        changed += [
            DirtyRange(0, row.series_id, row.device_id, row.quantity, work.site.site_id, begin, now_us) for row in series
        ]
    judging.mark_touched(connection, changed, intervals)
    return judging.judge_due(connection, series, intervals, None if observed else now_us)


def _rejudge(connection: Connection, work: _SiteWork, outdated: Mapping[str, Sequence[Block]]) -> ObserveSummary:
    """Judges what older rules judged, as far as this run may."""
    passports.hold_calibrations(connection)
    intervals = {device.device_id: interval_us(device) for device in work.devices}
    series = rollups.series_of_devices(connection, list(intervals))
    blocks = sorted(block for device in intervals for block in outdated.get(device, ()))
    return ObserveSummary(
        rejudged=len(blocks), judged=judging.judge_blocks(connection, series, intervals, blocks)
    )


def interval_us(device: Device) -> int:
    """Expected time between readings."""
    return max(1, round(device.interval_s * 1e6))


def _days_to_observe(
    connection: Connection, work: _SiteWork, zone: ZoneInfo, first_us: int, now_us: int, since: date | None
) -> tuple[DayGrid, NDArray[np.bool_]]:
    """All days from the first reading to the last whose cutoff has passed, and which of them need looking at."""
    grid = grid_over(zone, first_us - 1, max(first_us, now_us - CUTOFF_US))
    complete = grid.edges_us[1:] + CUTOFF_US + SETTLE_US <= now_us
    done = -1 if work.observed_until is None else int(grid.starting_in(np.array([to_us(work.observed_until)]))[0])
    chosen = np.arange(len(grid)) > done
    if since is not None:
        chosen |= np.arange(len(grid)) >= (since - grid.first).days
    if work.ranges and done >= 0:
        chosen[_touched_days(connection, work, grid)] = True
    chosen &= grid.edges_us[:-1] >= work.horizon_us  # what was said of a day while all its readings were there stays
    return grid, chosen & complete


def _touched_days(connection: Connection, work: _SiteWork, grid: DayGrid) -> NDArray[np.int64]:
    """Days observed before whose readings came late, or that a register's first reading after a silence now explains."""
    ids = sorted({row.series_id for row in work.ranges})
    begin, end = min(row.from_us for row in work.ranges), max(row.to_us for row in work.ranges)
    touched: set[int] = set()
    late = rollups.late_readings(connection, ids, begin, end, CUTOFF_US)
    if late:
        times = np.array([moment for moment, _ in late])
        day = grid.ending_in(times)
        touched.update(day.tolist(), (day - 1).tolist(), (day + 1).tolist())
    for row in work.ranges:
        for moment, _ in rollups.last_before(connection, [row.series_id], row.from_us).values():
            following = rollups.first_times(connection, [row.series_id], row.from_us).get(row.series_id)
            if following is not None and following - moment > DAY_US:
                first, last = grid.ending_in(np.array([moment, following])).tolist()
                touched.update(range(first, last + 1))
    return np.array(sorted(day for day in touched if 0 <= day < len(grid)), dtype=np.int64)


def _load(
    connection: Connection, work: _SiteWork, series: Sequence[Series], begin_us: int
) -> dict[tuple[str, str], Signal]:
    steps = {device.device_id: interval_us(device) for device in work.devices}
    readings = rollups.read_readings(connection, [row.series_id for row in series], begin_us, begin_us + 200 * 365 * DAY_US)
    bounds = np.searchsorted(readings.series_id, [row.series_id for row in series], side="left")
    ends = np.searchsorted(readings.series_id, [row.series_id for row in series], side="right")
    signals: dict[tuple[str, str], Signal] = {}
    value = readings.value
    for row, first, last in zip(series, bounds.tolist(), ends.tolist(), strict=True):
        part = slice(first, last)
        signals[row.device_id, row.quantity] = Signal(
            row.device_id, row.quantity, steps[row.device_id],
            readings.time_us[part],
            readings.register(part) if READING_QUANTITIES[row.quantity].adds is Adds.REGISTER else value[part],
            readings.received_us[part],
            None if readings.factor is None else readings.published[part],
        )  # fmt: skip
    return signals


def _awaited(work: _SiteWork, zone: ZoneInfo, heard_us: int, registered_us: Mapping[str, int]) -> dict[str, Awaited]:
    """Devices are awaited since their site was first heard, or from the first day that began after they were registered."""
    awaited: dict[str, Awaited] = {}
    for device in work.devices:
        registered = registered_us[device.device_id]
        whole_days = int(grid_over(zone, registered - 1, registered).edges_us[-1])
        awaited[device.device_id] = Awaited(interval_us(device), max(heard_us, whole_days))
    return awaited


def _context(
    work: _SiteWork, series: Sequence[Series], firsts: Mapping[int, int], awaited: Mapping[str, Awaited],
    fences: Sequence[Geofence],
) -> SiteContext:  # fmt: skip
    first_us: dict[str, int] = {}
    for row in series:
        if row.series_id in firsts:
            first_us[row.device_id] = min(first_us.get(row.device_id, firsts[row.series_id]), firsts[row.series_id])
        else:
            first_us.setdefault(row.device_id, 2**62)
    return SiteContext(
        work.site,
        {asset.asset_id: asset for asset in work.assets},
        {device.device_id: device.asset_id for device in work.devices},
        first_us,
        {device.device_id: device.gateway_id for device in work.devices},
        awaited,
        fences,
        owner_of={device.device_id: device.owner for device in work.devices},
    )


def _late_days(
    grid: DayGrid, signals: Mapping[tuple[str, str], Signal], cutoffs_us: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Days of which something became known after their cutoff: a late reading, or the next one after a silence."""
    late = np.zeros(len(grid), bool)
    for signal in signals.values():
        if len(signal.time_us) == 0:
            continue
        day = grid.ending_in(signal.time_us)
        inside = (day >= 0) & (day < len(grid))
        came_late = signal.received_us[inside] > cutoffs_us[day[inside]]
        late[day[inside][came_late]] = True
        following = np.searchsorted(signal.time_us, grid.edges_us[1:], side="left")
        there = following < len(signal.time_us)
        late[there] |= signal.received_us[following[there]] > cutoffs_us[there]
    return late

