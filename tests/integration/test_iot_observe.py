"""Roll-ups and observations: equal to a recomputation whatever the order of arrival, honest about what was known when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pandas as pd
import pytest

from collateral.cli import main
from collateral.db.pool import Pool, Role
from collateral.domain import AssetKind, SiteKind
from iot.observe import ObserveSummary, observe
from tests.iot_support import asset, device, number, register, rows, site, store

HALF_HOUR = 1_800_000_000
ADDS = {"active_power_kw": None, "energy_total_kwh": "rise", "energy_interval_kwh": "sum", "machine_running": None}
Reading = tuple[str, str, int, float, int]


def us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def look(database: str, now: datetime) -> ObserveSummary:
    with Pool(database, Role.APP, size=2) as pool:
        return observe(pool, now)


@pytest.mark.parametrize(("seed", "zone"), [(1, "Asia/Shanghai"), (2, "Asia/Kolkata"), (3, "Europe/Berlin")])
def test_rollups_equal_pandas_in_any_order(database: str, seed: int, zone: str) -> None:
    register(database, [device("d", list(ADDS))], [site("S1", zone=zone)])
    random = np.random.default_rng(seed)
    start = us(datetime(2024, 3, 25, 3, tzinfo=UTC))  # clocks change in Berlin on the 31st
    readings: list[Reading] = []
    for quantity in ADDS:
        moments = np.sort(random.choice(12 * 24 * 12, 400, replace=False)) * 300_000_000 + start
        value = np.round(random.random(400) * 50, 3)
        if ADDS[quantity] == "rise":
            value = np.cumsum(value)
            value[250:] -= value[250] - 1.0  # replaced meter
        readings += [("d", quantity, int(t), float(v), int(t) + 1) for t, v in zip(moments, value, strict=True)]
    order = random.permutation(len(readings))
    for part in np.array_split(order, 5):
        store(database, [readings[i] for i in part])
        look(database, datetime(2024, 5, 1, tzinfo=UTC))
    assert number(database, "SELECT count(*) FROM dirty_range") == 0
    _compare(database, readings, zone)


def _compare(database: str, readings: Sequence[Reading], zone: str) -> None:
    frame = pd.DataFrame(readings, columns=["device", "quantity", "time", "value", "received"])
    frame = frame.sort_values(["quantity", "time"])
    frame["moment"] = pd.to_datetime(frame["time"], unit="us", utc=True)
    rise = frame.groupby("quantity")["value"].diff().clip(lower=0).fillna(0.0)
    frame["amount"] = np.select(
        [frame.quantity == "energy_total_kwh", frame.quantity == "energy_interval_kwh"], [rise, frame.value], np.nan
    )
    for width, bucket in {
        "1h": frame.moment.dt.floor("h"),
        "day": frame.moment.dt.tz_convert(zone).dt.normalize().dt.tz_convert("UTC"),
    }.items():
        wanted = frame.groupby(["quantity", bucket]).agg(
            n=("value", "size"), mean=("value", "mean"), low=("value", "min"), high=("value", "max"),
            first=("value", "first"), last=("value", "last"), delta=("amount", lambda part: part.sum(min_count=1)),
            received=("received", "max"),
        )  # fmt: skip
        found = rows(
            database,
            "SELECT quantity, bucket, n, mean, low, high, first, last, coalesce(delta, 'NaN'),"
            " (extract(epoch FROM last_received_at) * 1000000)::bigint"
            " FROM rollup JOIN series USING (series_id) WHERE width = %s ORDER BY quantity, bucket",
            (width,),
        )
        assert [row[:2] for row in found] == list(wanted.index)
        assert np.allclose([list(row[2:]) for row in found], wanted.to_numpy(dtype=float), rtol=1e-9, equal_nan=True)


SHANGHAI = ZoneInfo("Asia/Shanghai")
MIDNIGHT = us(datetime(2024, 6, 1, tzinfo=SHANGHAI))
DAYS = 12
OUTAGE = (6 * 48, 8 * 48)  # two whole days without transmission, then a burst


def factory_readings() -> list[Reading]:
    random = np.random.default_rng(5)
    power = np.round(100 + 20 * random.random(DAYS * 48), 1)
    register_kwh = np.round(5000 + np.cumsum(power) / 2, 2)
    readings: list[Reading] = []
    for n in range(DAYS * 48):
        moment = MIDNIGHT + (n + 1) * HALF_HOUR
        received = moment + 2_000_000
        if OUTAGE[0] <= n < OUTAGE[1]:
            received = MIDNIGHT + OUTAGE[1] * HALF_HOUR + 600_000_000 + n
        readings.append(("meter", "active_power_kw", moment, float(power[n]), received))
        readings.append(("meter", "energy_total_kwh", moment, float(register_kwh[n]), received))
    return readings


def said(database: str, site_id: str = "S1") -> list[tuple[Any, ...]]:
    return rows(
        database,
        "SELECT quantity, valid_from, revision, value, lower, upper, quality, known_at FROM observation"
        " WHERE site_id = %s ORDER BY quantity, valid_from, revision",
        (site_id,),
    )


def day(n: int) -> datetime:
    return datetime(2024, 6, 1, tzinfo=SHANGHAI).astimezone(UTC) + timedelta(days=n)


@pytest.fixture
def factory(database: str) -> str:
    register(database, [device("meter", ["active_power_kw", "energy_total_kwh"], interval_s=1800)], [site()])
    return database


def test_silence_is_not_zero_and_the_burst_makes_a_second_revision(factory: str) -> None:
    readings = factory_readings()
    store(factory, readings)
    look(factory, day(DAYS) + timedelta(hours=3))
    by_day = {(quantity, moment, revision): rest for quantity, moment, revision, *rest in said(factory)}
    assert by_day["reporting_ratio", day(6), 1][0] == 0.0
    assert by_day["reporting_ratio", day(6), 1][4] == day(7) + timedelta(hours=2)
    assert by_day["reporting_ratio", day(6), 2][0] == 1.0
    assert by_day["late_hours", day(6), 1][0] == 24.0
    burst = by_day["energy_kwh_per_day", day(6), 1]
    assert burst[4] > day(8)  # no value was known before the burst
    values = {moment: rest for quantity, moment, _, *rest in said(factory) if quantity == "energy_kwh_per_day"}
    total = {reading[2]: reading[3] for reading in readings if reading[1] == "energy_total_kwh"}
    for n in range(1, DAYS):
        growth = total[MIDNIGHT + (n + 1) * 48 * HALF_HOUR] - total[MIDNIGHT + n * 48 * HALF_HOUR]
        value, lower, upper = values[day(n)][:3]
        assert value == pytest.approx(growth, abs=1e-3)
        assert lower == pytest.approx(growth * 0.99, abs=1e-3) and upper == pytest.approx(growth * 1.01, abs=1e-3)


def test_the_same_work_again_writes_nothing(factory: str) -> None:
    store(factory, factory_readings())
    first = look(factory, day(DAYS) + timedelta(hours=3))
    assert first.written > 4 * DAYS
    at_once = said(factory)
    with Pool(factory, Role.APP, size=2) as pool:
        again = observe(pool, day(DAYS) + timedelta(hours=3), since=day(0).date())
    assert again.written == 0 and again.unchanged > 0
    assert at_once == said(factory)


def test_run_every_six_hours_says_the_same_as_run_once(database: str) -> None:
    quantities = ["active_power_kw", "energy_total_kwh"]
    meters = [device("meter", quantities, interval_s=1800), device("twin", quantities, "S2", interval_s=1800)]
    register(database, meters, [site(), site("S2")])
    readings = sorted(factory_readings(), key=lambda reading: reading[4])
    arrived = np.array([reading[4] for reading in readings])
    sent = 0
    for hour in range(0, DAYS * 24 + 12, 6):
        until = int(np.searchsorted(arrived, MIDNIGHT + hour * 3_600_000_000, side="right"))
        if until > sent:
            store(database, readings[sent:until])
            sent = until
        look(database, day(0) + timedelta(hours=hour))
    assert sent == len(readings)
    store(database, [("twin", *reading[1:]) for reading in readings])
    look(database, day(DAYS) + timedelta(hours=8))
    assert said(database, "S1") == said(database, "S2")


def test_a_registered_device_that_never_reported_is_silent(database: str) -> None:
    """From the first whole day after its registration; the same whether looked at daily or once."""
    def ticks(name: str, first: int, last: int) -> list[Reading]:
        moments = [MIDNIGHT + (n + 1) * HALF_HOUR for n in range(first * 48, last * 48)]
        return [(name, "active_power_kw", moment, 5.0, moment + 1) for moment in moments]

    def ratios(site_id: str) -> list[tuple[Any, ...]]:
        query = (
            "SELECT value, (evidence->>'silent_devices')::int, right(evidence->>'device_id', 1) FROM observation"
            " WHERE site_id = %s AND quantity = 'reporting_ratio' ORDER BY valid_from, revision"
        )
        return rows(database, query, (site_id,))

    quantities = ["active_power_kw"]
    known = [device(f"{n}a", quantities, f"S{n}", interval_s=1800) for n in (1, 2)]
    later = [device(f"{n}b", quantities, f"S{n}", interval_s=1800) for n in (1, 2)]
    places = [site("S1"), site("S2"), site("S3")]
    register(database, known, places)
    deaf = device("3a", quantities, "S3", interval_s=1800)
    register(database, [*known, *later, deaf], places, known_at=day(1) + timedelta(hours=8))
    for n in range(6):
        store(database, ticks("1a", n, n + 1) + (ticks("1b", n, n + 1) if n >= 4 else []))
        look(database, day(n + 1) + timedelta(hours=3))
    store(database, ticks("2a", 0, 6) + ticks("2b", 4, 6))
    look(database, day(6) + timedelta(hours=3))
    assert ratios("S1") == [(1.0, 0, "a"), (1.0, 0, "a"), (0.0, 1, "b"), (0.0, 1, "b"), (1.0, 0, "a"), (1.0, 0, "a")]
    assert ratios("S2") == ratios("S1")
    assert ratios("S3") == []  # nothing at all was ever heard there


def test_a_failing_site_stops_no_other_and_keeps_its_work(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    quantities = ["active_power_kw"]
    devices = [device(f"m{n}", quantities, f"S{n}", interval_s=1800) for n in (1, 2)]
    register(database, devices, [site("S1", zone="Nowhere/Land"), site("S2")])
    readings = [
        (name, "active_power_kw", MIDNIGHT + (n + 1) * HALF_HOUR, 5.0, MIDNIGHT + (n + 1) * HALF_HOUR + 1)
        for name in ("m1", "m2") for n in range(2 * 48)
    ]  # fmt: skip
    store(database, readings)
    summary = look(database, day(2) + timedelta(hours=3))
    assert list(summary.failed) == ["S1"] and "Nowhere/Land" in summary.failed["S1"]
    assert said(database, "S1") == [] and len(said(database, "S2")) > 0
    left = "SELECT DISTINCT device_id FROM dirty_range JOIN series USING (series_id)"
    assert rows(database, left) == [("m1",)]
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(tmp_path))
    assert main(["observe", "--until", "2024-06-03T12:00:00Z", "--json"]) == 1
    assert list(orjson.loads(capsys.readouterr().out)["failed"]) == ["S1"]
    register(database, devices, [site("S1"), site("S2")])
    mended = look(database, day(2) + timedelta(hours=3))
    assert mended.failed == {} and rows(database, left) == []
    assert [row[:4] for row in said(database, "S1")] == [row[:4] for row in said(database, "S2")]


def test_solar_day_by_the_definitions(database: str) -> None:
    arrays = [asset(f"P{n}", AssetKind.PV_ARRAY, quantity=100.0) for n in range(3)]
    inverters = [device(f"inv{n}", ["ac_energy_total_kwh"], asset_id=f"P{n}", interval_s=1800) for n in range(3)]
    station = device("sun", ["irradiance_poa_w_m2"], interval_s=1800)
    register(database, [*inverters, station], [site(kind=SiteKind.SOLAR, kwp=300.0)], arrays)
    readings: list[Reading] = []
    for n in range(97):
        moment = MIDNIGHT + n * HALF_HOUR
        light = 800.0 if 20 <= n % 48 < 30 else 0.0  # ten half hours: 4 kWh/m2
        readings.append(("sun", "irradiance_poa_w_m2", moment, light, moment + 1))
        made = (n // 48) * 10 + min(10, max(0, n % 48 - 19))
        for k, share in enumerate((1.0, 1.0, 0.5)):
            readings.append((f"inv{k}", "ac_energy_total_kwh", moment, 1000.0 + made * 32.0 * share, moment + 1))
    store(database, readings)
    look(database, day(2) + timedelta(hours=3))
    found = {
        (row[0], row[1]): row[2]
        for row in rows(database, "SELECT quantity, subject_id, value FROM observation WHERE valid_from = %s", (day(1),))
    }
    assert found["irradiation_kwh_m2_per_day", "S1"] == pytest.approx(4.0)
    assert found["ac_energy_kwh_per_day", "S1"] == pytest.approx(320 + 320 + 160)
    assert found["performance_ratio", "S1"] == pytest.approx(800 / 300 / 4.0, abs=1e-4)
    assert found["inverter_yield_ratio", "P2"] == pytest.approx(0.5)
