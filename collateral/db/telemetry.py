"""Readings in the database: series, staged merge, quarantine, device state, tallies and dirty ranges.

Times are microseconds since 1970 UTC in arrays and aware datetimes elsewhere. Every function works inside the caller's
transaction.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import Json, execute_values

from collateral.db.copying import FLOAT8, INT4, INT8, PG_EPOCH_US, encode_rows
from collateral.db.pool import fetch_dicts

DIRTY_LOCK = 7_203_512
"""Advisory lock of the dirty ranges: shared by writers until their commit, exclusive for a moment to take the marks."""
NO_SEQUENCE = -1
COPY_BYTES = 1024 * 1024
"""Handed to the server at once; the driver takes 8 KiB, at twice the cost."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STAGE = (
    "CREATE TEMP TABLE IF NOT EXISTS reading_stage (series_id integer NOT NULL, time timestamptz NOT NULL,"
    " value double precision NOT NULL, received_at timestamptz NOT NULL, sequence bigint NOT NULL)"
)
_COLUMNS = "(series_id, time, value, received_at, sequence)"


@dataclass(frozen=True)
class ReadingBatch:
    """Rows for `reading`: five arrays of one length, in order of arrival."""

    series_id: NDArray[np.int32]
    time_us: NDArray[np.int64]
    value: NDArray[np.float64]
    """Finite."""
    received_us: NDArray[np.int64]
    sequence: NDArray[np.int64]
    """`NO_SEQUENCE` where the device counts none."""

    def __len__(self) -> int:
        return len(self.series_id)

    def where(self, chosen: NDArray[Any]) -> ReadingBatch:
        """Those rows only; or all rows in another order."""
        return ReadingBatch(
            self.series_id[chosen], self.time_us[chosen], self.value[chosen], self.received_us[chosen],
            self.sequence[chosen],
        )  # fmt: skip


@dataclass(frozen=True)
class Counts:
    """Where points went: `points == stored + duplicates + conflicts + quarantined`."""

    messages: int = 0
    points: int = 0
    stored: int = 0
    duplicates: int = 0
    conflicts: int = 0
    quarantined: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.messages + other.messages,
            self.points + other.points,
            self.stored + other.stored,
            self.duplicates + other.duplicates,
            self.conflicts + other.conflicts,
            self.quarantined + other.quarantined,
        )


@dataclass(frozen=True)
class QuarantineRow:
    """What could not be taken in."""

    received_us: int
    topic: bytes
    payload: bytes
    reason: str
    detail: str
    device_id: str


@dataclass(frozen=True)
class DeviceEvent:
    """A turn in a device's communication."""

    device_id: str
    time: datetime
    kind: str
    """`online`, `offline`, `last_will`, `sequence_gap` or `sequence_reset`."""
    detail: Mapping[str, object]
    received_at: datetime


@dataclass(frozen=True)
class DeviceEntry:
    """What ingest must know of a registered device."""

    site_id: str
    quantities: frozenset[str]
    gateway_id: str = ""


def from_us(time_us: int) -> datetime:
    """An aware datetime; exact."""
    return _EPOCH + timedelta(microseconds=int(time_us))


def to_us(moment: datetime) -> int:
    """Microseconds since 1970 UTC; exact."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def device_entries(connection: Connection, device_ids: Sequence[str]) -> dict[str, DeviceEntry]:
    """Those of `device_ids` that are registered."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT device_id, site_id, quantities, gateway_id FROM device WHERE device_id = ANY(%s)", (list(device_ids),)
        )
        return {device: DeviceEntry(site, frozenset(known), gateway) for device, site, known, gateway in cursor.fetchall()}


