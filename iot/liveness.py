"""Is a device heard, and in time? Pure. A silent device is not a stopped machine: nothing here speaks of production."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iot.days import HOUR_US, DayGrid
from iot.signals import Signal, View, latest_per_day, per_day

LATE_US = HOUR_US
"""A reading that comes later than this after it was measured is late."""


@dataclass(frozen=True)
class DeviceDays:
    """How one device was heard; arrays of one value per day."""

    device_id: str
    received: NDArray[np.float64]
    expected: NDArray[np.float64]
    """0 before the device was awaited, or before its first reading ever, whichever came first."""
    late_hours: NDArray[np.float64]
    known_us: NDArray[np.int64]

    @property
    def ratio(self) -> NDArray[np.float64]:
        """Received / expected; NaN where nothing was expected."""
        share = self.received / np.where(self.expected > 0, self.expected, 1.0)
        return np.where(self.expected > 0, np.minimum(1.0, share), np.nan)


@dataclass(frozen=True)
class Awaited:
    """A registered device, heard or not."""

    interval_us: int
    since_us: int
    """It is expected on whole days from here on: it was registered, and its site was heard."""


def awaited_days(grid: DayGrid, awaited: Awaited) -> NDArray[np.float64]:
    """Readings expected per day of a registered device, whether it ever reported or not."""
    begin = np.clip(np.int64(awaited.since_us), grid.edges_us[:-1], grid.edges_us[1:])
    return np.floor((grid.edges_us[1:] - begin) / awaited.interval_us + 1e-9)


def unheard_days(grid: DayGrid, device_id: str, awaited: Awaited) -> DeviceDays:
    """A registered device that never reported."""
    nothing = np.zeros(len(grid))
    expected = awaited_days(grid, awaited)
    return DeviceDays(device_id, nothing, expected, nothing, np.zeros(len(grid), dtype=np.int64))


def device_days(view: View, signals: list[Signal], first_us: int, awaited: Awaited | None = None) -> DeviceDays:
    """Counts moments with a reading of any quantity of one device.

    Args:
        view: what was known.
        signals: every quantity of the device.
        first_us: the device's first reading ever.
        awaited: since when it should have reported; without, nothing is expected before `first_us`.
    """
    grid = view.grid
    times = np.concatenate([signal.time_us for signal in signals])
    received = np.concatenate([signal.received_us for signal in signals])
    moments, index = np.unique(times, return_index=True)
    step = signals[0].interval_us
    begin = np.clip(np.int64(first_us - step), grid.edges_us[:-1], grid.edges_us[1:])
    expected = np.floor((grid.edges_us[1:] - begin) / step + 1e-9)
    if awaited is not None:
        expected = np.maximum(expected, awaited_days(grid, awaited))
    lasting = np.minimum(np.diff(moments, prepend=moments[:1] - step), 2 * step)
    late = np.where(received[index] - moments > LATE_US, lasting / HOUR_US, 0.0)
    return DeviceDays(
        signals[0].device_id,
        per_day(grid, moments, np.ones(len(moments))),
        expected,
        np.minimum(24.0, per_day(grid, moments, late)),
        np.max([latest_per_day(grid, signal) for signal in signals], axis=0),
    )
