"""Old telemetry goes and stays as the policy says; what this edition cannot do is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collateral.db.pool import Pool, Role
from collateral.db.telemetry import to_us
from collateral.errors import InvalidInputError
from iot.observe import observe
from iot.retention import BEHIND, EDITION, Policy, read_policy, retain
from tests.iot_support import device, number, register, rows, store

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_a_policy_names_days_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[reading]\nkeep_days = 3650\n[rollup]\nminutes_keep_days = 7\n")
    assert read_policy(path) == Policy(reading_keep_days=3650, rollup_minutes_keep_days=7)
    for text, said in (("[reading]\nkeep = 1", "is not a rule"), ("[reading]\nkeep_days = -1", "whole days"), ("=", "TOML")):
        path.write_text(text)
        with pytest.raises(InvalidInputError, match=said):
            read_policy(path)


def test_readings_without_their_rollups_stay(database: str) -> None:
    register(database, [device("m1", ["active_power_kw"])])
    old = NOW - timedelta(days=400)
    store(database, [("m1", "active_power_kw", to_us(old), 1.0, to_us(old))])
    done = retain(database, Policy(365), NOW)
    assert (done.dropped_chunks, done.not_done) == (0, BEHIND)
    with Pool(database, Role.APP, size=2) as pool:
        observe(pool, NOW)
    assert retain(database, Policy(365), NOW).dropped_chunks == 1
    assert number(database, "SELECT n FROM rollup WHERE width = 'day'") == 1


def test_old_chunks_and_minutes_go(database: str) -> None:
    register(database, [device("m1", ["active_power_kw"])])
    times = [NOW - timedelta(days=days) for days in (400, 20, 1)]
    store(database, [("m1", "active_power_kw", to_us(time), 1.0, to_us(time)) for time in times])
    with Pool(database, Role.APP, size=2) as pool:
        observe(pool, NOW)
    widths = "SELECT width, count(*) FROM rollup GROUP BY width ORDER BY width"
    assert rows(database, widths) == [("1h", 3), ("1m", 2), ("day", 3)]
    policy = Policy(365, 30, 10, quarantine_keep_days=1)
    done = retain(database, policy, NOW)
    assert (done.dropped_chunks, done.deleted_minutes) == (1, 1)
    assert number(database, "SELECT count(*) FROM reading") == 2
    assert rows(database, widths) == [("1h", 3), ("1m", 1), ("day", 3)]
    assert done.not_done == EDITION or done.compressed_chunks > 0
    assert retain(database, policy, NOW).dropped_chunks == 0
