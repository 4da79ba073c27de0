"""What one transaction of ingest writes besides quarantine: readings, what was heard of devices, tallies of numbers.

Times are microseconds since 1970 UTC. Every function works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import psycopg2
from numpy.typing import NDArray
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import Json, execute_values

from collateral.db import telemetry
from collateral.db.telemetry import NO_SEQUENCE, Counts, ReadingBatch, from_us

SETTLE_LOCK = 7_203_516
"""Advisory lock of who settles the numbers of messages."""
HEARD = np.dtype([("device", "<i4"), ("sequence", "<i8"), ("time_us", "<i8")])
_EPOCH = "timestamptz '1970-01-01 00:00:00+00' + interval '1 microsecond' * "
_UPDATE = (  # made of constants alone
    "INSERT INTO device_state AS d (device_id, last_time, last_received_at, last_sequence, sequence_at, online,"  # noqa: S608
    f" online_at, messages) SELECT d, {_EPOCH}t, {_EPOCH}r, s, {_EPOCH}st, o, {_EPOCH}ot, m"
    " FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::boolean[], %s::bigint[],"
    " %s::bigint[]) AS u(d, t, r, s, st, o, ot, m) ORDER BY d"
    " ON CONFLICT (device_id) DO UPDATE SET last_time = greatest(d.last_time, excluded.last_time),"
    " last_received_at = greatest(d.last_received_at, excluded.last_received_at),"
    " last_sequence = CASE WHEN d.last_sequence IS NULL OR d.sequence_at IS NULL"
    " OR (excluded.sequence_at, excluded.last_sequence) >= (d.sequence_at, d.last_sequence)"
    " THEN coalesce(excluded.last_sequence, d.last_sequence) ELSE d.last_sequence END,"
    " sequence_at = greatest(d.sequence_at, excluded.sequence_at),"
    " online = CASE WHEN d.online_at IS NULL OR excluded.online_at > d.online_at"
    " OR (excluded.online_at = d.online_at AND NOT excluded.online)"
    " THEN coalesce(excluded.online, d.online) ELSE d.online END,"
    " online_at = greatest(d.online_at, excluded.online_at), messages = d.messages + excluded.messages"
)


@dataclass(frozen=True)
class DeviceUpdate:
    """How the states of some devices change; columns of one length, None where nothing is known."""

    device_id: Sequence[str]
    last_us: Sequence[int | None]
    """Newest time of a reading, by the device's clock."""
    received_us: Sequence[int]
    sequence: Sequence[int | None]
    sequence_us: Sequence[int | None]
    """Time of the message that carried `sequence`."""
    online: Sequence[bool | None]
    online_us: Sequence[int | None]
    messages: Sequence[int]
    """Which it sent now: none of a recording, or that are tried again."""


def store_readings(connection: Connection, batch: ReadingBatch, newer: NDArray[np.bool_]) -> Counts:
    """Stores readings: those that are `newer` than all of their series straight, the others merged.

    Straight is three times as fast. When the table says that a newer one is there after all (another process stored it), all
    are merged.
    """
    counts = Counts()
    newer = newer & (batch.sequence != NO_SEQUENCE)
    straight = batch.where(newer)
    if len(straight):
        with connection.cursor() as cursor:
            cursor.execute("SAVEPOINT straight")
            try:
                counts = telemetry.copy_readings(connection, straight)
                cursor.execute("RELEASE SAVEPOINT straight")
            except psycopg2.errors.UniqueViolation:
                cursor.execute("ROLLBACK TO SAVEPOINT straight")
                newer = np.zeros(len(batch), bool)
    return counts + telemetry.merge_readings(connection, batch.where(~newer))


def update_devices(connection: Connection, update: DeviceUpdate) -> None:
    """Newest time, number and presence replace older ones, whatever the order in which they come."""
    if not update.device_id:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            _UPDATE,
            (
                _texts(update.device_id), _numbers(update.last_us), _numbers(update.received_us), _numbers(update.sequence),
                _numbers(update.sequence_us), _numbers(update.online), _numbers(update.online_us), _numbers(update.messages),
            ),
        )  # fmt: skip


