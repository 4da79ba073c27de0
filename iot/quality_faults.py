"""Faults put into real series, to measure how well `iot.quality` finds them. Pure; deterministic by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from collateral.quantities import Adds
from iot.days import HOUR_US
from iot.quality import Flag, Limits
from iot.signals import Signal

Span = tuple[int, int]
"""First and last index of a fault."""


@dataclass(frozen=True)
class Series:
    """One real series and what its quantity allows."""

    name: str
    signal: Signal
    limits: Limits


Fault = Callable[[Series, int, int, np.random.Generator], Signal]
"""Puts one fault of `length` readings at index `first`."""


def delivered(signal: Signal, rng: np.random.Generator) -> Signal:
    """The series as a network would bring it: a second or so late, and in five bursts after outages of 1 to 6 h."""
    late = rng.exponential(1.5e6, len(signal.time_us)).astype(np.int64)
    received = np.maximum.accumulate(signal.time_us + late)
    for first in rng.integers(0, max(1, len(received) - 400), 5).tolist():
        last = first + max(2, int(rng.uniform(1, 6) * HOUR_US / signal.interval_us))
        back = received[min(last, len(received) - 1)]
        burst = back + np.arange(last - first, dtype=np.int64) * 20_000
        received[first:last] = np.maximum(received[first:last], burst[: len(received[first:last])])
    return replace(signal, received_us=np.maximum.accumulate(received))


def _values(signal: Signal, first: int, new: NDArray[np.float64]) -> Signal:
    value = signal.value.copy()
    value[first : first + len(new)] = new
    return replace(signal, value=value)


def _usual_size(signal: Signal) -> float:
    sizes = np.abs(signal.value[np.isfinite(signal.value)])
    return float(np.quantile(sizes, 0.98))


def _beyond_range(series: Series, first: int, length: int, rng: np.random.Generator) -> Signal:
    limits = series.limits
    out = limits.high * rng.uniform(1.05, 3) if rng.random() < 0.5 else limits.low - limits.high * rng.uniform(0.05, 1)
    return _values(series.signal, first, np.full(length, out))


def _unit(series: Series, first: int, length: int, rng: np.random.Generator) -> Signal:
    factor = 1_000.0 if rng.random() < 0.5 else 0.001
    return _values(series.signal, first, series.signal.value[first : first + length] * factor)


def _outlier(series: Series, first: int, length: int, rng: np.random.Generator) -> Signal:
    size = _usual_size(series.signal) * rng.uniform(1.6, 4) * (1 if rng.random() < 0.7 else -1)
    return _values(series.signal, first, series.signal.value[first : first + length] + size)


def _stale(series: Series, first: int, length: int, rng: np.random.Generator) -> Signal:
    return _values(series.signal, first, np.full(length, series.signal.value[first]))


def _interpolated(series: Series, first: int, length: int, rng: np.random.Generator) -> Signal:
    ends = series.signal.value[[first - 1, first + length]]
    return _values(series.signal, first, np.linspace(ends[0], ends[1], length + 2)[1:-1])


def _replayed(series: Series, first: int, length: int, rng: np.random.Generator) -> Signal:
    day = round(24 * HOUR_US / series.signal.interval_us)
    back = first - day * int(rng.integers(1, max(2, min(30, first // day))))
    return _values(series.signal, first, series.signal.value[back : back + length])


def _clock(series: Series, first: int, length: int, rng: np.random.Generator) -> Signal:
    signal = series.signal
    shift = int(rng.uniform(0.1, 3) * HOUR_US) * (1 if rng.random() < 0.5 else -1)
    time = signal.time_us.copy()
    time[first : first + length] += shift
    return replace(signal, time_us=time)


def _future(series: Series, first: int, length: int, rng: np.random.Generator) -> Signal:
    time = series.signal.time_us.copy()
    time[first : first + length] += int(rng.uniform(1, 400) * 24 * HOUR_US)
    return replace(series.signal, time_us=time)


def _out_of_order(series: Series, first: int, length: int, rng: np.random.Generator) -> Signal:
    received = series.signal.received_us.copy()
    received[first : first + length] = received[first + length] + 1_000 + np.arange(length)
    return replace(series.signal, received_us=received)


def _reset(series: Series, first: int, length: int, rng: np.random.Generator) -> Signal:
    value = series.signal.value.copy()
    value[first:] -= value[first] * rng.uniform(0.98, 1)
    return replace(series.signal, value=value)


def _rollover(series: Series, first: int, length: int, rng: np.random.Generator) -> Signal:
    value = series.signal.value
    span = 10.0 ** max(3, int(np.ceil(np.log10(value[-1] - value[0] + 1))))
    return replace(series.signal, value=np.mod(value - value[first] + 1e-6 * span, span))


@dataclass(frozen=True)
class Kind:
    """One kind of fault."""

    flag: Flag
    put: Fault
    hours: tuple[float, float]
    """Shortest and longest; 0 is one reading."""
    registers: bool = False


KINDS: Mapping[str, Kind] = {
    "range": Kind(Flag.RANGE, _beyond_range, (0, 12)),
    "unit": Kind(Flag.UNIT, _unit, (12, 72)),
    "outlier": Kind(Flag.OUTLIER, _outlier, (0, 0)),
    "stale": Kind(Flag.STALE, _stale, (24, 72)),
    "interpolated": Kind(Flag.INTERPOLATED, _interpolated, (6, 48)),
    "replayed": Kind(Flag.REPLAYED, _replayed, (24, 72)),
    "clock": Kind(Flag.CLOCK, _clock, (12, 72)),
    "future": Kind(Flag.FUTURE, _future, (0, 0)),
    "out_of_order": Kind(Flag.OUT_OF_ORDER, _out_of_order, (0, 3)),
    "reset": Kind(Flag.RESET, _reset, (0, 0), registers=True),
    "rollover": Kind(Flag.ROLLOVER, _rollover, (0, 0), registers=True),
}


def put_fault(series: Series, kind: Kind, rng: np.random.Generator) -> tuple[Series, Span] | None:
    """The series with one fault at a random place where it shows; None where the draw found none.

    The place must be one where the fault changes something: not a night of zeros for a factor of thousand.
    """
    signal = series.signal
    per_hour = HOUR_US / signal.interval_us
    length = max(1, round(rng.uniform(*kind.hours) * per_hour))
    room = len(signal.value) - length - 2
    day = round(24 * per_hour)
    if room <= 2 * day:
        return None
    first = int(rng.integers(2 * day, room))
    changed = kind.put(series, first, length, rng)
    last = first + length - 1
    if not _shows(signal, changed, kind, first, last):
        return None
    order = np.argsort(changed.time_us, kind="stable")
    places = np.flatnonzero((order >= first) & (order <= last))
    faulty = replace(
        changed, time_us=changed.time_us[order], value=changed.value[order], received_us=changed.received_us[order]
    )
    return replace(series, signal=faulty), (int(places[0]), int(places[-1]))


def _shows(before: Signal, after: Signal, kind: Kind, first: int, last: int) -> bool:
    if kind.flag in (Flag.CLOCK, Flag.FUTURE, Flag.OUT_OF_ORDER):
        return True
    span = slice(first, last + 1)
    if kind.flag in (Flag.RESET, Flag.ROLLOVER):
        return bool(after.value[first] < after.value[first - 1])
    if kind.flag is Flag.STALE and before.value[first] == 0:
        return False
    moved = np.abs(after.value[span] - before.value[span])
    return bool((moved > 0.01 * _usual_size(before)).mean() > 0.15) if kind.flag is not Flag.OUTLIER else True


def with_register(series: Series, rng: np.random.Generator) -> Series:
    """The cumulative register of a series of amounts or of power, in a plausible state at its start."""
    amounts = np.maximum(np.nan_to_num(series.signal.value), 0.0)
    value = np.cumsum(amounts) + rng.uniform(1e3, 1e6)
    limits = Limits(0.0, 1e15, Adds.REGISTER)
    return Series(f"{series.name} register", replace(series.signal, value=value), limits)
