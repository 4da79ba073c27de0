"""Unusual stretches of readings, and what the detectors have learnt. All functions work inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import execute_values

from collateral.db.pool import fetch_dicts
from collateral.db.telemetry import from_us, to_us

_WATCH_LOCK = 7_203_518


@dataclass(frozen=True)
class WatchedSeries:
    """A series of a registered device with readings."""

    series_id: int
    device_id: str
    quantity: str
    site_id: str
    time_zone: str
    interval_s: float
    last_us: int
    """Its newest reading."""


@dataclass(frozen=True)
class LearntState:
    """What the detector of one series has learnt."""

    series_id: int
    version: int
    until_us: int
    """Time of the last reading it saw."""
    received_us: int
    """Newest arrival among those it saw."""
    state: bytes
    passed_over: int
    """Readings that came after newer ones were seen."""


@dataclass(frozen=True)
class AnomalyEpisode:
    """Unusual readings of one series without a quiet stretch between them."""

    series_id: int
    device_id: str
    quantity: str
    site_id: str
    time_from: datetime
    time_to: datetime
    wait_days: float
    """Days one would wait for something as unusual, going by the series' own past."""
    reason: str
    """Statistic that says so."""
    late: bool
    """Whether its readings came more than an hour late."""
    version: int


def take_turn(connection: Connection) -> None:
    """Waits until no other process watches; until the end of the session."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (_WATCH_LOCK,))


def give_turn(connection: Connection) -> None:
    """Ends `take_turn`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(%s)", (_WATCH_LOCK,))


def watched_series(connection: Connection, quantities: Sequence[str]) -> list[WatchedSeries]:
    """Series of these quantities that have readings newer than their detector saw, by site."""
    rows = fetch_dicts(
        connection,
        "SELECT s.series_id, s.device_id, s.quantity, d.site_id, p.time_zone, d.interval_s, r.time AS last"
        " FROM series s JOIN device d USING (device_id) JOIN site p ON p.site_id = d.site_id"
        " LEFT JOIN anomaly_state a USING (series_id) CROSS JOIN LATERAL"
        " (SELECT time FROM reading WHERE series_id = s.series_id ORDER BY time DESC LIMIT 1) r"
        " WHERE s.quantity = ANY(%s) AND (a.until IS NULL OR r.time > a.until) ORDER BY d.site_id, s.series_id",
        (list(quantities),),
    )
    return [WatchedSeries(**{key: value for key, value in row.items() if key != "last"}, last_us=to_us(row["last"]))
            for row in rows]  # fmt: skip


def read_states(connection: Connection, series_ids: Sequence[int]) -> dict[int, LearntState]:
    """What is kept of those series."""
    rows = fetch_dicts(
        connection,
        "SELECT series_id, version, until, received_until, state, passed_over FROM anomaly_state WHERE series_id = ANY(%s)",
        (list(series_ids),),
    )
    return {
        row["series_id"]: LearntState(
            row["series_id"], row["version"], to_us(row["until"]), to_us(row["received_until"]), bytes(row["state"]),
            row["passed_over"],
        )
        for row in rows
    }  # fmt: skip


def write_states(connection: Connection, states: Sequence[LearntState]) -> None:
    """Puts these in place of what was."""
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            "INSERT INTO anomaly_state (series_id, version, until, received_until, state, passed_over) VALUES %s"
            " ON CONFLICT (series_id) DO UPDATE SET version = excluded.version, until = excluded.until,"
            " received_until = excluded.received_until, state = excluded.state, passed_over = excluded.passed_over,"
            " updated_at = now()",
            [
                (
                    one.series_id, one.version, from_us(one.until_us), from_us(one.received_us), psycopg2.Binary(one.state),
                    one.passed_over,
                )
                for one in states
            ],
        )  # fmt: skip


def write_episodes(connection: Connection, episodes: Sequence[AnomalyEpisode]) -> int:
    """Appends what is new or has grown, as a further revision; returns how many rows."""
    if not episodes:
        return 0
    values: list[tuple[Any, ...]] = [
        (
            one.series_id, one.device_id, one.quantity, one.site_id, one.time_from, one.time_to, one.wait_days, one.reason,
            one.late, one.version,
        )
        for one in episodes
    ]  # fmt: skip
    with connection.cursor() as cursor:
        written = execute_values(
            cursor,
            "INSERT INTO anomaly_episode (series_id, device_id, quantity, site_id, time_from, time_to, wait_days, reason,"
            " late, version, revision) SELECT v.*, coalesce(e.revision, 0) + 1 FROM (VALUES %s)"
            " AS v(series_id, device_id, quantity, site_id, time_from, time_to, wait_days, reason, late, version)"
            " LEFT JOIN LATERAL (SELECT revision, time_to, wait_days, reason FROM anomaly_episode o"
            " WHERE o.series_id = v.series_id AND o.time_from = v.time_from ORDER BY revision DESC LIMIT 1) e ON true"
            " WHERE e.revision IS NULL"
            " OR (e.time_to, e.wait_days, e.reason) IS DISTINCT FROM (v.time_to, v.wait_days, v.reason)"
            " RETURNING 1",
            values,
            template="(%s::integer, %s, %s, %s, %s::timestamptz, %s::timestamptz, %s::double precision, %s, %s::boolean,"
            " %s::integer)",
            page_size=1000,
            fetch=True,
        )
    return len(written)
