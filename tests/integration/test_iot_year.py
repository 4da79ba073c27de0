"""A recorded year over the broker, ingest killed in the middle: every row once, roll-ups as pandas has them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pandas as pd
import pytest

from collateral.db.pool import Pool, Role
from iot.observe import observe
from tests.iot_support import device, ingest_process, number, register, rows, site, wait_for
from tests.services_support import Broker

ROWS = 35_040
SEOUL = ZoneInfo("Asia/Seoul")
COLUMNS = {
    "Usage_kWh": "energy_interval_kwh",
    "Lagging_Current_Reactive.Power_kVarh": "reactive_energy_kvarh",
    "Lagging_Current_Power_Factor": "power_factor_percent",
}


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """The labelled year where it is there, else one of the same size and kind."""
    folder = os.environ.get("COLLATERAL_DATA")
    real = Path(folder or "/nowhere") / "telemetry/steel/Steel_industry_data.csv"
    if real.is_file():
        return real
    random = np.random.default_rng(2018)
    hour = (np.arange(1, ROWS + 1) * 0.25) % 24
    usage = np.round(np.where((hour > 8) & (hour <= 20), random.gamma(4, 20, ROWS), random.gamma(3, 1, ROWS)), 2)
    frame = pd.DataFrame({
        "date": "wrong on purpose",
        "Usage_kWh": usage,
        "Lagging_Current_Reactive.Power_kVarh": np.round(random.gamma(2, 5, ROWS), 2),
        "Lagging_Current_Power_Factor": np.round(random.uniform(40, 100, ROWS), 2),
    })
    made = tmp_path / "year.csv"
    frame.to_csv(made, index=False)
    return made


def test_year_survives_kill_of_ingest(database: str, broker: Broker, tmp_path: Path, recording: Path) -> None:
    register(database, [device("press", list(COLUMNS.values()))], [site("S1", zone="Asia/Seoul")])
    with ingest_process(database, broker.mqtt_url, tmp_path) as first:
        replay = _start_replay(broker, tmp_path, recording)
        wait_for(lambda: number(database, "SELECT count(*) FROM reading") > 10_000, 60, "the first part")
        first.send_signal(signal.SIGKILL)
        first.wait(timeout=10)
    with ingest_process(database, broker.mqtt_url, tmp_path):
        output, _ = replay.communicate(timeout=120)
        assert replay.returncode == 0
        assert orjson.loads(output)["acknowledged"] == ROWS
        wait_for(lambda: number(database, "SELECT count(*) FROM reading") == 3 * ROWS, 60, "the whole year")
    expected = pd.read_csv(recording, encoding="utf-8-sig")
    start = datetime(2018, 1, 1, 0, 15, tzinfo=SEOUL).astimezone(UTC)
    expected["time"] = [start + timedelta(minutes=15) * n for n in range(ROWS)]
    _same_rows(database, expected)
    tally = rows(
        database,
        "SELECT sum(points), sum(stored + duplicates + conflicts + quarantined), sum(conflicts) FROM ingest_tally",
    )
    assert tally[0][0] == tally[0][1] >= 3 * ROWS and tally[0][2] == 0
    assert number(database, "SELECT count(*) FROM device_event WHERE kind LIKE 'sequence%%'") == 0
    with Pool(database, Role.APP, size=2) as pool:
        observe(pool, datetime(2019, 1, 2, tzinfo=UTC))
    _same_rollups(database, expected)


def _start_replay(broker: Broker, tmp_path: Path, recording: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "COLLATERAL_MQTT_URL": broker.mqtt_fleet_url, "COLLATERAL_RUNTIME": str(tmp_path)}
    command = [
        sys.executable, "-m", "collateral.cli", "replay", str(recording), "--json",
        "--map", ",".join(f"{column}={quantity}" for column, quantity in COLUMNS.items()),
        "--site", "S1", "--device", "press", "--time-start", "2018-01-01T00:15", "--time-step", "900s",
        "--time-zone", "Asia/Seoul",
    ]  # fmt: skip
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, env=environment, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _same_rows(database: str, expected: pd.DataFrame) -> None:
    for column, quantity in COLUMNS.items():
        found = rows(
            database,
            "SELECT time, value FROM reading JOIN series USING (series_id) WHERE quantity = %s ORDER BY time",
            (quantity,),
        )
        assert [row[0] for row in found] == list(expected["time"])
        assert np.array_equal([row[1] for row in found], expected[column].astype(float))


def _same_rollups(database: str, expected: pd.DataFrame) -> None:
    local = expected["time"].dt.tz_convert("Asia/Seoul")
    buckets = {"1h": expected["time"].dt.floor("h"), "day": local.dt.normalize().dt.tz_convert("UTC")}
    for width, bucket in buckets.items():
        for column, quantity in COLUMNS.items():
            wanted = expected.groupby(bucket)[column].agg(["size", "mean", "min", "max", "first", "last", "sum"])
            found = pd.DataFrame(
                rows(
                    database,
                    "SELECT bucket, n, mean, low, high, first, last, delta FROM rollup JOIN series USING (series_id)"
                    " WHERE width = %s AND quantity = %s ORDER BY bucket",
                    (width, quantity),
                )
            )
            assert list(found[0]) == list(wanted.index)
            assert np.array_equal(found[1], wanted["size"])
            assert np.allclose(found[2], wanted["mean"], rtol=1e-12)
            assert np.array_equal(found[[3, 4, 5, 6]].to_numpy(), wanted[["min", "max", "first", "last"]].to_numpy())
            if quantity == "power_factor_percent":
                assert found[7].isna().all()
            else:
                assert np.allclose(found[7].astype(float), wanted["sum"], rtol=1e-9)
