"""Are a device's values its own? Frozen and replayed stretches, per day. Pure.

Only quantities that vary by nature are judged (`LIVE_QUANTITIES`); zero is rest and not frozen; states, registers at rest,
stock and positions may stand still.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from iot.days import DAY_US, HOUR_US, DayGrid
from iot.signals import Signal

LIVE_QUANTITIES = (
    "active_power_kw", "ac_power_kw", "irradiance_poa_w_m2", "temperature_degc", "module_temperature_degc",
    "energy_interval_kwh", "reactive_energy_kvarh",
)  # fmt: skip
REPLAY_HOURS = 6.0
"""Shortest stretch whose repetition counts."""
LOOKBACK_DAYS = 120
"""How far back the earlier stretch, and what is usual for the series, is looked for."""
USUAL_CHANGE = 0.8
"""A series is live when on its better days at least this share of samples differs from the one before."""
_MULTIPLIERS = np.random.default_rng(20260101).integers(1, 2**63, size=4096, dtype=np.uint64) | np.uint64(1)

Floats = NDArray[np.float64]


def frozen_hours(grid: DayGrid, signal: Signal) -> Floats:
    """Per day the longest stretch in which a live series kept one value that is not zero."""
    hours = np.zeros(len(grid))
    if len(signal.value) < 2:
        return hours
    same = np.concatenate([[False], np.diff(signal.value) == 0])
    zero = signal.value == 0
    day = grid.ending_in(signal.time_us)
    inside = (day >= 0) & (day < len(grid))
    live = _live_days(grid, day, same, zero | ~inside)
    run = np.cumsum(~same)
    unchanged = same & ~zero & inside
    if not unchanged.any():
        return hours
    keys, place = np.unique(np.stack([day[unchanged], run[unchanged]]), axis=1, return_inverse=True)
    lasted_us = np.bincount(place.ravel(), weights=signal.lasting_us[unchanged])
    np.maximum.at(hours, keys[0], lasted_us / HOUR_US)
    return np.where(live, np.minimum(24.0, hours), 0.0)


def _live_days(grid: DayGrid, day: NDArray[np.int64], same: NDArray[np.bool_], skip: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Days before which the series was seen to vary: upper quartile of the daily share of changes."""
    judged = ~skip
    total = np.bincount(day[judged], minlength=len(grid)).astype(np.float64)
    changed = np.bincount(day[judged & ~same], minlength=len(grid)).astype(np.float64)
    share = pd.Series(np.where(total >= 4, changed / np.maximum(total, 1.0), np.nan))
    usual = share.rolling(LOOKBACK_DAYS, min_periods=2).quantile(0.75).shift(1)
    return np.asarray(usual.to_numpy() >= USUAL_CHANGE)


def replayed(signal: Signal) -> NDArray[np.bool_]:
    """Readings in a stretch of 6 h or more equal, sample by sample and as published, to an earlier one."""
    value = signal.published
    width = max(6, round(REPLAY_HOURS * HOUR_US / signal.interval_us))
    nothing = np.zeros(len(signal.value), dtype=bool)
    if len(signal.value) < 2 * width or width > len(_MULTIPLIERS):
        return nothing
    windows = np.lib.stride_tricks.sliding_window_view(value, width)
    ordered = np.sort(windows, axis=1)
    varied = ((np.diff(ordered, axis=1) != 0).sum(axis=1) + 1) * 2 >= width
    span = signal.time_us[width - 1 :] - signal.time_us[: len(windows)]
    whole_us = width * signal.interval_us
    usable = np.flatnonzero(varied & (span <= 1.25 * whole_us) & (span >= 0.75 * whole_us))
    if len(usable) == 0:
        return nothing
    prints = _fingerprints(value, width)[usable]
    order = np.argsort(prints, kind="stable")
    place, equal = usable[order], prints[order][1:] == prints[order][:-1]
    apart = np.diff(place)
    age = signal.time_us[place[1:]] - signal.time_us[place[:-1]]
    repeats = place[1:][equal & (apart >= width) & (age <= (LOOKBACK_DAYS - 1) * DAY_US)]
    marked = np.zeros(len(signal.value) + 1, dtype=np.int64)
    np.add.at(marked, repeats, 1)
    np.add.at(marked, repeats + width, -1)
    return np.cumsum(marked[:-1]) > 0


def replayed_hours(grid: DayGrid, signal: Signal) -> Floats:
    """Per day the hours that lie in a stretch of 6 h or more equal, sample by sample, to an earlier one."""
    day = grid.ending_in(signal.time_us)
    chosen = replayed(signal) & (day >= 0) & (day < len(grid))
    lasted_us = np.bincount(day[chosen], weights=signal.lasting_us[chosen], minlength=len(grid))
    return np.asarray(np.minimum(24.0, lasted_us / HOUR_US), dtype=np.float64)


def _fingerprints(value: Floats, width: int) -> NDArray[np.uint64]:
    """A 64-bit print of each window of `width` values: equal windows have equal prints."""
    bits = (value + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    bits = bits ^ (bits >> np.uint64(29))
    prints = np.zeros(len(value) - width + 1, dtype=np.uint64)
    for offset in range(width):
        prints += bits[offset : offset + len(prints)] * _MULTIPLIERS[offset]
    return prints