def series_ids(connection: Connection, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The number of each (device_id, quantity), given to those that have none yet."""
    wanted = sorted(set(keys))
    if not wanted:
        return {}
    devices, quantities = [key[0] for key in wanted], [key[1] for key in wanted]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO series (device_id, quantity) SELECT w.* FROM unnest(%s::text[], %s::text[]) AS w(d, q)"
            " WHERE NOT EXISTS (SELECT FROM series s WHERE s.device_id = w.d AND s.quantity = w.q)"
            " ON CONFLICT DO NOTHING",
            (devices, quantities),
        )
        cursor.execute(
            "SELECT s.device_id, s.quantity, s.series_id FROM series s"
            " JOIN unnest(%s::text[], %s::text[]) AS w(d, q) ON s.device_id = w.d AND s.quantity = w.q",
            (devices, quantities),
        )
        return {(device, quantity): number for device, quantity, number in cursor.fetchall()}


def merge_readings(connection: Connection, batch: ReadingBatch) -> Counts:
    """Stores what is new, counts what is there already, keeps what contradicts it in `reading_conflict`."""
    total = len(batch)
    if total == 0:
        return Counts()
    with connection.cursor() as cursor:
        cursor.execute(_STAGE)
        staged = io.BytesIO(_binary(batch))
        cursor.copy_expert(f"COPY reading_stage {_COLUMNS} FROM STDIN (FORMAT binary)", staged, COPY_BYTES)
        # Sorted, so that two writers with the same rows take their locks in the same order.
        cursor.execute(
            f"INSERT INTO reading {_COLUMNS} SELECT series_id, time, value, received_at, nullif(sequence, -1)"  # noqa: S608
            " FROM reading_stage ORDER BY series_id, time, received_at ON CONFLICT DO NOTHING"
        )
        stored = cursor.rowcount
        conflicts = 0
        if stored < total:
            # LIMIT keeps the lookup a nested index scan: the planner knows nothing of the staged rows.
            cursor.execute(
                f"INSERT INTO reading_conflict {_COLUMNS}"  # noqa: S608
                " SELECT DISTINCT ON (s.series_id, s.time, s.value)"
                " s.series_id, s.time, s.value, s.received_at, nullif(s.sequence, -1)"
                " FROM reading_stage s CROSS JOIN LATERAL (SELECT r.value FROM reading r"
                " WHERE r.series_id = s.series_id AND r.time = s.time LIMIT 1) k WHERE k.value <> s.value"
                " ORDER BY s.series_id, s.time, s.value, s.received_at ON CONFLICT DO NOTHING"
            )
            conflicts = cursor.rowcount
        cursor.execute("TRUNCATE reading_stage")
    return Counts(points=total, stored=stored, conflicts=conflicts, duplicates=total - stored - conflicts)


def copy_readings(connection: Connection, batch: ReadingBatch) -> Counts:
    """Stores rows none of which is there yet, twice as fast as `merge_readings`.

    Raises:
        psycopg2.errors.UniqueViolation: a key is there already; roll back and merge instead.
    """
    empty = batch.sequence == NO_SEQUENCE
    if empty.any() and not empty.all():
        raise ValueError("either all or none of the rows carry a sequence number")
    columns = "(series_id, time, value, received_at)" if empty.any() else _COLUMNS
    with connection.cursor() as cursor:
        cursor.copy_expert(
            f"COPY reading {columns} FROM STDIN (FORMAT binary)", io.BytesIO(_binary(batch, bool(empty.any()))), COPY_BYTES
        )
    return Counts(points=len(batch), stored=len(batch))


def _binary(batch: ReadingBatch, without_sequence: bool = False) -> bytes:
    """`batch` in PostgreSQL's binary COPY format."""
    columns: list[tuple[NDArray[Any], str]] = [
        (batch.series_id, INT4),
        (batch.time_us - PG_EPOCH_US, INT8),
        (batch.value, FLOAT8),
        (batch.received_us - PG_EPOCH_US, INT8),
    ]
    return encode_rows(columns if without_sequence else [*columns, (batch.sequence, INT8)])


def quarantine(connection: Connection, rows: Sequence[QuarantineRow]) -> int:
    """Keeps rejects; returns how many were not there yet (the broker may deliver again)."""
    if not rows:
        return 0
    values = [
        (from_us(row.received_us), row.topic, row.payload, row.reason, row.detail, row.device_id, reject_digest(row))
        for row in sorted(rows, key=reject_digest)
    ]
    with connection.cursor() as cursor:
        written = execute_values(
            cursor,
            "INSERT INTO quarantine (received_at, topic, payload, reason, detail, device_id, digest) VALUES %s"
            " ON CONFLICT (digest) DO NOTHING RETURNING 1",
            values,
            page_size=1000,
            fetch=True,
        )
    return len(written)


def reject_digest(row: QuarantineRow) -> bytes:
    """What makes a reject the same when it is delivered again."""
    digest = hashlib.sha256()
    for part in (row.topic, row.payload, row.reason.encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def write_device_events(connection: Connection, events: Sequence[DeviceEvent]) -> None:
    """Appends; the same device, time and kind again is left as it is."""
    if not events:
        return
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            "INSERT INTO device_event (device_id, time, kind, detail, received_at) VALUES %s ON CONFLICT DO NOTHING",
            [(event.device_id, event.time, event.kind, Json(dict(event.detail)), event.received_at) for event in events],
        )


def add_tally(connection: Connection, client_id: str, started_at: datetime, counts: Counts) -> None:
    """Counts up what one run of ingest did."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO ingest_tally AS t"
            " (client_id, started_at, messages, points, stored, duplicates, conflicts, quarantined)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (client_id, started_at) DO UPDATE SET"
            " messages = t.messages + excluded.messages, points = t.points + excluded.points,"
            " stored = t.stored + excluded.stored, duplicates = t.duplicates + excluded.duplicates,"
            " conflicts = t.conflicts + excluded.conflicts, quarantined = t.quarantined + excluded.quarantined,"
            " updated_at = now()",
            (
                client_id, started_at, counts.messages, counts.points, counts.stored, counts.duplicates, counts.conflicts,
                counts.quarantined,
            ),
        )  # fmt: skip


def tallies(connection: Connection) -> list[dict[str, Any]]:
    """One row per run of ingest, newest first."""
    return fetch_dicts(
        connection,
        "SELECT client_id, started_at, messages, points, stored, duplicates, conflicts, quarantined, updated_at,"
        " round(messages / greatest(extract(epoch FROM updated_at - started_at), 1), 1)::float8 AS messages_per_s"
        " FROM ingest_tally ORDER BY updated_at DESC",
    )


def quarantine_reasons(connection: Connection) -> dict[str, int]:
    """How many rows lie in quarantine, by reason; what was tried again and read is there no more."""
    rows = fetch_dicts(
        connection,
        "SELECT reason, count(*)::int AS n FROM quarantine WHERE retried_at IS NULL GROUP BY reason ORDER BY reason",
    )
    return {row["reason"]: row["n"] for row in rows}


def hold_dirty_epoch(connection: Connection) -> int:
    """Before readings are written: keeps the marks from being taken until the commit; returns the present epoch."""
    with connection.cursor() as cursor:
        # Two statements: the second must see what was committed before the lock was had.
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s); SELECT epoch FROM dirty_epoch", (DIRTY_LOCK,))
        row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def mark_dirty(connection: Connection, ranges: Sequence[tuple[int, int, int]]) -> None:
    """Rows (series_id, from, to) in microseconds: what was made of these readings is no longer true."""
    if not ranges:
        return
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            "INSERT INTO dirty_range (series_id, time_from, time_to) VALUES %s",
            [(series, from_us(begin), from_us(end)) for series, begin, end in ranges],
            page_size=1000,
        )
