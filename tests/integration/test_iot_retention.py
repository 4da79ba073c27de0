"""Old telemetry goes and stays as the policy says; what this edition cannot do is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collateral.db import devices
from collateral.db.devices import SecurityEvent
from collateral.db.pool import Pool, Role
from collateral.db.telemetry import to_us
from collateral.domain import AssetKind
from collateral.errors import InvalidInputError
from iot import judging
from iot.observe import observe
from iot.retention import BEHIND, EDITION, Policy, read_policy, retain
from tests.iot_support import asset, device, number, register, rows, store
from tests.tracks_support import POSITIONS, truck_readings

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_a_policy_names_days_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[reading]\nkeep_days = 3650\n[rollup]\nminutes_keep_days = 7\n")
    assert read_policy(path) == Policy(reading_keep_days=3650, rollup_minutes_keep_days=7)
    for text, said in (
        ("[reading]\nkeep = 1", "is not a rule"),
        ("[reading]\nkeep_days = -1", "whole days"),
        ("[security]\nkeep_days = 89", "90 or more"),
        ("[journey]\nkeep_days = 89", "journey.keep_days is 89; give 90 or more"),
        ("=", "TOML"),
    ):
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


QUANTITIES = ["active_power_kw", "energy_total_kwh"]
EVERYTHING = "SELECT * FROM {} ORDER BY 1, 2, 3, 4, 5, 6"
TABLES = ("rollup", "reading_quality", "observation")


def look(database: str) -> int:
    with Pool(database, Role.APP, size=2) as pool:
        return observe(pool, NOW).below_horizon


@pytest.fixture(autouse=True)
def all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings that are not judged yet are not dropped."""
    monkeypatch.setattr(judging, "MOST_BLOCKS", 1_000)


def dropped(database: str) -> datetime:
    """A year of six-hourly readings, observed, of which what is older than 200 days is dropped; returns the horizon."""
    register(database, [device("m1", QUANTITIES, interval_s=21_600)])
    times = [NOW - timedelta(hours=6 * n) for n in range(4 * 365)][::-1]
    power = np.random.default_rng(1).random(len(times)).round(3) + 5
    total = np.cumsum(power).round(3)
    values = {"active_power_kw": power, "energy_total_kwh": total}
    store(database, [
        ("m1", name, to_us(time), float(values[name][n]), to_us(time)) for name in QUANTITIES for n, time in enumerate(times)
    ])  # fmt: skip
    look(database)
    assert retain(database, Policy(200), NOW).dropped_chunks > 1
    horizon: datetime = rows(database, "SELECT before FROM retention_horizon")[0][0]
    assert NOW - timedelta(days=228) < horizon <= NOW - timedelta(days=200)
    return horizon


def content(database: str) -> list[list[tuple[object, ...]]]:
    return [rows(database, EVERYTHING.format(table)) for table in TABLES]


@pytest.fixture
def year(database: str) -> tuple[str, datetime]:
    return database, dropped(database)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(late=st.lists(st.tuples(st.floats(0.1, 160), st.sampled_from(QUANTITIES), st.floats(0, 1e6)), min_size=1, max_size=4))
def test_what_comes_for_dropped_days_changes_nothing_made_of_them(
    year: tuple[str, datetime], late: list[tuple[float, str, float]]
) -> None:
    database, horizon = year
    before, held = content(database), number(database, "SELECT count(*) FROM reading")
    moments = {(name, to_us(horizon - timedelta(days=days))): value for days, name, value in late}
    store(database, [("m1", name, moment, value, to_us(NOW)) for (name, moment), value in moments.items()])
    assert number(database, "SELECT count(*) FROM reading") > held, "it is stored all the same"
    assert look(database) >= 1, "and told"
    assert content(database) == before
    retain(database, Policy(200), NOW)
    assert number(database, "SELECT count(*) FROM reading") == held
    assert content(database) == before
    assert number(database, "SELECT count(*) FROM dirty_range") == 0


def test_the_first_day_that_stays_keeps_its_growth_when_it_is_made_anew(database: str) -> None:
    horizon = dropped(database)
    hours = "SELECT bucket, delta FROM rollup JOIN series USING (series_id) WHERE width = '1h' AND delta > 0 ORDER BY bucket"
    before = rows(database, hours)
    whole = "SELECT round(sum(delta)::numeric, 3) FROM rollup WHERE width = '1h'"
    growth = rows(database, whole)
    moment = horizon + timedelta(hours=1)
    (value,) = rows(database, "SELECT value FROM reading_before_horizon JOIN series USING (series_id) WHERE quantity = %s",
                    ("energy_total_kwh",))[0]  # fmt: skip
    store(database, [("m1", "energy_total_kwh", to_us(horizon - timedelta(hours=1)), value - 3, to_us(NOW)),
                     ("m1", "energy_total_kwh", to_us(moment), value + 7, to_us(NOW))])  # fmt: skip
    assert look(database) == 1, "the range before the horizon"
    after = rows(database, hours)
    assert len(after) == len(before) + 1
    assert [row for row in after if row[0] < horizon] == [row for row in before if row[0] < horizon]
    assert rows(database, whole) == growth, "what the new reading takes is given up by the next one"


def test_refusals_are_kept_as_long_as_the_policy_says_and_never_less_than_90_days(database: str) -> None:
    now = datetime.now(UTC)
    ages = (10, 100, 400)
    with Pool(database, Role.APP, size=1) as pool, pool.connection() as connection:
        events = [SecurityEvent(now - timedelta(days=age), "protocol", f"c{age}") for age in ages]
        devices.write_security_events(connection, events)
    assert retain(database, Policy(security_keep_days=365), now).deleted_security_events == 1
    for role_statement in ("DELETE FROM security_event", "UPDATE security_event SET client = ''", "TRUNCATE security_event"):
        with pytest.raises(psycopg2.Error, match=r"90 days|append-only"):
            rows(database, role_statement)
    assert number(database, "SELECT count(*) FROM security_event") == 2


def test_trips_and_stops_go_and_are_not_made_anew_from_what_is_left(database: str) -> None:
    register(database, [device("gps", POSITIONS, asset_id="T1")], assets=[asset("T1", AssetKind.TRUCK)])
    days = "SELECT DISTINCT day FROM journey ORDER BY day"
    kept = "SELECT * FROM journey ORDER BY begins, kind"
    ages = (140, 101, 75, 40, 2)
    for age in ages:
        store(database, truck_readings(NOW - timedelta(days=age, hours=8), 1))
    look(database)
    assert len(rows(database, days)) == len(ages)
    policy = Policy(journey_keep_days=100)
    assert retain(database, policy, NOW).deleted_journeys > 3
    assert [row[0] for row in rows(database, days)] == [(NOW - timedelta(days=age)).date() for age in ages[2:]]
    (horizon,) = rows(database, "SELECT before FROM retention_horizon WHERE what = 'journey'")[0]
    assert horizon == NOW - timedelta(days=70)
    before = rows(database, kept)
    store(database, truck_readings(NOW - timedelta(days=76, hours=8), 1))
    with Pool(database, Role.APP, size=2) as pool:
        assert not observe(pool, NOW, (NOW - timedelta(days=200)).date()).failed
    assert rows(database, kept) == before, "days before the horizon are left as they were"
    store(database, truck_readings(NOW - timedelta(days=39, hours=8), 1))
    look(database)
    assert len(rows(database, days)) == 4
    again = retain(database, policy, NOW)
    assert again.deleted_journeys == 0
