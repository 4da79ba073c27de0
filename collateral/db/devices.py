"""Devices: as registered, how they sign in, and what was refused at the door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import execute_values

from collateral.db.pool import fetch_dicts
from collateral.errors import InvalidInputError

ACCOUNTS_LOCK = 7_203_519
"""Advisory lock of who writes the broker's accounts."""

MOST_ROWS = 200
"""Of one kind of refusal in an hour."""


@dataclass(frozen=True)
class RegisteredDevice:
    """One row of the device list."""

    device_id: str
    site_id: str
    quantities: tuple[str, ...]


@dataclass(frozen=True)
class SecurityEvent:
    """Something that was refused."""

    at: datetime
    kind: str
    client: str = ""
    """Client id or address, as the broker saw it."""
    device_id: str = ""
    detail: Mapping[str, object] | None = None
    times: int = 1


@dataclass(frozen=True)
class Sender:
    """What may be expected of a device."""

    interval_s: float
    """Seconds between its messages."""
    first_time: datetime | None
    """Oldest time of its readings, by its clock; None without any."""


@dataclass(frozen=True)
class LogPosition:
    """How far a log was read."""

    inode: int = 0
    position: int = 0
    """Bytes."""


def registered_devices(connection: Connection, site_id: str = "", most: int | None = None) -> list[RegisteredDevice]:
    """Devices in the order of their ids; of one site where `site_id` is given, at most `most`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT device_id, site_id, quantities FROM device WHERE %s = '' OR site_id = %s ORDER BY device_id LIMIT %s",
            (site_id, site_id, most),
        )
        return [RegisteredDevice(device, site, tuple(quantities)) for device, site, quantities in cursor.fetchall()]


def device_list(connection: Connection, site_id: str = "") -> list[dict[str, Any]]:
    """Every registered device with owner, calibration, ratio, scale and place as they hold now, credential, last heard."""
    return fetch_dicts(
        connection,
        "SELECT d.device_id, d.site_id, d.owner, d.model, d.quantities, p.calibrated_on, p.calibration_expires_on,"
        " CASE WHEN p.calibration_expires_on IS NULL THEN 'unknown' WHEN p.calibration_expires_on < current_date"
        " THEN 'expired' ELSE 'valid' END AS calibration, q.ct_ratio, q.scale, q.valid_from, p.firmware, q.place,"
        " s.last_received_at,"
        " CASE WHEN c.device_id IS NULL THEN 'none' WHEN c.revoked_at IS NOT NULL THEN 'revoked'"
        " WHEN c.blocked_until > now() THEN 'blocked' ELSE 'active' END AS credential"
        " FROM device d LEFT JOIN device_credential c USING (device_id) LEFT JOIN device_state s USING (device_id)"
        " LEFT JOIN LATERAL (SELECT * FROM device_passport WHERE device_id = d.device_id ORDER BY passport_id DESC"
        " LIMIT 1) p ON true LEFT JOIN LATERAL (SELECT * FROM device_passport WHERE device_id = d.device_id"
        " AND valid_from <= now() ORDER BY valid_from DESC, passport_id DESC LIMIT 1) q ON true"
        " WHERE %s = '' OR d.site_id = %s ORDER BY d.device_id",
        (site_id, site_id),
    )


def require_device(connection: Connection, device_id: str) -> str:
    """The site of a registered device. Raises `InvalidInputError` when it is not registered."""
    rows = fetch_dicts(connection, "SELECT site_id FROM device WHERE device_id = %s", (device_id,))
    if not rows:
        raise InvalidInputError(f"Device {device_id!r} is not registered; `collateral devices add` registers it.")
    return str(rows[0]["site_id"])


def set_credential(connection: Connection, device_id: str, password_hash: str, by: str) -> None:
    """Gives a device a (new) password hash; lifts a revocation and a block."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO device_credential (device_id, password_hash, issued_by) VALUES (%s, %s, %s)"
            " ON CONFLICT (device_id) DO UPDATE SET password_hash = excluded.password_hash, issued_by = excluded.issued_by,"
            " issued_at = now(), revoked_at = NULL, revoked_by = NULL, blocked_until = NULL",
            (device_id, password_hash, by),
        )


def revoke_credential(connection: Connection, device_id: str, by: str) -> bool:
    """Takes a device's credential away; False when it had none that was valid."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE device_credential SET revoked_at = now(), revoked_by = %s WHERE device_id = %s AND revoked_at IS NULL",
            (by, device_id),
        )
        return bool(cursor.rowcount)


def block_until(connection: Connection, device_id: str, until: datetime) -> bool:
    """Bars a device for a while; False when it has no valid credential."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE device_credential SET blocked_until = %s WHERE device_id = %s AND revoked_at IS NULL",
            (until, device_id),
        )
        return bool(cursor.rowcount)


