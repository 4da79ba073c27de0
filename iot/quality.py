"""Can a reading be believed? A quality per reading, judged after the commit from the series around it. Pure.

Nothing is dropped or altered: a reading gets flags, and whoever uses it decides. Judged over a history of weeks, so that
what is usual for the series (its zeros at night, its resolution, its own steepest steps) is known.

Limits: a spike smaller than the series' own steps, a frozen stretch shorter than its own still stretches and a replay of
less than six hours are not seen; an interpolated stretch between equal values is a frozen one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collateral.quantities import Adds
from iot.checks import LIVE_QUANTITIES, replayed
from iot.days import DAY_US
from iot.signals import Signal

VERSION = 4
"""Of the rules below; a quality is kept with the version that judged it."""

Flags = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Flag(IntFlag):
    """Why a reading is doubted; any number of them."""

    RANGE = 1
    """Outside what the quantity can physically be."""
    UNIT = 2
    """A stretch a hundred times or more too large or too small for its time of day: another unit."""
    OUTLIER = 4
    """A step there and back, larger than any other of the series by half."""
    STALE = 8
    """One value, not zero, for longer than the series ever stands still."""
    INTERPOLATED = 16
    """On a straight line between its neighbours, to the last digit."""
    REPLAYED = 32
    """Equal, sample by sample, to an earlier stretch."""
    CLOCK = 64
    """The device's clock is off by a stable amount."""
    FUTURE = 128
    """Dated later than it arrived."""
    RESET = 256
    """A counter that began anew."""
    ROLLOVER = 512
    """A counter that passed its last digit."""
    OUT_OF_ORDER = 1024
    """Arrived after a later reading."""
    AT_REST = 2048
    """Zero where the series hardly ever is: a stop, snow, or a dead sensor; other sources must tell."""
    UNCALIBRATED = 4096
    """Measured after the device's calibration had ended; not by `judge`, by its passport (`iot.calibration`)."""


@dataclass(frozen=True)
class Limits:
    """What the quantity allows."""

    low: float
    high: float
    adds: Adds


FUTURE_US = 120_000_000
"""Clocks may run ahead by this."""
LEAST_SKEW_US = 120_000_000
"""Smallest clock error that is told apart from slow networks."""
SKEW_READINGS = 12
"""Readings a clock error must last."""
STALE_READINGS = 6
_RARE = 3
"""Rests at working hours, of one length or longer, that are still unusual in a history of weeks."""
_SLOTS = 96
"""Of a day, for what is usual at a time of day."""


def judge(signal: Signal, limits: Limits) -> Flags:
    """Flags of every reading, 0 where nothing is wrong. The signal is ordered by time."""
    value = signal.value
    flags = np.zeros(len(value), np.int64)
    impossible = ~((value >= limits.low) & (value <= limits.high))
    flags[impossible] |= int(Flag.RANGE)
    _arrivals(signal, flags)
    sane = np.where(impossible, np.nan, value)
    if limits.adds is Adds.REGISTER and len(value) > 1:
        _counter(value, flags)
    elif limits.adds in (Adds.GAUGE, Adds.INTERVAL) and len(value) > 2 * STALE_READINGS:
        usual = _usual(signal.time_us, sane)
        unit = another_unit(value, usual)
        flags[unit] |= int(Flag.UNIT)
        stale, rest = still_stretches(sane, usual, signal.quantity in LIVE_QUANTITIES)
        line = straight_lines(signal.time_us, sane) & ~stale
        flags[rest] |= int(Flag.AT_REST)
        again = replayed(signal)
        flags[stale] |= int(Flag.STALE)
        flags[line] |= int(Flag.INTERPOLATED)
        flags[again] |= int(Flag.REPLAYED)
        flags[outliers(value) & ~unit & ~stale & ~line & ~again] |= int(Flag.OUTLIER)
    return flags


