"""Reads each series on from where its detector stopped, and keeps the unusual stretches as episodes.

An episode says how long one would wait for something as unusual, going by the series' own past; it moves no score and raises
no alert. A burst after an outage is read in order of its times like anything else, and its episodes are marked as late. What
comes after newer readings were read is passed over and counted: a detector cannot forget. (Quality and daily observations
are made anew for it; see `iot.judging`.)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby

import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db import anomalies, rollups
from collateral.db.anomalies import AnomalyEpisode, LearntState, WatchedSeries
from collateral.db.pool import Pool
from collateral.db.rollups import Readings
from collateral.db.telemetry import from_us, to_us
from collateral.errors import ServiceError
from collateral.progress import progress
from collateral.quantities import READING_QUANTITIES, Adds
from iot.anomaly import PARAMETERS, VERSION, Parameters, SeriesDetector
from iot.days import DAY_US, HOUR_US

_LOG = logging.getLogger("iot.anomaly_watch")
WAIT_DAYS = 90.0
"""An episode is kept when one would wait this long for something as unusual (decision 0126)."""
MOST_WAIT_DAYS = 36_500.0
HISTORY_DAYS = 60
"""Read when a series is seen for the first time."""
SETTLE_US = 15 * 60_000_000
"""Readings are left to settle for this long, so that small delays do not put them out of order."""
LATE_US = HOUR_US
LOOK_BACK_US = DAY_US
"""How far back readings that came too late are counted."""
WATCHED = tuple(key for key, row in READING_QUANTITIES.items() if row.adds in (Adds.GAUGE, Adds.INTERVAL))


@dataclass(frozen=True)
class WatchSummary:
    """What one run did."""

    series: int = 0
    readings: int = 0
    episodes: int = 0
    """New or grown."""
    passed_over: int = 0
    """Readings that came too late to be seen."""
    seconds: float = 0.0
    failed: Mapping[str, str] = field(default_factory=dict)
    """Site -> why nothing could be done there."""

    def __add__(self, other: WatchSummary) -> WatchSummary:
        return WatchSummary(
            self.series + other.series, self.readings + other.readings, self.episodes + other.episodes,
            self.passed_over + other.passed_over, self.seconds + other.seconds, {**self.failed, **other.failed},
        )  # fmt: skip


@dataclass(frozen=True)
class OpenEpisode:
    """An episode while it may still grow."""

    first_us: int
    last_us: int
    score: float
    """Highest so far, readings."""
    reason: str
    late: bool
    quiet: int
    """Readings since the last exceedance."""


class SeriesWatch:
    """One series: its detector and the episode that is open."""

    def __init__(self, step_s: float, parameters: Parameters = PARAMETERS, state: bytes | None = None) -> None:
        """`state`: from `state()` of a watch of the same version and parameters; one of another step is left aside."""
        self._detector = SeriesDetector(step_s, parameters)
        self._step_s = step_s
        self._quiet = parameters.quiet
        self._threshold = WAIT_DAYS * 86_400 / step_s
        self._open: OpenEpisode | None = None
        if state is not None:
            size = int.from_bytes(state[:4], "big")
            kept = orjson.loads(state[4 : 4 + size])
            if kept["step_s"] == step_s:
                self._open = None if kept["open"] is None else OpenEpisode(**kept["open"])
                self._detector.restore(state[4 + size :])

    def state(self) -> bytes:
        """What was learnt and what is open."""
        kept = orjson.dumps({"step_s": self._step_s, "open": self._open})
        return len(kept).to_bytes(4, "big") + kept + self._detector.state()

    def read(
        self, time_us: NDArray[np.int64], local_s: NDArray[np.int64], value: NDArray[np.float64], late: NDArray[np.bool_]
    ) -> list[OpenEpisode]:
        """Takes readings in order of time; returns every episode that began or grew, as it stands afterwards."""
        out: list[OpenEpisode] = []
        known = self._open
        rows = zip(time_us.tolist(), local_s.tolist(), value.tolist(), late.tolist(), strict=True)
        for moment, local, number, was_late in rows:
            score, reason = self._detector.update(local, number)
            if score >= self._threshold:
                self._exceeded(moment, score, reason, was_late)
            elif self._open is not None:
                self._open = replace(self._open, quiet=self._open.quiet + 1)
                if self._open.quiet > self._quiet:
                    if known is None or self._open.last_us != known.last_us:
                        out.append(self._open)
                    self._open = None
        if self._open is not None and (known is None or self._open.last_us != known.last_us):
            out.append(self._open)
        return out

    def _exceeded(self, moment: int, score: float, reason: str, late: bool) -> None:
        now = self._open
        if now is None:
            self._open = OpenEpisode(moment, moment, score, reason, late, 0)
            return
        best, why = (score, reason) if score > now.score else (now.score, now.reason)
        self._open = OpenEpisode(now.first_us, moment, best, why, now.late or late, 0)


def watch(pool: Pool, now: datetime) -> WatchSummary:
    """Reads every series on until `now`; a site that fails is left as it was and named in `failed`. Two connections."""
    began, total = time.monotonic(), WatchSummary()
    until_us = to_us(now) - SETTLE_US
    with pool.connection() as turn:
        anomalies.take_turn(turn)
        turn.commit()  # the lock belongs to the session
        try:
            with pool.connection() as connection:
                found = anomalies.watched_series(connection, WATCHED)
            by_site = [(site, list(rows)) for site, rows in groupby(found, key=lambda row: row.site_id)]
            for site_id, rows in progress(by_site, "anomalies", unit="sites"):
                total += _alone(pool, site_id, rows, until_us)
        finally:
            anomalies.give_turn(turn)
    return replace(total, seconds=time.monotonic() - began)


def _alone(pool: Pool, site_id: str, rows: Sequence[WatchedSeries], until_us: int) -> WatchSummary:
    """One site in a transaction of its own. Raises `ServiceError` when the database is away."""
    try:
        with pool.connection() as connection:
            states = anomalies.read_states(connection, [row.series_id for row in rows])
            parts = [_watch_series(connection, row, states.get(row.series_id), until_us) for row in rows]
    except ServiceError:
        raise
    except Exception as error:  # whatever it is, the other sites must not wait for it
        _LOG.exception("anomalies of site %s failed and are tried again next time", site_id)
        return WatchSummary(failed={site_id: f"{type(error).__name__}: {error}".strip()})
    return sum(parts, WatchSummary())


def _watch_series(
    connection: Connection, row: WatchedSeries, state: LearntState | None, until_us: int
) -> WatchSummary:
    if state is not None and state.version != VERSION:
        state = None
    last = min(until_us, row.last_us)
    begin = last - HISTORY_DAYS * DAY_US if state is None else state.until_us - LOOK_BACK_US
    readings = rollups.read_readings(connection, [row.series_id], begin, last + 1)
    seen = np.zeros(len(readings), bool) if state is None else readings.time_us <= state.until_us
    passed = 0 if state is None else int((readings.received_us[seen] > state.received_us).sum())
    fresh = readings.where(~seen)
    if len(fresh) == 0:
        return WatchSummary()
    series = SeriesWatch(row.interval_s, state=None if state is None else state.state)
    grown = series.read(
        fresh.time_us, local_seconds(fresh.time_us, row.time_zone), fresh.value,
        fresh.received_us - fresh.time_us > LATE_US,
    )  # fmt: skip
    episodes = [_episode(row, one) for one in grown]
    written = anomalies.write_episodes(connection, episodes)
    anomalies.write_states(connection, [_learnt(row, state, series, readings, passed)])
    return WatchSummary(1, len(fresh), written, passed)


def _learnt(
    row: WatchedSeries, before: LearntState | None, series: SeriesWatch, readings: Readings, passed: int
) -> LearntState:
    received = max(int(readings.received_us.max()), 0 if before is None else before.received_us)
    total = passed + (0 if before is None else before.passed_over)
    return LearntState(row.series_id, VERSION, int(readings.time_us[-1]), received, series.state(), total)


def _episode(row: WatchedSeries, one: OpenEpisode) -> AnomalyEpisode:
    wait = min(one.score * row.interval_s / 86_400, MOST_WAIT_DAYS)
    return AnomalyEpisode(
        row.series_id, row.device_id, row.quantity, row.site_id, from_us(one.first_us), from_us(one.last_us),
        round(wait, 1), one.reason, one.late, VERSION,
    )  # fmt: skip


def local_seconds(time_us: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """What clocks at the site show, as seconds since 1970."""
    shown = pd.DatetimeIndex(time_us.astype("datetime64[us]"), tz="UTC").tz_convert(zone).tz_localize(None)
    return shown.to_numpy().astype("datetime64[s]").astype(np.int64)
