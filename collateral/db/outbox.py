"""Notifications waiting to be sent: written with the alert in one transaction, sent afterwards, tried again on failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db.pool import fetch_dicts

LONGEST_WAIT = timedelta(hours=1)


@dataclass(frozen=True)
class Notice:
    """One message to one person about one alert."""

    outbox_id: int
    alert_id: int
    channel: str
    recipient: str
    attempts: int
    rule: str
    priority: str
    site_id: str
    subject_id: str
    raised_at: datetime


def enqueue(connection: Connection, alert_id: int, channel: str, recipients: Sequence[str]) -> None:
    """Puts one message per recipient into the outbox; one that is there already stays as it is."""
    with connection.cursor() as cursor:
        for recipient in recipients:
            cursor.execute(
                "INSERT INTO outbox (alert_id, channel, recipient) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                (alert_id, channel, recipient),
            )


def due(connection: Connection, now: datetime, limit: int = 100) -> list[Notice]:
    """Messages to be tried now, oldest first; locked for this transaction, those others hold are skipped."""
    rows = fetch_dicts(
        connection,
        "SELECT o.outbox_id, o.alert_id, o.channel, o.recipient, o.attempts, a.rule, a.priority, a.site_id, a.subject_id,"
        " a.raised_at FROM outbox o JOIN alert a USING (alert_id)"
        " WHERE o.delivered_at IS NULL AND o.next_attempt_at <= %s ORDER BY o.outbox_id LIMIT %s"
        " FOR UPDATE OF o SKIP LOCKED",
        (now, limit),
    )
    return [Notice(**row) for row in rows]


def mark_delivered(connection: Connection, outbox_id: int, at: datetime) -> None:
    """The message was handed over."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE outbox SET delivered_at = %s, attempts = attempts + 1, last_error = '' WHERE outbox_id = %s",
            (at, outbox_id),
        )


def mark_failed(connection: Connection, notice: Notice, at: datetime, error: str) -> None:
    """The message could not be handed over; it is tried again after 1, 2, 4 ... minutes, at most an hour."""
    wait = min(LONGEST_WAIT, timedelta(minutes=2 ** min(notice.attempts, 10)))
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE outbox SET attempts = attempts + 1, next_attempt_at = %s, last_error = %s WHERE outbox_id = %s",
            (at + wait, error[:500], notice.outbox_id),
        )
