"""Daily amounts, liveness, repeated stretches and tracks by hand-made series."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from iot import amounts, checks
from iot.areas import Areas, flat, outside_m, to_metres
from iot.days import DAY_US, HOUR_US, DayGrid, grid_over
from iot.liveness import device_days
from iot.signals import Signal, View, as_of_cutoff
from iot.tracks import movable, route_deviation

ZONE = ZoneInfo("Asia/Shanghai")
BEGIN = int(datetime(2024, 6, 1, tzinfo=ZONE).timestamp()) * 1_000_000
STEP = HOUR_US // 2
PER_DAY = 48


def grid(days: int) -> DayGrid:
    return grid_over(ZONE, BEGIN, BEGIN + days * DAY_US)


def signal(values: np.ndarray, quantity: str = "active_power_kw", first: int = 1, delay_us: int = 1_000_000) -> Signal:
    times = BEGIN + (np.arange(len(values)) + first) * STEP
    return Signal("d", quantity, STEP, times.astype(np.int64), np.asarray(values, float), times + delay_us)


def view(one: Signal, days: int) -> View:
    signals = {(one.device_id, one.quantity): one}
    return View(grid(days), signals, None, signals)


def whole(seen: View, one: Signal) -> amounts.DayValues:
    return amounts.register_growth(seen, one, seen.grid.edges_us[:-1], seen.grid.edges_us[1:])


def test_days_follow_the_clock_changes_of_the_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    begin = int(datetime(2024, 3, 30, 12, tzinfo=UTC).timestamp()) * 1_000_000
    days = grid_over(berlin, begin, begin + 2 * DAY_US)
    assert days.first == date(2024, 3, 30)
    assert np.diff(days.edges_us).tolist() == [DAY_US, DAY_US - HOUR_US, DAY_US]
    edge = days.edges_us[1]
    assert days.starting_in(np.array([edge])).tolist() == [1]
    assert days.ending_in(np.array([edge])).tolist() == [0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=3 * PER_DAY + 1, max_size=3 * PER_DAY + 1), st.integers(0, 2**31))
def test_register_growth_of_the_days_adds_up_and_holds_what_is_missing(rises: list[float], seed: int) -> None:
    total = np.cumsum(rises)
    complete = signal(total, "energy_total_kwh", first=0)
    truth = whole(view(complete, 3), complete)
    assert np.allclose(truth.value.sum(), total[-1] - total[0])
    keep = np.random.default_rng(seed).random(len(total)) > 0.3
    keep[[0, -1]] = True
    holed = complete.where(keep)
    seen = whole(view(holed, 3), holed)
    assert np.all(seen.lower <= truth.value + 1e-6) and np.all(truth.value <= seen.upper + 1e-6)
    assert np.allclose(seen.value.sum(), total[-1] - total[0])


def test_register_tells_what_was_used_in_silence_and_zero_is_not_missing() -> None:
    total = np.arange(5 * PER_DAY + 1, dtype=float)
    quiet = signal(total, "energy_total_kwh", first=0)
    silent = quiet.where((np.arange(len(total)) <= PER_DAY) | (np.arange(len(total)) > 4 * PER_DAY))
    days = whole(view(silent, 5), silent)
    assert days.value[2] == pytest.approx(48, abs=0.5)
    assert days.lower[2] == 0.0 and days.upper[2] >= 3 * 48
    before = silent.where(silent.time_us <= BEGIN + DAY_US)
    assert np.isnan(whole(view(before, 5), before).value[1:]).all()
    standing = signal(np.full(PER_DAY + 1, 7.0), "energy_total_kwh", first=0)
    assert whole(view(standing, 1), standing).value[0] == 0.0


def test_replaced_register_is_no_negative_energy() -> None:
    total = np.concatenate([np.arange(30.0), np.arange(19.0)])
    meter = signal(total, "energy_total_kwh", first=0)
    assert whole(view(meter, 1), meter).value[0] == pytest.approx(29 + 18)


def test_missing_intervals_count_as_the_mean_inside_an_interval_that_holds_them() -> None:
    amounts_kwh = signal(np.full(PER_DAY, 2.0), "energy_interval_kwh")
    days = amounts.interval_sum(view(amounts_kwh, 1), amounts_kwh)
    assert days.value[0] == pytest.approx(96.0)
    holed = amounts_kwh.where(np.arange(PER_DAY) % 4 != 0)
    seen = amounts.interval_sum(view(holed, 1), holed)
    assert seen.value[0] == pytest.approx(96.0) and seen.lower[0] < 73 and seen.upper[0] > 96
    mostly_silent = amounts_kwh.where(np.arange(PER_DAY) < 20)
    assert np.isnan(amounts.interval_sum(view(mostly_silent, 1), mostly_silent).value[0])


def test_hours_on_is_the_union_of_machines() -> None:
    first = signal(np.where(np.arange(PER_DAY) < 10, 1.0, 0.0), "machine_running")
    longer = np.where(np.arange(PER_DAY) < 14, 1.0, 0.0)
    second = Signal("e", "machine_running", STEP, first.time_us, longer, first.received_us)
    signals = {("d", "machine_running"): first, ("e", "machine_running"): second}
    days = amounts.hours_on(View(grid(1), signals, None, signals), [first, second])
    assert days.value[0] == pytest.approx(7.0)


def test_cutoff_keeps_back_what_came_later() -> None:
    late = signal(np.arange(2 * PER_DAY, dtype=float), delay_us=26 * HOUR_US)
    cutoffs = grid(2).edges_us[1:] + 2 * HOUR_US
    early = as_of_cutoff(grid(2), {("d", "active_power_kw"): late}, cutoffs)
    assert len(early.signals["d", "active_power_kw"].time_us) == 0
    heard = device_days(early, list(early.signals.values()), int(late.time_us[0]))
    assert heard.ratio.tolist() == [0.0, 0.0]
    everything = device_days(view(late, 2), [late], int(late.time_us[0]))
    assert everything.ratio.tolist() == [1.0, 1.0] and everything.late_hours.tolist() == [24.0, 24.0]


def test_nothing_is_expected_before_the_first_reading() -> None:
    begun = signal(np.ones(PER_DAY + 24), first=PER_DAY + 25)
    heard = device_days(view(begun, 3), [begun], int(begun.time_us[0]))
    assert heard.expected.tolist() == [0, 24, 48] and np.isnan(heard.ratio[0])


def lively(days: int) -> np.ndarray:
    return np.round(np.random.default_rng(3).gamma(5, 20, days * PER_DAY), 1)


def test_frozen_value_is_found_and_rest_is_not() -> None:
    values = lively(10)
    values[5 * PER_DAY + 10 : 8 * PER_DAY] = 55.5
    hours = checks.frozen_hours(grid(10), signal(values))
    assert hours[5] == pytest.approx(18.5) and hours[6] == hours[7] == 24.0
    assert hours[:5].max() < 2 and hours[8:].max() < 2
    values[5 * PER_DAY + 10 : 8 * PER_DAY] = 0.0
    assert checks.frozen_hours(grid(10), signal(values)).max() < 2
    steady = np.full(10 * PER_DAY, 20.0)  # never seen to vary: nothing can be said
    assert checks.frozen_hours(grid(10), signal(steady)).max() == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5 * PER_DAY), st.integers(12, PER_DAY), st.integers(6, 8))
def test_replayed_stretch_is_found_where_it_is(source: int, length: int, day: int) -> None:
    values = lively(10)
    assert checks.replayed_hours(grid(10), signal(values)).max() == 0
    target = day * PER_DAY
    values[target : target + length] = values[source : source + length]
    hours = checks.replayed_hours(grid(10), signal(values))
    assert hours[day] == pytest.approx(min(24.0, length / 2))
    assert np.delete(hours, day).max() == 0


def test_constant_state_is_no_replay() -> None:
    assert checks.replayed_hours(grid(10), signal(np.tile([1.0] * 20 + [0.0] * 28, 10))).max() == 0


def test_deviation_is_in_metres_and_zero_inside() -> None:
    corridor = shapely.box(121.0, 31.0, 121.1, 31.1)
    lon, lat = np.array([121.05, 121.05, 121.2]), np.array([31.05, 31.109, 31.05])
    shape = flat(corridor, 32651)
    away = outside_m(shape, np.column_stack(to_metres(32651).transform(lon, lat)))
    assert away[0] == 0.0
    assert away[1] == pytest.approx(998, rel=0.01)  # 0.009 degrees of latitude
    assert away[2] == pytest.approx(9545, rel=0.01)
    east, north = signal(np.resize(lon, PER_DAY), "longitude_deg"), signal(np.resize(lat, PER_DAY), "latitude_deg")
    areas = Areas(shape, None, None, shape, ())
    days = route_deviation(movable(view(east, 1), east, north, 32651), lambda number: areas)
    assert days.value[0] == pytest.approx(away[2]) and days.lower[0] < days.value[0] < days.upper[0]


def test_a_device_that_reports_more_often_does_not_look_frozen() -> None:
    slow = signal(lively(10))
    usual = slow.time_us <= BEGIN + 9 * DAY_US
    dense_us = np.arange(BEGIN + 9 * DAY_US + STEP, slow.time_us[-1], STEP // 30)
    held = slow.value[np.searchsorted(slow.time_us, dense_us)]
    times, values = np.concatenate([slow.time_us[usual], dense_us]), np.concatenate([slow.value[usual], held])
    assert checks.frozen_hours(grid(10), Signal("d", "active_power_kw", STEP, times, values, times)).max() < 2
    values[times > BEGIN + 9 * DAY_US + 12 * HOUR_US] = 33.3
    assert checks.frozen_hours(grid(10), Signal("d", "active_power_kw", STEP, times, values, times))[9] > 11
