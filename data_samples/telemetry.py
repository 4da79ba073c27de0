"""From operating truth to messages: registers, rounding, latency, loss, and the storylines that only distort a sensor.

Every message of a device carries all its quantities and one sequence number. A lost message leaves a hole in the
sequence; registers show what happened in between.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collateral.domain import Device
from data_samples.calendar import HOLIDAY_NAMES
from data_samples.clock import PER_DAY, STEP_H, Clock, Floats, Ints, stream
from data_samples.inventory import Inventory, SitePlan
from data_samples.operations import SiteTruth, onset_of

LOST_SHARE = 0.002
LATE_SHARE = 0.004
OUTAGE = timedelta(days=3)
REPLAY_STEPS = 14 * PER_DAY

_REGISTERS: Mapping[str, str] = {"energy_total_kwh": "active_power_kw", "ac_energy_total_kwh": "ac_power_kw"}
DECIMALS: Mapping[str, int] = {
    "active_power_kw": 1, "ac_power_kw": 1, "machine_running": 0, "temperature_degc": 1, "irradiance_poa_w_m2": 1,
    "module_temperature_degc": 1, "weight_kg": 0, "tags_present": 0, "longitude_deg": 6, "latitude_deg": 6,
    "speed_km_h": 1, "door_openings_total": 0, "energy_total_kwh": 2, "ac_energy_total_kwh": 2,
}
"""Decimals a device reports."""


@dataclass(frozen=True)
class DeviceSeries:
    """All messages of one device, in the order of measurement; arrays of shape (messages,)."""

    device: Device
    times_ms: Ints
    received_ms: Ints
    sequence: Ints
    values: Mapping[str, Floats]

    def between(self, after_ms: int, until_ms: int) -> DeviceSeries:
        """Messages measured in (after_ms, until_ms]."""
        keep = slice(*np.searchsorted(self.times_ms, [after_ms, until_ms], side="right").tolist())
        return DeviceSeries(self.device, self.times_ms[keep], self.received_ms[keep], self.sequence[keep],
                            {key: value[keep] for key, value in self.values.items()})


def site_series(plan: SitePlan, things: Inventory, truth: SiteTruth, clock: Clock, seed: int) -> list[DeviceSeries]:
    """Messages of every device of a site over the whole clock, horizon included."""
    return [_device_series(plan, device, truth, clock, seed) for device in things.devices]


def _device_series(plan: SitePlan, device: Device, truth: SiteTruth, clock: Clock, seed: int) -> DeviceSeries:
    rng = stream(seed, "device", device.device_id)
    values = measured(plan, device, truth, clock, rng)
    times = clock.times_ms()
    received = times + _latency_ms(rng, len(times))
    outage = onset_of(plan, "gateway_outage")
    if outage is not None:
        received = _held_back(times, received, outage, rng)
    sequence = np.arange(1, len(times) + 1, dtype=np.int64) + int(rng.integers(1000, 90_000))
    kept = rng.random(len(times)) >= LOST_SHARE
    kept[0] = True
    return DeviceSeries(device, times[kept], received[kept], sequence[kept],
                        {key: value[kept] for key, value in values.items()})


def measured(
    plan: SitePlan, device: Device, truth: SiteTruth, clock: Clock, rng: np.random.Generator
) -> dict[str, Floats]:
    """What the device says at the end of each interval, registers and sensor storylines included; shape (steps,)."""
    honest = truth.signals[device.device_id]
    replay = onset_of(plan, "sensor_replayed")
    order = _replay_order(clock, replay) if replay is not None else None
    values: dict[str, Floats] = {}
    for quantity in device.quantities:
        source = honest[_REGISTERS.get(quantity, quantity)]
        gauge = np.round(source if order is None else source[order], DECIMALS[_REGISTERS.get(quantity, quantity)])
        if quantity in _REGISTERS:
            start = float(rng.integers(100_000, 4_000_000))
            values[quantity] = np.round(start + np.cumsum(gauge * STEP_H), 2)
        elif quantity == "door_openings_total":
            values[quantity] = float(rng.integers(5_000, 60_000)) + np.cumsum(gauge)
        else:
            values[quantity] = gauge + 0.0
    frozen = onset_of(plan, "sensor_frozen")
    if frozen is not None and device.device_id.endswith("-METER"):
        first = clock.step_index(frozen)
        for quantity in values:
            values[quantity][first:] = values[quantity][first]
    return values


def _replay_order(clock: Clock, onset: datetime) -> Ints:
    """For each interval the one whose values are sent: from `onset` on, an earlier fortnight again and again."""
    first = clock.day_index(onset)
    weeks = next((count for count in range(2, 9) if _plain(clock, first - 7 * count)), 2)
    order = np.arange(clock.steps)
    begin = first * PER_DAY
    order[begin:] = begin - 7 * weeks * PER_DAY + (order[begin:] - begin) % REPLAY_STEPS
    return order


def _plain(clock: Clock, first: int) -> bool:
    return first >= 0 and not any(clock.day(first + offset) in HOLIDAY_NAMES for offset in range(14))


def _latency_ms(rng: np.random.Generator, count: int) -> Ints:
    usual = rng.gamma(2.0, 900.0, count) + 200.0
    late = np.where(rng.random(count) < LATE_SHARE, rng.uniform(60_000, 2_400_000, count), 0.0)
    return np.asarray(usual + late, dtype=np.int64)


def _held_back(times: Ints, received: Ints, outage: datetime, rng: np.random.Generator) -> Ints:
    """Messages of the outage arrive in a burst of some minutes after it, in order, with their true times."""
    begin = int(outage.timestamp() * 1000)
    end = begin + int(OUTAGE.total_seconds() * 1000)
    held = (times > begin) & (times <= end)
    received = received.copy()
    received[held] = end + 5_000 + np.sort(rng.uniform(0, 12 * 60_000, int(held.sum()))).astype(np.int64)
    return received


def write_npz(path: Path, series: Sequence[DeviceSeries]) -> int:
    """Writes one site's file (see WORLD.md) and returns the number of readings. The same input gives the same bytes."""
    arrays: dict[str, NDArray[np.generic]] = {}
    names: list[str] = []
    for item in series:
        for quantity, values in item.values.items():
            index = len(names)
            names.append(f"{item.device.device_id}|{quantity}")
            arrays |= {f"t{index}": item.times_ms, f"v{index}": values, f"r{index}": item.received_ms,
                       f"s{index}": item.sequence}
    arrays["series"] = np.array(names)
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for key, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED, 1)
    partial.replace(path)
    return sum(len(item.times_ms) * len(item.values) for item in series)