def clock_offset_us(signal: Signal) -> NDArray[np.float64]:
    """By how much the device's clock is ahead (+) or behind (-) where that is stable, else NaN."""
    late = (signal.received_us - signal.time_us).astype(np.float64)
    order = np.argsort(signal.received_us, kind="stable")
    series = pd.Series(late[order])
    size = 2 * SKEW_READINGS + 1
    middle = series.rolling(size, center=True, min_periods=SKEW_READINGS).median().to_numpy()
    near = pd.Series((np.abs(series.to_numpy() - middle) < 0.25 * np.abs(middle)).astype(float))
    stable = near.rolling(size, center=True, min_periods=SKEW_READINGS).mean().to_numpy() > 0.7
    off = stable & (np.abs(middle) > LEAST_SKEW_US) & (np.abs(series.to_numpy() - middle) < 0.25 * np.abs(middle))
    arrived = np.abs(np.diff(signal.received_us[order], append=signal.received_us[order][-1:]))
    burst = pd.Series((arrived < 0.2 * signal.interval_us).astype(float)).rolling(size, center=True, min_periods=1).mean()
    out = np.full(len(late), np.nan)
    out[order] = np.where(off & (burst.to_numpy() < 0.5), -middle, np.nan)
    return out


def _arrivals(signal: Signal, flags: Flags) -> None:
    offset = ~np.isnan(clock_offset_us(signal)) if len(flags) >= SKEW_READINGS else np.zeros(len(flags), bool)
    flags[offset] |= int(Flag.CLOCK)
    flags[(signal.time_us > signal.received_us + FUTURE_US) & ~offset] |= int(Flag.FUTURE)
    order = np.argsort(signal.received_us, kind="stable")
    times = signal.time_us[order]
    believable = times <= signal.received_us[order] + FUTURE_US
    newest = np.maximum.accumulate(np.where(believable, times, np.iinfo(np.int64).min))
    behind = np.zeros(len(flags), bool)
    behind[order[1:]] = times[1:] < newest[:-1]
    flags[behind & ~offset] |= int(Flag.OUT_OF_ORDER)


def _counter(value: Floats, flags: Flags) -> None:
    before, after = value[:-1], value[1:]
    fell = np.concatenate([[False], after < before])
    span = 10.0 ** np.ceil(np.log10(np.maximum(before, 1.0) + 1e-9))
    steps = np.diff(value)
    usual = float(np.quantile(steps[steps > 0], 0.95)) if (steps > 0).any() else 0.0
    rolled = np.concatenate([[False], (span - before + after <= 4 * usual) & (span >= 1_000)])
    flags[fell & rolled] |= int(Flag.ROLLOVER)
    flags[fell & ~rolled] |= int(Flag.RESET)


@dataclass(frozen=True)
class Usual:
    """What a series does at the time of day of each reading; arrays of its length."""

    level: Floats
    """Median size of values."""
    rests: Floats
    """Share of days with zero."""
    full: float
    """Median of the five highest slots."""


