"""Readings that cannot be true are left out of a day's sums; odd ones that can be are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from iot import amounts
from iot.believed import believed
from iot.days import DAY_US, HOUR_US, DayGrid, grid_over
from iot.signals import Signal, View, as_of_cutoff

BEGIN = int(datetime(2024, 6, 1, tzinfo=UTC).timestamp()) * 1_000_000
STEP = HOUR_US // 4
DAYS = 40


def days() -> DayGrid:
    return grid_over(ZoneInfo("UTC"), BEGIN, BEGIN + DAYS * DAY_US)


def power() -> Signal:
    rng = np.random.default_rng(4)
    time = BEGIN + np.arange(1, DAYS * 96 + 1, dtype=np.int64) * STEP
    shift = np.where((time // HOUR_US) % 24 < 16, 1.0, 0.1)
    return Signal("d", "active_power_kw", STEP, time, np.round(100 * shift * rng.uniform(0.8, 1.2, len(time)), 2), time + 1)


def left(signal: Signal) -> list[int]:
    """Indexes of readings that are left out."""
    key = (signal.device_id, signal.quantity)
    kept = believed(View(days(), {key: signal}, None, {key: signal})).signals[key]
    return np.flatnonzero(~np.isin(signal.time_us, kept.time_us)).tolist()


def test_all_of_a_clean_series_counts() -> None:
    assert left(power()) == []


def test_watts_for_kilowatts_are_left_out_and_the_day_is_doubtful_not_enormous() -> None:
    clean = power()
    value = clean.value.copy()
    faulty = slice(35 * 96 + 20, 35 * 96 + 50)
    value[faulty] *= 1000
    assert left(replace(clean, value=value)) == list(range(faulty.start, faulty.stop))
    key = (clean.device_id, clean.quantity)
    seen = View(days(), {key: replace(clean, value=value)}, None, {})
    summed = amounts.integral(believed(seen), believed(seen).signals[key], 1.0, 0.01)
    true = amounts.integral(seen, clean, 1.0, 0.01)
    assert summed.value[34] == pytest.approx(true.value[34])
    assert np.isnan(summed.value[35]) or summed.value[35] < 1.5 * true.value[35]
    assert summed.coverage[35] < amounts.FULL_COVERAGE


def test_a_plant_nearly_at_rest_and_a_busy_day_count_as_they_are() -> None:
    clean = power()
    value = clean.value.copy()
    value[30 * 96 : 33 * 96] /= 1000
    value[36 * 96 : 37 * 96] *= 6
    assert left(replace(clean, value=value)) == []


def test_out_of_range_and_from_the_future_are_left_out() -> None:
    clean = power()
    value, received = clean.value.copy(), clean.received_us.copy()
    value[[500, 501]] = (9e9, -9e9)
    received[900] -= 300_000_000
    assert left(replace(clean, value=value, received_us=received)) == [500, 501, 900]


def test_what_a_day_leaves_out_does_not_depend_on_later_days() -> None:
    """So that the first revision of a day is the same whenever it is made."""
    clean = power()
    value = clean.value.copy()
    value[20 * 96 + 10 : 20 * 96 + 60] *= 1000
    value[25 * 96 :] *= 1000
    signal = replace(clean, value=value)
    grid, key = days(), (clean.device_id, clean.quantity)
    cutoffs = grid.edges_us[1:] + 2 * HOUR_US
    whole = believed(as_of_cutoff(grid, {key: signal}, cutoffs)).signals[key]
    for last in (21, 24, 26, 30):
        part = signal.where(signal.time_us <= grid.edges_us[last])
        known = believed(as_of_cutoff(grid, {key: part}, cutoffs)).signals[key]
        assert known.time_us.tolist() == whole.time_us[whole.time_us <= grid.edges_us[last]].tolist()
