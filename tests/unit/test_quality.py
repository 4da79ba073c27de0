"""Quality of readings: each fault gets its flag and clean readings get none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from collateral.errors import InvalidInputError
from collateral.quantities import Adds
from iot.days import HOUR_US
from iot.quality import Flag, Flags, Limits, clock_offset_us, judge
from iot.quality_evaluate import evaluate_quality
from iot.quality_faults import KINDS, Series, delivered, put_fault, with_register
from iot.signals import Signal

STEP_US = 900_000_000
POWER = Limits(-1.0, 500.0, Adds.GAUGE)


def solar(days: int = 28, seed: int = 1) -> Series:
    """Power of a plant: nothing at night, clouds by day."""
    rng = np.random.default_rng(seed)
    time = np.arange(days * 96, dtype=np.int64) * STEP_US
    sun = np.maximum(0.0, -np.cos(time / (24 * HOUR_US) * 2 * np.pi))
    cloud = np.repeat(rng.uniform(0.3, 1, days * 24), 4) * rng.uniform(0.9, 1, days * 96)
    value = np.round(100 * sun * cloud, 3)
    return Series("plant", delivered(Signal("d", "ac_power_kw", STEP_US, time, value, time), rng), POWER)


def flagged(flags: Flags, flag: Flag) -> list[int]:
    return np.flatnonzero(flags & int(flag)).tolist()


def test_clean_readings_get_no_flag() -> None:
    series = solar()
    assert not judge(series.signal, series.limits).any()


@pytest.mark.parametrize("frozen", [500, 2_500, 2_660, 2_688])
def test_a_live_value_that_stays_frozen_goes_on_being_stale(frozen: int) -> None:
    series = solar()
    value = np.where(np.arange(2_688) >= 2_688 - frozen, 42.0, series.signal.value + np.arange(2_688) % 7 * 0.1)
    flags = judge(replace(series.signal, value=value), POWER)
    assert len(flagged(flags, Flag.STALE)) == frozen


@pytest.mark.parametrize("name", sorted(KINDS))
def test_each_fault_is_found_where_it_is(name: str) -> None:
    kind = KINDS[name]
    rng = np.random.default_rng(sorted(KINDS).index(name))
    found = tried = 0
    while tried < 6:
        series = with_register(solar(), rng) if kind.registers else solar(seed=tried)
        put = put_fault(series, kind, rng)
        if put is None:
            continue
        tried += 1
        faulty, (first, last) = put
        at = flagged(judge(faulty.signal, faulty.limits), kind.flag)
        found += any(first <= index <= last for index in at)
        night = 60 if name == "replayed" else 1  # the zeros beside a replayed day are equal too
        assert all(first - night <= index <= last + night for index in at), (name, first, last, at)
    assert found >= 5


def test_offset_of_a_stable_clock_error_is_measured_and_a_burst_is_none() -> None:
    signal = solar().signal
    time = signal.time_us.copy()
    time[1_000:1_200] -= 40 * 60_000_000
    order = np.argsort(time, kind="stable")
    moved = Signal("d", "q", STEP_US, time[order], signal.value[order], signal.received_us[order])
    offset = clock_offset_us(moved)
    told = offset[~np.isnan(offset)]
    assert 150 <= len(told) <= 260
    np.testing.assert_allclose(told, -40 * 60e6, rtol=0.01)
    assert np.isnan(clock_offset_us(signal)).all()  # bursts after outages are in it


def test_zero_at_night_is_natural_and_by_day_a_rest() -> None:
    signal = solar().signal
    value = signal.value.copy()
    value[20 * 96 : 21 * 96] = 0.0
    flags = judge(replace(signal, value=value), POWER)
    rest = flagged(flags, Flag.AT_REST)
    assert rest
    assert all(19 * 96 <= index <= 22 * 96 for index in rest)
    assert not flagged(flags, Flag.STALE)


def test_not_a_number_is_out_of_range_and_harms_nothing_else() -> None:
    signal = solar().signal
    value = signal.value.copy()
    value[[500, 501]] = (np.nan, np.inf)
    flags = judge(replace(signal, value=value), POWER)
    assert flagged(flags, Flag.RANGE) == [500, 501]
    assert (flags != 0).sum() == 2


def test_short_series_are_judged_too() -> None:
    for length in (0, 1, 2, 5):
        some = np.arange(length, dtype=np.int64)
        signal = Signal("d", "q", STEP_US, some * STEP_US, some.astype(np.float64), some * STEP_US)
        for adds in Adds:
            assert not judge(signal, Limits(0, 10, adds)).any()


def test_folder_without_labels_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="pvanalytics"):
        evaluate_quality(tmp_path / "x")


def test_labelled_spans_and_injected_faults_of_real_series(labelled_data: Path) -> None:
    result = evaluate_quality(labelled_data / "telemetry", seed=77)
    kinds, injected = result["kinds"], result["injected"]
    assert isinstance(kinds, dict)
    assert isinstance(injected, dict)
    for name, row in kinds.items():
        assert row["found"] == row["spans"] > 0, name
    for name, row in injected.items():
        assert row["n"] >= 50, name
        assert min(row["precision"], row["recall"]) >= 0.95, (name, row)
