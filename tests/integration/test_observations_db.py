"""Observations in a real TimescaleDB: revisions, times of knowledge, dirty sites, speed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from collateral.db.observations import observation_revisions, write_observations
from collateral.db.pool import Pool, Role
from collateral.domain import Observation, Quality, Source, SubjectKind
from collateral.errors import InvalidInputError

DAY = datetime(2026, 3, 1, 16, tzinfo=UTC)


@pytest.fixture
def pool(database: str) -> Iterator[Pool]:
    with Pool(database, Role.APP) as pool:
        yield pool


def observation(value: float = 5.0, known_at: datetime = DAY + timedelta(days=1, hours=2), **changes: object) -> Observation:
    base = Observation(
        subject_kind=SubjectKind.SITE, subject_id="S1", site_id="S1", quantity="energy_kwh_per_day", valid_from=DAY,
        valid_to=DAY + timedelta(days=1), source=Source.TELEMETRY, method="energy@1", value=value, lower=value - 1,
        upper=value + 1, quality=Quality.GOOD, known_at=known_at, evidence={"devices": ["D\t1", "纸"], "share": 0.1},
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_same_content_writes_nothing_and_other_content_the_next_revision(pool: Pool) -> None:
    first, late = observation(5.0), observation(6.0, known_at=DAY + timedelta(days=3))
    with pool.connection() as connection:
        assert write_observations(connection, [first, late]).written == 2
    with pool.connection() as connection:
        again = write_observations(connection, [first, late])
        assert (again.written, again.unchanged) == (0, 2)
        stored = observation_revisions(connection)
    assert [(o.value, o.revision) for o in stored] == [(5.0, 1), (6.0, 2)]
    assert replace(stored[0], observation_id=None, revision=None) == first


def test_revisions_are_read_by_site_and_period(pool: Pool) -> None:
    with pool.connection() as connection:
        write_observations(connection, [observation(5.0), observation(6.0, known_at=DAY + timedelta(days=3))])
        assert [o.value for o in observation_revisions(connection, ["S1"], since=DAY)] == [5.0, 6.0]
        assert observation_revisions(connection, ["S1"], since=DAY + timedelta(days=1)) == []
        assert observation_revisions(connection, ["S1"], until=DAY) == []
        assert observation_revisions(connection, ["S2"]) == []


def test_dirty_sites_are_marked_only_when_something_was_written(pool: Pool) -> None:
    with pool.connection() as connection, connection.cursor() as cursor:
        write_observations(connection, [observation()])
        cursor.execute("SELECT site_id FROM dirty_site")
        assert cursor.fetchall() == [("S1",)]
        cursor.execute("DELETE FROM dirty_site")
        write_observations(connection, [observation()])
        cursor.execute("SELECT count(*) FROM dirty_site")
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"quantity": "happiness"}, "unknown"),
        ({"value": float("nan")}, "nothing is known"),
        ({"value": 99.0}, "outside"),
        ({"valid_from": datetime(2026, 3, 1)}, "zone"),
        ({"valid_to": DAY}, "period ends"),
    ],
)
def test_what_cannot_be_meant_is_refused(pool: Pool, change: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said), pool.connection() as connection:
        write_observations(connection, [observation(), replace(observation(), **change)])  # type: ignore[arg-type]
    with pool.connection() as connection:
        assert observation_revisions(connection) == []


def test_rows_cannot_be_changed(pool: Pool, database: str) -> None:
    with pool.connection() as connection:
        write_observations(connection, [observation()])
    owner = psycopg2.connect(database)
    try:
        with pytest.raises(psycopg2.errors.RaiseException, match="append-only"), owner.cursor() as cursor:
            cursor.execute("UPDATE observation SET value = 1")
    finally:
        owner.close()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=6))
@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_writing_twice_settles(pool: Pool, steps: list[tuple[int, int]]) -> None:
    """Any batch of (hours of knowledge, value): what is in force at the end is a fixed point, and so at any time."""
    rows = [observation(float(value), known_at=DAY + timedelta(days=1, hours=hours)) for hours, value in sorted(steps)]
    unique = {row.known_at: row for row in rows}  # one statement per time of knowledge
    connection_block = pool.connection()
    connection = connection_block.__enter__()
    try:
        write_observations(connection, unique.values())
        before = observation_revisions(connection)
        assert write_observations(connection, unique.values()).written == 0
        assert observation_revisions(connection) == before
        for hours in range(5):
            at = DAY + timedelta(days=1, hours=hours)
            told = [row for row in unique.values() if row.known_at <= at]
            known = [row for row in before if row.known_at <= at]
            assert [o.value for o in known[-1:]] == ([told[-1].value] if told else [])
    finally:
        connection.rollback()
        connection_block.__exit__(None, None, None)


def test_a_year_of_24_sites_is_written_once(pool: Pool) -> None:
    quantities = (
        "energy_kwh_per_day", "running_hours_per_day", "reporting_ratio", "frozen_hours", "replayed_hours", "late_hours",
    )
    rows = [
        observation(1.0, subject_id=f"S{site}", site_id=f"S{site}", quantity=quantity, valid_from=DAY + timedelta(days=day),
                    valid_to=DAY + timedelta(days=day + 1), known_at=DAY + timedelta(days=day + 1, hours=2))
        for site in range(24) for day in range(365) for quantity in quantities
    ]
    with pool.connection() as connection:
        assert write_observations(connection, rows).written == len(rows)
    with pool.connection() as connection:
        assert write_observations(connection, rows).written == 0
