"""Rejected messages: found by reason, device and time; taken up to be tried again. Inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db.pool import fetch_dicts
from collateral.db.telemetry import QuarantineRow, reject_digest, to_us

_SHOWN = (
    "SELECT quarantine_id, received_at, reason, detail, device_id, topic, octet_length(payload) AS bytes, attempts,"
    " retried_at, outcome FROM quarantine"
)


@dataclass(frozen=True)
class Selection:
    """Which rows; what is left empty does not matter."""

    ids: tuple[int, ...] = ()
    reasons: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    since: datetime | None = None
    """Arrived at or after."""
    until: datetime | None = None
    """Arrived before."""
    closed: bool = False
    """Also those that were tried again and are done."""
    most_attempts: int | None = None
    """Those tried again fewer times than this."""

    def where(self) -> tuple[str, list[object]]:
        """A condition and its parameters."""
        parts, values = ["true"], list[object]()
        for text, value in (
            ("quarantine_id = ANY(%s)", list(self.ids)),
            ("reason = ANY(%s)", list(self.reasons)),
            ("device_id = ANY(%s)", list(self.devices)),
            ("received_at >= %s", self.since),
            ("received_at < %s", self.until),
            ("attempts < %s", self.most_attempts),
        ):
            if value not in (None, []):
                parts.append(text)
                values.append(value)
        if not self.closed:
            parts.append("retried_at IS NULL")
        return " AND ".join(parts), values


@dataclass(frozen=True)
class Held:
    """A row that is being tried again."""

    quarantine_id: int
    row: QuarantineRow


def counted(connection: Connection, selection: Selection, by: str, limit: int = 50) -> dict[str, int]:
    """How many rows, by `reason`, `device` or `day` (of arrival, UTC); the most frequent, days newest first."""
    key, order = {
        "reason": ("reason", "n DESC, key"),
        "device": ("device_id", "n DESC, key"),
        "day": ("to_char(received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')", "key DESC"),
    }[by]
    condition, values = selection.where()
    found = fetch_dicts(
        connection,
        f"SELECT {key} AS key, count(*)::int AS n FROM quarantine WHERE {condition}"  # noqa: S608
        f" GROUP BY 1 ORDER BY {order} LIMIT %s",
        [*values, limit],
    )
    return {row["key"]: row["n"] for row in found}


def total(connection: Connection, selection: Selection) -> int:
    """How many rows."""
    condition, values = selection.where()
    return int(fetch_dicts(connection, f"SELECT count(*) AS n FROM quarantine WHERE {condition}", values)[0]["n"])  # noqa: S608


def page(connection: Connection, selection: Selection, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Rows, newest first, with ids below `before`; without payloads."""
    condition, values = selection.where()
    return fetch_dicts(
        connection,
        f"{_SHOWN} WHERE {condition} AND (%s::bigint IS NULL OR quarantine_id < %s)"
        " ORDER BY quarantine_id DESC LIMIT %s",
        [*values, before, before, limit],
    )


def whole(connection: Connection, quarantine_id: int) -> dict[str, Any] | None:
    """One row with its payload."""
    found = fetch_dicts(connection, f"{_SHOWN.replace(' FROM', ', payload FROM')} WHERE quarantine_id = %s", [quarantine_id])
    return found[0] if found else None


def newest_id(connection: Connection) -> int:
    """Id of the newest row; 0 without any."""
    return int(fetch_dicts(connection, "SELECT coalesce(max(quarantine_id), 0) AS id FROM quarantine")[0]["id"])


def take_up(connection: Connection, selection: Selection, after: int, until: int, limit: int) -> list[Held]:
    """Open rows with ids above `after` up to `until`, oldest first, that nobody else is trying again at the moment."""
    condition, values = selection.where()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT quarantine_id, received_at, topic, payload, reason, detail, device_id FROM quarantine"  # noqa: S608
            f" WHERE {condition} AND retried_at IS NULL AND quarantine_id > %s AND quarantine_id <= %s"
            " ORDER BY quarantine_id LIMIT %s FOR UPDATE SKIP LOCKED",
            [*values, after, until, limit],
        )
        return [
            Held(number, QuarantineRow(to_us(received), bytes(topic), bytes(payload), reason, detail, device))
            for number, received, topic, payload, reason, detail, device in cursor.fetchall()
        ]


def close_rows(connection: Connection, ids: Sequence[int], outcome: str) -> None:
    """They hold nothing any more that is not elsewhere. `outcome`: `released` or `requarantined`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE quarantine SET retried_at = now(), outcome = %s, attempts = attempts + 1 WHERE quarantine_id = ANY(%s)",
            (outcome, list(ids)),
        )


def note_attempt(connection: Connection, ids: Sequence[int]) -> None:
    """Tried again for nothing."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE quarantine SET attempts = attempts + 1 WHERE quarantine_id = ANY(%s)", (list(ids),))


def reopen(connection: Connection, refused: Sequence[QuarantineRow]) -> int:
    """Rows that failed for another reason in between and fail for their first one again; how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE quarantine SET retried_at = NULL, outcome = NULL WHERE digest = ANY(%s) AND outcome = 'requarantined'",
            ([reject_digest(row) for row in refused],),
        )
        return cursor.rowcount


def earliest_mark(connection: Connection) -> datetime | None:
    """Beginning of the earliest range this transaction marked dirty."""
    found = fetch_dicts(connection, "SELECT min(time_from) AS earliest FROM dirty_range WHERE marked_at = now()")
    earliest: datetime | None = found[0]["earliest"]
    return earliest
