"""What a device says about its own mounting and feed: contact open, power lost. Pure."""

from __future__ import annotations

import numpy as np

from iot.amounts import DayValues, coverage
from iot.days import HOUR_US
from iot.signals import Signal, View, latest_per_day, per_day


def contact_hours(view: View, signal: Signal) -> DayValues:
    """Hours with the tamper contact open. A single reading counts: such contacts often report only when they change."""
    return _hours(view, signal, signal.value > 0.5)


def power_lost_hours(view: View, signal: Signal) -> DayValues:
    """Hours on the device's own battery."""
    return _hours(view, signal, signal.value < 0.5)


def _hours(view: View, signal: Signal, told: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> DayValues:
    lasting = signal.lasting_us / HOUR_US
    heard = per_day(view.grid, signal.time_us, np.ones(len(lasting)))
    hours = np.minimum(24.0, per_day(view.grid, signal.time_us, np.where(told, lasting, 0.0)))
    value = np.where(heard > 0, hours, np.nan)
    return DayValues(value, value, value, coverage(view, signal), latest_per_day(view.grid, signal))
