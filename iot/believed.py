"""Which readings count in the sums of a day: all but those that cannot be true. Pure.

Left out are values outside what the quantity can be, readings dated after they arrived (unless the clock is off by a stable
amount), and stretches in another unit that makes them a hundred times too large. The rules are those of `iot.quality`,
judged on the weeks up to the end of each day, so that a day says the same whenever it is looked at. Too small by a hundred
counts as it is: a stop looks like that too, and must not be explained away. Another unit for more than two weeks is usual.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collateral.quantities import READING_QUANTITIES, Adds
from iot.days import DAY_US, DayGrid
from iot.quality import FUTURE_US, Flag, Limits, judge, too_large
from iot.signals import Signal, View

HISTORY_DAYS = 28
"""On which a day is judged."""
_ODD = 4.0
"""A day whose largest value is less than this many times the usual is in no other unit (`another_unit` asks for five)."""

Mask = NDArray[np.bool_]


def believed(view: View) -> View:
    """The view without the readings that cannot be true. Registers, states and positions have rules of their own."""
    kept: dict[tuple[str, str], Signal] = {}
    for key, signal in view.signals.items():
        quantity = READING_QUANTITIES[signal.quantity]
        if quantity.adds in (Adds.GAUGE, Adds.INTERVAL):
            wrong = unbelievable(view.grid, signal, Limits(quantity.low, quantity.high, quantity.adds))
            kept[key] = signal.where(~wrong) if wrong.any() else signal
        else:
            kept[key] = signal
    return View(view.grid, kept, view.known_by_us, view.everything)


def unbelievable(grid: DayGrid, signal: Signal, limits: Limits) -> Mask:
    """Readings of a gauge or of interval amounts that cannot be true."""
    wrong = ~((signal.value >= limits.low) & (signal.value <= limits.high))
    day = grid.ending_in(signal.time_us)
    for odd in _odd_days(grid, signal, day, wrong):
        until_us = int(grid.edges_us[odd + 1])
        begin, end = np.searchsorted(signal.time_us, [until_us - HISTORY_DAYS * DAY_US, until_us + 1])
        window = np.zeros(len(wrong), bool)
        window[begin:end] = True
        part = signal.where(window)
        flags = judge(part, limits)
        false = ((flags & int(Flag.FUTURE)) > 0) | too_large(part, flags)
        wrong[begin:end] |= false & (day[begin:end] == odd)
    return wrong


def _odd_days(grid: DayGrid, signal: Signal, day: NDArray[np.int64], wrong: Mask) -> list[int]:
    """Days that are worth a judgement: something dated ahead, or far larger than the weeks before."""
    inside = (day >= 0) & (day < len(grid))
    odd = np.zeros(len(grid), bool)
    odd[day[inside & (signal.time_us > signal.received_us + FUTURE_US)]] = True
    largest = np.full(len(grid), np.nan)
    sound = inside & ~wrong
    np.fmax.at(largest, day[sound], np.abs(signal.value[sound]))
    usual = pd.Series(largest).rolling(HISTORY_DAYS, min_periods=2).median().to_numpy()
    with np.errstate(invalid="ignore"):
        odd |= largest > _ODD * usual
    return np.flatnonzero(odd).tolist()
