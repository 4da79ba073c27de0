"""One series of readings in memory and which of them may be used. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iot.days import DayGrid


@dataclass(frozen=True)
class Signal:
    """Readings of one device and quantity, ordered by time; arrays of one length."""

    device_id: str
    quantity: str
    interval_us: int
    """Expected time between readings."""
    time_us: NDArray[np.int64]
    value: NDArray[np.float64]
    received_us: NDArray[np.int64]
    sent: NDArray[np.float64] | None = None
    """What the device published, where a ratio or scale lies between it and `value`; None: `value` itself."""

    @property
    def published(self) -> NDArray[np.float64]:
        """As the device sent it: a recording that is sent again is the same here, whatever ratio held then and now."""
        return self.value if self.sent is None else self.sent

    @property
    def lasting_us(self) -> NDArray[np.int64]:
        """Time each reading speaks for: since the one before, two intervals at most (a device may report more often)."""
        first = self.time_us[:1] - self.interval_us
        return np.minimum(np.diff(self.time_us, prepend=first), 2 * self.interval_us)

    def where(self, chosen: NDArray[np.bool_]) -> Signal:
        """Those readings only."""
        times, values, received = self.time_us[chosen], self.value[chosen], self.received_us[chosen]
        sent = None if self.sent is None else self.sent[chosen]
        return Signal(self.device_id, self.quantity, self.interval_us, times, values, received, sent)


@dataclass(frozen=True)
class View:
    """What was known: all readings of a site, or for each day those that had come by its cutoff."""

    grid: DayGrid
    signals: Mapping[tuple[str, str], Signal]
    """By (device_id, quantity)."""
    known_by_us: NDArray[np.int64] | None
    """Per day the cutoff; None: everything received."""
    everything: Mapping[tuple[str, str], Signal]
    """All readings, for what an earlier day's late reading tells about the begin of the next day."""

    def of(self, quantity: str) -> list[Signal]:
        """Signals of a quantity, by device."""
        return [signal for (_, name), signal in sorted(self.signals.items()) if name == quantity]


def as_of_cutoff(grid: DayGrid, signals: Mapping[tuple[str, str], Signal], cutoffs_us: NDArray[np.int64]) -> View:
    """Keeps the readings that came by the cutoff of the day they belong to."""
    kept: dict[tuple[str, str], Signal] = {}
    for key, signal in signals.items():
        day = np.clip(grid.ending_in(signal.time_us), 0, len(grid) - 1)
        kept[key] = signal.where(signal.received_us <= cutoffs_us[day])
    return View(grid, kept, cutoffs_us, signals)


def per_day(grid: DayGrid, time_us: NDArray[np.int64], amounts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of `amounts` per day; a time belongs to the day whose interval it closes."""
    day = grid.ending_in(time_us)
    inside = (day >= 0) & (day < len(grid))
    return np.bincount(day[inside], weights=amounts[inside], minlength=len(grid)).astype(np.float64)


def latest_per_day(grid: DayGrid, signal: Signal) -> NDArray[np.int64]:
    """Latest arrival among the readings of each day; 0 where there are none."""
    latest = np.zeros(len(grid), dtype=np.int64)
    day = grid.ending_in(signal.time_us)
    inside = (day >= 0) & (day < len(grid))
    np.maximum.at(latest, day[inside], signal.received_us[inside])
    return latest
