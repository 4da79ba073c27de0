"""Old rows out, old chunks compressed. Chunks belong to who migrated the database: these functions need that connection."""

from __future__ import annotations

from datetime import datetime

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812

_ORDER = {"reading": ("series_id", "time"), "rollup": ("series_id, width", "bucket")}
"""Table -> what compressed rows are grouped by, and their order within."""


def drop_chunks(connection: Connection, table: str, before: datetime) -> int:
    """Drops the chunks of a hypertable that lie wholly before a time; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM drop_chunks(%s, older_than => %s)", (table, before))
        row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def earliest_dirty(connection: Connection) -> datetime | None:
    """Begin of the oldest readings that wait for their roll-ups and observations."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(time_from) FROM dirty_range")
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
