"""Is a device heard, and in time? Pure. A silent device is not a stopped machine: nothing here speaks of production."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iot.days import HOUR_US
from iot.signals import Signal, View, latest_per_day, per_day

LATE_US = HOUR_US
"""A reading that comes later than this after it was measured is late."""


@dataclass(frozen=True)
class DeviceDays:
    """How one device was heard; arrays of one value per day."""

    device_id: str
    received: NDArray[np.float64]
    expected: NDArray[np.float64]
    """0 before the device's first reading ever."""
    late_hours: NDArray[np.float64]
    known_us: NDArray[np.int64]

    @property
    def ratio(self) -> NDArray[np.float64]:
        """Received / expected; NaN where nothing was expected."""
        share = self.received / np.where(self.expected > 0, self.expected, 1.0)
        return np.where(self.expected > 0, np.minimum(1.0, share), np.nan)


def device_days(view: View, signals: list[Signal], first_us: int) -> DeviceDays:
    """Counts moments with a reading of any quantity of one device.

    Args:
        view: what was known.
        signals: every quantity of the device.
        first_us: the device's first reading ever; before it nothing is expected.
    """
    grid = view.grid
    times = np.concatenate([signal.time_us for signal in signals])
    received = np.concatenate([signal.received_us for signal in signals])
    moments, index = np.unique(times, return_index=True)
    step = signals[0].interval_us
    begin = np.clip(np.int64(first_us - step), grid.edges_us[:-1], grid.edges_us[1:])
    expected = np.floor((grid.edges_us[1:] - begin) / step + 1e-9)
    lasting = np.minimum(np.diff(moments, prepend=moments[:1] - step), 2 * step)
    late = np.where(received[index] - moments > LATE_US, lasting / HOUR_US, 0.0)
    return DeviceDays(
        signals[0].device_id,
        per_day(grid, moments, np.ones(len(moments))),
        expected,
        np.minimum(24.0, per_day(grid, moments, late)),
        np.max([latest_per_day(grid, signal) for signal in signals], axis=0),
    )
