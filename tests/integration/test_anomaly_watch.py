"""Unusual readings as the job keeps them: split anywhere, it says the same; a burst fills the past and alerts nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest

from collateral.cli import main
from collateral.db.pool import Pool, Role
from iot.anomaly_watch import SeriesWatch, WatchSummary, local_seconds, watch
from iot.days import HOUR_US
from tests.iot_support import device, number, register, rows, site, store

START = int(datetime(2024, 3, 1, tzinfo=UTC).timestamp()) * 1_000_000
STEP = 1_800_000_000
DAYS = 30
UNUSUAL = 20 * 48 + 20
OUTAGE = (24 * 48, 26 * 48)
Reading = tuple[str, str, int, float, int]


def readings() -> list[Reading]:
    """Shifts with noise; a stretch far above all others on day 20; days 24 and 25 come in one burst, odd ones among them."""
    rng = np.random.default_rng(3)
    time = START + np.arange(1, DAYS * 48 + 1, dtype=np.int64) * STEP
    hour = time // HOUR_US % 24
    value = np.where((hour >= 0) & (hour < 14), 100.0, 20.0) + rng.normal(0, 3, len(time))
    value[UNUSUAL : UNUSUAL + 6] += 400
    value[OUTAGE[0] + 30 : OUTAGE[0] + 34] += 900
    received = time + 2_000_000
    received[OUTAGE[0] : OUTAGE[1]] = time[OUTAGE[1]] + np.arange(OUTAGE[1] - OUTAGE[0])
    rounded = zip(time, value.round(2), received, strict=True)
    return [("m", "active_power_kw", int(t), float(v), int(r)) for t, v, r in rounded]


def look(database: str, us: int) -> WatchSummary:
    with Pool(database, Role.APP, size=2) as pool:
        return watch(pool, datetime.fromtimestamp(us / 1e6, UTC))


def said(database: str) -> list[tuple[object, ...]]:
    return rows(
        database,
        "SELECT DISTINCT ON (time_from) time_from, time_to, wait_days, reason, late FROM anomaly_episode"
        " ORDER BY time_from, revision DESC",
    )


@pytest.fixture
def metered(database: str) -> str:
    register(database, [device("m", ["active_power_kw"], interval_s=1800)], [site()])
    return database


def test_run_every_day_or_once_says_the_same_and_a_burst_alerts_nobody(metered: str) -> None:
    given = sorted(readings(), key=lambda one: one[4])
    arrived = np.array([one[4] for one in given])
    sent = 0
    for day in range(1, DAYS + 2):
        now = START + day * 48 * STEP
        until = int(np.searchsorted(arrived, now, side="right"))
        if until > sent:
            store(metered, given[sent:until])
            sent = until
        look(metered, now)
    daily = said(metered)
    assert sent == len(given)
    at = [datetime.fromtimestamp((START + (index + 1) * STEP) / 1e6, UTC) for index in (UNUSUAL, OUTAGE[0] + 30)]
    found = [row for row in daily if row[0] in at]
    assert [(row[0], row[4]) for row in found] == [(at[0], False), (at[1], True)]
    assert all(isinstance(row[2], float) and row[2] >= 90 for row in daily)
    assert len(daily) <= 4
    assert number(metered, "SELECT count(*) FROM alert") == 0
    assert number(metered, "SELECT passed_over FROM anomaly_state") == 0
    with Pool(metered, Role.APP, size=1) as pool, pool.connection() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM anomaly_state")
    assert look(metered, START + (DAYS + 1) * 48 * STEP).readings == len(given)
    assert said(metered) == daily


def test_what_comes_after_newer_readings_is_passed_over_and_counted(metered: str) -> None:
    given = readings()
    late = given[500:505]
    store(metered, given[:500] + given[505:540])
    look(metered, START + 560 * STEP)
    store(metered, [(*one[:4], START + 541 * STEP) for one in late])
    store(metered, given[540:600])
    assert look(metered, START + 640 * STEP).passed_over == 5
    assert look(metered, START + 650 * STEP).readings == 0
    assert number(metered, "SELECT passed_over FROM anomaly_state") == 5


def test_the_command_reports_and_a_failing_site_stops_no_other(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    devices = [device(f"m{n}", ["active_power_kw"], f"S{n}", interval_s=1800) for n in (1, 2)]
    register(database, devices, [site("S1", zone="Nowhere/Land"), site("S2")])
    store(database, [(name, *one[1:]) for name in ("m1", "m2") for one in readings()[:300]])
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(tmp_path))
    assert main(["anomalies", "--json"]) == 1
    report = orjson.loads(capsys.readouterr().out)
    assert list(report["failed"]) == ["S1"]
    assert report["readings"] == 300


def test_a_watch_goes_on_from_its_state_as_if_never_stopped() -> None:
    given = readings()
    time, value = np.array([one[2] for one in given]), np.array([one[3] for one in given])
    late = np.zeros(len(time), bool)
    local = local_seconds(time, "Asia/Shanghai")
    assert local[0] - time[0] // 1_000_000 == 8 * 3600
    whole = SeriesWatch(1800.0)
    whole.read(time, local, value, late)
    for cut in (0, 100, UNUSUAL + 3, UNUSUAL + 12, 1300):
        first = SeriesWatch(1800.0)
        first.read(time[:cut], local[:cut], value[:cut], late[:cut])
        second = SeriesWatch(1800.0, state=first.state())
        second.read(time[cut:], local[cut:], value[cut:], late[cut:])
        assert second.state() == whole.state()
    assert len(whole.state()) < 30_000
    assert SeriesWatch(900.0, state=whole.state()).state() == SeriesWatch(900.0).state()  # another step: started anew


def test_days_of_the_site_begin_an_hour_earlier_in_summer() -> None:
    noon = [int(datetime(2024, month, 1, 12, tzinfo=UTC).timestamp()) * 1_000_000 for month in (1, 7)]
    assert (local_seconds(np.array(noon), "Europe/Berlin") // 3600 % 24).tolist() == [13, 14]
    assert timedelta(microseconds=noon[1] - noon[0]) > timedelta(days=180)