def blocks_ended(connection: Connection, now: datetime) -> int:
    """Lifts blocks whose time is over; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE device_credential SET blocked_until = NULL WHERE blocked_until <= %s", (now,))
        return int(cursor.rowcount)


def senders(connection: Connection, device_ids: Sequence[str]) -> dict[str, Sender]:
    """What may be expected of some devices; those that are not registered are left out."""
    rows = fetch_dicts(
        connection,
        "SELECT d.device_id, d.interval_s, min(r.time) AS first_time FROM device d LEFT JOIN series s USING (device_id)"
        " LEFT JOIN LATERAL (SELECT time FROM reading WHERE series_id = s.series_id ORDER BY time LIMIT 1) r ON true"
        " WHERE d.device_id = ANY(%s) GROUP BY d.device_id, d.interval_s",
        (list(device_ids),),
    )
    return {str(row["device_id"]): Sender(float(row["interval_s"]), row["first_time"]) for row in rows}


def hold_accounts(connection: Connection) -> None:
    """One at a time tells the broker who may sign in, until its transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (ACCOUNTS_LOCK,))


def valid_hashes(connection: Connection) -> dict[str, str]:
    """Password hash of every device that may sign in now."""
    rows = fetch_dicts(
        connection,
        "SELECT device_id, password_hash FROM device_credential"
        " WHERE revoked_at IS NULL AND (blocked_until IS NULL OR blocked_until <= now()) ORDER BY device_id",
        (),
    )
    return {str(row["device_id"]): str(row["password_hash"]) for row in rows}


def message_counts(connection: Connection) -> dict[str, tuple[int, datetime | None]]:
    """Messages that each device has sent so far, and the newest time by its clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT device_id, messages, last_time FROM device_state")
        return {str(device): (int(messages), newest) for device, messages, newest in cursor.fetchall()}


def hold_log_position(connection: Connection, path: str) -> LogPosition:
    """How far a log was read; nobody else reads it until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO log_position VALUES (%s, 0, 0) ON CONFLICT DO NOTHING", (path,))
    (row,) = fetch_dicts(connection, "SELECT inode, position FROM log_position WHERE path = %s FOR UPDATE", (path,))
    return LogPosition(**row)


def move_log_position(connection: Connection, path: str, to: LogPosition) -> None:
    """Notes how far it was read."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE log_position SET inode = %s, position = %s WHERE path = %s", (to.inode, to.position, path)
        )


def write_security_events(connection: Connection, events: Sequence[SecurityEvent]) -> int:
    """Appends events; what repeats within an hour is counted. Returns how many rows are new.

    Of one kind and hour at most `MOST_ROWS` rows are kept apart; whatever else comes then is counted in one more.
    """
    gathered: dict[_Key, SecurityEvent] = {}
    last: dict[_Key, datetime] = {}
    kept: dict[tuple[datetime, str], set[_Key]] = {}
    for event in sorted(events, key=lambda event: event.at):
        key = _key(event)
        known = kept.get(key[:2])
        if known is None:
            known = kept[key[:2]] = _rows_of(connection, *key[:2])
        if key not in known and len(known) >= MOST_ROWS:
            key = (*key[:2], "", "", orjson.dumps({"others": True}).decode())
        known.add(key)
        before = gathered.get(key)
        gathered[key] = event if before is None else replace(before, times=before.times + event.times)
        last[key] = event.at
    if not gathered:
        return 0
    rows = [(event.at, *key[1:], event.times, last[key], key[0]) for key, event in gathered.items()]
    with connection.cursor() as cursor:
        written = execute_values(
            cursor,
            "INSERT INTO security_event AS e (at, kind, client, device_id, detail, times, last_at, hour) VALUES %s"
            " ON CONFLICT (hour, kind, client, device_id, detail) DO UPDATE SET times = e.times + excluded.times,"
            " last_at = greatest(e.last_at, excluded.last_at) RETURNING xmax = 0",
            rows,
            page_size=len(rows),
            fetch=True,
        )
        return sum(new for (new,) in written)


_Key = tuple[datetime, str, str, str, str]
"""Hour, kind, client, device, detail."""


def _key(event: SecurityEvent) -> _Key:
    hour = event.at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    detail = orjson.dumps(dict(event.detail or {}), option=orjson.OPT_SORT_KEYS).decode()
    return hour, event.kind, event.client, event.device_id, detail


def _rows_of(connection: Connection, hour: datetime, kind: str) -> set[_Key]:
    rows = fetch_dicts(
        connection,
        "SELECT client, device_id, detail FROM security_event WHERE hour = %s AND kind = %s",
        (hour, kind),
    )
    return {
        (hour, kind, row["client"], row["device_id"], orjson.dumps(row["detail"], option=orjson.OPT_SORT_KEYS).decode())
        for row in rows
    }


def security_events(connection: Connection, since: datetime, most: int = 1_000) -> list[dict[str, Any]]:
    """Newest first."""
    return fetch_dicts(
        connection,
        "SELECT at, coalesce(last_at, at) AS last_at, times, kind, client, device_id, detail FROM security_event"
        " WHERE coalesce(last_at, at) >= %s ORDER BY at DESC, event_id DESC LIMIT %s",
        (since, most),
    )
