"""Amounts per local day with the interval that missing samples and the meter's class leave. Pure.

A reading closes its interval: one at midnight belongs to the day that ends. A register needs only the readings around
midnight, so it tells what was used even while nothing was transmitted; the interval then spans what the bracketing readings
allow. Where nothing is known the value is NaN, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iot.days import HOUR_US
from iot.signals import Signal, View, latest_per_day, per_day

METER_CLASS = 0.01
"""IEC 62053-21 class 1: one per cent of the reading."""
FULL_COVERAGE = 0.9
"""Share of samples from which a day counts as good."""
LEAST_COVERAGE = 0.5
LONGEST_BRIDGE_US = 3 * HOUR_US
"""Longest gap over which a gauge is interpolated."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DayValues:
    """One value per day; NaN where nothing can be said."""

    value: Floats
    lower: Floats
    upper: Floats
    coverage: Floats
    """Share of the expected samples."""
    known_us: NDArray[np.int64]
    """Latest arrival of what was used; 0 where nothing was."""

    def __add__(self, other: DayValues) -> DayValues:
        """Sum over devices: unknown where any is unknown."""
        return DayValues(
            self.value + other.value,
            self.lower + other.lower,
            self.upper + other.upper,
            np.minimum(self.coverage, other.coverage),
            np.maximum(self.known_us, other.known_us),
        )


def coverage(view: View, signal: Signal) -> Floats:
    """Share of the expected samples of each day that are there, at most 1."""
    expected = np.diff(view.grid.edges_us) / signal.interval_us
    count = per_day(view.grid, signal.time_us, np.ones(len(signal.time_us)))
    return np.minimum(1.0, count / expected)


def register_growth(
    view: View, signal: Signal, from_us: NDArray[np.int64], to_us: NDArray[np.int64], accuracy: float = METER_CLASS
) -> DayValues:
    """Growth of a cumulative register in (from, to] of each day; falls of the register count as nothing.

    Between readings the register is interpolated; the interval runs from what the readings inside the period prove to
    what those around it allow, widened by the instrument's relative `accuracy`.
    """
    known = latest_per_day(view.grid, signal)
    share = coverage(view, signal)
    n = len(signal.time_us)
    if n == 0:
        nothing = np.full(len(view.grid), np.nan)
        return DayValues(nothing, nothing, nothing, share, known)
    total = _unwrapped(signal.value)
    ends = _Edges(signal, total, to_us, view.known_by_us)
    starts = _Edges(signal, total, from_us, view.known_by_us)
    inside = ends.has_low & (signal.time_us[ends.low] > from_us)
    usable = ends.has_low & starts.has_high & (inside | (starts.has_low & ends.has_high))
    start = np.where(starts.has_low, starts.between, total[starts.high])
    start_low = np.where(starts.has_low, total[starts.low], total[starts.high])
    start_high = total[starts.high]
    if view.known_by_us is not None:
        whole = view.everything[signal.device_id, signal.quantity]
        low, mid, high, better = _start_as_known(signal, whole, starts, from_us, view.known_by_us, start_high)
        start_low, start, start_high = (
            np.where(better, new, old) for new, old in ((low, start_low), (mid, start), (high, start_high))
        )
    # Open end: goes on at the day's own pace, at most at its fastest.
    open_us = np.maximum(0, to_us - signal.time_us[ends.low])
    pace = (total[ends.low] - start) / np.maximum(1, signal.time_us[ends.low] - from_us)
    fastest = np.maximum(_fastest(view, signal, total), pace)
    end = np.where(ends.has_high, ends.between, total[ends.low] + pace * open_us)
    end_high = np.where(ends.has_high, total[ends.high], total[ends.low] + fastest * open_us)
    usable &= ends.has_high | (share >= LEAST_COVERAGE)
    value = np.where(usable, np.maximum(0.0, end - start), np.nan)
    lower = np.minimum(value, np.maximum(0.0, total[ends.low] - start_high) * (1 - accuracy))
    upper = np.maximum(value, (end_high - start_low) * (1 + accuracy))
    known = np.maximum(known, np.where(usable & ends.has_high, signal.received_us[ends.high], 0))
    return DayValues(value, lower, upper, share, known)


class _Edges:
    """The readings around each of some times, as far as they were known."""

    def __init__(
        self, signal: Signal, total: Floats, at_us: NDArray[np.int64], known_by_us: NDArray[np.int64] | None
    ) -> None:
        last = len(signal.time_us) - 1
        low = np.searchsorted(signal.time_us, at_us, side="right") - 1
        high = np.searchsorted(signal.time_us, at_us, side="left")
        self.has_low = low >= 0
        self.has_high = high <= last
        self.low = np.clip(low, 0, last)
        self.high = np.clip(high, 0, last)
        if known_by_us is not None:
            self.has_high &= signal.received_us[self.high] <= known_by_us
        gap = np.maximum(1, signal.time_us[self.high] - signal.time_us[self.low])
        part = np.clip((at_us - signal.time_us[self.low]) / gap, 0.0, 1.0)
        self.between = total[self.low] + (total[self.high] - total[self.low]) * part


