"""Is a device heard, and in time? Pure. A silent device is not a stopped machine: nothing here speaks of production."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from iot.days import HOUR_US, DayGrid
from iot.signals import Signal, View, latest_per_day, per_day

LATE_US = HOUR_US
"""A reading that comes later than this after it was measured is late."""


USUAL_DAYS = 7
"""Days from which a device's own interval is learnt."""
OFTEN = 1.5
"""An interval that differs from the registered one by this factor is worth telling."""


@dataclass(frozen=True)
class DeviceDays:
    """How one device was heard; arrays of one value per day."""

    device_id: str
    received: NDArray[np.float64]
    expected: NDArray[np.float64]
    """0 before the device was awaited, or before its first reading ever, whichever came first."""
    late_hours: NDArray[np.float64]
    known_us: NDArray[np.int64]
    usual_s: NDArray[np.float64]
    """Seconds between readings as learnt from the last week, that day included; NaN where too few came."""

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
    unknown = np.full(len(grid), np.nan)
    return DeviceDays(device_id, nothing, expected, nothing, np.zeros(len(grid), dtype=np.int64), unknown)


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
        usual_interval_s(grid, moments),
    )


def usual_interval_s(grid: DayGrid, moments_us: NDArray[np.int64]) -> NDArray[np.float64]:
    """Median seconds between readings of each day, and of these the median over the week up to each day."""
    gaps = pd.Series(np.diff(moments_us) / 1e6)
    daily = gaps.groupby(grid.ending_in(moments_us[1:])).median().reindex(range(len(grid)))
    return daily.rolling(USUAL_DAYS, min_periods=2).median().to_numpy(dtype=np.float64)


def silent_gateways(heard: Sequence[DeviceDays], gateway_of: Mapping[str, str], day: int) -> list[str]:
    """Gateways whose devices, two or more, were all silent on a day on which they were awaited: one failure, not many."""
    behind: dict[str, list[DeviceDays]] = {}
    for device in heard:
        gateway = gateway_of.get(device.device_id, "")
        if gateway and device.expected[day] > 0:
            behind.setdefault(gateway, []).append(device)
    return sorted(
        gateway for gateway, devices in behind.items()
        if len(devices) > 1 and all(device.received[day] == 0 for device in devices)
    )  # fmt: skip
