"""Backfill keeps arrival times, stores nothing twice, and joins what ingest stored already."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest

from collateral.cli import main
from collateral.db import arrivals
from collateral.db.arrivals import DeviceUpdate
from collateral.db.pool import Pool, Role
from collateral.db.telemetry import from_us, to_us
from collateral.errors import InvalidInputError
from iot.backfill import backfill
from tests.iot_support import device, number, register, rows, store

START = datetime(2024, 1, 1, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
T0_MS = 1_704_067_200_000


def recording(folder: Path, count: int = 500, bad: bool = False) -> Path:
    times = T0_MS + np.arange(count) * 1_800_000
    value = np.arange(count, dtype=float)
    if bad:
        value[3] = -5.0
        value[4] = np.nan
    (folder / "telemetry").mkdir(exist_ok=True)
    np.savez(
        folder / "telemetry" / "S1.npz", series=np.array(["m1|weight_kg"]), t0=times, v0=value, r0=times + 60_000,
        s0=np.arange(count) + 7,
    )  # fmt: skip
    return folder


@pytest.fixture(autouse=True)
def portfolio(database: str) -> None:
    register(database, [device("m1", ["weight_kg"])])


def test_twice_is_once_and_arrival_is_kept(database: str, tmp_path: Path) -> None:
    with Pool(database, Role.INGEST, size=1) as pool:
        first = backfill(pool, recording(tmp_path, bad=True))
        again = backfill(pool, tmp_path)
    assert (first.counts.stored, first.refused) == (498, 2)
    assert (again.counts.stored, again.counts.duplicates, again.counts.conflicts) == (0, 498, 0)
    assert rows(database, "SELECT DISTINCT received_at - time FROM reading")[0][0].total_seconds() == 60
    assert number(database, "SELECT count(*) FROM dirty_range") == 1
    assert rows(database, "SELECT last_sequence FROM device_state") == [(506,)]


def test_what_is_there_already_stays_and_contradictions_are_kept(database: str, tmp_path: Path) -> None:
    store(database, [("m1", "weight_kg", T0_MS * 1000, 99.0, T0_MS * 1000)])
    with Pool(database, Role.INGEST, size=1) as pool:
        summary = backfill(pool, recording(tmp_path))
    assert (summary.counts.stored, summary.counts.conflicts) == (499, 1)
    assert rows(database, "SELECT value FROM reading ORDER BY time LIMIT 1") == [(99.0,)]
    assert rows(database, "SELECT value FROM reading_conflict") == [(0.0,)]


@pytest.mark.parametrize("live_at", [499, 600])
def test_a_device_heard_since_does_not_go_back(database: str, tmp_path: Path, live_at: int) -> None:
    """The recording ends at row 499, number 506: what was heard then or later stays, and the next number is no gap."""
    at, received = to_us(START + live_at * HALF_HOUR), to_us(START + 700 * HALF_HOUR)
    with Pool(database, Role.INGEST, size=1) as pool:
        with pool.connection() as connection:
            live = DeviceUpdate(["m1"], [at], [received], [9000], [at], [False], [at], [3])
            arrivals.update_devices(connection, live)
        backfill(pool, recording(tmp_path))
    query = "SELECT last_time, last_received_at, last_sequence, online, messages FROM device_state"
    assert rows(database, query) == [(from_us(at), from_us(received), 9000, False, 3)], "a recording is not sent"


def test_a_recording_newer_than_the_device_moves_it_on(database: str, tmp_path: Path) -> None:
    folder = recording(tmp_path)
    data = dict(np.load(folder / "telemetry/S1.npz"))
    restarted = np.concatenate([np.arange(400) + 7, np.arange(100)])
    np.savez(folder / "telemetry/S1.npz", **{**data, "s0": restarted})
    with Pool(database, Role.INGEST, size=1) as pool:
        with pool.connection() as connection:
            early = to_us(START)
            live = DeviceUpdate(["m1"], [early], [early], [7], [early], [False], [early], [1])
            arrivals.update_devices(connection, live)
        backfill(pool, folder)
    found = rows(database, "SELECT last_time, last_sequence, online FROM device_state")
    assert found == [(START + 499 * HALF_HOUR, 99, True)]


def test_unknown_device_stores_nothing_and_says_what_to_do(database: str, tmp_path: Path) -> None:
    folder = recording(tmp_path)
    data = dict(np.load(folder / "telemetry/S1.npz"))
    np.savez(folder / "telemetry/S1.npz", **{**data, "series": np.array(["ghost|weight_kg"])})
    with Pool(database, Role.INGEST, size=1) as pool, pytest.raises(InvalidInputError, match="not in the portfolio"):
        backfill(pool, folder)
    assert number(database, "SELECT count(*) FROM reading") == 0
    whole = (folder / "telemetry/S1.npz").read_bytes()
    for broken in (b"PK nonsense", whole[: len(whole) // 2], b""):
        (folder / "telemetry/S1.npz").write_bytes(broken)
        with Pool(database, Role.INGEST, size=1) as pool, pytest.raises(InvalidInputError, match="not a recording"):
            backfill(pool, folder)


def test_rows_with_and_without_numbers_come_together(database: str, tmp_path: Path) -> None:
    folder = recording(tmp_path, count=4)
    data = dict(np.load(folder / "telemetry/S1.npz"))
    np.savez(folder / "telemetry/S1.npz", **{**data, "s0": np.array([-1, 8, -1, 9])})
    with Pool(database, Role.INGEST, size=1) as pool:
        assert backfill(pool, folder).counts.stored == 4
    assert rows(database, "SELECT sequence FROM reading ORDER BY time") == [(None,), (8,), (None,), (9,)]


def test_commands_from_files_to_figures(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(tmp_path))

    def said(*words: str) -> dict[str, object]:
        assert main([*words, "--json"]) == 0
        found = orjson.loads(capsys.readouterr().out)
        assert isinstance(found, dict)
        return found

    loaded = said("backfill", str(recording(tmp_path)))
    assert (loaded["stored"], loaded["files"], loaded["refused"]) == (500, 1, 0)
    observed = said("observe", "--until", "2024-01-12T00:00:00Z")
    assert (observed["sites"], observed["rollups"], observed["days"]) == (1, 500 + 250 + 11, 11)  # minutes, hours, days
    assert main(["observe", "--until", "2024-01-12"]) == 2
    assert said("observe", "--until", "2024-01-12T00:00:00Z")["rollups"] == 0
    assert said("ingest", "--stats")["points"] == 0
    assert main(["backfill", str(tmp_path / "nowhere"), "--json"]) == 1
    assert main(["replay", str(tmp_path / "x.csv"), "--map", "a=b", "--site", "S", "--device", "d"]) == 2