def _start_as_known(
    signal: Signal, whole: Signal, starts: _Edges, from_us: NDArray[np.int64], known_by_us: NDArray[np.int64], first: Floats
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """The register at the begin of each day (lowest, likely, highest), and where it is told better by a reading that was
    too late for the day before but in time for this one. `first` is the register at the day's first reading.
    """
    low = np.maximum(0, np.searchsorted(whole.time_us, from_us, side="right") - 1)
    at_us = whole.time_us[low]
    better = (at_us <= from_us) & (whole.received_us[low] <= known_by_us) & starts.has_high
    better &= ~starts.has_low | (at_us > signal.time_us[starts.low])
    rise = np.maximum(0.0, signal.value[starts.high] - whole.value[low])
    left = (signal.time_us[starts.high] - from_us) / np.maximum(1, signal.time_us[starts.high] - at_us)
    return first - rise, first - rise * left, np.where(at_us == from_us, first - rise, first), better


def _unwrapped(value: Floats) -> Floats:
    """The register without its falls (replacement, roll-over): bit for bit `value` where there are none."""
    falls = np.minimum(0.0, np.diff(value, prepend=value[0]))
    return value - np.cumsum(falls) if falls.any() else value


def _fastest(view: View, signal: Signal, total: Floats) -> Floats:
    """Fastest rise per microsecond seen on each day."""
    rate = np.diff(total, prepend=total[0]) / np.maximum(1, np.diff(signal.time_us, prepend=signal.time_us[0] - 1))
    rate[0] = 0.0
    fastest = np.zeros(len(view.grid))
    day = view.grid.ending_in(signal.time_us)
    inside = (day >= 0) & (day < len(view.grid))
    np.maximum.at(fastest, day[inside], rate[inside])
    return fastest


def interval_sum(view: View, signal: Signal) -> DayValues:
    """Sum of amounts per interval; missing intervals count as the day's mean, between nothing and the day's largest."""
    grid = view.grid
    share = coverage(view, signal)
    present = per_day(grid, signal.time_us, signal.value)
    count = per_day(grid, signal.time_us, np.ones(len(signal.time_us)))
    missing = np.maximum(0.0, np.diff(grid.edges_us) / signal.interval_us - count)
    largest = np.zeros(len(grid))
    day = grid.ending_in(signal.time_us)
    inside = (day >= 0) & (day < len(grid))
    np.maximum.at(largest, day[inside], signal.value[inside])
    mean = present / np.maximum(1.0, count)
    value = np.where(share >= LEAST_COVERAGE, present + missing * mean, np.nan)
    lower = np.minimum(value, present * (1 - METER_CLASS))
    upper = np.maximum(value, (present + missing * largest) * (1 + METER_CLASS))
    return DayValues(value, lower, upper, share, latest_per_day(grid, signal))


def integral(view: View, signal: Signal, per_hour: float, accuracy: float) -> DayValues:
    """Time integral of a gauge, times `per_hour` per unit and hour; short gaps are bridged linearly and widen the interval.

    `accuracy`: relative error of the instrument.
    """
    grid, step = view.grid, signal.interval_us
    share = coverage(view, signal)
    known = latest_per_day(grid, signal)
    slots = np.arange(grid.edges_us[0] + step, grid.edges_us[-1] + 1, step, dtype=np.int64)
    nothing = np.full(len(grid), np.nan)
    if len(signal.time_us) < 2:
        return DayValues(nothing, nothing, nothing, share, known)
    after = np.clip(np.searchsorted(signal.time_us, slots), 1, len(signal.time_us) - 1)
    before_us, after_us = signal.time_us[after - 1], signal.time_us[after]
    near = np.minimum(np.abs(slots - before_us), np.abs(after_us - slots)) <= step // 2
    bridged = (slots >= before_us) & (slots <= after_us) & (after_us - before_us <= LONGEST_BRIDGE_US)
    amount = np.interp(slots, signal.time_us, np.maximum(0.0, signal.value)) * (per_hour * step / HOUR_US)
    usable = near | bridged
    value = per_day(grid, slots, np.where(usable, amount, 0.0))
    unsure = per_day(grid, slots, np.where(usable & ~near, amount, 0.0))
    enough = per_day(grid, slots, usable.astype(np.float64)) >= 0.8 * np.diff(grid.edges_us) / step
    value = np.where(enough, value, np.nan)
    return DayValues(
        value, np.maximum(0.0, value - unsure) * (1 - accuracy), (value + unsure) * (1 + accuracy), share, known
    )


def hours_on(view: View, signals: list[Signal]) -> DayValues:
    """Hours in which at least one of the machines ran; time without any sample may be either."""
    grid = view.grid
    step = min(signal.interval_us for signal in signals)
    slots = np.arange(grid.edges_us[0] + step, grid.edges_us[-1] + 1, step, dtype=np.int64)
    on, seen = np.zeros(len(slots), bool), np.zeros(len(slots), bool)
    for signal in signals:
        index = np.rint((signal.time_us - grid.edges_us[0]) / step).astype(np.int64) - 1
        for back in range(max(1, round(signal.interval_us / step))):
            place = index - back
            inside = (place >= 0) & (place < len(slots))
            seen[place[inside]] = True
            on[place[inside]] |= signal.value[inside] > 0.5
    hour = step / HOUR_US
    total = np.diff(grid.edges_us) / HOUR_US
    known_h = per_day(grid, slots, seen.astype(np.float64)) * hour
    on_h = per_day(grid, slots, on.astype(np.float64)) * hour
    share = np.minimum(1.0, known_h / total)
    value = np.where(share >= LEAST_COVERAGE, np.minimum(24.0, on_h / np.maximum(share, 1e-9)), np.nan)
    upper = np.minimum(24.0, np.maximum(value, on_h + np.maximum(0.0, total - known_h)))
    known = np.max([latest_per_day(grid, signal) for signal in signals], axis=0)
    return DayValues(value, np.minimum(value, on_h), np.maximum(value, upper), share, known)


def last_of_day(view: View, signal: Signal) -> DayValues:
    """The last value of each day."""
    grid = view.grid
    value = np.full(len(grid), np.nan)
    day = grid.ending_in(signal.time_us)
    inside = (day >= 0) & (day < len(grid))
    value[day[inside]] = signal.value[inside]  # ordered by time: the last one stays
    return DayValues(value, value, value, coverage(view, signal), latest_per_day(grid, signal))
