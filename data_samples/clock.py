"""The time grid of a world: local days and half-hour intervals, with random streams that never shift.

Truth is always made for `HORIZON_DAYS` more than a world shows, so that the live fleet continues the same numbers.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
from numpy.typing import NDArray

from data_samples.calendar import day_kinds
from data_samples.storylines import LOCAL

STEP_S = 1800
STEP_H = STEP_S / 3600.0
PER_DAY = 86_400 // STEP_S
HORIZON_DAYS = 60

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Clock:
    """Local days from `first_day` on; interval i of day d ends at local midnight + (i + 1) half hours."""

    first_day: date
    days: int
    """Days of truth, horizon included."""

    @property
    def start(self) -> datetime:
        """Local midnight of the first day, UTC."""
        return datetime.combine(self.first_day, time(), LOCAL).astimezone(UTC)

    @property
    def steps(self) -> int:
        """Number of intervals."""
        return self.days * PER_DAY

    def times_ms(self) -> Ints:
        """End of every interval, epoch milliseconds; shape (steps,)."""
        first = int(self.start.timestamp()) * 1000
        return first + 1000 * STEP_S * np.arange(1, self.steps + 1, dtype=np.int64)

    def hours(self) -> Floats:
        """Local hour in the middle of each interval of a day; shape (48,)."""
        return np.asarray((np.arange(PER_DAY) + 0.5) * STEP_H, dtype=np.float64)

    def spread(self, per_day: Floats) -> Floats:
        """Daily values repeated for each interval: (days,) to (steps,)."""
        return np.repeat(per_day, PER_DAY)

    def kinds(self) -> Ints:
        """`DayKind` of each day; shape (days,)."""
        return day_kinds(self.first_day, self.days)

    def day_index(self, when: datetime) -> int:
        """Index of the local day that holds `when`."""
        return (when.astimezone(LOCAL).date() - self.first_day).days

    def step_index(self, when: datetime) -> int:
        """Index of the interval that begins at or after `when`."""
        return int(-(-(when - self.start).total_seconds() // STEP_S))

    def day(self, index: int) -> date:
        """Local date of a day index."""
        return self.first_day + timedelta(days=index)

    def ramp(self, onset: datetime | None, days: float) -> Floats:
        """0 before the onset's day, growing to 1 over `days` days; all 0 without onset. Shape (days,)."""
        if onset is None:
            return np.zeros(self.days)
        since = np.arange(self.days) - self.day_index(onset) + 1.0
        return np.clip(since / max(days, 1e-9), 0.0, 1.0)


def make_clock(end: datetime, years: float) -> Clock:
    """Days of a world that ends at `end`, and the horizon after it."""
    last = end.astimezone(LOCAL).date()
    shown = max(round(365 * years), 70)
    return Clock(last - timedelta(days=shown), shown + 1 + HORIZON_DAYS)


def stream(seed: int, *names: str) -> np.random.Generator:
    """A random generator for one purpose; the same seed and names give the same numbers."""
    return np.random.default_rng([seed, zlib.crc32("/".join(names).encode())])


def autoregressive(rng: np.random.Generator, count: int, rho: float, spread: float) -> Floats:
    """A stationary AR(1) series of standard deviation `spread`; shape (count,)."""
    shocks = rng.normal(0.0, spread * np.sqrt(1.0 - rho * rho), count)
    series = np.empty(count)
    level = float(rng.normal(0.0, spread))
    for index in range(count):
        level = rho * level + float(shocks[index])
        series[index] = level
    return series