def _numbers(values: Sequence[int | None]) -> str:
    """An array as PostgreSQL reads it from a text; as a list, each value would be an expression of the statement."""
    return f"{{{','.join('NULL' if value is None else str(value) for value in values)}}}"


def _texts(values: Sequence[str]) -> str:
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


def newest_times(connection: Connection, device_ids: Sequence[str]) -> dict[str, int]:
    """Newest time of a reading of each device that has one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT device_id, last_time FROM device_state WHERE device_id = ANY(%s)", (list(device_ids),))
        return {device: telemetry.to_us(moment) for device, moment in cursor.fetchall() if moment is not None}


def keep_heard(
    connection: Connection, devices: Sequence[str], messages: NDArray[np.void], received_us: int
) -> None:
    """Keeps which numbers came, until they are settled. `messages`: of dtype `HEARD`, `device` an index into `devices`."""
    if len(messages) == 0:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sequence_heard (devices, messages, received_at) VALUES (%s, %s, %s)",
            (_texts(devices), psycopg2.Binary(messages.tobytes()), from_us(received_us)),
        )


@dataclass(frozen=True)
class HeardRow:
    """One transaction's messages."""

    heard_id: int
    devices: list[str]
    messages: NDArray[np.void]
    received_us: int


def may_settle(connection: Connection) -> bool:
    """True for one transaction at a time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", (SETTLE_LOCK,))
        row = cursor.fetchone()
    return row is not None and bool(row[0])


def read_heard(connection: Connection, until_us: int, limit: int = 300) -> list[HeardRow]:
    """The oldest of what came until `until_us` and is not settled."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT heard_id, devices, messages, received_at FROM sequence_heard WHERE received_at <= %s"
            " ORDER BY heard_id LIMIT %s",
            (from_us(until_us), limit),
        )
        return [
            HeardRow(number, devices, np.frombuffer(bytes(data), HEARD), telemetry.to_us(received))
            for number, devices, data, received in cursor.fetchall()
        ]


def forget_heard(connection: Connection, heard_ids: Sequence[int]) -> None:
    """Deletes what is settled in this transaction."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM sequence_heard WHERE heard_id = ANY(%s)", (list(heard_ids),))


def sequence_runs(connection: Connection, device_ids: Sequence[str]) -> dict[str, list[list[int]]]:
    """Settled runs of those devices that have some; the row of a run is described in migration 0013."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT device_id, runs FROM device_sequence WHERE device_id = ANY(%s)", (list(device_ids),))
        return dict(cursor.fetchall())


def write_sequence_runs(connection: Connection, runs: Mapping[str, Sequence[Sequence[int]]], now_us: int) -> None:
    """Puts the runs of some devices in place of what was."""
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            "INSERT INTO device_sequence (device_id, runs, settled_at) VALUES %s ON CONFLICT (device_id)"
            " DO UPDATE SET runs = excluded.runs, settled_at = excluded.settled_at",
            [(device, Json([list(run) for run in rows]), from_us(now_us)) for device, rows in sorted(runs.items())],
            page_size=1000,
        )


def numbering(connection: Connection) -> dict[str, int]:
    """Message numbers in a few figures: devices that count, devices with numbers missing, how many, and restarts."""
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH run AS (SELECT device_id, (r->>0)::bigint AS generation, (r->>1)::bigint AS first, lag((r->>2)::bigint)"
            " OVER (PARTITION BY device_id, (r->>0)::bigint ORDER BY (r->>1)::bigint) AS before"
            " FROM device_sequence, jsonb_array_elements(runs) AS r)"
            " SELECT count(DISTINCT device_id), count(DISTINCT device_id) FILTER (WHERE first > before + 1),"
            " coalesce(sum(first - before - 1) FILTER (WHERE first > before + 1), 0),"
            " count(DISTINCT (device_id, generation)) - count(DISTINCT device_id) FROM run"
        )
        row = cursor.fetchone()
    assert row is not None
    devices, holed, missing, restarts = row
    return {"devices": devices, "devices_missing": holed, "missing": int(missing), "restarts": restarts}