def _usual(time_us: NDArray[np.int64], value: Floats) -> Usual:
    slot = pd.Series(time_us % DAY_US * _SLOTS // DAY_US)
    size = pd.Series(np.abs(value))
    level = size.groupby(slot).transform("median").fillna(0.0).to_numpy()
    rests = (size == 0).astype(float).groupby(slot).transform("mean").to_numpy()
    highest = np.sort(size.groupby(slot).median().dropna().to_numpy())[-5:]
    return Usual(level, rests, float(np.median(highest)) if len(highest) else 0.0)


def another_unit(value: Floats, usual: Usual, factor: float = 100.0) -> Mask:
    """Six or more readings on end, nearly all of them `factor` times larger or smaller than usual then (and not zero)."""
    told = usual.level > 0.05 * usual.full
    ratio = np.where(told, np.abs(value) / np.maximum(usual.level, 1e-300), np.nan)
    out = np.zeros(len(value), bool)
    for odd in (ratio > factor, (ratio < 1 / factor) & (value != 0)):
        share = pd.Series(np.where(told, odd, np.nan)).rolling(2 * STALE_READINGS, min_periods=STALE_READINGS)
        dense = share.mean().to_numpy() > 0.8
        spread = pd.Series(dense.astype(float)).iloc[::-1].rolling(2 * STALE_READINGS, min_periods=1).max().iloc[::-1]
        out |= odd & (spread.to_numpy() > 0)
    return out


def too_large(signal: Signal, flags: Flags) -> Mask:
    """Readings in another unit that makes them larger; smaller ones may as well be a machine that is nearly at rest."""
    unit = (flags & int(Flag.UNIT)) > 0
    if not unit.any():
        return unit
    sane = np.where(unit | ((flags & int(Flag.RANGE)) > 0), np.nan, signal.value)
    return np.asarray(unit & (np.abs(signal.value) > np.nanmax(np.abs(sane), initial=0.0)))


def still_stretches(value: Floats, usual: Usual, live: bool = False) -> tuple[Mask, Mask]:
    """Stretches of one value, three times as long as nearly all others; and of zeros at hours when it works, if rare.

    `live`: the quantity varies by nature, so that the longest stretch is no measure of itself, even when it is all there is.
    """
    first, last, size = _runs(value)
    zero = value[first] == 0
    others = np.sort(size[~zero])[: -1 if live else None]
    least = max(STALE_READINGS, 3 * float(np.quantile(others, 0.995)) if len(others) else 0)
    stale = ~zero & (size >= least)
    working = (usual.level > 0.05 * usual.full) & (usual.rests < 0.3)
    done = np.concatenate([[0], np.cumsum(working)])
    at_work = np.where(zero, done[last + 1] - done[first], 0)
    alike = len(at_work) - np.searchsorted(np.sort(at_work), 0.8 * at_work)
    rest = (at_work >= 4 * STALE_READINGS) & (alike <= _RARE)
    return _marked(len(value), first[stale], last[stale]), _marked(len(value), first[rest], last[rest])


def straight_lines(time_us: NDArray[np.int64], value: Floats) -> Mask:
    """Readings exactly on the line between their neighbours, more of them on end than the values' resolution explains."""
    out = np.zeros(len(value), bool)
    step = np.diff(value)
    scale = float(np.nanmax(np.abs(value), initial=0.0))
    even = np.abs(np.diff(time_us, 2)) <= 0.01 * np.diff(time_us)[1:]
    with np.errstate(invalid="ignore"):
        bend = np.abs(np.diff(step))
        straight = even & (bend <= 1e-9 * scale) & (np.abs(step[1:]) > 2e-9 * scale)
    resolution = _resolution(value)
    moving = np.abs(step[np.isfinite(step) & (step != 0)])
    chance = min(0.5, resolution / float(np.median(moving))) if len(moving) else 0.5
    least = max(1, math.ceil(math.log(1e-6) / math.log(max(chance, 1e-12))))
    first, last, size = _runs(straight.astype(np.float64))
    chosen = (straight[first] > 0) & (size >= least)
    out[1:-1] = _marked(len(straight), first[chosen], last[chosen])
    return out


def _resolution(value: Floats) -> float:
    """Step of the last digit of most values; 1e-10 when they have more than nine."""
    known = value[np.isfinite(value) & (value != 0)]
    if len(known) == 0:
        return 1e-10
    sample = known[:: max(1, len(known) // 2_000)]
    for digits in range(10):
        unit = 10.0**-digits
        if np.mean(np.abs(sample - np.round(sample / unit) * unit) < 1e-4 * unit) > 0.6:
            return unit
    return 1e-10


def outliers(value: Floats) -> Mask:
    """One reading far from both neighbours, on the same side: half as far again as the next largest such step of the series.

    The gap is looked for among the largest 2 % of steps (ten at least).
    """
    out = np.zeros(len(value), bool)
    there, back = np.diff(value)[:-1], -np.diff(value)[1:]
    step = np.nan_to_num(np.where(np.sign(there) == np.sign(back), np.minimum(np.abs(there), np.abs(back)), 0.0))
    order = np.sort(step)[::-1]
    top = order[: max(10, len(order) // 50) + 1]
    gaps = np.flatnonzero(top[:-1] > 1.5 * np.maximum(top[1:], 1e-12))
    gaps = gaps[top[gaps] > 4 * float(np.quantile(step, 0.95))]
    if len(gaps):
        out[1:-1] = step >= top[gaps[-1]]
    return out


def _runs(value: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """First and last index and length of each stretch of one value (NaN differs from all)."""
    starts = np.flatnonzero(np.concatenate([[True], value[1:] != value[:-1]]))
    ends = np.append(starts[1:], len(value)) - 1
    return starts, ends, ends - starts + 1


def _marked(length: int, first: NDArray[np.int64], last: NDArray[np.int64]) -> Mask:
    steps = np.zeros(length + 1, np.int64)
    np.add.at(steps, first, 1)
    np.add.at(steps, last + 1, -1)
    return np.cumsum(steps[:-1]) > 0
