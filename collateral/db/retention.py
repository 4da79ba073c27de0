"""Old rows out, old chunks compressed. Chunks belong to who migrated the database: these functions need that connection."""

from __future__ import annotations

from datetime import datetime

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812

_ORDER = {"reading": ("series_id", "time"), "rollup": ("series_id, width", "bucket")}
"""Table -> what compressed rows are grouped by, and their order within."""

_MOVE_HORIZON = (
    "INSERT INTO retention_horizon AS h (what, before, moved_at) VALUES (%s, %s, %s) ON CONFLICT (what)"
    " DO UPDATE SET before = excluded.before, moved_at = excluded.moved_at WHERE h.before < excluded.before"
)


def drop_chunks(connection: Connection, table: str, before: datetime) -> int:
    """Drops the chunks of a hypertable that lie wholly before a time; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM drop_chunks(%s, older_than => %s)", (table, before))
        row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def drop_readings(connection: Connection, before: datetime, now: datetime) -> int:
    """Drops the chunks of readings that lie wholly before a time, in one transaction with the new horizon; returns how many.

    The last reading of each series is kept aside; what came after its day was dropped is not taken for that. `connection`
    commits by itself.
    """
    connection.autocommit = False
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT max(range_end) FROM timescaledb_information.chunks WHERE hypertable_name = 'reading'"
                " AND range_end <= %s",
                (before,),
            )
            row = cursor.fetchone()
            assert row is not None
            if row[0] is None:
                return 0
            cursor.execute(
                "INSERT INTO reading_before_horizon SELECT s.series_id, r.time, r.value FROM series s CROSS JOIN LATERAL ("
                " SELECT time, value FROM reading WHERE series_id = s.series_id AND time < %(horizon)s AND time >="
                " coalesce((SELECT before FROM retention_horizon WHERE what = 'reading'), '-infinity')"
                " ORDER BY time DESC LIMIT 1) r ON CONFLICT (series_id) DO UPDATE SET time = excluded.time,"
                " value = excluded.value",
                {"horizon": row[0]},
            )
            cursor.execute(_MOVE_HORIZON, ("reading", row[0], now))
            return drop_chunks(connection, "reading", before)
    finally:
        connection.autocommit = True


def earliest_waiting(connection: Connection) -> datetime | None:
    """Begin of the oldest readings that wait for their roll-ups, observations or judgement."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT least((SELECT min(time_from) FROM dirty_range), (SELECT min(block_from) FROM reading_judged"
            " JOIN series USING (series_id) JOIN device USING (device_id) WHERE due AND block_from >="
            " coalesce((SELECT before FROM retention_horizon WHERE what = 'reading'), '-infinity')))"
        )
        row = cursor.fetchone()
    assert row is not None
    waiting: datetime | None = row[0]
    return waiting


def delete_minutes(connection: Connection, before: datetime) -> int:
    """Deletes roll-ups of minutes before a time; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM rollup WHERE width = '1m' AND bucket < %s", (before,))
        return cursor.rowcount


def delete_quarantined(connection: Connection, before: datetime) -> int:
    """Deletes rejects that arrived before a time; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM quarantine WHERE received_at < %s", (before,))
        return cursor.rowcount


def delete_security_events(connection: Connection, before: datetime) -> int:
    """Deletes refusals last seen before a time, 90 days ago or longer; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM security_event WHERE coalesce(last_at, at) < least(%s, now() - interval '90 days')", (before,)
        )
        return cursor.rowcount


def delete_journeys(connection: Connection, before: datetime, horizon: datetime, now: datetime) -> int:
    """Deletes trips and stops of local days before the UTC day of a time; returns how many.

    Args:
        connection: whose transaction it is.
        before: what is older goes.
        horizon: days that begin before it are never made anew from now on, where something went.
        now: present time.
    """
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM journey WHERE day < (%s AT TIME ZONE 'UTC')::date", (before,))
        deleted = cursor.rowcount
        if deleted:
            cursor.execute(_MOVE_HORIZON, ("journey", horizon, now))
    return deleted


def can_compress(connection: Connection) -> bool:
    """True on the Community edition."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('timescaledb.license', true) = 'timescale'")
        row = cursor.fetchone()
    return row is not None and bool(row[0])


def compress_chunks(connection: Connection, table: str, before: datetime) -> int:
    """Compresses the chunks of `reading` or `rollup` that lie wholly before a time; returns how many were not yet.

    Late readings go into compressed chunks as into others, only slower.
    """
    groups, order = _ORDER[table]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT compression_enabled FROM timescaledb_information.hypertables WHERE hypertable_name = %s", (table,)
        )
        row = cursor.fetchone()
        if row is None or not row[0]:
            cursor.execute(
                sql.SQL("ALTER TABLE {} SET (timescaledb.compress, timescaledb.compress_segmentby = {},"
                        " timescaledb.compress_orderby = {})").format(
                    sql.Identifier(table), sql.Literal(groups), sql.Literal(order)
                )
            )  # fmt: skip
        cursor.execute(
            "SELECT format('%%I.%%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks"
            " WHERE hypertable_name = %s AND range_end <= %s AND NOT is_compressed ORDER BY range_end",
            (table, before),
        )
        chunks = [chunk for (chunk,) in cursor.fetchall()]
        for chunk in chunks:
            cursor.execute("SELECT compress_chunk(%s::regclass)", (chunk,))
    return len(chunks)
